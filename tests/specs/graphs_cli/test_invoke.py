"""A graph that runs another one as its tool (`std.graph_invoke`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import Ran, move_in

OUTER = """
id: outer
state: {n: int, out: dict, word: str}
nodes:
  call: {kind: tool, tool: std.graph_invoke, static: {graph: %s, inputs: {n: 4}}, out: out}
  fin: {kind: template, template: "got {out}", out: word}
"""
INNER = """
id: inner
state: {n: int, note: str}
nodes:
  tell: {kind: template, template: "n is {n}", out: note}
"""
GRANT = ("--grant", "tools:std:graph_invoke")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = move_in(tmp_path, monkeypatch)
    (home / "parts").mkdir()
    (home / "parts" / "inner.yaml").write_text(INNER)
    return home


@pytest.fixture
def ran(folder: Path, capsys: pytest.CaptureFixture[str]) -> Ran:
    return Ran(capsys)


def test_the_other_graph_runs_as_a_run_of_its_own_and_gives_its_state(ran: Ran, folder: Path) -> None:
    (folder / "outer.yaml").write_text(OUTER % "parts/inner.yaml")
    told = ran.json("graph", "run", "outer.yaml", *GRANT)
    assert told["state"]["out"] == {"n": 4, "note": "n is 4"}
    assert told["state"]["word"] == 'got {"n": 4, "note": "n is 4"}'
    assert [one["graph_id"] for one in ran.json("graph", "runs")["items"]] == ["graph:outer"], (
        "it is shown with the run it works for"
    )


def test_it_must_be_allowed(ran: Ran, folder: Path) -> None:
    (folder / "outer.yaml").write_text(OUTER % "parts/inner.yaml")
    told = ran.json("graph", "run", "outer.yaml", code=1)
    assert (told["status"], told["error_class"]) == ("failed", "capability_denied")
    assert "tools:std:graph_invoke" in told["error_cause"]


def test_one_of_the_graphs_folder_is_found_by_its_id(ran: Ran, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRARIUM_GRAPHS_DIR", str(folder / "parts"))
    (folder / "outer.yaml").write_text(OUTER % "graph:inner")
    assert ran.json("graph", "run", "outer.yaml", *GRANT)["state"]["out"]["note"] == "n is 4"


def test_what_is_not_there_or_lies_elsewhere_is_told(ran: Ran, folder: Path) -> None:
    for name, said in (
        ("graph:nope", "'graph:nope' not found"),
        ("../x.yaml", "outside the folder"),
        ("x.yaml", "cannot be read"),
    ):
        (folder / "outer.yaml").write_text(OUTER % name)
        told = ran.json("graph", "run", "outer.yaml", *GRANT, code=1)
        assert told["error_class"] == "GraphNotFound" and said in told["error_cause"]


def test_one_that_runs_itself_comes_to_an_end(ran: Ran, folder: Path) -> None:
    (folder / "outer.yaml").write_text((OUTER % "outer.yaml").replace("inputs: {n: 4}", "inputs: {}"))
    told = ran.json("graph", "run", "outer.yaml", *GRANT, code=1)
    assert told["status"] == "failed" and "at most 20 are allowed" in told["error_cause"]


def test_what_a_run_would_start_with_and_may_not_do_is_told_without_running_it(ran: Ran, folder: Path) -> None:
    (folder / "outer.yaml").write_text(OUTER % "parts/inner.yaml")
    told = ran.json("graph", "run", "outer.yaml", "--inputs", "n=3", "--dry-run", code=1)
    assert (told["state"]["n"], told["lacking_permissions"]) == (3, ["tools:std:graph_invoke"])
    assert "not allowed" not in ran("graph", "run", "outer.yaml", *GRANT, "--dry-run")
    ran("graph", "runs", code=1)
    assert "there is no database" in ran.err, "nothing was written"
