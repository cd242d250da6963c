"""Containers of an engine that answers like Docker's. Tests that ask `engine` alone also run against a real one when it is named."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from astrarium.plugins.steps import docker as module
from astrarium.plugins.steps.docker import STEP, DockerParams
from astrarium.plugins.steps.docker_leftovers import note_engine, remove_leftovers
from astrarium.plugins.steps.docker_order import auth_for, bind, body_of, ports_of, words_of
from astrarium.plugins.steps.engine_api import Engine, find_engine, split_image
from astrarium.runs.ports import StepFailed
from tests.contracts.step import FakeTry
from tests.engine import IMAGE, FakeEngine, fake_engine

pytestmark = pytest.mark.net
REAL = os.environ.get("ASTRARIUM_TEST_ENGINE", "")


@pytest.fixture
async def fake(tmp_path: Path) -> AsyncIterator[tuple[str, FakeEngine]]:
    async with fake_engine(tmp_path) as found:
        yield found


@pytest.fixture(params=["fake", "real"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The address of an engine in which every test leaves nothing behind."""
    if request.param == "fake":
        async with fake_engine(tmp_path) as (address, _):
            yield address
            assert not await containers(address)
    elif not REAL:
        pytest.skip("engine: ASTRARIUM_TEST_ENGINE names none")
    else:
        yield REAL
        assert not await containers(REAL)


async def containers(address: str, label: str = "astrarium.run=run-1") -> list[str]:
    client = Engine(address)
    try:
        return await client.labelled(label)
    finally:
        await client.close()


@pytest.fixture
async def there(ctx: FakeTry, engine: str) -> AsyncIterator[FakeTry]:
    """A try whose engine it is."""
    ctx.declared_env = {"DOCKER_HOST": engine, "WHO": "anna"}
    yield ctx
    await ctx.kept.close_all()


@pytest.fixture
def near(ctx: FakeTry, fake: tuple[str, FakeEngine]) -> FakeEngine:
    """The fake engine, for tests that look into it; `ctx` is its try."""
    ctx.declared_env = {"DOCKER_HOST": fake[0], "WHO": "anna"}
    return fake[1]


async def printed(ctx: FakeTry, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in ctx.out:
            await asyncio.sleep(0.01)


async def test_a_container_of_its_own(there: FakeTry) -> None:
    result = await there.run(STEP, image=IMAGE, env=[["A", "x y"]], commands=['echo "$WHO $A"; echo bad >&2'])
    assert result.exit_code == 0 and (there.out, there.err) == ("anna x y\n", "bad\n")


async def test_the_exit_code(there: FakeTry) -> None:
    result = await there.run(STEP, image=IMAGE, shell=["sh"], commands=["echo why >&2; exit 3"])
    assert (result.outcome, result.exit_code, result.error) == ("failed", 3, "exit code 3\nwhy")


async def test_several_commands_and_scripts(there: FakeTry) -> None:
    result = await there.run(STEP, image=IMAGE, commands=["echo one", "echo two; exit 4", "echo never"])
    assert (result.exit_code, there.out) == (4, "one\ntwo\n")
    result = await there.run(STEP, image=IMAGE, script='echo "s $WHO"\nexit 5')
    assert result.exit_code == 5 and there.out.endswith("s anna\n")
    result = await there.run(STEP, image=IMAGE, command="sh -x", script="exit 6")
    assert result.exit_code == 6 and "+ exit 6" in there.err


async def test_a_program_that_is_not_there(there: FakeTry) -> None:
    with pytest.raises(StepFailed, match=r"nope.*not found") as caught:
        await there.run(STEP, image=IMAGE, commands=["nope"])
    assert caught.value.exit_code == 127


async def test_a_stop_of_its_own_container(there: FakeTry) -> None:
    running = asyncio.create_task(there.run(STEP, image=IMAGE, commands=["trap 'exit 9' TERM; echo go; sleep 100 & wait"]))
    await printed(there, "go")
    await there.stop()
    assert (await running).exit_code == 9


async def test_one_that_ignores_the_stop_is_killed(there: FakeTry) -> None:
    running = asyncio.create_task(there.run(STEP, image=IMAGE, commands=["trap '' TERM; echo go; while :; do sleep 1; done"]))
    await printed(there, "go")
    await there.stop(15, 600)
    await there.stop(15, 0.05)
    result = await running
    assert (result.exit_code, result.error) == (137, "ended by signal 9")


async def test_a_cancel_removes_it(there: FakeTry) -> None:
    running = asyncio.create_task(there.run(STEP, image=IMAGE, commands=["echo go; sleep 100"]))
    await printed(there, "go")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_the_container_of_the_run(there: FakeTry, engine: str) -> None:
    """One container for all steps, even those that begin together; it is there until the run ends."""
    told = {"image": IMAGE, "shared": True}
    both = await asyncio.gather(*(there.run(STEP, **told, commands=["echo $WHO"]) for _ in range(2)))
    assert [one.exit_code for one in both] == [0, 0] and there.out == "anna\nanna\n"
    assert (await there.run(STEP, **told, script="exit 6")).exit_code == 6
    assert len(await containers(engine)) == 1
    await there.kept.close(there.run_id)
    assert not await containers(engine)


async def test_a_stop_in_the_container_of_the_run(there: FakeTry, engine: str) -> None:
    running = asyncio.create_task(there.run(STEP, image=IMAGE, shared=True, commands=["echo go; sleep 100; true"]))
    await printed(there, "go")
    await there.stop()
    assert (await running).exit_code == 143
    there.stopping.clear()
    assert (await there.run(STEP, image=IMAGE, shared=True, commands=["echo still there"])).exit_code == 0


async def test_secrets_are_masked(there: FakeTry) -> None:
    there.redact = ("s3cret-value",)
    await there.run(STEP, image=IMAGE, commands=["printf s3cret; sleep 0.05; echo -value"])
    assert there.out == "*******\n"


async def test_ready_by_its_log(there: FakeTry) -> None:
    serve = ["sh", "-c", "echo starting; sleep 0.1; echo now ready; sleep 100"]
    told = {"image": IMAGE, "startup": "command", "startup_command": serve, "commands": ["echo x"]}
    assert (await there.run(STEP, **told, log_pattern="read[y]$")).exit_code == 0
    with pytest.raises(StepFailed, match=r"never matched|before it was ready"):
        await there.run(STEP, **{**told, "startup_command": ["echo", "other"]}, log_pattern="ready", wait_for="")


async def test_one_that_ends_before_it_is_ready(ctx: FakeTry, near: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"image": IMAGE, "startup": "command", "startup_command": ["sh", "-c", "sleep 100"], "commands": ["true"]}
    with pytest.raises(StepFailed, match="none"):
        await ctx.run(STEP, **told, wait_for="healthy")
    monkeypatch.setattr(module, "READY_WITHIN_S", 0.2)
    with pytest.raises(StepFailed, match=r"not ready within 0\.2 s"):
        await ctx.run(STEP, **told, log_pattern="never")
    assert not near.boxes


async def test_waiting_for_health(ctx: FakeTry, near: FakeEngine) -> None:
    raw = {"Labels": {"test.health": "starting"}}
    running = asyncio.create_task(ctx.run(STEP, image=IMAGE, wait_for="healthy", raw_container=raw, commands=["echo x"]))
    async with asyncio.timeout(20):
        while not near.boxes or "GET /events" not in near.asked:
            await asyncio.sleep(0.01)
    assert ctx.out == ""
    next(iter(near.boxes.values())).health = "healthy"
    async with asyncio.timeout(20):
        while not running.done():
            await near.tell()
            await asyncio.sleep(0.01)
    assert (await running).exit_code == 0 and ctx.out == "x\n"


async def test_an_existing_container(ctx: FakeTry, near: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    client = Engine(ctx.declared_env["DOCKER_HOST"])
    container = await client.create({"Image": IMAGE, "Cmd": ["sleep", "100"]}, "web", "")
    running = asyncio.create_task(ctx.run(STEP, exec="web", commands=["echo in"]))
    async with asyncio.timeout(20):
        while "GET /events" not in near.asked:
            await asyncio.sleep(0.01)
    await client.start(container)
    async with asyncio.timeout(20):
        while not running.done():
            await near.tell()
            await asyncio.sleep(0.01)
    assert (await running).exit_code == 0 and ctx.out == "in\n" and len(near.boxes) == 1
    monkeypatch.setattr(module, "READY_WITHIN_S", 0.2)
    with pytest.raises(StepFailed, match=r"no container named nobody is running after 0\.2 s"):
        await ctx.run(STEP, exec="nobody", commands=["true"])
    await client.close()


async def test_pulling(ctx: FakeTry, near: FakeEngine) -> None:
    near.registry = {"ghcr.io/a/b:1"}
    told = {"image": "ghcr.io/a/b:1", "commands": ["true"]}
    with pytest.raises(StepFailed, match="no such image"):
        await ctx.run(STEP, **told, pull="never")
    ctx.variables["TOKEN"] = "t0k"
    auths = {"ghcr.io": {"username": "anna", "password": "${TOKEN}"}}
    assert (await ctx.run(STEP, **told, registry_auths=auths)).exit_code == 0
    assert json.loads(base64.urlsafe_b64decode(near.auths[0])) == {
        "username": "anna",
        "password": "t0k",
        "serveraddress": "ghcr.io",
    }
    assert "Pulling ghcr.io/a/b:1" in ctx.err
    await ctx.run(STEP, **told)
    assert len(near.auths) == 1
    await ctx.run(STEP, **told, pull="always")
    assert near.auths[1:] == [""]
    with pytest.raises(StepFailed, match=r"cannot pull x/y: manifest unknown"):
        await ctx.run(STEP, image="x/y", commands=["true"])


async def test_names_and_keeping(ctx: FakeTry, near: FakeEngine) -> None:
    assert (await ctx.run(STEP, image=IMAGE, name="mine", keep=True, commands=["true"])).exit_code == 0
    [box] = near.boxes.values()
    assert box.name == "mine" and "astrarium.worker" not in box.body["Labels"]
    with pytest.raises(StepFailed, match="a container named mine is there already; remove it with `docker rm -f mine`"):
        await ctx.run(STEP, image=IMAGE, name="mine", commands=["true"])


async def test_what_a_dead_server_left_is_removed(ctx: FakeTry, near: FakeEngine, tmp_path: Path) -> None:
    address = ctx.declared_env["DOCKER_HOST"]
    notes = tmp_path / "notes"
    client = Engine(address)
    for worker in ("dead", "alive"):
        note_engine(notes, worker, address)
        note_engine(notes, worker, address)
        await client.start(
            await client.create({"Image": IMAGE, "Cmd": ["sleep", "100"], "Labels": {"astrarium.worker": worker}}, "", "")
        )
    note_engine(notes, "far", f"unix://{tmp_path}/none.sock")
    await client.close()
    assert await asyncio.to_thread(remove_leftovers, ["dead", "far", "unknown"], notes) == 1
    assert [box.body["Labels"]["astrarium.worker"] for box in near.boxes.values()] == ["alive"]
    assert sorted(path.name for path in notes.iterdir()) == ["alive.engines", "far.engines"]


async def test_a_try_leaves_its_note_before_its_container(ctx: FakeTry, near: FakeEngine) -> None:
    await ctx.run(STEP, image=IMAGE, commands=["true"])
    assert (ctx.notes / "worker-1.engines").read_text() == ctx.declared_env["DOCKER_HOST"] + "\n"
    labels = near.made[0]["Labels"]
    assert labels == {"astrarium.worker": "worker-1", "astrarium.run": "run-1", "astrarium.step": "step", "astrarium.try": "1"}


async def test_an_engine_that_is_not_there(ctx: FakeTry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ctx.declared_env = {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    with pytest.raises(StepFailed, match=r"engine at unix:///.*none\.sock cannot be reached"):
        await ctx.run(STEP, image=IMAGE, commands=["true"])
    with pytest.raises(StepFailed, match="only unix:// and tcp:// are supported"):
        Engine("ssh://box")
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(Path, "is_socket", lambda path: False)
    with pytest.raises(StepFailed, match="start Docker or Podman's service, or set DOCKER_HOST"):
        find_engine({})


def test_the_body_of_a_container(tmp_path: Path) -> None:
    params = DockerParams(
        image="a", env=(("B", "2"),), volumes=("./d:/d:ro", "data:/data"), user="1:2", working_dir="/w", network="host",
        ports=("8080:80",), restart_policy="always", raw_container={"Hostname": "h", "Env": ["X=1"]},
        raw_host={"Memory": 5, "AutoRemove": True, "Binds": ["/x:/x"]}, raw_network={"EndpointsConfig": {}},
    )  # fmt: skip
    assert body_of(params, tmp_path, {"A": "1"}, {"l": "v"}) == {
        "Hostname": "h", "Image": "a", "Tty": False, "AttachStdout": True, "AttachStderr": True, "Env": ["X=1", "A=1", "B=2"],
        "Labels": {"l": "v"}, "User": "1:2", "WorkingDir": "/w", "ExposedPorts": {"80/tcp": {}},
        "HostConfig": {
            "Memory": 5, "Binds": ["/x:/x", f"{tmp_path}/d:/d:ro", "data:/data"], "NetworkMode": "host",
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}, "RestartPolicy": {"Name": "always"},
        },
        "NetworkingConfig": {"EndpointsConfig": {}},
    }  # fmt: skip
    assert (tmp_path / "d").is_dir()


def test_ports_and_volumes(tmp_path: Path) -> None:
    assert ports_of(("80", "8080:80", "127.0.0.1:53:53/udp", "[::1]:1:2")) == {
        "80/tcp": [{"HostIp": "", "HostPort": ""}, {"HostIp": "", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
        "2/tcp": [{"HostIp": "[::1]", "HostPort": "1"}],
    }
    for wrong in ("x", "80:x", "80/what", ""):
        with pytest.raises(StepFailed, match="a port is written"):
            ports_of((wrong,))
    for wrong in ("/only", "a:b", ""):
        with pytest.raises(StepFailed, match="a volume is written"):
            bind(wrong, tmp_path)


def test_words_of_a_command() -> None:
    assert words_of("ls -l 'a b'", ()) == ["ls", "-l", "a b"]
    assert words_of("echo $X | cat", ()) == ["sh", "-e", "-c", "echo $X | cat"]
    assert words_of("ls", ("bash", "-x")) == ["bash", "-x", "-c", "ls"]
    with pytest.raises(StepFailed, match="cannot split"):
        words_of("echo 'open", ())


def test_images_and_credentials() -> None:
    found = [split_image(image) for image in ("a", "a:1", "h:5000/a", "h:5000/a:2", "a@sha256:ff")]
    assert found == [("a", "latest"), ("a", "1"), ("h:5000/a", "latest"), ("h:5000/a", "2"), ("a", "sha256:ff")]
    hidden = base64.b64encode(b"u:p:q").decode()
    expected = {"username": "u", "password": "p:q", "serveraddress": "docker.io"}
    assert auth_for("alpine", {"docker.io": hidden}) == expected
    assert auth_for("alpine", {"docker.io": {"auth": hidden}}) == expected
    assert auth_for("alpine", json.dumps({"auths": {"docker.io": {"auth": hidden}}})) == expected
    assert auth_for("alpine", {"docker.io": json.dumps({"username": "u", "password": "p:q"})}) == expected
    other = auth_for("a/b", {"https://index.docker.io/v1/": {"username": "u", "password": "p"}})
    assert other and other["serveraddress"] == "https://index.docker.io/v1/"
    assert auth_for("ghcr.io/a", {"docker.io": hidden}) is None and auth_for("a", "") is None
    for wrong in ({"docker.io": "no base64!"}, "no json"):
        with pytest.raises(StepFailed):
            auth_for("alpine", wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("told", [{}, {"image": "a", "exec": "b"}])
async def test_either_an_image_or_a_container(ctx: FakeTry, told: dict[str, Any]) -> None:
    with pytest.raises(Exception, match="needs `image` or `exec`"):
        await ctx.run(STEP, **told)
