"""What the newest published client was recorded to say, sent again to our server: it is answered as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.specs.tenancy.conftest import Server, serve  # noqa: F401  (a fixture)

RECORDED = Path(__file__).resolve().parents[4] / "shared" / "contracts" / "stardag_client_session.jsonl"
CLIENT = "stardag 0.28.0"
OTHERWISE = {
    ("settings_and_limits", "DELETE"): "the contract has 204 where the recording has 200",
    ("cli2:limits", "DELETE"): "the same",
    ("invalidate_deleted_target", "POST"): "what was seen then is older than what was completed now",
    ("reads", "GET"): "a cursor is its own server's",
}


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded session is not here")
def test_recorded_calls_are_answered_as_they_were(serve: Callable[..., Server]) -> None:  # noqa: F811
    client = serve().client
    asked, differing = 0, []
    for line in RECORDED.read_text().splitlines():
        row: dict[str, Any] = json.loads(line)
        if row["client"] != CLIENT or not row["path"].startswith("/api/v2/"):
            continue
        asked += 1
        answer = client.request(row["method"], row["path"], params=row.get("query") or None, json=row["request_body"] or None)
        if answer.status_code != row["status"] and (row["scenario"], row["method"]) not in OTHERWISE:
            differing.append((row["scenario"], row["method"], row["path"], row["status"], answer.status_code, answer.text[:200]))
    assert asked > 150 and differing == []
