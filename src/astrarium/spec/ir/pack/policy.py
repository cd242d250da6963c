"""What mounted packs demand of every run of a graph, as data: budgets, the cap of retries, what is audited, what may not be said.

The four reference packs are known by id and are built in. A directory of one of them may pin another version of it, and where it holds
rules, these act instead. Any other pack is its rules.
Stargraph 0.8: contract 1.6 and its section 16 (loaded and enforced).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from ..document import Requires

BUDGETS = "stargraph.bosun.budgets"
RETRIES = "stargraph.bosun.retries"
SAFETY_PII = "stargraph.bosun.safety_pii"
AUDIT = "stargraph.bosun.audit"
REFERENCE = (BUDGETS, RETRIES, SAFETY_PII, AUDIT)

AUDITED = ("transition", "tool_call", "node_run", "respond", "cancel", "pause", "artifact_write")
BUILT_IN_VERSION = "1.0"
RETRY_LIMIT = 5
RETRY_FACTOR = 2.0

Severity = Literal["halt", "warn"]


class Watch(msgspec.Struct, frozen=True):
    """Text of evidence that matches `regex` is a violation of this `kind`."""

    kind: str
    regex: str
    severity: Severity


PII = (
    Watch("ssn", r"\b\d{3}-\d{2}-\d{4}\b", "halt"),
    Watch("card", r"\b(?:\d[ -]?){12,18}\d\b", "halt"),
    Watch("email", r"\b[\w.+-]+@[\w-]+\.[\w.-]+\b", "warn"),
    Watch("phone", r"(?<!\d)(?:\+\d{1,3}[ .-]?)?(?:\(\d{3}\)|\d{3})[ .-]\d{3}[ .-]\d{4}(?!\d)", "warn"),
)
_SORTED = msgspec.json.Encoder(order="sorted")
_COMPILED = {watch.kind: re.compile(watch.regex) for watch in PII}


VIOLATION = "pack_violation"
FINAL = frozenset((VIOLATION, "budget_exhausted", "capability_denied", "replay_missing"))
"""Codes of ends that another try would only repeat."""
LONG_NUMBER = 10**12
"""Numbers of as many digits may be those of a card."""


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all mounted packs demand together. `budgets`: a run's budget facts are watched, and an exhausted one ends it with
    `budget_exhausted`; `retry_limit` > 0: a node that fails is visited again after 2^attempt seconds, that many times, then the run
    ends with `retry_exhausted`; `watches`: evidence is searched; `audited`: kinds of acts that leave a `bosun_audit` record."""

    packs: tuple[tuple[str, str], ...] = ()
    budgets: bool = False
    retry_limit: int = 0
    retry_factor: float = 0.0
    watches: tuple[Watch, ...] = ()
    audited: tuple[str, ...] = ()


class Pack(msgspec.Struct, frozen=True, omit_defaults=True):
    """A loaded pack. `tree_hash` pins its content; `reason`: why its signature is not trusted, empty = verified, or built in; `rules`:
    the text of its `rules.clp`."""

    id: str
    version: str
    tree_hash: str
    reason: str = ""
    requires: Requires = Requires()
    rules: str = ""


class Violation(msgspec.Struct, frozen=True):
    kind: str
    severity: Severity
    reason: str


def built_in(pack_id: str) -> Pack | None:
    """A reference pack as it comes with Astrarium; its hash is that of what it demands."""
    if pack_id not in REFERENCE:
        return None
    demanded = policy_of((Pack(pack_id, BUILT_IN_VERSION, ""),))
    return Pack(pack_id, BUILT_IN_VERSION, hashlib.sha256(_SORTED.encode(demanded)).hexdigest())


def policy_of(packs: tuple[Pack, ...]) -> Policy:
    """What these packs demand, each reference pack without rules of its own by its id."""
    ids = {pack.id for pack in packs if not pack.rules.strip()}
    retried = RETRIES in ids
    return Policy(
        packs=tuple((pack.id, pack.version) for pack in packs),
        budgets=BUDGETS in ids,
        retry_limit=RETRY_LIMIT if retried else 0,
        retry_factor=RETRY_FACTOR if retried else 0.0,
        watches=PII if SAFETY_PII in ids else (),
        audited=AUDITED if AUDIT in ids else (),
    )


def retry_delay_s(policy: Policy, attempt: int) -> float | None:
    """Seconds before the attempt after `attempt` failed ones (from 1); None when there is none any more."""
    return None if attempt > policy.retry_limit else policy.retry_factor**attempt


def is_halting(slots: Mapping[str, Any]) -> bool:
    """Whether a violation ends the run: any does that not only warns."""
    return str(slots.get("severity", "")) != "warn"


def texts_of(value: Any) -> Iterator[str]:
    """Every text in a value, names and long numbers included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield str(key)
            yield from texts_of(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from texts_of(part)
    elif isinstance(value, int) and value >= LONG_NUMBER:
        yield str(value)


def violated(policy: Policy, value: Any) -> list[Violation]:
    """What the texts in a value violate."""
    return find_violations(policy, "\n".join(texts_of(value))) if policy.watches else []


def withheld(policy: Policy, value: Any) -> Any:
    """The value, with a mark in the place of each text that must not be told."""
    if isinstance(value, Mapping):
        return {withheld(policy, str(key)): withheld(policy, part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [withheld(policy, part) for part in value]
    halting = [one.kind for one in violated(policy, value) if one.severity == "halt"]
    return f"[withheld: {', '.join(halting)}]" if halting else value


def violation_fact(found: Violation, pack: str, run_id: str) -> dict[str, Any]:
    """A violation as a fact that is said: it never holds the text."""
    slots = {"kind": found.kind, "severity": found.severity, "run_id": run_id, "reason": found.reason}
    return {"fact": "bosun.violation", "slots": slots, "source": pack}


def find_violations(policy: Policy, text: str) -> list[Violation]:
    """What a text of evidence violates, each kind once, halting ones first. The text itself is never repeated in a reason."""
    found = [
        Violation(watch.kind, watch.severity, f"the evidence looks like it holds a {watch.kind}")
        for watch in policy.watches
        if any(_is_real(watch.kind, match.group()) for match in _COMPILED[watch.kind].finditer(text))
    ]
    return sorted(found, key=lambda one: one.severity != "halt")


def _is_real(kind: str, text: str) -> bool:
    """A card number has a check digit (Luhn); what fails it is only a long number."""
    if kind != "card":
        return True
    digits = [int(letter) for letter in text if letter.isdigit()]
    doubled = [digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0
