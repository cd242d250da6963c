"""Runs of DAGs forked and compared by the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import Ran, move_in

ROWS = """
params: DAY=monday
steps:
  - {name: fetch, command: 'echo "rows of $DAY"', output: ROWS}
  - {name: check, command: 'echo "$ROWS" | grep -q monday', depends: fetch}
  - {name: load, command: 'echo "loaded $ROWS"', output: LOADED, depends: check}
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ran:
    home = move_in(tmp_path, monkeypatch)
    (home / "rows.yaml").write_text(ROWS)
    ran = Ran(capsys)
    ran("run", "rows.yaml", "--run-id", "first", "--", "DAY=sunday", code=1)
    return ran


def test_with_another_output_of_a_failed_run_and_again_of_that(ran: Ran) -> None:
    told = ran("fork", "first", "--output", "fetch=monday, by hand", "--run-id", "second")
    assert "fetch: succeeded before the fork" in told and "load | loaded monday, by hand" in told
    third = ran.json("fork", "second", "--step", "load", "--run-id", "third")
    assert (third["status"], third["trigger"], third["outputs"]["loaded"]) == ("succeeded", "fork", "loaded monday, by hand")
    fourth = ran.json("fork", "third", "-p", "DAY=monday")
    assert fourth["outputs"] == {"rows": "rows of monday", "loaded": "loaded rows of monday"}


def test_without_a_change_it_goes_on_where_the_run_failed(ran: Ran) -> None:
    told = ran("fork", "first", code=1)
    assert "fetch: succeeded before the fork" in told and "check: failed" in told


def test_what_cannot_be_forked_is_refused(ran: Ran) -> None:
    for more, said in (
        (("--step", "nowhere"), "has no step 'nowhere'"),
        (("--output", "load=1", "--step", "check"), "cannot be overridden"),
        (("--run-id", "first"), "exists already"),
        (("-p", "DAY=monday", "--output", "fetch=1"), "no output can be overridden"),
    ):
        ran("fork", "first", *more, code=1)
        assert said in ran.err
    ran("fork", "first", "--output", "fetch", code=2)
    assert "STEP=TEXT" in ran.err
    ran("fork", "first", "--detach", code=2)
    assert "needs a running server" in ran.err


def test_two_runs_of_a_dag_are_compared(ran: Ran) -> None:
    ran("fork", "first", "--output", "fetch=monday", "--run-id", "second")
    told = ran.json("graph", "diff", "first", "second")
    assert [(one["step"], one["diverged_at"]) for one in told["steps"]] == [(0, "node_output"), (1, "node_output"), (2, "edge_taken")]
    assert told["steps"][1]["output_diff"]["orig"]["outcome"] == "failed"
    assert told["final_status_diff"] == ["failed", "done"]
    assert {"op": "replace", "path": "/outputs/rows", "value": "monday"} in told["final_state_diff"]
    shown = ran("graph", "diff", "first", "second")
    assert 'output: "rows of sunday" | "monday"' in shown and "nothing | load" in shown
