"""A server error is in the audit log with its traceback and without secrets; the client and the server's log have its id."""

from __future__ import annotations

import base64
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from starlette.requests import Request

from astrarium.config import RemoteNode, Settings
from astrarium.errors import Unavailable
from astrarium.surfaces.tenancy.audit.fault import MASK, MOST_CHARACTERS, Faults, masked, secrets_of
from astrarium.surfaces.tenancy.audit.record import AuditRecord, Wanted, read_page
from astrarium.web.app import create_app
from astrarium.web.problems import Shapes
from tests.surfaces.tenancy.conftest import Open

SETTINGS = {
    "auth_token": "token-of-settings", "auth_username": "ops", "auth_password": "p@ss word/1", "master_key": "m" * 32 + "," + "n" * 32,
    "admin_password": "admin-password", "remote_nodes": {"a": RemoteNode(url="http://a", password="node-password", token="node-token")},
    "database_url": "postgresql://me:s3c:r/e@t@db/runs",
}  # fmt: skip
CREDENTIAL = "the-callers-own-credential"


async def records(engine: Any) -> list[AuditRecord]:
    return (await read_page(engine.store.read, "personal", Wanted(act="error"), 0, 100)).items


@pytest.fixture
async def answered(open_tenancy: Open) -> AsyncIterator[Any]:
    """(raise this, headers) → the answer, and what the audit log has of it."""
    async with open_tenancy() as (_, engine):
        app = create_app(version="1", shapes=Shapes(), body_max_bytes=1000)
        app.state.record_fault = Faults(engine, Settings(**SETTINGS), "local-token").record  # type: ignore[arg-type]
        raised: list[Exception] = []

        async def fail(request: Request) -> Any:
            raise raised.pop()

        app.add_route("/fail/{rest:path}", fail, methods=["GET"])

        async def ask(error: Exception, path: str = "x", **headers: str) -> tuple[httpx2.Response, list[AuditRecord]]:
            raised.append(error)
            transport = httpx2.ASGITransport(app)
            async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
                return await client.get(f"/fail/{path}", headers=headers), await records(engine)

        yield ask, engine, app


async def test_the_audit_log_has_the_traceback(answered: Any, caplog: pytest.LogCaptureFixture) -> None:
    ask, engine, _ = answered
    with caplog.at_level(logging.ERROR, "astrarium.web"):
        answer, (record,) = await ask(RuntimeError("what went wrong"), **{"x-request-id": "r-17"})
    error_id = answer.json()["error_id"]
    assert answer.status_code == 500 and "went wrong" not in answer.text
    assert (record.act, record.subject, record.actor) == ("error", f"error:{error_id}", "user")
    assert record.detail["traceback"].endswith("RuntimeError: what went wrong\n")
    assert "in fail\n" in record.detail["traceback"]
    assert {name: record.detail[name] for name in ("method", "path", "request_id", "kind")} == {
        "method": "GET", "path": "/fail/x", "request_id": "r-17", "kind": "RuntimeError",
    }  # fmt: skip
    assert error_id in caplog.text and "r-17" in caplog.text and "went wrong" not in caplog.text
    (found,) = (await read_page(engine.store.read, "personal", Wanted(subject=f"error:{error_id}"), 0, 1)).items
    assert found == record


async def test_no_secret_gets_into_it(answered: Any) -> None:
    ask, _, _ = answered
    hidden = [*secrets_of(Settings(**SETTINGS)), "local-token", CREDENTIAL]  # type: ignore[arg-type]
    assert len(hidden) == len(set(hidden)) and all(hidden) and {"s3c:r/e@t", "n" * 32} <= set(hidden)
    forms = [*hidden, *(quote(one, safe="") for one in hidden), *(base64.b64encode(one.encode()).decode() for one in hidden)]
    _, (record,) = await ask(ValueError(" | ".join(forms)), path=quote(hidden[0]), **{"x-api-key": CREDENTIAL})
    assert [one for one in forms if one in record.detail["traceback"]] == []
    assert hidden[0] not in record.detail["path"]


async def test_what_a_caller_showed_is_masked_decoded_too(answered: Any) -> None:
    ask, _, _ = answered
    basic = base64.b64encode(b"ops:password-of-caller").decode()
    _, (record,) = await ask(ValueError(f"{basic} password-of-caller"), authorization=f"Basic {basic}")
    assert "password-of-caller" not in record.detail["traceback"] and basic not in record.detail["traceback"]


@pytest.mark.parametrize("text", [
    "key sk_0a1b2c_abcdefghijklmnopqrstuvwxyz012345", "dagu_wh_abcdefghijklmnop", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2lnbmF0dXJl",
    "postgresql://me:hunter2hunter2@db/x", "Authorization: Bearer abcdefgh12345678", "Basic YWxhZGRpbjpvcGVu",
])  # fmt: skip
def test_what_looks_secret_is_masked(text: str) -> None:
    shown = masked(text, ())
    assert MASK in shown
    assert not any(part in shown for part in ("abcdefgh", "hunter2", "c2lnbmF0", "YWxhZGRpbjpvcGVu"))


def test_other_text_stays() -> None:
    text = 'File "/src/x.py", line 3, in task_sketch\n  basic idea: see https://example.org:8080/a@b, the bearer of news'
    assert masked(text, ("", " ")) == text


async def test_a_long_traceback_keeps_its_end(answered: Any) -> None:
    ask, _, _ = answered
    _, (record,) = await ask(RuntimeError("x" * 100_000 + " the end"))
    assert len(record.detail["traceback"]) == MOST_CHARACTERS and record.detail["traceback"].endswith("the end\n")


async def test_when_it_cannot_be_kept_the_servers_log_has_it(answered: Any, caplog: pytest.LogCaptureFixture) -> None:
    ask, _, app = answered

    async def away(*_: Any) -> None:
        raise Unavailable("the store is away")

    app.state.record_fault = away
    with caplog.at_level(logging.ERROR, "astrarium.web"):
        answer, kept = await ask(RuntimeError("what went wrong"))
    assert (answer.status_code, kept) == (500, [])
    assert "the store is away" in caplog.text and "what went wrong" in caplog.text


async def test_a_refusal_is_no_error_of_ours(answered: Any) -> None:
    ask, _, _ = answered
    answer, kept = await ask(Unavailable("not now"))
    assert (answer.status_code, kept) == (503, [])
