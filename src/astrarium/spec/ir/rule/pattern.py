"""Raw CLIPS left-hand sides: read far enough to say at load time what could not work, and to find what a rule is about.

Judging them is the rule engine's work (`runs.routing.rules`, with the extra `clips`). What may be called inside a pattern is a short
list, so that a graph's text can neither reach the disk nor loop. Stargraph 0.8: contract 11.3 (b).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from ....errors import Problem
from ..read import listing

MAX_TEXT = 8192
MAX_DEPTH = 32

PROVENANCE = ("_origin", "_source", "_run_id", "_step", "_confidence", "_timestamp")
"""Slots that every fact has."""
RUNTIME: Mapping[str, tuple[str, ...]] = {
    "node-id": ("id",),
    "stargraph-tool-call": ("tool_id", "args_count"),
    "stargraph-tool-result": ("tool_id", "fields"),
    "stargraph-tokens-used": ("tool_id", "total"),
    "stargraph.error": ("run_id", "step", "reason", "recoverable", "attempt"),
    "stargraph.evidence": ("data",),
    "respond": ("key", "value"),
    "action.goto": ("target",),
    "action.halt": ("reason",),
    "action.interrupt": ("prompt", "capability"),
    "action.retry": ("run_id", "step", "delay_seconds", "attempt"),
    "bosun.budget": ("kind", "allowed", "consumed", "run_id"),
    "bosun.violation": ("kind", "severity", "run_id", "reason"),
    "bosun.audit": ("run_id", "step", "kind", "detail"),
}
"""Templates that every run has, with their slots."""
FUNCTIONS = frozenset(
    "eq neq = <> < <= > >= and or not str-cat + - * / abs min max str-length str-index sub-string upcase lowcase "
    "mod div integer float round string-to-field numberp integerp floatp stringp symbolp lexemep".split()
)
CONDITIONS = frozenset(("and", "or", "not", "exists", "forall"))

_TOKEN = re.compile(
    r'\s+|;[^\n]*|(?P<open>\()|(?P<close>\))|(?P<text>"(?:\\.|[^"\\])*")|(?P<mark>[&|~])|(?P<word>[^\s()&|~";]+)|(?P<bad>.)'
)
_NUMBER = re.compile(r"[-+]?\d+\Z")


class Token(msgspec.Struct, frozen=True):
    kind: str
    text: str
    start: int


class Group(msgspec.Struct):
    """A parenthesis with what stands in it."""

    start: int
    end: int = 0
    items: list[Group | Token] = []

    @property
    def head(self) -> str:
        first = self.items[0] if self.items else None
        return first.text if isinstance(first, Token) and first.kind == "word" else ""


class Pattern(msgspec.Struct, frozen=True):
    """`text` without its declaration; `node`: the one node after which it can match (empty = any); `templates`: the facts it looks at."""

    text: str
    salience: int | None = None
    node: str = ""
    templates: tuple[str, ...] = ()


class Reading:
    """A text on its way. `nodes` None = which there are is not known; `functions` may be called."""

    def __init__(
        self, text: str, nodes: Collection[str] | None, slots: Mapping[str, Sequence[str]], functions: Collection[str] = FUNCTIONS
    ) -> None:
        self.text = text
        self.nodes = nodes
        self.functions = functions
        self.slots: dict[str, Sequence[str]] = {**RUNTIME, **slots}
        self.problems: list[Problem] = []
        self.templates: dict[str, None] = {}

    def tell(self, message: str, start: int, hint: str = "") -> None:
        line = self.text.count("\n", 0, start) + 1
        column = start - self.text.rfind("\n", 0, start)
        self.problems.append(Problem(message, line=line, column=column, hint=hint))

    def groups(self) -> list[Group | Token]:
        """What stands on the outermost level."""
        top: list[Group | Token] = []
        open_: list[Group] = []
        for match in _TOKEN.finditer(self.text):
            kind = match.lastgroup
            if kind is None:
                continue
            here = open_[-1].items if open_ else top
            if kind == "open":
                group = Group(match.start())
                here.append(group)
                open_.append(group)
                if len(open_) > MAX_DEPTH:
                    self.tell(f"nested deeper than {MAX_DEPTH} levels", match.start())
                    return []
            elif kind == "close":
                if not open_:
                    self.tell("a `)` closes nothing", match.start())
                    return []
                open_.pop().end = match.end()
            elif kind == "bad":
                self.tell("a text is not closed", match.start(), 'end it with "')
                return []
            else:
                here.append(Token(kind, match.group(), match.start()))
        if open_:
            self.tell("a `(` is not closed", open_[-1].start)
            return []
        return top

    def condition(self, group: Group) -> None:
        """A condition of the left-hand side: a pattern, or conditions in `and`, `or`, `not` …, or a test."""
        head = group.head
        if head == "test":
            self._test(group)
        elif head in CONDITIONS:
            parts = group.items[1:]
            if not parts or not all(isinstance(part, Group) for part in parts):
                self.tell(f"`({head} …)` holds conditions in parentheses", group.start)
            elif head in ("not", "exists") and len(parts) != 1:
                self.tell(f"`({head} …)` holds one condition", group.start)
            for part in parts:
                if isinstance(part, Group):
                    self.condition(part)
        elif head == "declare":
            self.tell("`(declare …)` stands once, before all patterns", group.start)
        elif not head:
            self.tell("a pattern begins with the name of a template", group.start, "(node-id (id ask))")
        else:
            self._pattern(group, head)

    def _test(self, group: Group) -> None:
        if len(group.items) != 2 or not isinstance(group.items[1], Group):
            self.tell("`(test …)` holds one call", group.start, "(test (> ?n 3))")
        else:
            self.call(group.items[1])

    def _pattern(self, group: Group, template: str) -> None:
        self.templates[template] = None
        known = self.slots.get(template)
        if known is None:
            self.tell(f"there are no facts `{template}`", group.start, listing("facts", sorted(self.slots)))
        for slot in group.items[1:]:
            if not isinstance(slot, Group) or not slot.head:
                self.tell(
                    f"`({template} …)` holds slots in parentheses", group.start, f"({template} ({(known or ['value'])[0]} ?x))"
                )
                continue
            name = slot.head
            if known is not None and name not in known and name not in PROVENANCE:
                self.tell(f"facts `{template}` have no slot `{name}`", slot.start, f"slots are: {', '.join(known)}")
            self._constraint(slot, is_node=template == "node-id" and name == "id")

    def _constraint(self, slot: Group, is_node: bool) -> None:
        if len(slot.items) < 2:
            self.tell(f"the slot `{slot.head}` says nothing", slot.start, f"({slot.head} ?) matches any value")
        for item in slot.items[1:]:
            if isinstance(item, Group):
                self.call(item)
            elif is_node and item.kind in ("word", "text"):
                self._node(item)

    def _node(self, item: Token) -> None:
        name = item.text.strip('"')
        if name.startswith(("?", "$?", ":", "=")):
            return
        if self.nodes is not None and name not in self.nodes:
            self.tell(f"there is no node `{name}`", item.start, listing("nodes", self.nodes))

    def call(self, group: Group) -> None:
        if group.head not in self.functions:
            allowed = " ".join(sorted(self.functions))
            self.tell(f"`{group.head or '?'}` cannot be called in a rule", group.start, f"functions are: {allowed}")
        for item in group.items[1:]:
            if isinstance(item, Group):
                self.call(item)


def read_facts(text: str) -> tuple[str, dict[str, str]] | None:
    """What a retraction names: a template, or `(template (slot value) …)` with literal values. None when it is neither."""
    reading = Reading(text, (), {})
    items = reading.groups() if len(text) <= MAX_TEXT else []
    if reading.problems or len(items) != 1:
        return None
    only = items[0]
    if isinstance(only, Token):
        return (only.text, {}) if only.kind == "word" and not only.text.startswith("?") else None
    slots: dict[str, str] = {}
    for slot in only.items[1:]:
        value = slot.items[1] if isinstance(slot, Group) and slot.head and len(slot.items) == 2 else None
        if (
            not isinstance(slot, Group)
            or not isinstance(value, Token)
            or value.kind == "mark"
            or value.text.startswith(("?", "$?"))
        ):
            return None
        slots[slot.head] = value.text[1:-1].replace('\\"', '"') if value.kind == "text" else value.text
    return (only.head, slots) if only.head else None


def read_pattern(text: str, nodes: Collection[str], slots: Mapping[str, Sequence[str]]) -> tuple[Pattern, list[Problem]]:
    """A raw left-hand side, and what is wrong with it (line and column count inside the text). `slots` are the facts a run of this
    graph can have besides `RUNTIME`: template → slots."""
    reading = Reading(text, nodes, slots)
    if len(text) > MAX_TEXT:
        reading.tell(f"a pattern has at most {MAX_TEXT} characters", 0)
        return Pattern(text), reading.problems
    groups = reading.groups()
    salience, rest = declared(groups, reading)
    kept = text
    if rest is not groups and isinstance(groups[0], Group):
        kept = (text[: groups[0].start] + text[groups[0].end :]).strip()
    found = list(conditions(rest, reading))
    for condition in found:
        reading.condition(condition)
    if not found and not reading.problems:
        reading.tell("there is no pattern", 0, "(node-id (id ask))")
    return Pattern(kept, salience, _only_node(found), tuple(reading.templates)), reading.problems


def declared(groups: list[Group | Token], reading: Reading) -> tuple[int | None, list[Group | Token]]:
    first = groups[0] if groups else None
    if not isinstance(first, Group) or first.head != "declare":
        return None, groups
    inner = first.items[1] if len(first.items) == 2 else None
    if isinstance(inner, Group) and inner.head == "salience" and len(inner.items) == 2:
        number = inner.items[1]
        if isinstance(number, Token) and _NUMBER.match(number.text) and abs(int(number.text)) <= 10_000:
            return int(number.text), groups[1:]
    reading.tell("only `(declare (salience n))` can be declared, n from -10000 to 10000", first.start)
    return None, groups[1:]


def conditions(items: list[Group | Token], reading: Reading) -> Iterator[Group]:
    """The groups of the outermost level; `?fact <-` before one names the fact it matched."""
    place = 0
    while place < len(items):
        item = items[place]
        if isinstance(item, Group):
            yield item
        elif item.text.startswith("?") and place + 2 < len(items) and getattr(items[place + 1], "text", "") == "<-":
            place += 1
        else:
            reading.tell(
                f"`{item.text}` stands outside of parentheses", item.start, "a mapping tests fields: {node: ask, phase: more}"
            )
            return
        place += 1


def _only_node(conditions: list[Group]) -> str:
    """The literal id of a `node-id` pattern on the outermost level."""
    for condition in conditions:
        if condition.head != "node-id":
            continue
        for slot in condition.items[1:]:
            if isinstance(slot, Group) and slot.head == "id" and len(slot.items) == 2:
                value = slot.items[1]
                if (
                    isinstance(value, Token)
                    and value.kind in ("word", "text")
                    and not value.text.startswith(("?", "$?", ":", "="))
                ):
                    return value.text.strip('"')
    return ""
