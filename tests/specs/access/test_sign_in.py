"""The server with sign-in as its users meet it: the command line, a port, a restart."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.served import announced

pytestmark = pytest.mark.net
DEADLINE_S = 30.0
DAG = "steps:\n  - name: a\n    command: env; sleep ${FOR:-0}\n"


def command(folder: Path, *words: str, text: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "astrarium", *words, "--data-dir", str(folder)], input=text, capture_output=True, text=True,
        timeout=60, check=False, env={**os.environ, **env}, cwd=folder.parent,
    )  # fmt: skip


class Server:
    def __init__(self, folder: Path, *words: str, **env: str) -> None:
        (folder / "dags").mkdir(parents=True, exist_ok=True)
        (folder / "dags" / "hello.yaml").write_text(DAG)
        self.folder = folder
        self.log = (folder.parent / "server.log").open("a+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "astrarium", "server", "--data-dir", str(folder), "--port", "0", *words],
            stdout=self.log, stderr=self.log, env={**os.environ, **env}, cwd=folder.parent,
        )  # fmt: skip
        port = announced(self.process, folder, self.said)["url"].rpartition(":")[2]
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{port}/api/v2", timeout=DEADLINE_S)

    def said(self) -> str:
        self.log.seek(0)
        return self.log.read()

    def call(self, method: str, path: str, body: Any = None, token: str = "", **headers: str) -> Any:
        if token:
            headers["authorization"] = f"Bearer {token}"
        return self.client.request(method, path, json=body, headers=headers)

    def login(self, name: str, password: str) -> str:
        answer = self.call("POST", "/auth/login", {"username": name, "password": password})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["token"])

    def stop(self) -> None:
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(DEADLINE_S)
        self.log.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    made: list[Server] = []

    def started(*words: str, **env: str) -> Server:
        made.append(Server(tmp_path / "data", *words, **env))
        return made[-1]

    yield started
    for server in made:
        server.stop()


def test_from_the_first_user_to_a_restart(tmp_path: Path, start: Callable[..., Server]) -> None:
    folder = tmp_path / "data"
    made = command(folder, "admin", "create", "--generate")
    assert made.returncode == 0, made.stderr
    password = made.stdout.rpartition(": ")[2].strip()
    server = start("--auth", "builtin", "--host", "0.0.0.0")
    assert server.call("GET", "/dags").status_code == 401
    token = server.login("admin", password)
    assert server.call("GET", "/dags", token=token, host="dags.example").status_code == 200
    key = server.call("POST", "/api-keys", {"name": "ci", "role": "operator"}, token).json()["key"]
    # beside the live server: the same command goes through it
    more = command(folder, "admin", "create", "--username", "bob", "--role", "viewer", "--password-stdin", text="correct-horse\n")
    assert more.returncode == 0, more.stderr
    again = command(folder, "admin", "create", "--username", "bob", "--generate")
    assert again.returncode == 1 and "already" in again.stderr
    bob = server.login("bob", "correct-horse")
    # the commands of whoever owns the data folder need no sign-in
    assert server.call("POST", "/dags/hello/start", {"dagRunId": "long", "params": "FOR=60"}, key).status_code == 200
    stopped = command(folder, "stop", "long", "--wait")
    assert stopped.returncode == 0, stopped.stderr
    assert server.call("POST", "/dags/hello/start", {}, bob).status_code == 403
    server.stop()
    assert password not in server.folder.joinpath("../server.log").read_text()
    server = start("--auth", "builtin")
    for credential, role in ((token, "admin"), (bob, "viewer"), (key, "operator")):
        assert server.call("GET", "/auth/me", token=credential).json()["user"]["role"] == role


def test_the_names_dagu_uses(start: Callable[..., Server]) -> None:
    server = start(
        "--host", "0.0.0.0", DAGU_AUTH_MODE="builtin", DAGU_AUTH_TOKEN="static-token", DAGU_AUTH_BASIC_USERNAME="ops",
        DAGU_AUTH_BASIC_PASSWORD="ops-password", DAGU_AUTH_ADMIN_USERNAME="root", DAGU_AUTH_ADMIN_PASSWORD="correct-horse",
    )  # fmt: skip
    assert server.call("GET", "/users", token="static-token").json()["users"][0]["username"] == "root"
    assert server.client.get("/users", auth=("ops", "ops-password")).status_code == 200
    refused = server.client.get("/users", auth=("ops", "wrong"))
    assert refused.status_code == 401 and "Basic" in refused.headers["www-authenticate"]
    token = server.login("root", "correct-horse")
    assert server.call("POST", "/dags/hello/start", {"dagRunId": "r"}, token).status_code == 200
    end = time.monotonic() + DEADLINE_S
    while (run := server.call("GET", "/dag-runs/hello/r", token=token).json()["dagRunDetails"])["status"] != 4:
        assert time.monotonic() < end, run
        time.sleep(0.02)
    seen = server.call("GET", "/dag-runs/hello/r/steps/a/log", token=token).json()["content"]
    assert "DAG_NAME=hello" in seen
    for secret in ("static-token", "ops-password", "correct-horse"):
        assert secret not in seen, "a step never sees the server's own secrets"


def test_a_server_without_sign_in_listens_on_loopback_only(tmp_path: Path) -> None:
    refused = command(tmp_path / "data", "server", "--host", "0.0.0.0")
    assert refused.returncode == 2 and "no authentication" in refused.stderr and "--auth builtin" in refused.stderr


def test_settings_never_show_a_secret(tmp_path: Path) -> None:
    secret = "s" * 40
    env = {
        f"ASTRARIUM_{name}": secret for name in ("AUTH_TOKEN", "AUTH_USERNAME", "AUTH_PASSWORD", "ADMIN_PASSWORD", "MASTER_KEY")
    }
    env["ASTRARIUM_DATABASE_URL"] = f"postgresql://me:{secret}@db/x"
    for words in (("config", "show"), ("config", "show", "--json")):
        shown = command(tmp_path / "data", *words, **{**env, "ASTRARIUM_AUTH_USERNAME": "ops"})
        assert shown.returncode == 0 and "(set)" in shown.stdout and secret not in shown.stdout
    wrong = command(
        tmp_path / "data", "config", "show", ASTRARIUM_AUTH="oidc-x", ASTRARIUM_DATABASE_URL=f"mysql://me:{secret}@db"
    )
    assert wrong.returncode == 2 and secret not in wrong.stderr


def test_admin_says_what_it_wants(tmp_path: Path) -> None:
    for words, told in (
        (("admin", "create"), "--generate"), (("admin", "delete"), "not `delete`"),
        (("admin", "create", "--role", "root", "--generate"), "must be one of"),
    ):  # fmt: skip
        done = command(tmp_path / "data", *words)
        assert done.returncode != 0 and told in done.stderr, done.stderr
    short = command(tmp_path / "data", "admin", "create", "--password-stdin", text="short\n")
    assert short.returncode == 1 and "8 to 1024" in short.stderr
    assert command(tmp_path / "data", "admin", "rotate-key").returncode == 0
    assert len((tmp_path / "data" / "keys" / "master.key").read_text().splitlines()) == 2
