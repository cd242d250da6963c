"""What a step does: which step type its fields mean, and that type's parameters (Dagu 1.30 executors, §5 of the contract).

`docker`, `ssh`, `mail` and `archive` are read and checked here; their step types need not be installed for a file to load.
`gha` and `chat` load only where a plugin gives them. `python`, `task` and `noop` are Astrarium's own.
"""

from __future__ import annotations

import shlex
from typing import Any

from ..source import YamlNode
from .executor import READERS, read_elsewhere
from .fields import Fields, known, scalar_text
from .shape import CONFIGS, checked, keys_of, read_llm, read_messages

TYPES: dict[str, str] = {
    "command": "shell",
    "shell": "shell",
    "http": "http",
    "jq": "jq",
    "python": "python",
    "task": "task",
    "noop": "noop",
    "dag": "child",
    "subworkflow": "child",
    "parallel": "child",
    "child": "child",
    "hitl": "wait",
    "wait": "wait",
    "docker": "docker",
    "container": "docker",
    "ssh": "ssh",
    "mail": "mail",
    "archive": "archive",
    "gha": "gha",
    "github_action": "gha",
    "github-action": "gha",
    "chat": "chat",
}
"""The dialect's word for an executor → our step type."""

NOT_BUILT = {
    "gha": "run the action's own commands in a step with a `container`",
    "chat": "call the model's API in an `http` step",
}
"""Types of the dialect that only a plugin of that kind can execute → what to do without one."""
MAX_PARALLEL_ITEMS = 10_000
DEFAULT_MAX_CONCURRENT = 10

_PARALLEL = known("items", "maxConcurrent")


class Work:
    """What a step says it does: its commands or the one text of several lines, before a step type is chosen."""

    def __init__(self, step: Fields) -> None:
        self.commands: list[str] = []
        self.script = step.text("script")
        node = step.get("command")
        if node is None:
            return
        for item in step.scalars("command", "text or a list of commands"):
            text = scalar_text(item).strip()
            if text:
                self.commands.append(text)
        if node.kind == "scalar" and self.commands and "\n" in self.commands[0]:
            if self.script:
                step.wrong("command", "one line when there is also a `script`")
            self.script = scalar_text(node)
            self.commands = []
        elif self.script and len(self.commands) > 1:
            step.wrong("command", "one command when there is also a `script`")

    @property
    def command(self) -> str:
        return self.commands[0] if self.commands else ""


def read_shell(fields: Fields) -> list[str]:
    """`bash -e` or `[bash, -e]` as a list of words."""
    node = fields.get("shell")
    if node is None:
        return []
    if node.kind == "list":
        return [scalar_text(item) for item in fields.scalars("shell", "text or a list of texts")]
    try:
        return shlex.split(fields.text("shell"))
    except ValueError:
        fields.wrong("shell", "a command line with closed quotes")
        return []


def read_kind(step: Fields, defaults: dict[str, Any], known_kinds: frozenset[str] | None) -> tuple[str, str, dict[str, Any]]:
    """(the word as written or inferred, step type, its parameters). The word is the prefix of an automatic step name.
    `defaults` are the DAG's own `container`, `ssh` and `llm` objects."""
    config, word = _executor(step)
    if word:
        kind = TYPES.get(word) or (word if known_kinds and word in known_kinds else "")
        if not kind:
            close = step.report.suggest(word, sorted({*TYPES, *(known_kinds or ())}))
            step.report.add(f"unknown step type `{word}`{close}", step.get("type") or step.get("executor"), step.at("type"))
            return word, "noop", {}
        if kind in NOT_BUILT and kind not in (known_kinds or ()):
            told = f"steps of type `{word}` cannot be executed here"
            hint = f"{NOT_BUILT[kind]}, or install a plugin that gives the step type `{kind}`"
            step.report.add(told, step.get("type") or step.get("executor"), step.at("type"), hint)
        _refuse_strangers(step, kind)
        return word, kind, _params(kind, step, config, defaults)
    _refuse_config(step, config)
    if step.has("call") or step.has("parallel"):
        _refuse_strangers(step, "child")
        word = "parallel" if step.has("parallel") else "dag"
        return word, "child", _child(step)
    if step.has("container"):
        _refuse_strangers(step, "docker")
        return "docker", "docker", _params("docker", step, config, defaults)
    if not step.has("command") and not step.has("script"):
        _nothing_to_do(step)
        return "step", "noop", {}
    # A step that would run inside the DAG's container or on its ssh host must never run here instead.
    kind = "docker" if defaults.get("container") else "ssh" if defaults.get("ssh") else "shell"
    _refuse_strangers(step, kind)
    return "cmd" if step.has("command") else "script", kind, _params(kind, step, config, defaults)


_MEANT_FOR = {
    "container": ({"docker"}, "run in a container"),
    "llm": ({"chat"}, "are of type `chat`"),
    "messages": ({"chat"}, "are of type `chat`"),
    "call": ({"child", "python"}, "run another DAG"),
    "parallel": ({"child"}, "have a `call`"),
    "params": ({"child", "python", "task", "gha"}, "have a `call`"),
}
"""Field of a step → the types that take it, and how to say so."""


def _refuse_strangers(step: Fields, kind: str) -> None:
    """Fields another type would take are told instead of ignored; types of plugins may take any."""
    if kind not in TYPES.values():
        return
    for name, (kinds, who) in _MEANT_FOR.items():
        if kind not in kinds and step.has(name):
            step.wrong(name, f"left out here: it is for steps that {who}")


def _refuse_config(step: Fields, config: Fields | None) -> None:
    if config is not None and config.entries:
        step.wrong("config", "given together with `type`")


def _nothing_to_do(step: Fields) -> None:
    step.report.add("a step needs one of `command`, `script`, `call`, `container` or `type`", step.node, step.at("command"))


def _executor(step: Fields) -> tuple[Fields | None, str]:
    """The config map and type word from `executor` (text or `{type, config}`) or `type` with `config`."""
    node = step.get("executor")
    if node is None:
        return step.sub("config", None), step.text("type").strip()
    if step.has("type") or step.has("config"):
        step.wrong("executor", "given alone, without `type` and `config`, which mean the same")
    if node.kind == "scalar":
        return None, scalar_text(node).strip()
    executor = step.sub("executor", known("type", "config"))
    if executor is None or not executor.has("type"):
        step.report.add("`executor` lacks the key `type`", node, step.at("executor"))
        return None, ""
    return executor.sub("config", None), executor.text("type").strip()


def _checked(kind: str, config: Fields | None) -> tuple[Fields | None, dict[str, Any]]:
    """The config with the keys its type knows in their proper spelling, and its fitting values as plain data."""
    shape = CONFIGS.get(kind)
    if config is None:
        return None, {}
    if shape is None:
        return config, config.node.plain() if config.node.kind == "map" else {}
    fields = Fields(config.node, config.at("")[:-1], config.report, keys_of(shape, kind))
    return fields, {} if kind in _READ_HERE else checked(fields, shape)


_READ_HERE = frozenset(("http", "jq", "wait", "python"))
"""Types whose config is read field by field below."""


def _params(kind: str, step: Fields, config: Fields | None, defaults: dict[str, Any]) -> dict[str, Any]:
    config, given = _checked(kind, config)
    if kind == "shell":
        return _shell(step)
    if kind == "child":
        return _child(step)
    if kind == "python":
        return _python(step, config)
    if kind == "task":
        return _task(step, given)
    if kind == "wait":
        return _wait(config)
    work = Work(step)
    if kind == "http":
        return _http(step, work, config)
    if kind in READERS:
        return read_elsewhere(kind, step, work.commands, work.script, read_shell(step), given, defaults)
    if kind == "jq":
        raw = bool(config and config.flag("raw"))
        return {"filter": work.command or ".", "input": work.script, "raw": raw}
    if kind not in TYPES.values() or kind == "noop":
        return given | _if_any(command=work.command, script=work.script)
    return _if_any(config=given, commands=work.commands, script=work.script) | _surroundings(kind, step, defaults)


def _surroundings(kind: str, step: Fields, defaults: dict[str, Any]) -> dict[str, Any]:
    """What the types that only load take from outside their config."""
    if kind == "chat":
        return _if_any(llm=read_llm(step) or defaults.get("llm"), messages=read_messages(step))
    if kind == "gha":
        return _if_any(inputs=step.plain("params"))
    return {}


def _if_any(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _shell(step: Fields) -> dict[str, Any]:
    work = Work(step)
    if not work.commands and not work.script:
        _nothing_to_do(step)
    params = _if_any(script=work.script, command=work.command) if work.script else {"commands": work.commands}
    return params | _if_any(shell=read_shell(step), shell_packages=list(step.texts("shellPackages")))


def _http(step: Fields, work: Work, config: Fields | None) -> dict[str, Any]:
    method, _, url = work.command.partition(" ")
    if not url.strip():
        example = "an http step's `command` is `METHOD URL`, like `GET https://example.org/`"
        step.report.add(example, step.node, step.at("command"))
    params: dict[str, Any] = {"method": method.upper(), "url": url.strip()}
    body = work.script
    if config is not None:
        body = body or config.text("body")
        for name in ("headers", "query"):
            pairs = config.sub(name, None)
            if pairs is not None:
                params[name] = {key: scalar_text(value) for key, value in pairs.entries.items()}
        params |= _if_any(
            timeout_s=config.whole("timeout"),
            silent=config.flag("silent"),
            debug=config.flag("debug"),
            json=config.flag("json"),
            skip_tls_verify=config.flag("skipTLSVerify"),
        )
    return params | _if_any(body=body)


def _wait(config: Fields | None) -> dict[str, Any]:
    if config is None:
        return {"prompt": "", "input": [], "required": []}
    asked, required = list(config.texts("input")), list(config.texts("required"))
    for name in required:
        if name not in asked:
            close = config.report.suggest(name, asked)
            config.wrong("required", f"names from `input`; `{name}` is not there{close}")
    return {"prompt": config.text("prompt"), "input": asked, "required": required}


def _python(step: Fields, config: Fields | None) -> dict[str, Any]:
    target = (config.text("call") if config else "") or step.text("call") or step.text("command").strip()
    module, _, function = target.partition(":")
    if not (function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        step.report.add("a python step needs `call: module:function` in its `config`", step.node, step.at("config.call"))
    args = (config.plain("args") if config else None) or step.plain("params") or {}
    if not isinstance(args, dict):
        step.report.add("the arguments of a python step must be a map", step.node, step.at("config.args"))
        args = {}
    return {"call": target, "args": args}


def _task(step: Fields, given: dict[str, Any]) -> dict[str, Any]:
    name = given.get("task") or step.text("command").strip()
    module, _, attribute = name.partition(":")
    if "$" not in name and not (module and attribute):
        step.report.add("a task step needs `task: module:attribute` in its `config`", step.node, step.at("config.task"))
    params = given.get("params") or step.plain("params") or {}
    if not isinstance(params, dict):
        step.report.add("the parameters of a task must be a map", step.node, step.at("params"))
        params = {}
    return {"task": name, "params": params} | _if_any(mode=given.get("mode"), max_concurrent=given.get("maxConcurrent"))


def _child(step: Fields) -> dict[str, Any]:
    name = step.text("call").strip()
    if not name:
        step.report.add("this step needs `call` with the name of a DAG", step.node, step.at("call"))
    for other in ("command", "script"):
        if step.has(other):
            step.wrong(other, "left out of a step with `call`")
    return {"name": name, "params": child_params(step), "parallel": _parallel(step)}


def child_params(step: Fields) -> str:
    """Parameters of a child run as one text: a map or list becomes `K="value"` items, values always quoted since what
    their templates expand to is not known yet."""
    node = step.get("params")
    if node is None:
        return ""
    if node.kind == "scalar":
        return scalar_text(node)
    words: list[str] = []
    for item in node.items if node.kind == "list" else [node]:
        if item.kind == "map":
            words += [f"{key}={_quoted(step, value)}" for key, (_, value) in item.entries.items()]
        elif item.kind == "scalar":
            words.append(scalar_text(item))
        else:
            step.wrong("params", "text, a map, or a list of texts and maps")
    return " ".join(words)


def _quoted(step: Fields, node: YamlNode) -> str:
    if node.kind != "scalar":
        step.wrong("params", "a map of plain values")
        return '""'
    escaped = scalar_text(node).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _parallel(step: Fields) -> dict[str, Any] | None:
    node = step.get("parallel")
    if node is None:
        return None
    if node.kind != "map":
        return {"items": _items(step, "parallel", node), "max_concurrent": DEFAULT_MAX_CONCURRENT}
    rule = Fields(node, step.at("parallel"), step.report, _PARALLEL)
    items = rule.get("items")
    if items is None:
        rule.wrong("items", "given: a list, or text that expands to one")
        return None
    return {"items": _items(rule, "items", items), "max_concurrent": rule.whole("maxConcurrent", DEFAULT_MAX_CONCURRENT, least=1)}


def _items(fields: Fields, name: str, node: YamlNode) -> str | list[str | dict[str, str]]:
    if node.kind == "scalar":
        return scalar_text(node)
    if node.kind == "map":
        fields.wrong(name, "a list, or text that expands to one")
        return []
    if not 1 <= len(node.items) <= MAX_PARALLEL_ITEMS:
        fields.report.add(f"`parallel` takes 1 to {MAX_PARALLEL_ITEMS} items, not {len(node.items)}", node, fields.at(name))
    items: list[str | dict[str, str]] = []
    for item in node.items:
        if item.kind == "map":
            items.append({key: scalar_text(value) for key, (_, value) in item.entries.items() if value.kind == "scalar"})
        elif item.kind == "scalar":
            items.append(scalar_text(item))
        else:
            fields.report.add("an item of `parallel` is text or a map of plain values", item, fields.at(name))
    return items
