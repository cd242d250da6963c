"""Steps that act elsewhere, in whole runs: in the container a run keeps, on another machine, after a person's answer."""

from __future__ import annotations

import zipfile
from pathlib import Path

import psutil
import pytest

from astrarium.errors import Invalid
from astrarium.runs.message import AnswerAsk, StopRun
from tests.engine import IMAGE, fake_engine
from tests.specs.dags.desk import Desk
from tests.sshd import PrivateSshd

pytestmark = pytest.mark.net


def ssh_root(sshd: PrivateSshd) -> str:
    told = f"user: {sshd.user}, host: 127.0.0.1, port: {sshd.port}, key: {sshd.key}, knownHostFile: {sshd.known_hosts}"
    return f"ssh: {{{told}}}"


async def test_all_steps_share_the_container_of_the_run(desk: Desk, tmp_path: Path) -> None:
    async with fake_engine(tmp_path) as (address, engine):
        run = await desk.start(f"""
env: [DOCKER_HOST: '{address}', GREETING: hello]
container: {{image: '{IMAGE}', env: [EXTRA: more]}}
steps:
  - {{name: first, command: 'echo "$GREETING $EXTRA $DAG_RUN_STEP_NAME"', output: SAID}}
  - {{name: second, command: 'test "$SAID" = "hello more first" && touch here'}}
  - {{name: third, command: 'ls here', retryPolicy: {{limit: 1, intervalSec: 0}}}}
handlerOn:
  exit: {{command: echo bye}}
""")
        row = await desk.ended(run)
        assert row.outcome == "succeeded" and row.outputs == {"said": "hello more first"}
        assert await desk.log(run, "onExit") == "bye\n"
        assert len(engine.made) == 1 and engine.made[0]["Labels"]["astrarium.run"] == run

        async def gone() -> bool:
            return not engine.boxes

        await desk.until(gone)


async def test_a_stopped_run_leaves_no_container(desk: Desk, tmp_path: Path) -> None:
    async with fake_engine(tmp_path) as (address, engine):
        run = await desk.start(f"""
type: graph
env: [DOCKER_HOST: '{address}']
steps:
  - {{name: own, container: {{image: '{IMAGE}'}}, command: 'echo go > {desk.folder}/own; sleep 100'}}
""")
        await desk.file("own")
        await desk.order(run, StopRun())
        assert (await desk.ended(run)).outcome == "cancelled"
        assert (await desk.outcomes(run))["own"] == "cancelled" and not engine.boxes


async def test_a_remote_command_hands_on_its_output(desk: Desk, sshd: PrivateSshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REAL_TOKEN", "t0k-s3cret")
    run = await desk.start(f"""
{ssh_root(sshd)}
env: [WHERE: /tmp]
secrets: [{{name: TOKEN, provider: env, key: REAL_TOKEN}}]
steps:
  - {{name: there, command: 'cd $WHERE && pwd && echo $TOKEN', output: PLACE}}
  - {{name: both, logOutput: merged, command: 'echo out; echo err >&2', output: ONLY}}
  - {{name: script, script: "echo \\"$PLACE\\" | head -n1", output: AGAIN}}
  - name: flaky
    command: 'echo x >> {desk.folder}/tries; test $(wc -l < {desk.folder}/tries) = 2'
    retryPolicy: {{limit: 2, intervalSec: 0}}
""")
    row = await desk.ended(run)
    assert row.outcome == "succeeded" and row.outputs == {"place": "/tmp\n*******", "only": "out", "again": "/tmp"}
    assert (await desk.steps(run))["flaky"].tries == 2
    assert await desk.log(run, "there") == "/tmp\n*******\n"


async def test_a_time_out_and_a_stop_reach_the_remote_process(desk: Desk, sshd: PrivateSshd) -> None:
    run = await desk.start(f"""
{ssh_root(sshd)}
type: graph
steps:
  - {{name: slow, command: 'echo $$ > {desk.folder}/slow; sleep 300; true', timeoutSec: 1}}
  - {{name: long, command: 'echo $$ > {desk.folder}/long; sleep 300; true', signalOnStop: SIGINT}}
""")
    pids = [int(await desk.file(name, lambda text: text.endswith("\n"))) for name in ("slow", "long")]
    slow = await desk.step_is(run, "slow", "timed_out")
    assert slow.exit_code == 124
    await desk.order(run, StopRun())
    assert (await desk.ended(run)).outcome == "cancelled"

    async def gone() -> bool:
        return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids)

    await desk.until(gone)


async def test_an_answer_becomes_environment_of_later_steps(desk: Desk) -> None:
    run = await desk.start("""
steps:
  - {name: gate, type: hitl, config: {prompt: "Ship it?", input: [TICKET, NOTE], required: [TICKET]}}
  - {name: ship, command: 'echo "$TICKET-$NOTE"; printenv TICKET', output: SHIPPED}
""")
    await desk.status(run, "waiting")
    no = await desk.no(run, "gate")
    for wrong in ({}, {"NOTE": "x"}, {"TICKET": "T", "OTHER": "x"}):
        with pytest.raises(Invalid):
            await desk.order(run, AnswerAsk(no, "anna", answer=wrong))
    assert (await desk.row(run)).status == "waiting"
    await desk.order(run, AnswerAsk(no, "anna", answer={"TICKET": "T-1", "NOTE": "n"}))
    row = await desk.ended(run)
    assert row.outcome == "succeeded" and row.outputs == {"shipped": "T-1-n\nT-1"}


async def test_an_archive_of_a_run(desk: Desk) -> None:
    run = await desk.start("""
steps:
  - mkdir -p out && echo data > out/file
  - {name: pack, type: archive, command: create, config: {source: ./out, destination: "out-${DAG_NAME}.zip"}, output: PACKED}
  - {name: told, command: 'echo "${PACKED.entries} $(basename ${PACKED.destination})"', output: TOLD}
  - {name: bad, type: archive, command: extract, config: {source: none.zip}, continueOn: {failure: true}}
""")
    row = await desk.ended(run)
    assert row.outputs["told"] == "1 out-case.zip"
    assert zipfile.ZipFile(desk.folder / "out-case.zip").namelist() == ["file"]
    assert "there is no such archive" in (await desk.steps(run))["bad"].error
