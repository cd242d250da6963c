"""What every router promises (`runs.routing.port.Router`). A subclass gives `router` and a strategy of `graphs`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrarium.runs.ports import StepOutcome
from astrarium.runs.routing.port import Chose, Close, Drop, Ended, Fan, Merge, MoveOn, Question, Router, Visit
from astrarium.spec.graph import Graph

OUTCOMES: tuple[StepOutcome, ...] = tuple(outcome for outcome in get_args(StepOutcome) if outcome != "aborted")
"""How a visited step may end; `aborted` ones are not visited."""

contract = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow])


def ends(node: int, no: int) -> st.SearchStrategy[Ended]:
    """Any end of a visit, success as often as everything else."""
    flags = st.booleans()
    any_end = st.builds(
        Ended, st.just(node), st.just(no), st.sampled_from(OUTCOMES), tolerated=flags, marked=flags, passed=flags, partial=flags
    )
    return st.just(Ended(node, no, "succeeded")) | any_end


class Play:
    """One run played by hand: keeps what is open and complains about moves no run machine could record."""

    def __init__(self, router: Router, graph: Graph) -> None:
        self.router = router
        self.plan = router.plan(graph)
        self.memo = router.fresh(self.plan)
        self.open: dict[int, int] = {}
        self.ended: dict[int, int] = {}
        self.order: list[MoveOn] = []
        self.close: Close | None = None
        self.document: dict[str, Any] = {}

    def begin(self) -> list[MoveOn]:
        self.close = None
        return self._take(None, self.router.begin(self.plan, self.memo, self.document))

    def end(self, ended: Ended) -> list[MoveOn]:
        assert self.open.pop(ended.no) == ended.node
        self.ended[ended.no] = ended.node
        return self._take(ended, self.router.advance(self.plan, self.memo, ended, self.document))

    def stop(self, outcome: Any = "cancelled", reason: str = "") -> list[MoveOn]:
        moves = self.router.stop(self.plan, self.memo, outcome, reason)
        self.router.fold_stop(self.plan, self.memo, outcome, reason)
        return self._take(None, moves)

    def reset(self, step: int | None = None) -> list[int]:
        forgotten = self.router.reset(self.plan, self.memo, step)
        for no in forgotten:
            self.ended.pop(no, None)
        return forgotten

    def mark(self, node: int, outcome: StepOutcome | None) -> None:
        """As a person edits the step of a node whose number is its position."""
        self.router.mark(self.plan, self.memo, node, outcome)
        if outcome is None:
            self.ended.pop(node, None)

    def reload(self) -> None:
        """Go on from the dump, as another process would."""
        self.memo = self.router.load(self.plan, json.loads(json.dumps(self.router.dump(self.memo))))

    def finish(self, choose: Callable[[int, int], Ended], pick: Callable[[Sequence[int]], int] = min) -> Close:
        """End open steps until the run closes."""
        while self.open:
            no = pick(sorted(self.open))
            self.end(choose(self.open[no], no))
        assert self.close is not None, "nothing is open and the run has not closed"
        return self.close

    def _take(self, ended: Ended | None, moves: list[MoveOn]) -> list[MoveOn]:
        assert not (moves and self.close), f"moves after {self.close}: {moves}"
        self.router.fold(self.plan, self.memo, ended, moves)
        for place, move in enumerate(moves, 1):
            if isinstance(move, Close):
                assert place == len(moves), "Close is the last move"
                assert not self.open
                self.close = move
                continue
            if isinstance(move, Drop):
                self.ended[move.no] = self.open.pop(move.no)
                continue
            if isinstance(move, Chose | Fan | Merge):
                continue
            assert move.no not in self.open and move.no not in self.ended, f"step {move.no} is moved twice"
            if isinstance(move, Visit | Question):
                self.open[move.no] = move.node
            else:
                self.ended[move.no] = move.node
        self.order.extend(moves)
        assert self.router.open_steps(self.plan, self.memo) == len(self.open)
        return moves


def succeed(node: int, no: int) -> Ended:
    return Ended(node, no, "succeeded")


class RouterContract:
    router: ClassVar[Router]
    graphs: ClassVar[st.SearchStrategy[Graph]]

    def played(self, data: st.DataObject) -> Play:
        """A run somewhere between its start and its end."""
        play = Play(self.router, data.draw(self.graphs))
        play.begin()
        for _ in range(data.draw(st.integers(0, 12))):
            if not play.open:
                break
            self.end_one(data, play)
        return play

    def end_one(self, data: st.DataObject, play: Play) -> list[MoveOn]:
        no = data.draw(st.sampled_from(sorted(play.open)))
        return play.end(data.draw(ends(play.open[no], no)))

    @contract
    @given(data=st.data())
    def test_a_run_closes_once_and_last(self, data: st.DataObject) -> None:
        play = self.played(data)
        while play.open:
            self.end_one(data, play)
        assert play.close is not None
        assert sum(isinstance(move, Close) for move in play.order) == 1

    @contract
    @given(data=st.data())
    def test_deciding_changes_nothing_and_repeats_itself(self, data: st.DataObject) -> None:
        play = self.played(data)
        before = play.router.dump(play.memo)
        answers = []
        for _ in range(2):
            moves = [play.router.stop(play.plan, play.memo, "cancelled", "")]
            for no, node in play.open.items():
                moves.append(play.router.advance(play.plan, play.memo, succeed(node, no), {}))
            answers.append(moves)
        assert answers[0] == answers[1]
        assert play.router.dump(play.memo) == before

    @contract
    @given(data=st.data())
    def test_a_dump_goes_on_alike_at_any_moment(self, data: st.DataObject) -> None:
        play = self.played(data)
        while play.open:
            if data.draw(st.booleans()):
                dumped = play.router.dump(play.memo)
                kept = play.memo
                play.reload()
                assert play.router.dump(play.memo) == dumped
                assert play.memo == kept
            if data.draw(st.integers(0, 9)) == 9:
                play.stop()
            self.end_one(data, play)
        assert play.close

    @contract
    @given(data=st.data())
    def test_a_fold_of_the_moves_needs_no_decision(self, data: st.DataObject) -> None:
        """Folding what was recorded into a fresh memo gives the memo of the run."""
        play = Play(self.router, data.draw(self.graphs))
        log: list[tuple[Ended | None, list[MoveOn]]] = [(None, play.begin())]
        while play.open:
            no = data.draw(st.sampled_from(sorted(play.open)))
            ended = data.draw(ends(play.open[no], no))
            log.append((ended, play.end(ended)))
        memo = self.router.fresh(play.plan)
        for ended_then, moves in log:
            self.router.fold(play.plan, memo, ended_then, moves)
        assert memo == play.memo

    @contract
    @given(data=st.data())
    def test_a_stop_waits_for_open_steps_then_closes(self, data: st.DataObject) -> None:
        play = self.played(data)
        closed = play.close
        assert play.stop("failed", "timed_out") == [], "closed already, or waiting for what is open"
        if closed is None:
            play.finish(lambda node, no: Ended(node, no, "cancelled"))
        assert play.stop() == []

    @contract
    @given(data=st.data())
    def test_a_stop_before_the_start_closes_without_work(self, data: st.DataObject) -> None:
        graph = data.draw(self.graphs)
        play = Play(self.router, graph)
        play.stop("cancelled", "asked")
        assert play.finish(succeed) == Close("cancelled", "asked")
        assert all(graph.nodes[node].phase not in ("init", "main") for node in play.ended.values())

    @contract
    @given(data=st.data())
    def test_a_reset_run_closes_again(self, data: st.DataObject) -> None:
        play = self.played(data)
        while play.open:
            self.end_one(data, play)
        before = dict(play.ended)
        forgotten = play.reset()
        assert set(forgotten) <= set(before)
        play.reload()
        play.begin()
        play.finish(succeed)

    def test_nothing_to_do_succeeds(self) -> None:
        play = Play(self.router, Graph("empty", router=self.router.kind))  # type: ignore[arg-type]
        assert play.begin() == [Close("succeeded")]
