"""Runs that are stopped, paused, retried, asked about: what happens to their steps and processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from astrarium.errors import Invalid, Refused
from astrarium.runs.message import AnswerAsk, MarkStep, PauseRun, ReopenRun, ResumeRun, StopRun
from tests.specs.dags.desk import SCOPE, Desk, open_desk


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def gone(desk: Desk, *pids: int) -> None:
    async def dead() -> bool:
        return not any(alive(pid) for pid in pids)

    await desk.until(dead)


# -- stop ----------------------------------------------------------------------------------------------------------------


async def test_a_stop_ends_the_whole_group_grandchildren_too(desk: Desk) -> None:
    run = await desk.start("""
steps:
  - {name: family, command: 'sleep 61 & echo $! >> pids; (sleep 62 & echo $! >> pids; wait) & echo $$ >> pids; wait'}
  - {name: after, command: "true"}
handlerOn:
  abort: {command: 'echo "abort $DAG_RUN_STATUS" >> told'}
  exit: {command: echo exit >> told}
""")
    pids = [int(pid) for pid in (await desk.file("pids", lambda text: text.count("\n") == 3)).split()]
    await desk.order(run, StopRun())
    row = await desk.ended(run)
    assert row.outcome == "cancelled"
    assert (await desk.outcomes(run))["family"] == "cancelled"
    assert (desk.folder / "told").read_text() == "abort aborted\nexit\n"
    await gone(desk, *pids)


async def test_a_stubborn_process_is_killed_after_the_grace(desk: Desk) -> None:
    run = await desk.start("""
maxCleanUpTimeSec: 1
steps:
  - {name: deaf, command: 'trap "echo heard >> heard" TERM; echo $$ > pid; while :; do sleep 0.05; done'}
""")
    pid = int(await desk.file("pid"))
    await desk.order(run, StopRun())
    await desk.file("heard")
    assert (await desk.ended(run)).outcome == "cancelled"
    await gone(desk, pid)


async def test_the_steps_own_signal(desk: Desk) -> None:
    run = await desk.start("""
steps:
  - {name: polite, signalOnStop: SIGINT, command: 'trap "echo int > got; exit 0" INT; echo up > up; while :; do sleep 0.05; done'}
""")
    await desk.file("up")
    await desk.order(run, StopRun())
    assert (await desk.ended(run)).outcome == "cancelled"
    assert (desk.folder / "got").read_text() == "int\n"


async def test_a_second_stop_only_shortens_the_grace(desk: Desk) -> None:
    run = await desk.start("""
maxCleanUpTimeSec: 3000
steps:
  - {name: deaf, command: 'trap "" TERM; echo $$ > pid; while :; do sleep 0.05; done'}
""")
    await desk.file("pid")
    await desk.order(run, StopRun())
    await desk.status(run, "stopping")
    await desk.order(run, StopRun(grace_s=0.0))
    assert (await desk.ended(run)).outcome == "cancelled"


async def test_a_stop_during_a_handler_ends_it(desk: Desk) -> None:
    run = await desk.start("""
handlerOn:
  exit: {command: 'echo $$ > pid; sleep 60'}
steps: ["true"]
""")
    await desk.file("pid")
    await desk.order(run, StopRun())
    await desk.ended(run)
    await gone(desk, int((desk.folder / "pid").read_text()))


async def test_a_stop_reaches_children_and_what_waits(desk: Desk) -> None:
    run = await desk.start("""
type: graph
steps:
  - {name: kids, call: kid, parallel: {items: [a, b, c], maxConcurrent: 2}, params: "N=${ITEM}"}
  - {name: gate, type: hitl, config: {prompt: go}}
---
name: kid
params: N=0
steps:
  - {name: slow, command: 'echo $$ >> pids; sleep 60'}
""")
    pids = [int(pid) for pid in (await desk.file("pids", lambda text: text.count("\n") == 2)).split()]
    await desk.step_is(run, "gate", "asking")
    await desk.order(run, StopRun())
    assert (await desk.ended(run)).outcome == "cancelled"
    assert {row.outcome for row in await desk.children(run)} == {"cancelled"}
    assert len(await desk.children(run)) == 2, "the third was never started"
    await gone(desk, *pids)
    with pytest.raises(Refused):
        await desk.order(run, StopRun())


# -- pause ---------------------------------------------------------------------------------------------------------------


async def test_a_pause_lets_what_runs_finish_and_starts_nothing(desk: Desk) -> None:
    run = await desk.start("""
steps:
  - {name: first, command: 'echo up > up; while ! test -f go; do sleep 0.02; done'}
  - {name: second, command: echo second >> ran}
""")
    await desk.file("up")
    await desk.order(run, PauseRun())
    assert (await desk.row(run)).status == "pausing"
    (desk.folder / "go").touch()
    await desk.status(run, "paused")
    assert not (desk.folder / "ran").exists()
    with pytest.raises(Refused):
        await desk.order(run, PauseRun())
    await desk.order(run, ResumeRun())
    assert (await desk.ended(run)).outcome == "succeeded"
    assert (desk.folder / "ran").read_text() == "second\n"
    with pytest.raises(Refused):
        await desk.order(run, ResumeRun())


PARALLEL = """
steps:
  - {name: kids, call: kid, parallel: {items: [a, b, c], maxConcurrent: 1}, params: "N=${ITEM}"}
---
name: kid
params: N=x
steps:
  - {name: it, command: 'echo $N >> began; while ! test -f go; do sleep 0.02; done'}
"""


async def paused_between_children(desk: Desk) -> str:
    """A run whose first child has ended while it was paused."""
    run = await desk.start(PARALLEL)
    await desk.file("began")
    await desk.order(run, PauseRun())
    await desk.status(run, "paused")
    (desk.folder / "go").touch()

    async def ended() -> bool:
        state = await desk.engine.state(f"run:{run}", SCOPE)
        return state is not None and state.steps[0].children.states[0].outcome == "succeeded"

    await desk.until(ended)
    return run


async def test_a_paused_run_lets_no_further_child_go(desk: Desk) -> None:
    run = await paused_between_children(desk)
    state = await desk.engine.state(f"run:{run}", SCOPE)
    assert state is not None and (state.steps[0].children.open, state.steps[0].children.next) == (0, 1)
    assert (desk.folder / "began").read_text() == "a\n"
    await desk.order(run, ResumeRun())
    assert (await desk.ended(run)).outcome == "succeeded"
    assert (desk.folder / "began").read_text() == "a\nb\nc\n"


async def test_a_run_paused_between_its_children_can_be_stopped(desk: Desk) -> None:
    run = await paused_between_children(desk)
    await desk.order(run, StopRun())
    assert (await desk.ended(run)).outcome == "cancelled"
    assert (desk.folder / "began").read_text() == "a\n"


async def test_a_paused_run_can_be_stopped(desk: Desk) -> None:
    run = await desk.start(
        "steps:\n  - {name: a, command: 'while ! test -f go; do sleep 0.02; done'}\n  - {name: b, command: 'true'}\n"
    )
    await desk.step_is(run, "a", "running")
    await desk.order(run, PauseRun())
    (desk.folder / "go").touch()
    await desk.status(run, "paused")
    await desk.order(run, StopRun())
    assert (await desk.ended(run)).outcome == "cancelled"


# -- retry ---------------------------------------------------------------------------------------------------------------

RETRIED = """
type: graph
steps:
  - {name: good, command: 'echo good >> ran; echo "made $(wc -l < ran)"', output: MADE}
  - {name: bad, command: 'echo "bad $MADE" >> ran; test -f mended', depends: good}
  - {name: after, command: echo after >> ran, depends: bad}
  - {name: aside, command: "true"}
"""


async def test_a_retry_runs_what_failed_and_what_follows(desk: Desk) -> None:
    run = await desk.start(RETRIED)
    assert (await desk.ended(run)).outcome == "failed"
    (desk.folder / "mended").touch()
    await desk.order(run, ReopenRun())
    row = await desk.ended(run)
    assert (row.outcome, row.round, row.outputs) == ("succeeded", 2, {"made": "made 1"})
    assert (desk.folder / "ran").read_text() == "good\nbad made 1\nbad made 1\nafter\n"
    rounds = await desk.worker.store.read(
        "SELECT round, outcome FROM steps WHERE run = ? AND node = 'bad' ORDER BY round", (run,)
    )
    assert rounds == [(1, "failed"), (2, "succeeded")], "older rounds stay readable"


async def test_a_retry_of_one_step(desk: Desk) -> None:
    run = await desk.start(RETRIED)
    await desk.ended(run)
    (desk.folder / "mended").touch()
    await desk.order(run, ReopenRun(step=await desk.no(run, "bad")))
    await desk.ended(run)
    assert (desk.folder / "ran").read_text() == "good\nbad made 1\nbad made 1\n"
    assert (await desk.outcomes(run))["bad"] == "succeeded"


async def test_a_step_marked_by_hand_is_not_run_again(desk: Desk) -> None:
    run = await desk.start(RETRIED)
    await desk.ended(run)
    await desk.order(run, MarkStep(1, "succeeded"))
    assert (await desk.row(run)).outcome == "failed", "the outcome stays"
    await desk.order(run, ReopenRun())
    assert (await desk.ended(run)).outcome == "succeeded"
    assert (desk.folder / "ran").read_text() == "good\nbad made 1\nafter\n"


async def test_a_running_run_is_neither_retried_nor_edited(desk: Desk) -> None:
    run = await desk.start("steps:\n  - {name: a, command: sleep 60}\n")
    await desk.step_is(run, "a", "running")
    for order in (ReopenRun(), MarkStep(0, "succeeded")):
        with pytest.raises(Refused):
            await desk.order(run, order)
    await desk.order(run, StopRun(grace_s=0.0))
    await desk.ended(run)


async def test_a_retry_keeps_good_children_and_reopens_the_bad(desk: Desk) -> None:
    run = await desk.start("""
steps:
  - {name: kids, call: kid, parallel: {items: [a, b, c]}, params: "N=${ITEM}"}
---
name: kid
params: N=0
steps:
  - {name: work, command: 'echo $N >> ran; test $N != b || test -f mended'}
""")
    assert (await desk.ended(run)).outcome == "failed"
    (desk.folder / "mended").touch()
    await desk.order(run, ReopenRun())
    assert (await desk.ended(run)).outcome == "succeeded"
    assert sorted((desk.folder / "ran").read_text().split()) == ["a", "b", "b", "c"]
    assert sorted(row.round for row in await desk.children(run)) == [1, 1, 2]


async def test_a_broken_preparation_is_repeated_by_a_retry(desk: Desk) -> None:
    run = await desk.start("params: N=`cat number`\nsteps:\n  - {name: a, command: 'echo $N', output: GOT}\n")
    assert (await desk.ended(run)).reason == "prepare"
    (desk.folder / "number").write_text("7")
    await desk.order(run, ReopenRun())
    assert (await desk.ended(run)).outputs == {"got": "7"}


# -- people --------------------------------------------------------------------------------------------------------------

GATE = """
handlerOn:
  wait: {command: 'echo "waiting for $DAG_WAITING_STEPS" >> told'}
  exit: {command: echo exit >> told}
steps:
  - {name: gate, type: hitl, config: {prompt: 'Ship?', input: [TICKET, NOTE], required: [TICKET]}}
  - {name: ship, command: 'echo "$TICKET" >> told'}
"""


async def test_an_approval_goes_on_with_its_inputs(desk: Desk) -> None:
    run = await desk.start(GATE)
    await desk.status(run, "waiting")
    await desk.file("told")
    no = await desk.no(run, "gate")
    with pytest.raises(Invalid, match="TICKET"):
        await desk.order(run, AnswerAsk(no, "anna"))
    await desk.order(run, AnswerAsk(no, "anna", answer={"TICKET": "T-7"}))
    assert (await desk.ended(run)).outcome == "succeeded"
    assert (desk.folder / "told").read_text() == "waiting for gate\nT-7\nexit\n"
    with pytest.raises(Refused):
        await desk.order(run, AnswerAsk(no, "anna", answer={"TICKET": "T-8"}))


async def test_a_refusal_rejects_the_run(desk: Desk) -> None:
    run = await desk.start(GATE)
    await desk.status(run, "waiting")
    await desk.order(run, AnswerAsk(await desk.no(run, "gate"), "anna", approve=False, reason="not today"))
    assert (await desk.ended(run)).outcome == "rejected"
    steps = await desk.steps(run)
    assert (steps["gate"].outcome, steps["gate"].error, steps["ship"].outcome) == ("rejected", "not today", "aborted")


# -- limits --------------------------------------------------------------------------------------------------------------


async def test_never_more_steps_at_once_than_allowed(desk: Desk) -> None:
    steps = "\n".join(
        f"  - {{name: s{n}, command: 'mkdir -p on; touch on/{n}; ls on | wc -l >> counts; sleep 0.05; rm on/{n}'}}"
        for n in range(12)
    )
    run = await desk.start(f"type: graph\nmaxActiveSteps: 3\nsteps:\n{steps}\n")
    assert (await desk.ended(run)).outcome == "succeeded"
    counts = [int(line) for line in (desk.folder / "counts").read_text().split()]
    assert len(counts) == 12 and max(counts) <= 3


@pytest.mark.slow
async def test_three_hundred_children(desk: Desk) -> None:
    items = json.dumps([f"i{n}" for n in range(300)])
    run = await desk.start(f"""
steps:
  - {{name: each, call: kid, parallel: {{items: {items}, maxConcurrent: 50}}, params: "N=${{ITEM}}", output: R}}
---
name: kid
params: N=0
steps:
  - {{name: work, type: jq, command: ., script: '"$N"'}}
""")
    assert (await desk.ended(run, 60)).outcome == "succeeded"
    output = json.loads((await desk.steps(run))["each"].output or "")
    assert output["summary"] == {"total": 300, "succeeded": 300, "failed": 0}
    assert len(await desk.children(run)) == 300


async def test_a_dag_that_calls_itself_ends_at_the_depth_limit(desk: Desk) -> None:
    (desk.folder / "again.yaml").write_text("steps:\n  - {name: deeper, call: again}\n")
    run = await desk.start("steps:\n  - {name: deeper, call: again}\n", name="again")
    assert (await desk.ended(run, 40)).outcome == "failed"
    depths = await desk.worker.store.read("SELECT max(depth), count(*) FROM runs")
    assert depths == [(20, 21)]


async def test_secrets_stay_out_of_logs_outputs_and_errors(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOP_SECRET", "hunter2-hunter2")
    (desk.folder / "token.txt").write_text("tok-123456\n")
    run = await desk.start("""
secrets:
  - {name: PASS, provider: env, key: TOP_SECRET}
  - {name: TOKEN, provider: file, key: token.txt}
steps:
  - {name: says, command: 'echo "pass $PASS token $TOKEN"; printf %s "$TOKEN" > seen', output: SAID}
  - {name: fails, command: 'echo "bad $PASS" >&2; exit 1'}
""")
    row = await desk.ended(run)
    assert (desk.folder / "seen").read_text() == "tok-123456"
    everything = await desk.worker.store.read("SELECT body FROM events")
    told = "".join(str(line[0]) for line in everything) + json.dumps(row.outputs) + str(await desk.steps(run))
    logs = await desk.log(run, "says") + await desk.log(run, "fails", "err")
    for secret in ("hunter2-hunter2", "tok-123456"):
        assert secret not in told and secret not in logs
    assert "*******" in row.outputs["said"] and "*******" in logs


async def test_a_server_that_stops_leaves_no_process_and_the_next_one_goes_on(tmp_path: Path) -> None:
    text = """
type: graph
steps:
  - {name: once, command: 'echo $$ >> pids; sleep 60'}
  - {name: again, command: 'echo x >> again; test $(wc -l < again) -ge 2 || sleep 60', retryPolicy: {limit: 2, intervalSec: 0}}
"""
    async with open_desk(tmp_path) as desk:
        run = await desk.start(text)
        pid = int(await desk.file("pids"))
        await desk.file("again")
    assert not alive(pid)
    async with open_desk(tmp_path) as desk:
        row = await desk.ended(run)
        outcomes = await desk.outcomes(run)
        assert (row.outcome, outcomes) == ("failed", {"once": "lost", "again": "succeeded"})
        await desk.engine.settle()
        assert await desk.left() == {"jobs": 0, "leases": 0}
