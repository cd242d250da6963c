"""A key that was revoked at one server is refused at every server of its database."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest

from tests.specs.access.test_sign_in import DEADLINE_S, Server

pytestmark = [pytest.mark.net, pytest.mark.postgres]
PASSWORD = "correct-horse-battery"


def test_a_revoked_key_is_refused_everywhere(tmp_path: Path, postgres_database: str) -> None:
    env = {"ASTRARIUM_MASTER_KEY": "m" * 48, "ASTRARIUM_ADMIN_PASSWORD": PASSWORD}
    with contextlib.ExitStack() as stack:
        servers = []
        for name in ("one", "two"):
            server = Server(tmp_path / name / "data", "--auth", "builtin", "--database-url", postgres_database, **env)
            stack.callback(server.stop)
            servers.append(server)
        one, other = servers
        token = one.login("admin", PASSWORD)
        made = one.call("POST", "/api-keys", {"name": "ci", "role": "viewer"}, token).json()
        for server in servers:
            assert server.call("GET", "/dags", token=made["key"]).status_code == 200, "it is at hand now"
        assert one.call("DELETE", f"/api-keys/{made['apiKey']['id']}", token=token).status_code == 204
        assert one.call("GET", "/dags", token=made["key"]).status_code == 401, "at once where it was revoked"
        deadline = time.monotonic() + DEADLINE_S
        while other.call("GET", "/dags", token=made["key"]).status_code != 401:
            assert time.monotonic() < deadline, "the other server never heard of it"
            time.sleep(0.02)
