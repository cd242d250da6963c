"""The router that follows edges: a node is visited when what it waits for has ended well enough.

The memo keeps one letter per node and, per node, how many in-edges are still open and what the others became; both are
touched only behind a step that ended. Everything but the letters can be counted again from them, so a dump is the letters
and the few facts a count cannot give (phase, verdict, stops).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypedDict

import msgspec

from ...spec.graph import Graph
from ..ports import StepOutcome
from .ending import (
    ABORTED,
    ABORTED_STEP,
    BEGUN,
    IDLE,
    KEPT,
    OPEN,
    SKIPPED,
    SKIPPED_STEP,
    TAKEN,
    TALLY,
    UNFINISHED,
    letter_of,
)
from .phase import CLOSED, MAIN, ON_WAIT, START, Halt, Verdict, following, halted, judge, stops
from .plan import Plan, compile_plan
from .port import Abort, Close, Ended, MoveOn, RunOutcome, Skip, Visit

_VISIT: Final = 1


class Memo(msgspec.Struct):
    """One run. By node: `letters` (see `ending`), `waits` (in-edges not yet ended), `seen` (what the others became, as bits).
    By phase: `left` (nodes not ended), `tally`. `open` counts visited steps that have not ended, `aside` those of on_wait."""

    letters: bytearray
    waits: list[int]
    seen: bytearray
    left: list[int]
    tally: list[int]
    open: int = 0
    aside: int = 0
    phase: int = START
    resumed: bool = False
    verdict: Verdict | None = None
    halt: Halt = Halt()


class Dump(TypedDict):
    letters: str
    phase: int
    resumed: bool
    verdict: tuple[RunOutcome, str] | None
    work: tuple[RunOutcome, str] | None
    replies: tuple[RunOutcome, str] | None


class DependsRouter:
    """See `port.Router`. Step numbers are node positions. Nodes of phase on_wait are visited by the run itself, may be visited
    again, and nothing follows from them."""

    kind: Final = "depends"

    def plan(self, graph: Graph) -> Plan:
        return compile_plan(graph)

    def fresh(self, plan: Plan) -> Memo:
        return Memo(
            letters=bytearray(bytes((IDLE,)) * len(plan.phase)),
            waits=list(plan.waits),
            seen=bytearray(len(plan.phase)),
            left=[len(nodes) for nodes in plan.members],
            tally=[0] * len(plan.members),
        )

    def begin(self, plan: Plan, memo: Memo, document: dict[str, Any]) -> list[MoveOn]:
        moves: list[MoveOn] = []
        _go_on(plan, memo, memo.halt, START, 0, 0, moves)
        return moves

    def advance(self, plan: Plan, memo: Memo, ended: Ended, document: dict[str, Any]) -> list[MoveOn]:
        node = ended.node
        phase = plan.phase[node]
        moves: list[MoveOn] = []
        if phase == ON_WAIT or memo.phase == CLOSED:
            return moves
        letter = letter_of(ended)
        left = memo.left[phase] - 1
        tally = memo.tally[phase] | TALLY[letter]
        if stops(memo.halt, phase):
            over = memo.open <= 1
        else:
            left -= _spread(plan, memo, [(node, letter)], {}, moves)
            over = not left
        if over:
            _go_on(plan, memo, memo.halt, phase, tally, left, moves)
        return moves

    def expire(self, plan: Plan, memo: Memo, at: int, document: dict[str, Any]) -> list[MoveOn]:
        """Edges know no dates."""
        return []

    def stop(self, plan: Plan, memo: Memo, outcome: RunOutcome, reason: str) -> list[MoveOn]:
        moves: list[MoveOn] = []
        if not memo.open and memo.phase != CLOSED:
            halt = halted(memo.halt, memo.phase, Verdict(outcome, reason))
            tally, left = (0, 0) if memo.phase == START else (memo.tally[memo.phase], memo.left[memo.phase])
            _go_on(plan, memo, halt, memo.phase, tally, left, moves)
        return moves

    def fold(self, plan: Plan, memo: Memo, ended: Ended | None, moves: Sequence[MoveOn]) -> None:
        if ended is not None:
            _end(plan, memo, ended.node, letter_of(ended))
        for move in moves:
            if isinstance(move, Close):
                _pass_on(plan, memo, CLOSED)
                continue
            assert isinstance(move, Visit | Skip | Abort), "edges lead to nothing else"
            phase = plan.phase[move.node]
            if phase != memo.phase and phase != ON_WAIT:
                _pass_on(plan, memo, phase)
            if isinstance(move, Visit):
                _open(memo, move.node, phase)
            else:
                _end(plan, memo, move.node, SKIPPED_STEP if isinstance(move, Skip) else ABORTED_STEP)

    def fold_stop(self, plan: Plan, memo: Memo, outcome: RunOutcome, reason: str) -> None:
        if memo.phase != CLOSED:
            memo.halt = halted(memo.halt, memo.phase, Verdict(outcome, reason))

    def reset(self, plan: Plan, memo: Memo, step: int | None) -> list[int]:
        """With `step`, nodes of the main phase that never started stay so: they count as aborted in the next round."""
        letters = memo.letters
        main = plan.members[MAIN]
        again = {node for nodes in plan.members for node in nodes if plan.phase[node] != MAIN}
        if step is None:
            again.update(_with_descendants(plan, (node for node in main if letters[node] not in KEPT)))
        else:
            again.add(step)
            for node in main:
                if letters[node] in (IDLE, OPEN):
                    letters[node] = ABORTED_STEP
        return _start_over(plan, memo, again)

    def rewind(self, plan: Plan, memo: Memo, steps: Sequence[int]) -> list[int]:
        undone = (node for node in plan.members[MAIN] if memo.letters[node] in UNFINISHED)
        again = _with_descendants(plan, [*steps, *undone])
        again.update(node for node, phase in enumerate(plan.phase) if phase != MAIN)
        return _start_over(plan, memo, again)

    def mark(self, plan: Plan, memo: Memo, node: int, outcome: StepOutcome | None) -> None:
        memo.letters[node] = IDLE if outcome is None else letter_of(Ended(node, node, outcome))
        _recount(plan, memo)

    def past(self, plan: Plan, ended: Iterable[Ended], outcome: RunOutcome, reason: str) -> Memo:
        """The memo of a run that is over and was not routed here: which nodes ended how, and the verdict."""
        memo = self.fresh(plan)
        for step in ended:
            memo.letters[step.node] = letter_of(step)
        memo.phase, memo.verdict = CLOSED, Verdict(outcome, reason)
        _recount(plan, memo)
        return memo

    def verdict(self, memo: Memo) -> RunOutcome | None:
        return memo.verdict.outcome if memo.verdict is not None else None

    def open_steps(self, plan: Plan, memo: Memo) -> int:
        return memo.open + memo.aside

    def dump(self, memo: Memo) -> Dump:
        return {
            "letters": memo.letters.decode("ascii"),
            "phase": memo.phase,
            "resumed": memo.resumed,
            "verdict": _pair(memo.verdict),
            "work": _pair(memo.halt.work),
            "replies": _pair(memo.halt.replies),
        }

    def load(self, plan: Plan, data: Dump) -> Memo:
        memo = self.fresh(plan)
        memo.letters[:] = data["letters"].encode("ascii")
        memo.phase = data["phase"]
        memo.resumed = data["resumed"]
        memo.verdict = _verdict(data["verdict"])
        memo.halt = Halt(_verdict(data["work"]), _verdict(data["replies"]))
        _recount(plan, memo)
        return memo


def _pair(verdict: Verdict | None) -> tuple[RunOutcome, str] | None:
    return (verdict.outcome, verdict.reason) if verdict else None


def _verdict(pair: Sequence[Any] | None) -> Verdict | None:
    return Verdict(pair[0], pair[1]) if pair else None


def _answer(join_any: int, waits: int, seen: int) -> int:
    """What a node's in-edges say together: `_VISIT`, `SKIPPED`, `ABORTED`, or 0 while it has to wait."""
    if join_any and seen & TAKEN:
        return _VISIT
    if waits:
        return 0
    return (seen & ABORTED) or (seen & SKIPPED) or _VISIT


def _spread(plan: Plan, memo: Memo, ends: list[tuple[int, int]], seen_now: dict[int, int], moves: list[MoveOn]) -> int:
    """Follow the out-edges of ended nodes, and of the nodes skipped or aborted by that, as if they had been folded.
    Gives how many more nodes ended by that; they add nothing to the tally that a verdict without a stop asks for, and after
    a stop nothing spreads. `seen_now`: what is already different from the memo."""
    edges, outs, join_any = plan.policy.edges, plan.outs, plan.join_any
    letters, waits, seen = memo.letters, memo.waits, memo.seen
    waits_now: dict[int, int] = {}
    given = len(ends)
    for node, letter in ends:  # grows while it is read: a node comes after everything it waited for
        results = edges[letter]
        for target, on in outs[node]:
            left = waits_now[target] = waits_now.get(target, waits[target]) - 1
            bits = seen_now[target] = seen_now.get(target, seen[target]) | results[on]
            if letters[target] != IDLE or bits & BEGUN:
                continue
            answer = _answer(join_any[target], left, bits)
            if answer == _VISIT:
                seen_now[target] = bits | BEGUN
                moves.append(Visit(target, target))
            elif answer:
                ends.append((target, _refuse(target, answer, moves)))
    return len(ends) - given


def _refuse(node: int, answer: int, moves: list[MoveOn]) -> int:
    """The move for a node that is not visited, and its letter."""
    if answer == ABORTED:
        moves.append(Abort(node, node))
        return ABORTED_STEP
    moves.append(Skip(node, node))
    return SKIPPED_STEP


def _go_on(plan: Plan, memo: Memo, halt: Halt, phase: int, tally: int, left: int, moves: list[MoveOn]) -> None:
    """`phase` is over: add the first moves of the next phase that has anything to do, or `Close`."""
    verdict = memo.verdict
    while True:
        verdict = judge(plan.policy, phase, tally, left, halt, verdict)
        phase = following(phase, halt, verdict)
        if phase == CLOSED:
            assert verdict is not None, "no phase after main is left without a verdict"
            moves.append(Close(verdict.outcome, verdict.reason))
            return
        tally, left = memo.tally[phase], _enter(plan, memo, phase, moves)
        if left:
            return


def _enter(plan: Plan, memo: Memo, phase: int, moves: list[MoveOn]) -> int:
    """Add the first moves of a phase; how many of its nodes have not ended after them."""
    if not memo.resumed:
        moves.extend(Visit(node, node) for node in plan.roots[phase])
        return memo.left[phase]
    seen_now: dict[int, int] = {}
    ends: list[tuple[int, int]] = []
    for node in plan.members[phase]:
        if memo.letters[node] != IDLE:
            continue
        answer = _answer(plan.join_any[node], memo.waits[node], memo.seen[node])
        if answer == _VISIT:
            moves.append(Visit(node, node))
            seen_now[node] = memo.seen[node] | BEGUN
        elif answer:
            ends.append((node, _refuse(node, answer, moves)))
    at_once = len(ends)
    return memo.left[phase] - at_once - _spread(plan, memo, ends, seen_now, moves)


def _pass_on(plan: Plan, memo: Memo, phase: int) -> None:
    """Fold the way to a later phase: the verdicts spoken between."""
    while memo.phase not in (phase, CLOSED):
        now = memo.phase
        tally, left = (0, 0) if now == START else (memo.tally[now], memo.left[now])
        memo.verdict = judge(plan.policy, now, tally, left, memo.halt, memo.verdict)
        memo.phase = following(now, memo.halt, memo.verdict)


def _open(memo: Memo, node: int, phase: int) -> None:
    if memo.letters[node] != OPEN:
        memo.letters[node] = OPEN
        if phase == ON_WAIT:
            memo.aside += 1
        else:
            memo.open += 1


def _end(plan: Plan, memo: Memo, node: int, letter: int) -> None:
    phase = plan.phase[node]
    was_open = memo.letters[node] == OPEN
    memo.letters[node] = letter
    if phase == ON_WAIT:
        memo.aside -= was_open
        return
    memo.open -= was_open
    memo.left[phase] -= 1
    memo.tally[phase] |= TALLY[letter]
    waits, seen = memo.waits, memo.seen
    results = plan.policy.edges[letter]
    for target, on in plan.outs[node]:
        waits[target] -= 1
        seen[target] |= results[on]


def _with_descendants(plan: Plan, nodes: Iterable[int]) -> set[int]:
    found = set(nodes)
    reached = list(found)
    for node in reached:
        for target, _ in plan.outs[node]:
            if target not in found:
                found.add(target)
                reached.append(target)
    return found


def _start_over(plan: Plan, memo: Memo, again: set[int]) -> list[int]:
    """Forget nodes and begin at the first phase once more; which of them had been answered."""
    forgotten = sorted(node for node in again if memo.letters[node] != IDLE)
    for node in forgotten:
        memo.letters[node] = IDLE
    memo.phase = START
    memo.resumed = True
    memo.verdict = None
    memo.halt = Halt()
    _recount(plan, memo)
    return forgotten


def _recount(plan: Plan, memo: Memo) -> None:
    """Count everything again from the letters."""
    letters = memo.letters
    memo.waits = list(plan.waits)
    memo.seen = bytearray(len(letters))
    memo.left = [len(nodes) for nodes in plan.members]
    memo.tally = [0] * len(plan.members)
    memo.open = memo.aside = 0
    for node, letter in enumerate(letters):
        if letter == OPEN:
            letters[node] = IDLE
            _open(memo, node, plan.phase[node])
        elif letter != IDLE:
            _end(plan, memo, node, letter)
