"""Steps in all their forms: a text, a map of fields, a nested list that runs in parallel, a map of named steps, a handler."""

from __future__ import annotations

import re
from typing import Any

from ..graph import Condition, Node, Output, Phase, Repeat, Retry, Tolerate
from ..source import Report, YamlNode
from .fields import Fields, known, scalar_text
from .flow import read_conditions, read_env, read_output, read_repeat, read_retry, read_signal, read_tolerate
from .kind import read_kind

MAX_NAME = 40

STEP = known(
    "name", "id", "description", "command", "script", "shell", "shellPackages", "workingDir", "depends", "call", "params",
    "parallel", "executor", "type", "config", "container", "env", "output", "stdout", "stderr", "logOutput",
    "preconditions", "continueOn", "retryPolicy", "repeatPolicy", "timeoutSec", "signalOnStop", "mailOnError",
    "workerSelector", "llm", "messages", dir="workingDir", run="call", precondition="preconditions",
)  # fmt: skip
HANDLERS: dict[str, tuple[str, Phase]] = {
    "init": ("onInit", "init"),
    "success": ("onSuccess", "on_success"),
    "failure": ("onFailure", "on_failure"),
    "abort": ("onCancel", "on_cancel"),
    "wait": ("onWait", "on_wait"),
    "exit": ("onExit", "exit"),
}
"""Key under `handlerOn` → the node's name in the API, its phase."""
HANDLER_KEYS = known(*HANDLERS, cancel="abort")

_ID = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]*\Z")
_RESERVED_IDS = frozenset(("env", "params", "args", "stdout", "stderr", "output", "outputs"))
_EXTRAS = ("mailOnError", "logOutput", "workerSelector")


class Draft:
    """A step as read, before names and edges are settled. `depends` None = not given; `element` = its place in the chain."""

    __slots__ = ("depends", "element", "extras", "fields", "name", "node", "path", "yaml")

    def __init__(self, fields: Fields, yaml: YamlNode, path: str, element: int) -> None:
        self.fields = fields
        self.yaml = yaml
        self.path = path
        self.element = element
        self.name = ""
        self.depends: tuple[str, ...] | None = None
        self.extras: dict[str, Any] = {}
        self.node: Node | None = None

    def complain(self, message: str, field: str = "") -> None:
        node = self.fields.entries.get(field, self.yaml)
        self.fields.report.add(message, node, f"{self.path}.{field}" if field else self.path)


class StepReader:
    """Reads the steps of one DAG. `defaults` are its `container`, `ssh`, `llm`; `known_kinds` further step types."""

    def __init__(self, report: Report, defaults: dict[str, Any], known_kinds: frozenset[str] | None) -> None:
        self._report = report
        self._defaults = defaults
        self._known_kinds = known_kinds

    def read(self, steps: YamlNode | None) -> tuple[list[Draft], bool]:
        """(drafts in order, whether the list form was used, which a chain needs)."""
        if steps is None or steps.is_null:
            return [], True
        if steps.kind == "map":
            pairs = enumerate(steps.entries.items())
            return [self._draft(value, f"steps.{key}", place, key) for place, (key, (_, value)) in pairs], False
        if steps.kind == "scalar":
            self._report.add("`steps` must be a list or a map of steps", steps, "steps")
            return [], True
        drafts: list[Draft] = []
        for place, item in enumerate(steps.items):
            if item.kind == "list":
                members = enumerate(item.items)
                drafts += [self._draft(member, f"steps[{place}][{inner}]", place) for inner, member in members]
            else:
                drafts.append(self._draft(item, f"steps[{place}]", place))
        return drafts, True

    def _draft(self, item: YamlNode, path: str, element: int, name: str = "") -> Draft:
        fields = self._fields(item, path)
        draft = Draft(fields, item, path, element)
        draft.name = fields.text("name").strip() or name
        if fields.has("depends"):
            draft.depends = fields.texts("depends")
        return draft

    def _fields(self, item: YamlNode, path: str) -> Fields:
        if item.kind == "scalar" and not item.is_null:
            whole = item.beside("map")
            whole.entries = {"command": (item, item)}
            return Fields(whole, path, self._report, STEP)
        if item.kind != "map":
            self._report.add("a step must be a command or a map of fields", item, path)
            item = item.beside("map")
            item.entries = {"type": (item, _text_node("noop", item))}
        return Fields(item, path, self._report, STEP)

    def settle(self, drafts: list[Draft]) -> None:
        """Give every draft its name (see `_automatic`) and its node; check names and ids."""
        taken = {draft.name: 0 for draft in drafts if draft.name}
        words = [read_kind(draft.fields, self._defaults, self._known_kinds) for draft in drafts]
        for place, (draft, (word, kind, params)) in enumerate(zip(drafts, words, strict=True), 1):
            if not draft.name:
                draft.name = _automatic(word, place, taken)
            elif len(draft.name) > MAX_NAME:
                draft.complain(f"the name `{draft.name}` is longer than {MAX_NAME} characters", "name")
            draft.node = self._node(draft, draft.name, "main", kind, params)
        _check_names(drafts)

    def hook(self, hooks: Fields, key: str) -> Draft | None:
        """The step under one key of `handlerOn`; it takes no part in the order, so `depends` is refused."""
        yaml = hooks.get(key)
        if yaml is None:
            return None
        name, phase = HANDLERS[key]
        draft = self._draft(yaml, hooks.at(key), 0)
        if draft.depends:
            draft.complain("`depends` has no meaning in a handler", "depends")
        draft.name, draft.depends = name, ()
        _, kind, params = read_kind(draft.fields, self._defaults, self._known_kinds)
        draft.node = self._node(draft, name, phase, kind, params)
        return draft

    def _node(self, draft: Draft, name: str, phase: Phase, kind: str, params: dict[str, Any]) -> Node:
        step = draft.fields
        draft.extras = read_extras(step)
        identity = step.text("id")
        if identity and (not _ID.match(identity) or identity in _RESERVED_IDS):
            draft.complain(f"`{identity}` cannot be an id: letters, digits, `_`, `-`, first a letter, not a reserved word", "id")
        if len(step.entries) <= 3 and step.entries.keys() <= {"name", "command", "depends"}:
            return Node(name=name, kind=kind, params=params, phase=phase)
        when: tuple[Condition, ...] = read_conditions(step)
        retry: Retry | None = read_retry(step)
        repeat: Repeat | None = read_repeat(step)
        tolerate: Tolerate | None = read_tolerate(step)
        output: Output | None = read_output(step)
        return Node(
            name=name,
            kind=kind,
            id=identity,
            description=step.text("description"),
            params=params,
            phase=phase,
            when=when,
            retry=retry,
            repeat=repeat,
            tolerate=tolerate,
            timeout_s=step.whole("timeoutSec"),
            env=read_env(step),
            workdir=step.text("workingDir"),
            stdout=step.text("stdout"),
            stderr=step.text("stderr"),
            output=output,
            log_output=draft.extras.get("logOutput", ""),
            signal_on_stop=read_signal(step),
        )


def read_extras(step: Fields) -> dict[str, Any]:
    """Fields of a step that no step type takes, kept for mail, views and placement."""
    if step.entries.keys().isdisjoint(_EXTRAS):
        return {}
    extras: dict[str, Any] = {}
    if step.flag("mailOnError"):
        extras["mailOnError"] = True
    output = step.choice("logOutput", ("separate", "merged"))
    if output:
        extras["logOutput"] = output
    selector = read_selector(step)
    if selector:
        extras["workerSelector"] = selector
    return extras


def read_selector(fields: Fields) -> dict[str, str] | str | None:
    """Labels a distributed worker must have, or the word `local`."""
    node = fields.get("workerSelector")
    if node is None:
        return None
    if node.kind == "scalar":
        return fields.choice("workerSelector", ("local",)) or None
    if node.kind != "map" or any(value.kind != "scalar" for _, value in node.entries.values()):
        fields.wrong("workerSelector", "the word `local` or a map of labels")
        return None
    return {key: scalar_text(value) for key, (_, value) in node.entries.items()}


def _text_node(text: str, place: YamlNode) -> YamlNode:
    node = place.beside("scalar")
    node.text = node.value = text
    return node


def _automatic(word: str, place: int, taken: dict[str, int]) -> str:
    """Dagu 1.30: `<prefix>_<n>`, n = position from 1, the next free number when that is used. `taken` has for each used
    name the number to look at next: however names are chosen, a long row of used numbers is walked only once."""
    number = place
    passed: list[str] = []
    while (name := f"{word}_{number}") in taken:
        passed.append(name)
        number = max(number + 1, taken[name])
    taken.update(dict.fromkeys((*passed, name), number + 1))
    return name


def _check_names(drafts: list[Draft]) -> None:
    owners: dict[str, Draft] = {}
    for draft in drafts:
        first = owners.setdefault(draft.name, draft)
        if first is not draft:
            draft.complain(f"duplicate step name `{draft.name}`, first given in line {first.yaml.line}", "name")
    ids: dict[str, Draft] = {}
    for draft in drafts:
        identity = draft.node.id if draft.node else ""
        if not identity:
            continue
        first = ids.setdefault(identity, draft)
        if first is not draft:
            draft.complain(f"duplicate step id `{identity}`, first given in line {first.yaml.line}", "id")
        elif owners.get(identity, draft) is not draft:
            draft.complain(f"the id `{identity}` is the name of another step", "id")
