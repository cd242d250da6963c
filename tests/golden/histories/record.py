"""Plays lives of runs and writes their logs down: `python -m tests.golden.histories.record`.

A history that was once written stays as it is: an existing file is never overwritten, because old logs must fold for ever. New events
or fields get new histories. `kept` is from when a run that rests kept its place in the queue.

A file has the graph and the rows at the end in its first line, then one event a line.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from astrarium.kernel.types import SlotGranted
from astrarium.runs import message as m
from astrarium.runs.ports import Ask, Child
from astrarium.runs.routing.depends import DependsRouter
from astrarium.runs.routing.port import Ended
from astrarium.runs.row import all_rows
from astrarium.runs.run import RunMachine
from astrarium.runs.state import Definition, RunState
from astrarium.spec.graph import Edge, Graph, Node, Output, Prepare, Retry, Rule, Tolerate, encode_graph, graph_hash
from astrarium.spec.ir import flow as f
from tests.contracts.machine import Life

FOLDER = Path(__file__).parent


def rows_of(state: RunState) -> list[dict[str, Any]]:
    """What readers see at the end, by column names."""
    return [
        {"table": table.name, **dict(zip((column.name for column in table.columns), row, strict=True))}
        for table, row in all_rows(state)
    ]


class Story:
    """A life played order by order, a second apart."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.hash = graph_hash(encode_graph(graph))
        self.life = Life(RunMachine(), "run:r1", {self.hash: Definition(graph)})

    def tell(self, *orders: Any) -> Story:
        for order in orders:
            self.life.now += 1_000_000
            assert self.life.submit(order), f"{order} changed nothing"
        return self

    def start(self, **more: Any) -> Story:
        return self.tell(m.StartRun(self.hash, self.graph.name, "dags", "r1", **more))

    def try_(self, no: int, try_no: int = 1, **ends: Any) -> Story:
        return self.tell(m.StartTry(no, "w1"), m.EndTry(no, try_no, **ends))

    def grant(self) -> Story:
        """Its turn in the line of its queue has come."""
        self.life.slots["queue/q"] = True
        return self.tell(SlotGranted("queue/q", 1))

    def write(self, path: Path) -> None:
        graph = msgspec.json.decode(encode_graph(self.graph))
        lines = [json.dumps({"graph": graph, "rows": rows_of(self.life.state)})]
        for at, body in self.life.log:
            lines.append(json.dumps({"at": at, "type": type(body).__name__, "v": 1, "body": msgspec.to_builtins(body)}))
        path.write_text("\n".join(lines) + "\n")


def chain(size: int, **more: Any) -> Graph:
    nodes = tuple(Node(f"s{n}", "noop", output=Output(f"OUT{n}"), retry=Retry(2, 1.0) if n == 1 else None) for n in range(size))
    return Graph("chain", nodes=nodes, edges=tuple(Edge(n, n + 1) for n in range(size - 1)), **more)


def retried() -> Story:
    story = Story(chain(3)).start(params="A=1").try_(0, output="zero")
    story.try_(1, outcome="failed", exit_code=1, error="no", retry_in_s=1.0, retry_limit=2)
    story.life.now += 2_000_000
    story.tell(m.StartTry(1, "w1"), m.LoseTry(1, 2))
    story.life.now += 2_000_000
    story.try_(1, 3, outcome="failed", error="never").tell(m.ReopenRun())
    return story.try_(1, output="one").try_(2, output="two")


def handled() -> Story:
    nodes = (
        Node("work", "noop"), Node("onInit", "noop", phase="init"), Node("onCancel", "noop", phase="on_cancel"),
        Node("onExit", "noop", phase="exit"),
    )  # fmt: skip
    story = Story(Graph("handled", nodes=nodes, prepare=Prepare())).start(queue="q", queue_limit=1, chosen=True)
    # A queue's place is granted at once here: the run has begun.
    story.tell(m.Resolved((("A", "1"),), '{"A": "1"}', (("HOME", "/home/anna"),), workdir="/srv/work"))
    story.try_(1).tell(
        m.StartTry(0, "w1"), m.StopRun(grace_s=2.0), m.StopRun(grace_s=0.0), m.EndTry(0, 1, "cancelled", error="stopped")
    )
    return story.try_(2).try_(3)


def parent() -> Story:
    graph = Graph(
        "parent",
        nodes=(Node("kids", "child", output=Output("R"), tolerate=Tolerate(failure=True)), Node("after", "noop")),
        edges=(Edge(0, 1),),
    )
    kids = (Child("k1", "h", "kid", "N=1"), Child("k2", "h", "kid", "N=2"))
    story = (
        Story(graph).start().tell(m.StartTry(0, "w1"), m.EndTry(0, 1, children=kids, max_active=1, parallel=True, tolerated=True))
    )
    story.tell(
        m.EndChild(0, 0, 1, "run1", "succeeded", {"X": "1"}), m.EndChild(0, 1, 1, "run2", "failed", error="child run kid failed")
    )
    return story.try_(1)


def asked() -> Story:
    nodes = (Node("gate", "wait"), Node("tell", "noop", phase="on_wait"), Node("ship", "noop"), Node("side", "noop"))
    graph = Graph("asked", nodes=nodes, edges=(Edge(0, 2),), max_active_steps=1, timeout_s=60.0)
    story = (
        Story(graph)
        .start()
        .tell(m.StartTry(0, "w1"), m.EndTry(0, 1, ask=Ask("ok?", {"required": ["V"]}, needed=2, timeout_s=30.0)))
    )
    story.tell(m.PauseRun(), m.AnswerAsk(0, "anna", answer={"V": "1"}), m.AnswerAsk(0, "ben", answer={"V": "2"}), m.ResumeRun())
    for no in [step.no for step in list(story.life.state.steps.values()) if step.status in ("ready", "offered")]:
        if story.life.state.steps[no].status == "offered":
            story.try_(no)
    while open_ := [step.no for step in story.life.state.steps.values() if step.status == "offered"]:
        story.try_(open_[0])
    return story.tell(m.MarkStep(3, "failed"), m.ReopenRun()).try_(3)


def looped() -> Story:
    nodes = (Node("draft", "noop"), Node("check", "noop", output=Output("V")))
    rules = (Rule("draft", goto="check"), Rule("check", {"good": False}, goto="draft"), Rule("check", {"good": True}))
    story = Story(Graph("looped", router="rules", nodes=nodes, rules=rules, start="draft")).start()
    story.try_(0, patch={"text": "a"}).try_(1, patch={"good": False}, output="no")
    return story.try_(2, patch={"text": "b"}).try_(3, patch={"good": True}, output="yes")


def forked() -> Story:
    graph = chain(3)
    story = Story(graph)
    definition = Definition(graph)
    memo = definition.router.fresh(definition.plan)
    definition.router.mark(definition.plan, memo, 0, "succeeded")
    definition.router.rewind(definition.plan, memo, (1,))
    kept = (m.Inherited(0, 0, "succeeded", "other", 0, try_no=1, started_at=5, ended_at=6, origin=m.Origin("r0", 4, 1, 1)),)
    start = m.StartRun(story.hash, graph.name, "dags", "r1", trigger="fork")
    order = m.ForkRun(start, "r0", 1, 1, kept, definition.router.dump(memo), m.Resolved(), {}, {"outputs": {"s0": "other"}})
    return story.tell(order).try_(1, output="one").try_(2, output="two")


def imported() -> Story:
    graph = chain(3)
    story = Story(graph)
    definition = Definition(graph)
    ended = [Ended(0, 0, "succeeded"), Ended(1, 1, "failed"), Ended(2, 2, "aborted")]
    memo = DependsRouter().past(definition.plan, ended, "failed", "imported")
    steps = tuple(m.Inherited(one.node, one.no, one.outcome, try_no=1, retries=1, started_at=5, ended_at=6) for one in ended)
    start = m.StartRun(story.hash, graph.name, "dags", "r1", trigger="import")
    resolved = m.Resolved((("A", "1"),))
    order = m.ImportRun(start, "failed", 4, 5, 6, 0, "imported", steps, definition.router.dump(memo), resolved)
    return story.tell(order, m.RenameRun("moved"), m.ReopenRun()).try_(1, output="one").try_(2, output="two")


def flow(*names: str, **more: Any) -> Graph:
    made = f.Flow(order=names, fields=(f.Field("n", "int"), f.Field("tags", "list", reducer="append")), **more)
    return Graph("flow", router="rules", nodes=tuple(Node(name, "noop") for name in names), flow=made, max_steps=20)


def branched() -> Story:
    """A loop that counts, a race, a join, a rule's question, and a round that went back."""
    rules = (
        f.FlowRule("more", (f.Goto("count"), f.Assert("turn", {"value": 1})), "count", (f.Test("n", "lt", 2),)),
        f.FlowRule("sure", (f.Interrupt("sure?", timeout_s=60.0),), "fin"),
    )
    story = Story(flow("count", "left", "right", "fin", rules=rules, blocks=(f.Parallel(("left", "right"), "fin", "race"),)))
    story.start(state={"n": 0}).try_(0, patch={"n": 1}).try_(1, patch={"n": 2}, used={"tokens": 3.0})
    story.tell(m.StartTry(2, "w1"), m.StartTry(3, "w1"), m.EndTry(3, 1, patch={"tags": ["r"]}))
    story.try_(4).tell(m.AnswerAsk(5, "anna", answer={"n": 7}))
    return story


def expired() -> Story:
    """A quorum that came too late; then another round, from the step before."""
    fan = f.Parallel(("b", "c"), "", "quorum", 2, 30.0)
    story = Story(flow("a", "b", "c", blocks=(fan,))).start().try_(0, patch={"n": 1})
    definition: Definition = story.life.state.known
    back = m.Back(0, definition.router.dump(story.life.state.memo), dict(story.life.state.document), (1, 2))
    story.try_(1, patch={"n": 2}).tell(m.ExpireFan(1, 1), m.ReopenRun(back=back))
    return story.try_(1, patch={"n": 4}).try_(2, patch={"tags": ["c"]})


def aside() -> Story:
    """Parked before it began; gave its place away while it asked and while it was paused; came back from the line."""
    nodes = (Node("gate", "wait"), Node("ship", "noop"), Node("after", "noop"))
    story = Story(Graph("aside", nodes=nodes, edges=(Edge(0, 1), Edge(1, 2)), timeout_s=60.0))
    story.life.full = True
    story.start(queue="q", queue_limit=1).tell(m.PauseRun(), m.ResumeRun()).grant()
    story.tell(m.StartTry(0, "w1"), m.EndTry(0, 1, ask=Ask("ok?")), m.AnswerAsk(0, "anna")).grant()
    story.try_(1).tell(m.PauseRun(), m.ResumeRun(), m.PauseRun(), m.ResumeRun()).grant()
    return story.try_(2)


STORIES: dict[str, Callable[[], Story]] = {
    "retried": retried,
    "handled": handled,
    "parent": parent,
    "asked": asked,
    "looped": looped,
    "forked": forked,
    "imported": imported,
    "branched": branched,
    "expired": expired,
    "aside": aside,
}

if __name__ == "__main__":
    for name, tell in STORIES.items():
        path = FOLDER / f"{name}.jsonl"
        if not path.exists():
            tell().write(path)
