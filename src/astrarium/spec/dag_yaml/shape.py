"""The objects of the dialect whose keys are known: which value each key takes (the JSON schema of Dagu 1.30, and contract §3, §5).

A value is checked here and kept as written: it may be a template, and who acts upon it (mail, tracing, a step type) reads it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..source import YamlNode
from .fields import Fields, Known, known, scalar_text, whole_number

Check = Callable[[YamlNode], bool]
Rule = tuple[Check, str]
"""(whether a value fits, what it must be)"""
Shape = Mapping[str, Rule]


def _is_text(node: YamlNode) -> bool:
    return node.kind == "scalar"


def is_template(node: YamlNode) -> bool:
    """A text whose value is known only once its variables or backticks are."""
    return node.kind == "scalar" and isinstance(node.value, str) and ("$" in node.value or "`" in node.value)


def _is_texts(node: YamlNode) -> bool:
    return node.kind == "scalar" or (node.kind == "list" and all(item.kind == "scalar" for item in node.items))


def _is_whole(node: YamlNode) -> bool:
    number = whole_number(node)
    return is_template(node) or (number is not None and abs(number) <= 1 << 53)


def _is_count(node: YamlNode) -> bool:
    number = whole_number(node)
    return is_template(node) or (number is not None and 0 <= number <= 1 << 53)


def _is_number(node: YamlNode) -> bool:
    value = node.value
    if is_template(node):
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _is_flat(node: YamlNode) -> bool:
    return node.kind == "map" and all(value.kind == "scalar" for _, value in node.entries.values())


def _is_env(node: YamlNode) -> bool:
    items = node.items if node.kind == "list" else [node]
    return all(_is_flat(item) or (item.kind == "scalar" and "=" in item.text) for item in items)


TEXT: Rule = (_is_text, "text")
TEXTS: Rule = (_is_texts, "text or a list of texts")
FLAG: Rule = (lambda node: isinstance(node.value, bool), "true or false")
WHOLE: Rule = (_is_whole, "a whole number")
COUNT: Rule = (_is_count, "a whole number of at least 0")
NUMBER: Rule = (_is_number, "a number of at least 0")
FLAT: Rule = (_is_flat, "a map of plain values")
MAP: Rule = (lambda node: node.kind == "map", "a map")
LIST: Rule = (lambda node: node.kind == "list", "a list")
ENV: Rule = (_is_env, "a map, or a list of maps and `NAME=value` texts")


def one_of(*words: str) -> Rule:
    return (lambda node: node.kind == "scalar" and node.value in words), f"one of {', '.join(words)}"


def flag_or(rule: Rule) -> Rule:
    return (lambda node: isinstance(node.value, bool) or rule[0](node)), f"true, false or {rule[1]}"


_PULL = flag_or(one_of("always", "never", "missing"))
_MAIL: Shape = {"from": TEXT, "to": TEXTS, "prefix": TEXT, "attachLogs": FLAG}
_SSH: Shape = {
    "user": TEXT, "host": TEXT, "port": COUNT, "key": TEXT, "password": TEXT, "strictHostKey": FLAG, "knownHostFile": TEXT,
    "shell": TEXTS,
}  # fmt: skip
_CONTAINER: Shape = {
    "exec": TEXT, "name": TEXT, "image": TEXT, "pullPolicy": _PULL, "env": ENV, "volumes": TEXTS, "user": TEXT, "workingDir": TEXT,
    "platform": TEXT, "ports": TEXTS, "network": TEXT, "startup": one_of("keepalive", "entrypoint", "command"), "command": TEXTS,
    "waitFor": one_of("running", "healthy"), "logPattern": TEXT, "restartPolicy": one_of("no", "always", "unless-stopped"),
    "keepContainer": FLAG,
}  # fmt: skip
_LLM: Shape = {
    "provider": one_of("openai", "anthropic", "gemini", "openrouter", "local", "ollama", "vllm", "llama"), "model": TEXT,
    "system": TEXT, "temperature": NUMBER, "maxTokens": COUNT, "topP": NUMBER, "baseURL": TEXT, "apiKeyName": TEXT, "stream": FLAG,
    "thinking": MAP,
}  # fmt: skip
SHAPES: dict[str, Shape] = {
    "smtp": {"host": TEXT, "port": COUNT, "username": TEXT, "password": TEXT},
    "mailOn": {"failure": FLAG, "success": FLAG, "wait": FLAG},
    "errorMail": _MAIL,
    "infoMail": _MAIL,
    "waitMail": _MAIL,
    "runConfig": {"disableParamEdit": FLAG, "disableRunIdEdit": FLAG},
    "otel": {"enabled": FLAG, "endpoint": TEXT, "headers": FLAT, "insecure": FLAG, "timeout": TEXT, "resource": FLAT},
    "ssh": _SSH,
    "container": _CONTAINER,
    "llm": _LLM,
    "thinking": {
        "enabled": FLAG, "effort": one_of("low", "medium", "high", "xhigh"), "budgetTokens": COUNT, "includeInOutput": FLAG,
    },
    "message": {"role": one_of("system", "user", "assistant"), "content": TEXT},
    "auth": {"username": TEXT, "password": TEXT, "auth": TEXT},
}  # fmt: skip
"""Objects at the root or in a step."""
_ALIASES = {"ssh": {"ip": "host"}, "container": {"workDir": "workingDir"}}
CONFIGS: dict[str, Shape] = {
    "http": {
        "timeout": COUNT, "headers": FLAT, "query": FLAT, "body": TEXT, "silent": FLAG, "debug": FLAG, "json": FLAG,
        "skipTLSVerify": FLAG,
    },
    "jq": {"raw": FLAG},
    "wait": {"prompt": TEXT, "input": TEXTS, "required": TEXTS},
    "python": {"call": TEXT, "args": MAP},
    "task": {
        "task": TEXT, "params": MAP, "mode": one_of("sequential", "threads", "processes", "async"), "maxConcurrent": COUNT,
    },
    "ssh": _SSH,
    "mail": {
        "from": TEXT, "to": TEXTS, "cc": TEXTS, "subject": TEXT, "message": TEXT, "html": TEXT, "attachments": TEXTS,
    },
    "docker": {
        "image": TEXT, "containerName": TEXT, "platform": TEXT, "pull": _PULL, "autoRemove": flag_or(TEXT), "workingDir": TEXT,
        "volumes": TEXTS, "container": MAP, "host": MAP, "network": MAP, "exec": MAP,
    },
    "archive": {
        "source": TEXT, "destination": TEXT, "format": TEXT, "compressionLevel": WHOLE, "password": TEXT, "overwrite": FLAG,
        "preservePaths": FLAG, "stripComponents": COUNT, "include": TEXTS, "exclude": TEXTS, "dryRun": FLAG, "verbose": FLAG,
        "followSymlinks": FLAG, "verifyIntegrity": FLAG, "continueOnError": FLAG,
    },
    "shell": {},
    "child": {},
}  # fmt: skip
"""`config` of a step, by step type; the types that are missing take any keys, and check them themselves."""


_WRITTEN = frozenset((TEXT[1], TEXTS[1], FLAT[1]))
"""What is text stays as it was written: a password `0123` is no number."""


def _as_written(node: YamlNode) -> Any:
    if node.kind == "map":
        return {key: scalar_text(value) for key, (_, value) in node.entries.items()}
    return [scalar_text(item) for item in node.items] if node.kind == "list" else scalar_text(node)


def keys_of(shape: Shape, name: str = "") -> Known:
    return known(*shape, **_ALIASES.get(name, {}))


def checked(fields: Fields, shape: Shape) -> dict[str, Any]:
    """The fields that are given, by their proper names, as plain data; each that does not fit is told and left out."""
    found: dict[str, Any] = {}
    for name, (fits, wanted) in shape.items():
        node = fields.get(name)
        if node is None:
            continue
        if fits(node):
            found[name] = _as_written(node) if wanted in _WRITTEN else node.plain()
        else:
            fields.wrong(name, wanted)
    return found


def read_object(fields: Fields, name: str) -> dict[str, Any] | None:
    """One of `SHAPES` as plain data; None when it is not given."""
    part = fields.sub(name, keys_of(SHAPES[name], name))
    return None if part is None else checked(part, SHAPES[name])


def read_llm(fields: Fields) -> dict[str, Any] | None:
    found = read_object(fields, "llm")
    node = fields.get("llm")
    if found and node is not None and node.kind == "map":
        inner = Fields(node, fields.at("llm"), fields.report, keys_of(SHAPES["llm"]))
        if inner.has("thinking"):
            found["thinking"] = read_object(inner, "thinking")
    return found


def read_messages(fields: Fields) -> list[dict[str, Any]]:
    """The conversation of a chat step."""
    node = fields.get("messages")
    if node is None:
        return []
    if node.kind != "list":
        fields.wrong("messages", "a list of {role, content}")
        return []
    keys = keys_of(SHAPES["message"])
    places = enumerate(node.items)
    return [checked(Fields(item, fields.at(f"messages[{at}]"), fields.report, keys), SHAPES["message"]) for at, item in places]


def read_auths(fields: Fields) -> Any:
    """Credentials of container registries: one JSON text, or by host a text or `{username, password, auth}`."""
    node = fields.get("registryAuths")
    if node is None:
        return None
    if node.kind == "scalar":
        return scalar_text(node)
    hosts = fields.sub("registryAuths", None)
    if hosts is None or hosts.node.kind != "map":
        return None
    found: dict[str, Any] = {}
    for host, value in hosts.entries.items():
        if value.kind == "scalar":
            found[host] = scalar_text(value)
        else:
            given = Fields(value, hosts.at(host), fields.report, keys_of(SHAPES["auth"]))
            found[host] = checked(given, SHAPES["auth"])
    return found


def read_container(fields: Fields) -> Any:
    """The name of a container that exists, or the checked description of one."""
    node = fields.get("container")
    if node is None:
        return None
    if node.kind == "scalar":
        return scalar_text(node)
    described = read_object(fields, "container")
    if node.kind == "map" and described is not None and ("image" in described) == ("exec" in described):
        both = "not both" if "image" in described else "one of them"
        fields.report.add(f"`container` needs `image` or `exec`, {both}", node, fields.at("container"))
    return described
