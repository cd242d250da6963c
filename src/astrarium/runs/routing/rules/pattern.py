"""Raw CLIPS patterns, judged by the real CLIPS (extra `clips`), in an environment made for the one judgement.

Rules written as patterns have no right-hand side here: CLIPS says which facts they match, what follows is ours. Where CLIPS is not
installed a graph with such a rule is refused when its plan is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import Any

import msgspec

from ....errors import Invalid, Problem

PROVENANCE = ("_origin", "_source", "_run_id", "_step", "_confidence", "_timestamp")
_TEMPLATE = re.compile(r"\(\s*([A-Za-z_$][\w.$:-]*)")
_SLOT = re.compile(r"\(\s*([A-Za-z_][\w-]*)\s+[^()]")
_BASIS = re.compile(r"f-(\d+)")
_CONNECTIVES = frozenset(("and", "or", "not", "test", "exists", "forall", "declare", "logical"))
_RULE = "asked"
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


class Pattern(msgspec.Struct, frozen=True):
    """A left-hand side, checked by CLIPS. `templates`: those it may name, with the slots it may name of them."""

    text: str
    templates: dict[str, tuple[str, ...]]


def compile_pattern(text: str) -> Pattern:
    """Raises `Invalid` when CLIPS is not installed or does not take the text."""
    made = Pattern(text, _templates(text))
    _environment(made, ())
    return made


def _templates(text: str) -> dict[str, tuple[str, ...]]:
    """The templates a text names and, over all of them, its slots: which slot is whose is for CLIPS to say."""
    bare = re.sub(r'"(?:\\.|[^"\\])*"', '""', text)
    slots = {"id"} if "node-id" in bare else set()
    named = [name for name in _TEMPLATE.findall(bare) if name not in _CONNECTIVES]
    slots.update(name for name in _SLOT.findall(bare) if name not in _CONNECTIVES)
    return {name: tuple(sorted(slots)) for name in dict.fromkeys(named)}


def match(pattern: Pattern, seen: Iterable[Seen]) -> int | None:
    """The rank of the latest fact of the match whose latest fact is the latest; None = the pattern does not match."""
    environment, ranks = _environment(pattern, seen)
    best: int | None = None
    for activation in environment.activations():
        basis = [ranks.get(int(number), 0) for number in _BASIS.findall(str(activation))]
        rank = max(basis, default=0)
        best = rank if best is None else max(best, rank)
    return best


def _environment(pattern: Pattern, seen: Iterable[Seen]) -> tuple[Any, dict[int, int]]:
    """CLIPS with the facts in it: (environment, fact's index → rank)."""
    clips = clips_module()
    environment = clips.Environment()
    facts = list(seen)
    slots: dict[str, set[str]] = {name: set(found) for name, found in pattern.templates.items()}
    for fact in facts:
        if fact.template in slots:
            slots[fact.template].update(fact.slots)
    ranks: dict[int, int] = {}
    try:
        for name, of in slots.items():
            declared = " ".join(f"(slot {slot})" for slot in sorted({*of, "value", *PROVENANCE}))
            environment.build(f"(deftemplate {name} {declared})")
        environment.build(f"(defrule {_RULE} {pattern.text}\n =>)")
        for fact in facts:
            if fact.template in slots:
                made = environment.find_template(fact.template).assert_fact(**{**told_by(fact), **_slots(clips, fact)})
                ranks[made.index] = fact.rank
    except clips.CLIPSError as error:
        told = f"CLIPS does not take `{pattern.text}`: {str(error).strip()}"
        problem = Problem(told, hint="write patterns of facts, each in parentheses")
        raise Invalid(str(problem), [problem]) from error
    return environment, ranks


def told_by(fact: Seen) -> dict[str, Any]:
    """Where a fact comes from, as slots. Its time is not told: the same results must lead to the same decisions."""
    return {"_origin": fact.origin, "_source": fact.source, "_run_id": fact.run, "_step": fact.step, "_confidence": 1}


def _slots(clips: Any, fact: Seen) -> dict[str, Any]:
    return {
        name: clips.Symbol(str(value)) if name in fact.symbols else _value(clips, value) for name, value in fact.slots.items()
    }


def _value(clips: Any, value: Any) -> Any:
    """Texts and numbers as they are; booleans as the texts mappings compare with."""
    if isinstance(value, bool) or value is None or not isinstance(value, str | int | float):
        return str(value)
    return value


def clips_module() -> Any:
    try:
        return import_module("clips")
    except ImportError as error:
        problem = Problem("raw CLIPS patterns need CLIPS, which is not installed here", hint=HINT)
        raise Invalid(str(problem), [problem]) from error
