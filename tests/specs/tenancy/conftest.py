"""A server within this process, and people who call it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from starlette.testclient import TestClient

from astrarium.config import Settings
from astrarium.kernel.record.entry import PutEntry, put_entry
from astrarium.kernel.types import Scope
from astrarium.server import create_app
from astrarium.spec.ids import uuid7
from astrarium.surfaces.tenancy.catalog import HANDLE
from astrarium.surfaces.tenancy.token import new_key
from astrarium.web.caller import LOCAL_OWNER

PASSWORD = "correct-horse"
HELLO = "steps:\n  - name: a\n    command: sleep ${FOR:-0}\n"


class Server:
    """A server and what tests ask of it. `call` gives the answer's body after its status was looked at."""

    def __init__(self, folder: Path, **more: Any) -> None:
        (folder / "dags").mkdir(parents=True, exist_ok=True)
        (folder / "dags" / "hello.yaml").write_text(HELLO)
        self.folder = folder
        self.app = create_app(Settings(data_dir=folder, drain_timeout_s=0, **more))
        self.client = TestClient(self.app, base_url="http://127.0.0.1", raise_server_exceptions=True)

    def __enter__(self) -> Self:
        self.client.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.__exit__(None, None, None)

    def ask(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return self.client.request(method, "/api" + path, json=body, headers=headers)

    def call(self, method: str, path: str, body: Any = None, token: str = "", status: int = 200) -> Any:
        answer = self.ask(method, path if path.startswith("/v2") else "/v1" + path, body, token)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def refused(self, status: int, detail: str, method: str, path: str, body: Any = None, token: str = "") -> None:
        """A refusal: its status and its words."""
        assert self.call(method, path, body, token, status) == {"detail": detail}

    def user(self, admin: str, name: str, role: str = "manager") -> str:
        """A new user who has signed in: their token."""
        self.call("POST", "/v2/users", {"username": name, "password": PASSWORD, "role": role}, admin, 201)
        return self.login(name)

    def login(self, name: str) -> str:
        return str(self.call("POST", "/v2/auth/login", {"username": name, "password": PASSWORD})["token"])

    def odd_key(self, role: str, scope: Scope = LOCAL_OWNER.scope, expires_at: int = 0) -> str:
        """A key no route would make."""
        tenancy, engine = self.app.state.tenancy, self.app.state.worker.engine
        text = new_key(scope.workspace, scope.environment)
        body = {"role": role, "environment": scope.environment, "prefix": text[:8], "expires_at": expires_at, "mark": text[3:11]}
        order = PutEntry(text[:HANDLE], body, "user:local", text[:HANDLE], tenancy.ring.seal(text))
        assert self.client.portal is not None
        self.client.portal.call(put_entry, engine, scope, LOCAL_OWNER.actor, "key", uuid7(), order, "key.created")
        return text

    def team(self, token: str, slug: str) -> tuple[str, str]:
        """Paths of a new workspace and of its first environment."""
        path = f"/workspaces/{self.call('POST', '/workspaces', {'name': slug.title(), 'slug': slug}, token, 201)['id']}"
        return path, f"{path}/environments/{self.call('GET', path + '/environments', token=token)[0]['id']}"

    def sql(self, text: str) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.folder / "astrarium.db") as db:
            return db.execute(text).fetchall()

    def head(self) -> Any:
        """How many changes of entries there were, notes of use aside."""
        return self.sql("SELECT count(*) FROM events WHERE stream LIKE 'entry:%' AND type <> 'EntryTouched'")

    def acts(self, what: str) -> list[tuple[Any, ...]]:
        return self.sql(f"SELECT workspace, actor, subject FROM audit WHERE act = '{what}' ORDER BY at, number")


@contextmanager
def one_after_the_other(folder: Path) -> Iterator[Callable[..., Server]]:
    """Opens servers over one folder; the one before is closed first."""
    opened: list[Server] = []

    def close() -> None:
        while opened:
            opened.pop().__exit__()

    def serving(**more: Any) -> Server:
        close()
        opened.append(Server(folder, **more).__enter__())
        return opened[0]

    yield serving
    close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Servers over the folder of this test."""
    with one_after_the_other(tmp_path) as serving:
        yield serving


@pytest.fixture
def open_server(serve: Callable[..., Server]) -> Server:
    """A server without sign-in: everybody is the local owner."""
    return serve()


@pytest.fixture
def house(serve: Callable[..., Server]) -> tuple[Server, str]:
    """A server with sign-in, and its admin's token."""
    server = serve(auth="builtin", admin_password=PASSWORD)
    return server, server.login("admin")
