"""Rules of a governance pack, run by the real CLIPS (extra `clips`).

After each step working memory is empty but for the facts handed in, so what follows depends on nothing else; the constructs stay. What
rules may hold was checked when the graph was loaded (`spec.ir.pack.rules`); here firings, facts and the length of texts are bounded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from ....errors import Invalid, Problem
from ....spec.ir.flow import RulePack
from ....spec.ir.pack.rules import JOINED
from .pattern import MAX_TEXT, PROVENANCE, Environments, Seen, clips_module, clips_value, listening, told_by

MAX_FIRINGS: Final = 1000
MAX_SAID: Final = 1000
MAX_FAULT: Final = 400


class PackFault(Exception):
    """The rules of a pack could not be run to their end."""


class Said(NamedTuple):
    """A fact that rules asserted. `symbols`: slots whose texts are symbols."""

    template: str
    slots: dict[str, Any]
    symbols: tuple[str, ...]


class Outcome(NamedTuple):
    """What rules asserted, in order, and which of the facts handed in they retracted."""

    said: list[Said]
    gone: list[Seen]


class Environment(NamedTuple):
    """CLIPS with the constructs of a pack. `templates` by name, with the `slots` of each."""

    clips: Any
    listener: Any
    templates: dict[str, Any]
    slots: dict[str, tuple[str, ...]]


class Engine:
    """The rules of one pack. Shared by all runs of a graph."""

    def __init__(self, pack: RulePack) -> None:
        """Raises `Invalid` when CLIPS is not installed or does not take the rules."""
        self.id = pack.id
        self._pack = pack
        self._environments = Environments(self._made)

    def run(self, seen: Iterable[Seen]) -> Outcome:
        """Raises `PackFault`."""
        return self._environments.use(lambda environment: _run(environment, seen))

    def _made(self) -> Environment:
        library = clips_module()
        environment, listener = library.Environment(), listening(library)
        environment.add_router(listener)
        environment.define_function(joined, JOINED)
        for name, slots in self._pack.templates.items():
            declared = " ".join(f"(slot {slot})" for slot in dict.fromkeys((*slots, *PROVENANCE)))
            environment.build(f"(deftemplate {name} {declared})")
        for construct in self._pack.constructs:
            listener.text = ""
            try:
                environment.build(construct)
            except library.CLIPSError as error:
                said = _short(listener.text or str(error))
                name = " ".join(construct.split()[:2]).lstrip("(")
                problem = Problem(f"CLIPS does not take `{name}`: {said}", hint="the pack's rules.clp")
                raise Invalid(str(problem), [problem]) from error
        templates = {str(template.name): template for template in environment.templates() if not template.implied}
        slots_of = {name: tuple(str(slot.name) for slot in template.slots) for name, template in templates.items()}
        return Environment(environment, listener, templates, slots_of)


def _run(environment: Environment, seen: Iterable[Seen]) -> Outcome:
    library, engine, listener = clips_module(), environment.clips, environment.listener
    listener.text = ""
    try:
        engine.reset()
        given = _assert(library, environment, seen)
        last = max((fact.index for fact in engine.facts()), default=0)
        fired = engine.run(MAX_FIRINGS)
    except library.CLIPSError as error:
        raise PackFault(_short(listener.text or str(error))) from error
    if listener.text:
        raise PackFault(_short(listener.text))
    if fired >= MAX_FIRINGS:
        raise PackFault(f"its rules went {MAX_FIRINGS} times after one step and did not come to an end")
    left = {fact.index: fact for fact in engine.facts()}
    made = [_said(library, left[index]) for index in sorted(left) if index > last]
    if len(made) > MAX_SAID:
        raise PackFault(f"its rules asserted more than {MAX_SAID} facts after one step")
    return Outcome(made, [one for index, one in given.items() if index not in left])


def _assert(library: Any, environment: Environment, seen: Iterable[Seen]) -> dict[int, Seen]:
    """Hand the facts in that the pack knows of: fact's index → fact."""
    given: dict[int, Seen] = {}
    for one in seen:
        slots = environment.slots.get(one.template)
        if slots is None:
            continue
        values = {**told_by(one), **one.slots}
        known = {name: clips_value(library, one, name, values[name]) for name in slots if name in values}
        made = environment.templates[one.template].assert_fact(**known)
        given.setdefault(made.index, one)
    return given


def clips_problems(pack: RulePack) -> list[Problem]:
    """What CLIPS has against the rules of a pack."""
    try:
        Engine(pack)
    except Invalid as error:
        return list(error.problems)
    return []


def joined(*parts: Any) -> str:
    """`str-cat`, as long as the result is no longer than `MAX_TEXT`."""
    if any(isinstance(part, tuple) for part in parts):
        raise ValueError("str-cat joins texts and numbers, no lists")
    text = "".join(str(part) for part in parts)
    if len(text) > MAX_TEXT:
        raise ValueError(f"str-cat makes a text longer than {MAX_TEXT} characters")
    return text


def _short(text: str) -> str:
    """The first words CLIPS has to say, without the stack of a function of ours."""
    plain = " ".join(line for line in text.splitlines() if not line.startswith("  "))
    plain = plain.replace(f"{JOINED}", "str-cat").replace("Traceback (most recent call last):", "")
    return " ".join(plain.split())[:MAX_FAULT]


def _said(library: Any, fact: Any) -> Said:
    slots: dict[str, Any] = {}
    symbols: list[str] = []
    for name, value in ((str(name), value) for name, value in dict(fact).items()):
        symbol = isinstance(value, library.Symbol)
        if name in PROVENANCE or (symbol and value == "nil"):
            continue
        if symbol:
            symbols.append(name)
        slots[name] = value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)
    return Said(str(fact.template.name), slots, tuple(symbols))
