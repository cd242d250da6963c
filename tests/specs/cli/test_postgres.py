"""The commands on a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.specs.cli.room import Room


@pytest.mark.postgres
@pytest.mark.all
def test_run_and_read(tmp_path: Path, postgres_database: str) -> None:
    room = Room(tmp_path)
    room.env["ASTRARIUM_DATABASE_URL"] = postgres_database
    room.write("hello.yaml", "steps:\n  - name: a\n    command: echo hello\n    output: SAID\n")
    document = room.document("run", "hello.yaml", "--run-id", "r1")
    assert (document["status"], document["outputs"]) == ("succeeded", {"said": "hello"})
    assert room.ok("runs").startswith("r1\thello\tsucceeded\t")
    assert room.ok("logs", "r1", "a") == "hello\n"
    assert room.document("status", "hello")["steps"][0]["output"] == "hello"
