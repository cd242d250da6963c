"""How a notice becomes a delivery."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from astrarium.kernel.ports import JOBS
from astrarium.kernel.types import Job
from astrarium.runs.message import ReopenRun
from astrarium.runs.run import notices
from astrarium.spec.graph import Notice
from astrarium.surfaces.dags.work.notice import shown_target
from tests.specs.dags.desk import SCOPE, Desk, open_desk
from tests.specs.notices.receiver import Receiver, web_server

pytestmark = pytest.mark.net


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def url(receiver: Receiver) -> Iterator[str]:
    with web_server(receiver) as address:
        yield address


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, egress_allow="127.0.0.1", notice_retry_s=0.05, notice_tries=3) as made:
        yield made


async def delivered(desk: Desk, count: int = 1) -> list[tuple[Any, ...]]:
    """The deliveries, once so many have ended."""

    async def ended() -> list[tuple[Any, ...]]:
        sql = "SELECT id, alias, outcome, labels, resolved FROM runs WHERE surface = 'notices' AND status = 'ended' ORDER BY id"
        rows = await desk.worker.store.read(sql)
        return rows if len(rows) >= count else []

    return list(await desk.until(ended))


async def test_what_a_run_says_is_never_expanded(desk: Desk, receiver: Receiver, url: str) -> None:
    """A parameter, an error or an output of somebody else must neither run a command nor read a variable of ours."""
    evil = "`touch evil` $PATH ${KEY}"
    text = f"""
notify: [{{webhook: {url}/x}}, {{webhook: {url}/y, template: '$P'}}]
params: [P: none]
steps: [{{name: one, command: exit 3}}]
"""
    await desk.ended(await desk.start(text, f'P="{evil}"'))
    await delivered(desk, 2)
    document, plain = (next(one for one in receiver.taken if one.path == path) for path in ("/x", "/y"))
    assert evil in json.loads(document.body)["params"]
    assert plain.body.decode() == evil
    assert not list(desk.folder.parent.rglob("evil"))


async def test_only_what_a_template_names_is_taken_along(desk: Desk, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "hidden")
    text = f"""
env: [A: one, B: two]
secrets: [{{name: KEY, provider: env, key: MY_KEY}}, {{name: OTHER, provider: env, key: MY_KEY}}]
notify: [{{webhook: {url}, secret: "${{KEY}}", headers: {{X-A: $A}}}}]
steps: [{{name: one, command: 'false'}}]
"""
    await desk.ended(await desk.start(text))
    resolved = json.loads((await delivered(desk))[0][4])
    assert [name for name, _ in resolved["env"]] == ["A", "NOTICE_EVENT", "NOTICE_BODY"]
    assert [secret["name"] for secret in resolved["secrets"]] == ["KEY"]
    rows = await desk.worker.store.read("SELECT count(*) FROM events WHERE body LIKE '%hidden%'")
    assert rows == [(0,)]


async def test_a_run_that_could_not_be_prepared_is_told_of(
    desk: Desk, receiver: Receiver, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "hidden")
    text = f"""
env: [A: "`exit 7`"]
secrets: [{{name: KEY, provider: env, key: MY_KEY}}]
notify: [{{webhook: {url}, headers: {{X-Key: "${{KEY}}"}}}}]
steps: [{{name: one, command: 'true'}}]
"""
    await desk.ended(await desk.start(text))
    await delivered(desk)
    assert receiver.taken[0].headers["x-key"] == "hidden"
    assert json.loads(receiver.taken[0].body)["reason"] == "prepare"


async def test_a_notice_whose_job_is_carried_out_twice_is_sent_once(desk: Desk, receiver: Receiver, url: str) -> None:
    text = f"notify: [{{webhook: {url}, on: success}}]\nsteps: [{{name: one, command: 'true'}}]"
    run = await desk.start(text)
    await desk.ended(run)
    await delivered(desk)
    state = await desk.engine.state(f"run:{run}", SCOPE)
    jobs = [effect for effect in notices(state, "success", state.ended_at) if isinstance(effect, Job)]
    row = (jobs[0].id, SCOPE.workspace, SCOPE.environment, jobs[0].kind, jobs[0].stream, 0, 0, 0, "", json.dumps(jobs[0].body))
    await desk.engine.change(lambda: desk.engine.filling.batch.put(JOBS, row))
    desk.engine.jobs.look()

    async def nothing_owed() -> bool:
        return not (await desk.left())["jobs"]

    await desk.until(nothing_owed)
    assert len(await delivered(desk)) == len(receiver.asked) == 1


async def test_each_round_of_a_run_is_told_of(desk: Desk, receiver: Receiver, url: str) -> None:
    run = await desk.start(f"notify: [{{webhook: {url}}}]\nsteps: [{{name: one, command: 'false'}}]", alias="mine", chosen=True)
    await desk.ended(run)
    await delivered(desk)
    await desk.order(run, ReopenRun())
    rows = await delivered(desk, 2)
    assert sorted(json.loads(one.body)["attempt"] for one in receiver.taken) == [1, 2]
    assert {row[1] for row in rows} == {"mine"}


async def test_mail_without_a_server_fails_where_one_can_see_it(desk: Desk) -> None:
    text = "mailOn: {failure: true}\nerrorMail: {from: a@example.org, to: b@example.org}\nsteps: [{name: one, command: 'false'}]"
    await desk.ended(await desk.start(text))
    row = (await delivered(desk))[0]
    assert row[2] == "failed"
    steps = await desk.worker.store.read("SELECT tries, error FROM steps WHERE run = ?", (row[0],))
    assert steps[0][0] == 3 and "no mail server is known" in steps[0][1]


@pytest.mark.parametrize(
    ("notice", "shown"),
    [
        (Notice("mail", params={"to": ["a@x", "b@x"]}), "a@x, b@x"),
        (Notice("webhook", params={"url": "https://u:p@x.example:1/secret?key=1"}), "https://x.example:1"),
        (Notice("webhook", params={"url": "https://x.example?key=1"}), "https://x.example"),
        (Notice("webhook", params={"url": "$HOOK"}), "$HOOK"),
    ],
)
def test_a_delivery_shows_whom_it_is_for_and_no_secret(notice: Notice, shown: str) -> None:
    assert shown_target(notice) == shown
