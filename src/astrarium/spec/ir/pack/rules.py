"""The rules of a pack (`rules.clp`), read as far as it takes to say at load time what they may not do.

CLIPS itself runs them (`runs.routing.rules.pack`). Here it is made sure that they can only look at facts and make facts: a text holds
templates, rules, facts and functions, calls come from a short list, nothing loops, and no call costs more than a bound. So the same facts
give the same facts, for ever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ..flow import RulePack
from ..read import Defect, listing
from ..rule.pattern import FUNCTIONS, PROVENANCE, RUNTIME, Group, Reading, Token, conditions, declared

MAX_RULES_BYTES = 256 * 1024
MAX_CONSTRUCTS = 500
MAX_CONDITIONS = 12
"""Of one rule: what CLIPS has to join grows with every one."""
MAX_COST = 10_000
"""Calls that one firing, or one test, may make."""

CONSTRUCTS = ("deftemplate", "defrule", "deffacts", "deffunction")
ACTIONS = frozenset(("assert", "retract", "modify", "duplicate", "bind", "if", "return"))
JOINED = "joined-text"
"""What `str-cat` is called here: the same, with a bound on the length."""
TAKEN_UP = ("bosun.violation", "bosun.audit", "action.goto", "action.halt", "action.interrupt", "action.retry")
"""Facts that do something when a pack asserts them."""
ATTRIBUTES = ("type", "default", "allowed-values", "allowed-symbols", "allowed-strings", "allowed-lexemes", "allowed-integers",
              "allowed-floats", "allowed-numbers", "range", "cardinality")  # fmt: skip

_NAME = re.compile(r"[A-Za-z_][\w.-]{0,127}")
_WORDS = frozenset(("then", "else"))
_STRANGE = re.compile(r"[^\S \t\r\n]|[\x00-\x08\x0e-\x1f\x7f]")
Slots = Mapping[str, Sequence[str]]


class ReadRules(NamedTuple):
    """Rules as they are handed to CLIPS; templates they define, with their slots; what is wrong with them."""

    pack: RulePack
    own: dict[str, tuple[str, ...]]
    defects: list[Defect]


def read_rules(text: str, pack: str, version: str, place: tuple[str, str], fields: Slots, facts: Slots) -> ReadRules:
    """Read a text. `place` is the pointer of the mount and the file. Besides what every run has there are `fields`, the graph's state and
    answers, and `facts`, what its rules assert."""
    reader = _Rules(text, fields, facts)
    if len(text.encode()) > MAX_RULES_BYTES:
        reader.tell(f"rules have at most {MAX_RULES_BYTES:,} bytes", 0)
    elif strange := _STRANGE.search(text):
        reader.tell("rules hold no control characters, and no blanks beside space, tab and line break", strange.start())
    else:
        reader.read()
    made = RulePack(pack, version, tuple(reader.made), reader.foreign)
    path, file = place
    told = [
        Defect(one.message, path, file, one.line, one.column, one.hint, *reader.wanted.get(number, ("", "")))
        for number, one in enumerate(reader.problems)
    ]
    return ReadRules(made, reader.own, told)


class _Rules(Reading):
    def __init__(self, text: str, fields: Slots, facts: Slots) -> None:
        known = {**fields, **facts}
        super().__init__(text, None, known, FUNCTIONS)
        self.slots = {**known, **RUNTIME}
        self.graph = {name: tuple(slots) for name, slots in {**known, **RUNTIME}.items()}
        self.own: dict[str, tuple[str, ...]] = {}
        self.may_assert = {*TAKEN_UP, *(name for name in facts if name not in RUNTIME)}
        self.cost: dict[str, int] = {}
        self.names: set[tuple[str, str]] = set()
        self.made: list[str] = []
        self.foreign: dict[str, tuple[str, ...]] = {}
        self.wanted: dict[int, tuple[str, str]] = {}
        self._joins: list[int] = []
        self._bound: dict[str, str] = {}

    def expect(self, message: str, start: int, expected: str, actual: str, hint: str = "") -> None:
        self.wanted[len(self.problems)] = (expected, actual)
        self.tell(message, start, hint)

    def read(self) -> None:
        items = self.groups()
        if len(items) > MAX_CONSTRUCTS:
            self.expect("too many constructs", 0, f"at most {MAX_CONSTRUCTS}", str(len(items)))
            return
        for item in items:
            if isinstance(item, Token) or item.head not in CONSTRUCTS:
                head = item.text if isinstance(item, Token) else item.head
                said = f"`{head or '('}` is no construct of a pack"
                self.expect(said, item.start, " ".join(CONSTRUCTS), head, "rules only look at facts and make facts")
                continue
            self._construct(item)

    def _construct(self, group: Group) -> None:
        rest = group.items[1:]
        name = rest[0] if rest else None
        if not isinstance(name, Token) or name.kind != "word" or not _NAME.fullmatch(name.text):
            self.expect(
                f"`({group.head} …)` begins with a name", group.start, f"({group.head} name …)", getattr(name, "text", "")
            )
            return
        if (group.head, name.text) in self.names:
            self.expect(f"`{name.text}` is there twice", name.start, "distinct names", name.text)
        self.names.add((group.head, name.text))
        rest = rest[1:]
        if rest and isinstance(rest[0], Token) and rest[0].kind == "text":
            rest = rest[1:]
        self._joins, self._bound = [], {}
        {"deftemplate": self._template, "defrule": self._rule, "deffacts": self._facts, "deffunction": self._function}[
            group.head
        ](name, rest)
        self.made.append(self._rewritten(group))

    def _rewritten(self, group: Group) -> str:
        """The construct's text with the bounded `str-cat`."""
        parts, last = [], group.start
        for start in sorted(self._joins):
            parts += [self.text[last:start], JOINED]
            last = start + len("str-cat")
        return "".join([*parts, self.text[last : group.end]])

    # -- constructs -----------------------------------------------------------------------------------------------------

    def _template(self, name: Token, rest: list[Group | Token]) -> None:
        if name.text in RUNTIME:
            hint = listing("slots", RUNTIME[name.text])
            self.expect(f"every run has facts `{name.text}`", name.start, "a name of the pack's own", name.text, hint)
            return
        slots: list[str] = []
        for item in rest:
            slot = item.items[1] if isinstance(item, Group) and item.head == "slot" and len(item.items) > 1 else None
            if not isinstance(item, Group) or not isinstance(slot, Token):
                said = (
                    "a template holds slots of one value"  # CLIPS never gives back facts of several that were read from outside
                )
                self.expect(said, item.start, "(slot name)", item.head if isinstance(item, Group) else item.text)
                continue
            slots.append(slot.text)
            for attribute in item.items[2:]:
                self._attribute(attribute)
        self.own[name.text] = tuple(slots)
        self.slots[name.text] = tuple(slots)
        self.may_assert.add(name.text)

    def _attribute(self, item: Group | Token) -> None:
        if not isinstance(item, Group) or item.head not in ATTRIBUTES:
            head = item.head if isinstance(item, Group) else item.text
            self.expect("a slot has no such attribute", item.start, " ".join(ATTRIBUTES), head)
            return
        for part in item.items[1:]:
            if isinstance(part, Group):
                self.expression(part)

    def _facts(self, name: Token, rest: list[Group | Token]) -> None:
        for item in rest:
            if isinstance(item, Group):
                self._asserted(item)
            else:
                self.expect("`(deffacts …)` holds facts in parentheses", item.start, "(template (slot value))", item.text)

    def _function(self, name: Token, rest: list[Group | Token]) -> None:
        if name.text in self.functions or name.text in ACTIONS or name.text in (JOINED, "str-cat"):
            self.expect(f"the function `{name.text}` is there already", name.start, "another name", name.text)
            return
        if not rest or not isinstance(rest[0], Group):
            self.expect("a function has parameters in parentheses", name.start, f"(deffunction {name.text} (?x) …)", "")
            return
        self.cost[name.text] = self._costs(rest[1:], name)
        self.functions = {*self.functions, name.text}  # only now: a function calls those before it, and never itself

    def _rule(self, name: Token, rest: list[Group | Token]) -> None:
        arrow = next((place for place, item in enumerate(rest) if isinstance(item, Token) and item.text == "=>"), None)
        if arrow is None:
            self.expect(f"the rule `{name.text}` has no `=>`", name.start, "conditions => actions", "")
            return
        _, left = declared(rest[:arrow], self)
        asked = list(conditions(left, self))
        if len(asked) > MAX_CONDITIONS:
            self.expect(
                f"the rule `{name.text}` has too many conditions", name.start, f"at most {MAX_CONDITIONS}", str(len(asked))
            )
        for one in asked:
            self.condition(one)
        for fact, mark, matched in zip(left, left[1:], left[2:], strict=False):
            if isinstance(fact, Token) and isinstance(mark, Token) and mark.text == "<-" and isinstance(matched, Group):
                self._bound[fact.text] = matched.head
        self._costs(rest[arrow + 1 :], name)

    # -- what is done ---------------------------------------------------------------------------------------------------

    def _costs(self, items: list[Group | Token], name: Token) -> int:
        cost = 0
        for item in items:
            if isinstance(item, Group):
                cost += self.expression(item)
            elif item.text.startswith("?") or item.kind == "text":
                continue  # a value
            elif item.kind == "mark":
                self.expect("an action is a call in parentheses", item.start, "(assert …)", item.text)
        if cost > MAX_COST:
            self.expect(f"`{name.text}` makes too many calls", name.start, f"at most {MAX_COST}", str(cost))
            return MAX_COST
        return cost

    def expression(self, group: Group) -> int:
        """Check a call and all in it; how many calls it makes."""
        head = group.head
        if head == "assert":
            return 1 + sum(self._asserted(item) if isinstance(item, Group) else self._bare(item) for item in group.items[1:])
        if head in ("modify", "duplicate"):
            return self._changed(group)
        if head not in ACTIONS:
            self.call(group)
            return self._calls(group)
        return 1 + sum(self.expression(item) for item in group.items[1:] if isinstance(item, Group))

    def _calls(self, group: Group) -> int:
        inner = sum(self._calls(item) for item in group.items[1:] if isinstance(item, Group))
        return 1 + self.cost.get(group.head, 0) + inner

    def call(self, group: Group) -> None:
        if group.head == "str-cat":
            self._joins.append(group.items[0].start)
        super().call(group)

    def _bare(self, item: Token) -> int:
        self.expect("`(assert …)` holds facts in parentheses", item.start, "(assert (template (slot value)))", item.text)
        return 0

    def _asserted(self, group: Group) -> int:
        name = group.head
        if name not in self.may_assert:
            known = name in self.slots
            said = f"a pack cannot assert `{name}`: it is told by the run" if known else f"there are no facts `{name}`"
            hint = "" if known else f"(deftemplate {name or 'name'} (slot value))"
            self.expect(said, group.start, ", ".join(sorted(self.may_assert)), name, hint)
            return 0
        self._looks_at(name)
        for item in group.items[1:]:
            if isinstance(item, Group) and item.head not in (
                *self.slots.get(name, ()),
                *(() if name in self.own else PROVENANCE),
            ):
                self.expect(
                    f"facts `{name}` have no slot `{item.head}`", item.start, " ".join(self.slots.get(name, ())), item.head
                )
        return 1 + sum(self._slot(item) if isinstance(item, Group) else self._bare(item) for item in group.items[1:])

    def _changed(self, group: Group) -> int:
        """A fact is changed that the rule matched: another is asserted in its place."""
        fact = group.items[1] if len(group.items) > 1 else None
        name = self._bound.get(fact.text, "") if isinstance(fact, Token) else ""
        if name not in self.may_assert:
            said = f"`({group.head} …)` changes a fact of the pack's own, which the rule has matched"
            self.expect(said, group.start, "?fact <- (template …)", name or getattr(fact, "text", ""))
            return 0
        return 1 + sum(self._slot(item) for item in group.items[2:] if isinstance(item, Group))

    def _slot(self, group: Group) -> int:
        return sum(self.expression(item) for item in group.items[1:] if isinstance(item, Group))

    # -- what is looked at ----------------------------------------------------------------------------------------------

    def _pattern(self, group: Group, template: str) -> None:
        if template not in self.slots:
            hint = f"(deftemplate {template} (slot value)) declares those that a graph may have"
            self.expect(f"there are no facts `{template}`", group.start, listing("facts", sorted(self.slots)), template, hint)
            return
        self._looks_at(template)
        super()._pattern(group, template)

    def _looks_at(self, template: str) -> None:
        if template not in self.own and template in self.graph:
            self.foreign[template] = self.graph[template]
