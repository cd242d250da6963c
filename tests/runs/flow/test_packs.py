"""Governance packs at work: rules of one's own in CLIPS, and the built-in ones, over the same facts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Invalid
from astrarium.runs.fork import fork_run
from astrarium.runs.message import StepDelayed
from astrarium.runs.past.mutate import Mutation
from astrarium.runs.past.read import checkpoints
from astrarium.runs.past.replay import replay_run
from astrarium.runs.routing.port import Fact, Ruled
from astrarium.runs.routing.rules.pack import Engine
from astrarium.runs.routing.rules.pattern import Seen
from astrarium.spec.ir.compile import compile_graph
from astrarium.spec.ir.flow import RulePack
from astrarium.spec.ir.read import Defect
from astrarium.spec.retry import retry_delay_s
from astrarium.surfaces.graphs.work.load import installation
from astrarium.worker import load_steps
from tests.plugins.graph import begin, compile_text, ended, run
from tests.specs.dags.desk import SCOPE, Desk, open_desk

from .desk import respond

pytest.importorskip("clips", reason="rules of packs need the extra `clips`")

LIMITS = """
; no order above the limit goes out
(deftemplate amount (slot value))
(deftemplate acme.seen (slot node) (slot words))

(deffunction above (?text ?limit)
  (> (string-to-field ?text) ?limit))

(defrule too-much "of money"
  (amount (value ?v&:(above ?v 1000)))
  =>
  (assert (bosun.violation (kind limit) (severity halt) (reason (str-cat "an amount of " ?v)))))

(defrule much
  (amount (value ?v&:(above ?v 500)&:(not (above ?v 1000))))
  =>
  (assert (bosun.violation (kind near) (severity warn) (reason "near the limit"))))

(defrule noted
  (node-id (id ?n))
  =>
  (assert (bosun.audit (kind acme.step) (detail ?n)))
  (assert (acme.seen (node ?n) (words "a b"))))
"""


def mount(desk: Desk, rules: str, pack: str = "acme.limits", version: str = "1.0", folder: str = "") -> str:
    """Lay a pack beside the graphs, and mount it."""
    place = Path(desk.folder) / "packs" / (folder or pack)
    place.mkdir(parents=True, exist_ok=True)
    (place / "manifest.yaml").write_text(f'id: {pack}\nversion: "{version}"\n')
    (place / "rules.clp").write_text(rules)
    return f"governance: [{{id: {pack}}}]\n"


def document(
    mounts: str, *nodes: str, fields: str = "amount: {type: int, default: 0}, note: {type: str, default: ''}", more: str = ""
) -> str:
    listed = "".join(f"  - {node}\n" for node in nodes)
    return f'ir_version: "1.1.0"\nid: "graph:governed"\nstate_schema: {{{fields}}}\n{mounts}nodes:\n{listed}{more}'


GIVE = '{{id: {0}, kind: "tests.runs.flow.nodes:write", config: {{{1}}}}}'


def give(name: str, patch: str = "") -> str:
    return GIVE.format(name, patch)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path) as made:
        yield made


async def facts(desk: Desk, run_id: str) -> list[Fact]:
    state = await desk.engine.state(f"run:{run_id}", SCOPE)
    assert state is not None
    return list(state.memo.facts)


async def audited(desk: Desk, run_id: str) -> list[dict[str, Any]]:
    found = [move for one in await checkpoints(desk.engine, run_id, SCOPE) for move in one.moves if isinstance(move, Ruled)]
    return [record for move in found for record in move.audit]


def problems_of(desk: Desk, text: str) -> list[str]:
    with pytest.raises(Invalid) as caught:
        compile_text(desk, text)
    return [f"{one.path} {one.file}:{one.line}:{one.column}: {one.message}" for one in caught.value.problems]


async def replays(desk: Desk, run_id: str) -> None:
    """From what its steps gave, a run goes the same way again."""
    again = await replay_run(desk.engine, run_id, SCOPE)
    assert again.difference is None


async def test_what_rules_of_a_pack_assert_is_taken_up(desk: Desk) -> None:
    text = document(mount(desk, LIMITS), give("first", "amount: 700"), give("second", "amount: 1200"), give("third"))
    found = await run(desk, text)
    assert (found.outcome, found.reason) == ("failed", "pack_violation")
    assert found.error == "acme.limits: an amount of 1200"
    kinds = [
        (record["pack"], record["fact"]["kind"], record["fact"].get("severity")) for record in await audited(desk, found.run)
    ]
    assert kinds == [
        ("acme.limits", "acme.step", None),
        ("acme.limits", "near", "warn"),
        ("acme.limits", "acme.step", None),
        ("acme.limits", "limit", "halt"),
    ]
    kept = [(one.template, one.slots, one.source) for one in await facts(desk, found.run) if one.template == "acme.seen"]
    assert kept == [
        ("acme.seen", {"node": "first", "words": "a b"}, "acme.limits"),
        ("acme.seen", {"node": "second", "words": "a b"}, "acme.limits"),
    ]
    await replays(desk, found.run)


ACTIONS = """
(defrule ask
  (node-id (id first))
  (amount (value "7"))
  =>
  (assert (action.interrupt (prompt "really?"))))
(defrule away
  (node-id (id second))
  =>
  (assert (action.goto (target fourth))))
(defrule stop
  (node-id (id fourth))
  =>
  (assert (action.halt (reason enough))))
"""


async def test_packs_ask_go_and_halt(desk: Desk) -> None:
    text = document(mount(desk, ACTIONS), *(give(name) for name in ("first", "second", "third", "fourth", "fifth")))
    found = await run(desk, text, amount=1)
    assert found.outcome == "succeeded"
    assert [one.node for one in await checkpoints(desk.engine, found.run, SCOPE)] == ["first", "second", "fourth"]
    asked = await begin(desk, text, amount=7)
    await respond(desk, asked, {"yes": "sure"})
    found = await ended(desk, asked)
    assert [one.node for one in await checkpoints(desk.engine, asked, SCOPE)] == ["first", "first", "second", "fourth"]
    decided = [(one.chose.kind, one.chose.rule) for one in await checkpoints(desk.engine, asked, SCOPE) if one.chose]
    assert decided == [("interrupt", "acme.limits"), ("continue", ""), ("goto", "acme.limits"), ("halt", "acme.limits")]
    await replays(desk, asked)


RETRY = """
(defrule again
  (stargraph.error (run_id ?r) (step ?s) (reason ?why) (recoverable "True") (attempt ?a&:(<= ?a 2)))
  =>
  (assert (action.retry (run_id ?r) (step ?s) (delay_seconds 0) (attempt ?a))))
"""
FAIL = '{id: shaky, kind: "tests.runs.flow.nodes:fail"}'


async def test_a_pack_has_failed_nodes_visited_again(desk: Desk) -> None:
    found = await run(desk, document(mount(desk, RETRY), FAIL))
    assert (found.outcome, found.reason, found.error) == ("broken", "ValueError", "ValueError: no good")
    steps = await checkpoints(desk.engine, found.run, SCOPE)
    assert [(one.node, one.place, one.chose.kind if one.chose else "") for one in steps] == [
        ("shaky", 0, "retry"), ("shaky", 1, "retry"), ("shaky", 2, "fail")
    ]  # fmt: skip
    await replays(desk, found.run)


async def test_after_five_failures_a_pack_can_have_no_more(desk: Desk) -> None:
    found = await run(desk, document(mount(desk, RETRY.replace("&:(<= ?a 2)", "")), FAIL))
    assert (found.outcome, found.reason) == ("failed", "retry_exhausted")
    assert len(await checkpoints(desk.engine, found.run, SCOPE)) == 6


async def test_a_node_that_changes_the_world_is_not_recoverable(desk: Desk) -> None:
    text = document(mount(desk, RETRY), "{id: call, kind: tool, config: {tool: std.shell@1, static: {command: 'true'}}}")
    found = await run(desk, text)
    assert (found.reason, len(await checkpoints(desk.engine, found.run, SCOPE))) == ("capability_denied", 1)


COUNT = """
(deftemplate acme.count (slot n) (slot level))
(defrule first-time
  (node-id (id ?))
  (not (acme.count))
  =>
  (assert (acme.count (n 1) (level low))))
(defrule once-more
  (declare (salience 10))
  ?c <- (acme.count (n ?n) (level low))
  (node-id (id ?))
  =>
  (modify ?c (n (+ ?n 1)) (level high)))
"""


async def test_facts_stay_for_the_run_and_symbols_stay_symbols(desk: Desk) -> None:
    found = await run(desk, document(mount(desk, COUNT), give("a"), give("b"), give("c")))
    assert [(one.slots, one.symbols, one.step) for one in await facts(desk, found.run)] == [
        ({"n": 2, "level": "high"}, ("level",), 0)
    ]
    seen = '(defrule x (acme.flag (value "up")) (node-id (id b)) => (assert (action.halt (reason seen))))'
    rules = (
        'rules: [{id: flag, node_id: a, when: {node: a}, then: [{kind: assert, fact: acme.flag, slots: \'{"value": "up"}\'}]}]'
    )
    text = document(mount(desk, seen), give("a"), give("b"), give("c"), more=rules)
    found = await run(desk, text)
    assert [one.node for one in await checkpoints(desk.engine, found.run, SCOPE)] == ["a", "b"]
    await replays(desk, found.run)


async def test_rules_of_the_graph_see_what_a_pack_asserts(desk: Desk) -> None:
    rules = "rules: [{id: up, when: {node: a, acme.flag: up}, then: [{kind: goto, target: c}]}]"
    pack = "(deftemplate acme.flag (slot value)) (defrule f (node-id (id a)) => (assert (acme.flag (value up))))"
    found = await run(
        desk, document(mount(desk, pack), give("a"), give("b"), give("c"), more=rules.replace("acme.flag", "acme.flag"))
    )
    assert [one.node for one in await checkpoints(desk.engine, found.run, SCOPE)] == ["a", "c"]


async def test_branches_are_judged_too(desk: Desk) -> None:
    blocks = "parallel: [{targets: [left, right], join: last}]\n"
    text = document(mount(desk, LIMITS), give("first"), give("left", "amount: 5000"), give("right"), give("last"), more=blocks)
    found = await run(desk, text)
    assert (found.outcome, found.reason) == ("failed", "pack_violation")
    assert "acme.limits: an amount of 5000" in found.error
    await replays(desk, found.run)


async def test_a_pack_holds_for_child_graphs(desk: Desk) -> None:
    (Path(desk.folder) / "child.yaml").write_text(
        document("", give("inner", "amount: 2000"), more="rules: [{id: r, when: {node: inner}, then: [{kind: halt}]}]")
    )
    found = await run(desk, document(mount(desk, LIMITS), "{id: sub, kind: subgraph, spec: child.yaml}"))
    assert (found.outcome, found.state["amount"]) == ("failed", 0)


RUNAWAY = """
(deftemplate acme.tick (slot n))
(deffacts first (acme.tick (n 0)))
(defrule tick ?t <- (acme.tick (n ?n)) => (modify ?t (n (+ ?n 1))))
"""
GROWING = """
(deftemplate acme.text (slot value))
(deffacts first (acme.text (value "0123456789")))
(defrule grow ?t <- (acme.text (value ?v)) => (modify ?t (value (str-cat ?v ?v))))
"""


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (RUNAWAY, "its rules went 1000 times after one step"),
        (GROWING, "a text longer than 65536 characters"),
        ("(defrule zero (node-id (id ?)) => (assert (bosun.audit (kind x) (detail (/ 1 0)))))", "Attempt to divide by zero"),
        ("(defrule astray (node-id (id ?)) => (assert (action.goto (target nowhere))))", "which is no node of the graph"),
    ],
)
async def test_rules_that_cannot_be_run_break_the_run(
    desk: Desk, rules: str, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    found = await run(desk, document(mount(desk, rules), give("a"), give("b")))
    assert (found.outcome, found.reason) == ("broken", "pack_error")
    assert found.error.startswith("acme.limits: ") and said in found.error
    await replays(desk, found.run)
    assert "PRNTUTIL" not in capfd.readouterr().err


async def test_what_rules_of_the_graph_assert_is_judged_at_once_and_recorded_once(desk: Desk) -> None:
    pack = """
    (deftemplate acme.flag (slot value))
    (defrule noted (node-id (id ?n)) => (assert (bosun.audit (kind step) (detail ?n))))
    (defrule up (acme.flag (value "up")) => (assert (bosun.violation (kind flag) (severity halt) (reason up))))
    """
    rules = 'rules: [{id: up, when: {node: a}, then: [{kind: assert, fact: acme.flag, slots: \'{"value": "up"}\'}]}]'
    found = await run(desk, document(mount(desk, pack), give("a"), give("b"), more=rules))
    assert (found.reason, found.error) == ("pack_violation", "acme.limits: up")
    assert [record["fact"].get("detail", "up") for record in await audited(desk, found.run)] == ["a", "up"]
    await replays(desk, found.run)


TOLD = """
(defrule told
  (stargraph.error (reason ?why) (attempt ?a) (recoverable ?again) (step ?s) (run_id ?r))
  =>
  (assert (bosun.audit (kind failed) (detail (str-cat ?why " " ?a " " ?again " " ?s)))))
"""


async def test_an_error_is_a_fact_with_all_its_tries(desk: Desk) -> None:
    node = '{id: shaky, kind: "tests.runs.flow.nodes:fail", retry: {max_attempts: 3, backoff_ms: 1}}'
    found = await run(desk, document(mount(desk, TOLD), give("first"), node))
    assert (found.outcome, found.reason) == ("failed", "retry_exhausted")
    assert [record["fact"]["detail"] for record in await audited(desk, found.run)] == ["retry_exhausted 3 True 1"]


async def test_the_built_in_pack_tries_again_with_longer_and_longer_waits(desk: Desk) -> None:
    mounts = "governance: [{id: stargraph.bosun.retries}]\n"
    run_id = await begin(desk, document(mounts, FAIL))

    async def delayed() -> list[Any]:
        return [event for event in await desk.events(run_id) if isinstance(event, StepDelayed)]

    (first,) = await desk.until(delayed)
    assert first.why == "retry"
    policy = compile_text(desk, document(mounts, FAIL)).graph.nodes[0].retry
    assert policy is not None and policy.limit == 5
    assert [retry_delay_s(policy, done) for done in range(5)] == [2, 4, 8, 16, 32]


async def test_rules_under_the_name_of_a_built_in_pack_act_instead(desk: Desk) -> None:
    """Without waiting seconds between them, as the built-in one would."""
    mounts = mount(desk, RETRY.replace("&:(<= ?a 2)", ""), "stargraph.bosun.retries", "2.0")
    text = document(mounts, FAIL)
    assert compile_text(desk, text).graph.nodes[0].retry is None
    found = await run(desk, text)
    assert (found.outcome, found.reason, found.error) == (
        "failed",
        "retry_exhausted",
        "ValueError: no good",
    )
    assert len(await checkpoints(desk.engine, found.run, SCOPE)) == 6


def test_without_clips_a_pack_with_rules_does_not_load(tmp_path: Path) -> None:
    place = tmp_path / "packs" / "acme.limits"
    place.mkdir(parents=True)
    (place / "manifest.yaml").write_text('id: acme.limits\nversion: "1.0"\n')
    (place / "rules.clp").write_text(LIMITS)
    known = installation(load_steps(), tmp_path)._replace(clips=False)
    text = document("governance: [{id: acme.limits}]\n", "{id: a, kind: passthrough}")
    with pytest.raises(Invalid) as caught:
        compile_graph(text, installed=known)
    (told,) = caught.value.problems
    assert isinstance(told, Defect)
    assert (told.path, told.expected, told.hint) == ("/governance/0", "the extra `clips`", 'pip install "astrarium[clips]"')
    built_in = document("governance: [{id: stargraph.bosun.audit}]\n", "{id: a, kind: passthrough}")
    assert compile_graph(built_in, installed=known).policy.audited


def test_a_pack_remembers_nothing_between_two_steps() -> None:
    pack = RulePack(
        "acme",
        "1",
        (
            "(deftemplate acme.n (slot n))",
            "(deffacts one (acme.n (n 1)))",
            "(defrule more ?f <- (acme.n (n ?n)) ?a <- (amount) => (retract ?f ?a) (assert (acme.n (n (+ ?n 1)))))",
        ),
        {"amount": ("value",)},
    )
    engine = Engine(pack)
    seen = [Seen(1, "amount", {"value": "5"}), Seen(2, "other", {"value": "6"})]
    first, second = engine.run(seen), engine.run(seen)
    assert first == second
    assert [(one.template, one.slots) for one in first.said] == [("acme.n", {"n": 2})]
    assert first.gone == seen[:1]


async def test_a_fork_cannot_bring_in_what_must_not_be_told(desk: Desk) -> None:
    text = document("governance: [{id: stargraph.bosun.safety_pii}]\n", give("a"), give("b"))
    found = await run(desk, text)
    with pytest.raises(Invalid) as caught:
        await fork_run(desk.engine, found.run, SCOPE, step=0, changes={"mutation": Mutation({"note": "078-05-1120"})})
    assert [problem.path for problem in caught.value.problems] == ["state_overrides"] and "078" not in str(caught.value)
