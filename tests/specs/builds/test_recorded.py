"""Calls of real clients (0.1.6 to 0.26.0) and hand-written probes, recorded against the original server, answered alike: the same status
and the same shape. What we do better on purpose is in `DIFFERS`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.specs.tenancy.conftest import Server, serve  # noqa: F401  (a fixture)

FILE = Path(__file__).resolve().parents[4] / "shared" / "contracts" / "stardag_client_session.jsonl"
OWNED = re.compile(r"/api/v1/(builds|tasks|locks|nope)(/|$)")
LATER = ("/tasks/bulk", "/artifacts", "/dependencies")
"""Routes the recorded server did not have."""
CLIENTS = ("stardag 0.1.6", "stardag 0.4.0", "stardag 0.22.0", "stardag 0.26.0", "hand-written probe")
PROBES = ("builds", "tasks_in_build", "tasks", "search", "locks", "build_end", "method_errors")
"""The others were asked of a server with sign-in, or of one set up by hand in its database: they have tests of their own."""

Rows = dict[str, list[dict[str, Any]]]


def recorded() -> Rows:
    found: Rows = {}
    if FILE.is_file():
        for line in FILE.read_text().splitlines():
            row = json.loads(line)
            path = row["path"]
            name = row["scenario"].removeprefix("probe:")
            meant = row["client"] in CLIENTS and (name == row["scenario"] or name in PROBES)
            if meant and OWNED.match(path):
                found.setdefault(row["scenario"] if name == row["scenario"] else "probe", []).append(row)
    return found


ROWS = recorded()


def differs(row: dict[str, Any]) -> int:
    """The status we answer where it is another on purpose."""
    if row["status"] == 404 and any(part in row["path"] for part in LATER):
        return 201 if row["method"] == "POST" and "/dependencies" not in row["path"] else 200
    if row["path"].endswith("/acquire") and (row["request_body"] or {}).get("ttl_seconds", 1) < 1:
        return 422  # a lease that is over when it begins
    if row["status"] == 500:
        return 422 if "abc" in row["query"]["filter"] else 200  # `>` with no number; by build, by time, with a quote in the path
    return int(row["status"])


def shape_of(value: Any) -> Any:
    """Names and kinds; of lists the first item."""
    if isinstance(value, dict):
        return {name: shape_of(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape_of(value[0])] if value else []
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__


def fits(ours: Any, theirs: Any) -> bool:
    """Whether all they have is there; null fits everything, we may say more."""
    if ours == "NoneType" or theirs == "NoneType":
        return True
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and all(name in ours and fits(ours[name], part) for name, part in theirs.items())
    if isinstance(theirs, list):
        return isinstance(ours, list) and (not theirs or not ours or fits(ours[0], theirs[0]))
    return bool(ours == theirs)


class Replay:
    """Their ids, and which ones are ours."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.ids: dict[str, str] = {}

    def ask(self, row: dict[str, Any]) -> None:
        query = {name: self.ours(value) for name, value in row["query"].items() if name != "environment_id"}
        body = row["request_body"]
        text = body if isinstance(body, str) else json.dumps(body) if body is not None else None
        path = self.ours(row["path"])
        answer = self.server.client.request(
            row["method"], path, params=query, content=self.ours(text) if text else None,
            headers={"content-type": "application/json"} if text else {},
        )  # fmt: skip
        wanted = differs(row)
        assert answer.status_code == wanted, (row["method"], path, answer.text)
        if wanted == row["status"]:
            theirs = {} if row["status"] == 422 else row["response_body"]
            said = answer.json()
            assert fits(shape_of(said), shape_of(theirs)), (row["method"], path, said, theirs)
            if row["status"] in (404, 405):
                assert said == theirs
            if row["path"] == "/api/v1/builds" and row["method"] == "POST" and row["status"] == 201:
                self.ids[theirs["id"]] = said["id"]
            if "status" in theirs and isinstance(theirs, dict):
                assert said["status"] == theirs["status"], (path, said, theirs)

    def ours(self, text: str) -> str:
        for theirs, ours in self.ids.items():
            text = text.replace(theirs, ours)
        return text


@pytest.mark.parametrize("scenario", sorted(ROWS) or ["(none)"])
def test_recorded_calls_are_answered_alike(scenario: str, serve: Callable[..., Server], require: Any) -> None:  # noqa: F811
    require("shared", bool(ROWS), "the recorded session is not beside this checkout")
    replay = Replay(serve())
    for row in ROWS[scenario]:
        replay.ask(row)
