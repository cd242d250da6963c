"""Raw CLIPS patterns, judged by the real CLIPS (extra `clips`).

Rules written as patterns have no right-hand side here: CLIPS says which facts they match, what follows is ours. Working memory is empty at
each judgement but for the facts handed in. Where CLIPS is not installed a graph with such a rule is refused when it is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any, Final, Generic, TypeVar

import msgspec

from ....errors import Invalid, Problem

PROVENANCE = ("_origin", "_source", "_run_id", "_step", "_confidence", "_timestamp")
_TEMPLATE = re.compile(r"\(\s*([A-Za-z_$][\w.$:-]*)")
_SLOT = re.compile(r"\(\s*([A-Za-z_][\w-]*)\s+[^()]")
_BASIS = re.compile(r"f-(\d+)")
_CONNECTIVES = frozenset(("and", "or", "not", "test", "exists", "forall", "declare", "logical"))
_RULE = "asked"
MAX_TEXT: Final = 64 * 1024
MOST_USES: Final = 500
Made = TypeVar("Made")
Told = TypeVar("Told")
HINT = "install the extra: pip install 'astrarium[clips]'; or write the condition as a mapping or in CEL"


class Seen(msgspec.Struct, frozen=True):
    """A fact as rules see it, with its rank: the later it was said, the higher. `slots` by name; a field of the state has the one slot
    `value`. `symbols`: slots whose texts are symbols to CLIPS. `origin`, `source`, `run`, `step` say where the fact comes from; `id` is
    that of a fact that was asserted (-1 = it is told anew each time)."""

    rank: int
    template: str
    slots: Mapping[str, Any]
    symbols: tuple[str, ...] = ()
    origin: str = "system"
    source: str = ""
    run: str = ""
    step: int = 0
    id: int = -1


class Environments(Generic[Made]):
    """CLIPS environments made alike, for whoever asks, in whatever thread: one is taken and given back. One that failed is not used again,
    and none very often, since CLIPS grows with every fact it ever held."""

    def __init__(self, make: Callable[[], Made]) -> None:
        self._make = make
        self._free = [(make(), 0)]

    def use(self, act: Callable[[Made], Told]) -> Told:
        try:
            environment, uses = self._free.pop()
        except IndexError:
            environment, uses = self._make(), 0
        told = act(environment)
        if uses < MOST_USES:
            self._free.append((environment, uses + 1))
        return told


class Pattern:
    """A left-hand side, checked by CLIPS."""

    def __init__(self, text: str) -> None:
        """Raises `Invalid` when CLIPS is not installed or does not take the text."""
        self.text = text
        self._slots = _templates(text)
        self._environments = Environments(self._made)

    def _made(self) -> Any:
        clips = clips_module()
        environment, listener = clips.Environment(), listening(clips)
        environment.add_router(listener)
        try:
            for name, slots in self._slots.items():
                environment.build(f"(deftemplate {name} {' '.join(f'(slot {slot})' for slot in slots)})")
            environment.build(f"(defrule {_RULE} {self.text}\n =>)")
        except clips.CLIPSError as error:
            said = " ".join((listener.text or str(error)).partition("ERROR:")[0].split())
            problem = Problem(f"CLIPS does not take it: {said}", hint="write patterns of facts, each in parentheses")
            raise Invalid(str(problem), [problem]) from error
        return environment

    def match(self, seen: Iterable[Seen]) -> int | None:
        """The rank of the latest fact of the match whose latest fact is the latest; None = the pattern does not match, as one does not
        that has no value for these facts."""
        try:
            return self._environments.use(lambda environment: self._best(environment, seen))
        except clips_module().CLIPSError:
            return None

    def _best(self, environment: Any, seen: Iterable[Seen]) -> int | None:
        clips, ranks = clips_module(), dict[int, int]()
        environment.reset()
        for fact in seen:
            slots = self._slots.get(fact.template)
            if slots is not None:
                values = {**told_by(fact), **fact.slots}
                known = {name: clips_value(clips, fact, name, values[name]) for name in slots if name in values}
                ranks[environment.find_template(fact.template).assert_fact(**known).index] = fact.rank
        matches = [[ranks.get(int(number), 0) for number in _BASIS.findall(str(one))] for one in environment.activations()]
        return max((max(basis, default=0) for basis in matches), default=None)


def pattern_problems(text: str) -> list[Problem]:
    """What CLIPS has against a left-hand side."""
    try:
        Pattern(text)
    except Invalid as error:
        return list(error.problems)
    return []


def _templates(text: str) -> dict[str, tuple[str, ...]]:
    """The templates a text names, with the slots it may name of them: which slot is whose is for CLIPS to say."""
    bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', text)
    slots = {"value", *PROVENANCE}
    if "node-id" in bare:
        slots.add("id")
    named = [name for name in _TEMPLATE.findall(bare) if name not in _CONNECTIVES]
    slots.update(name for name in _SLOT.findall(bare) if name not in _CONNECTIVES)
    return {name: tuple(sorted(slots)) for name in dict.fromkeys(named)}


def told_by(fact: Seen) -> dict[str, Any]:
    """Where a fact comes from, as slots. Its time is not told: the same results must lead to the same decisions."""
    return {"_origin": fact.origin, "_source": fact.source, "_run_id": fact.run, "_step": fact.step, "_confidence": 1}


def clips_value(clips: Any, fact: Seen, name: str, value: Any) -> Any:
    """Texts and numbers as they are; booleans as the texts mappings compare with."""
    if name in fact.symbols:
        return clips.Symbol(str(value))
    if isinstance(value, bool) or value is None or not isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return str(value)
    return value


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


def clips_module() -> Any:
    try:
        return import_module("clips")
    except ImportError as error:
        problem = Problem("raw CLIPS patterns need CLIPS, which is not installed here", hint=HINT)
        raise Invalid(str(problem), [problem]) from error
