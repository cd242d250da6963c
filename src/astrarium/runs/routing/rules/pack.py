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
from .pattern import PROVENANCE, Seen, clips_module, told_by

MAX_FIRINGS: Final = 1000
MOST_USES: Final = 500
"""So often an environment is used: CLIPS 6.42 grows, and gets slower, with every fact it ever held."""
MAX_SAID: Final = 1000
MAX_TEXT: Final = 64 * 1024
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
    """The rules of one pack. Shared by all runs of a graph, in whatever thread: who asks takes an environment and gives it back."""

    def __init__(self, pack: RulePack) -> None:
        """Raises `Invalid` when CLIPS is not installed or does not take the rules."""
        self.id = pack.id
        self._pack = pack
        self._free = [(self._made(), 0)]

    def run(self, seen: Iterable[Seen]) -> Outcome:
        """Raises `PackFault`; then the environment, in whatever state it is, is not used again."""
        try:
            environment, uses = self._free.pop()
        except IndexError:
            environment, uses = self._made(), 0
        found = _run(environment, seen)
        if uses < MOST_USES:
            self._free.append((environment, uses + 1))
        return found

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
        known = {name: _value(library, one, name, values[name]) for name in slots if name in values}
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


def listening(clips: Any) -> Any:
    """Takes what CLIPS says of errors, so that nothing of it goes to the process's own output."""

    class Listener(clips.Router):  # type: ignore[misc]  # CLIPS is there only with its extra
        def __init__(self) -> None:
            super().__init__("astrarium", 90)
            self.text = ""

        def query(self, name: str) -> bool:
            return name in ("stderr", "stdwrn", "stdout")

        def write(self, name: str, message: str) -> None:
            if len(self.text) < MAX_TEXT:
                self.text += message

    return Listener()


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


def _value(library: Any, seen: Seen, name: str, value: Any) -> Any:
    if name in seen.symbols:
        return library.Symbol(str(value))
    if isinstance(value, bool) or value is None or not isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


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
