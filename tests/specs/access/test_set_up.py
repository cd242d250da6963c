"""The first admin by a link."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.specs.tenancy.conftest import PASSWORD, Server

ASTRARIUM = str(Path(sys.executable).parent / "astrarium")
FORM = {"content-type": "application/x-www-form-urlencoded"}
SET_UP = "/api/v1/auth/setup"


def test_the_link_makes_one_admin(tmp_path: Path) -> None:
    server = Server(tmp_path, auth="builtin")
    with server.client:
        token, spare = (server.app.state.tenancy.first.link() for _ in range(2))
        page = server.client.get(SET_UP, params={"token": token})
        assert page.status_code == 200 and token in page.text and "default-src 'none'" in page.headers["content-security-policy"]
        for bad in ("", token[:-3], server.app.state.tenancy.ring.stamp("ticket", {}, 1 << 60)):
            assert server.client.get(SET_UP, params={"token": bad}).status_code == 403
        weak = server.client.post(SET_UP, json={"token": token, "username": "anna", "password": "short"})
        assert weak.status_code == 422, "the link is good still"
        by_curl = {"content": f'{{"token": "{token}", "username": "anna", "password": "short"}}', "headers": FORM}
        assert server.client.post(SET_UP, **by_curl).json()["detail"][0]["loc"] == ["body", "password"], (
            "JSON that is called a form"
        )
        made = server.client.post(SET_UP, data={"token": token, "username": "anna", "password": PASSWORD}, follow_redirects=False)
        assert (made.status_code, made.headers["location"]) == (303, "/")
        assert server.client.get("/api/v2/users").json()["users"][0]["role"] == "admin", "signed in by the cookie"
        server.client.cookies.clear()
        for one in (token, spare):
            again = server.client.post(SET_UP, json={"token": one, "username": "eve", "password": PASSWORD})
            assert again.status_code == 403 and "was used" in again.json()["detail"]
        assert len(server.acts("user.created")) == 1
        assert server.call("POST", "/auth/login", {"username": "anna", "password": PASSWORD})["session_token"]


def test_the_server_prints_it_once(tmp_path: Path) -> None:
    command = [ASTRARIUM, "server", "--auth", "builtin", "--port", "0", "--data-dir", str(tmp_path)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        found = None
        while found is None and (line := server.stderr.readline()):
            found = re.search(r"(http://127\.0\.0\.1:\d+/api/v1/auth/setup\?token=\S+)", line)
        assert found
    finally:
        server.terminate()
        server.wait(10)
