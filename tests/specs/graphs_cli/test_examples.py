"""The worked examples of `examples/graphs`, run by the command line as their guide does. Their model is one of the test's own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Ran, move_in
from tests.conftest import ROOT
from tests.llm import Calls, Reply, fake_model

EXAMPLES = ROOT / "examples" / "graphs"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the examples, which the commands work in."""
    home = move_in(tmp_path, monkeypatch)
    shutil.copytree(EXAMPLES, home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    return home


@pytest.fixture
def ran(folder: Path, capsys: pytest.CaptureFixture[str]) -> Ran:
    return Ran(capsys)


def test_every_example_loads(ran: Ran, folder: Path) -> None:
    files = sorted(path.name for path in folder.glob("*.yaml") if path.name != "fixtures.yaml")
    assert len(files) == 5
    told = ran.json("graph", "validate", *files)
    assert [one["valid"] for one in told["files"]] == [True] * 5


def test_triage_sorts_by_rules_and_asks_a_person(ran: Ran) -> None:
    assert (
        ran.json("graph", "run", "triage.yaml", "-i", "text=There is a fire!")["state"]["reply"] == "A colleague will call you."
    )
    small = ran.json("graph", "run", "triage.yaml", "-i", "text=I want 12 euro back")
    assert small["state"]["reply"].startswith("We send you 12.0 back.")
    asked = ran.json("graph", "run", "triage.yaml", "-i", "text=I want 120 euro back", code=2)
    assert (asked["status"], asked["awaiting"]["node"]) == ("awaiting-input", "ask")
    ran("graph", "respond", asked["run_id"], "-r", "decision=maybe", code=1)
    assert 'not one of "approve" or "refuse"' in ran.err
    told = ran("graph", "respond", asked["run_id"], "-r", "decision=refuse", "-r", "note=Sorry.", "--actor", "anna")
    assert "reply = We cannot refund this. Sorry." in told
    assert told.splitlines()[-1] == f"run_id={asked['run_id']} status=done"
    shown = ran("graph", "inspect", asked["run_id"])
    assert "[00] look ✓" in shown and "→ goto ask (rule money)" in shown
    assert 'decision: "" → "refuse"' in shown


def test_triage_can_be_simulated(ran: Ran) -> None:
    told = ran.json("graph", "simulate", "triage.yaml", "--fixtures", "fixtures.yaml", "-i", "text=x")
    assert [(one["node"], one["rule"]) for one in told["steps"]] == [("look", "money"), ("ask", "refused"), ("refuse", "told")]
    assert told["status"] == "done"


PRICES = "item,price\nlamp,12.50\ntable,80\n"


def agent(request: dict[str, Any]) -> Reply:
    """A model that knows what to do next from what it was told."""
    said = [one for one in request["messages"] if one["role"] == "tool"]
    if "response_format" in request:
        return {"verdict": "pass", "score": 0.9, "rationale": "12.50 times 4"}
    if not said:
        return Calls([("std__file_read", {"path": "prices.csv"})], "I look at the prices.")
    if len(said) == 1:
        assert json.loads(said[0]["content"])["result"]["content"] == PRICES
        return Calls([("std__calculator", {"expression": "4 * 12.50"})])
    return f"Four lamps cost {json.loads(said[1]['content'])['result']:g}."


def test_the_agent_works_with_tools(ran: Ran, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRARIUM_GRAPH_FILES", str(folder))
    words = ("graph", "run", "agent.yaml", "-i", "question=What do four lamps cost?", "--grant", "tools:std:file_read")
    with fake_model(agent) as model:
        told = ran.json(*words, "--model-url", model.url, "--model", "tiny")
    assert (told["status"], told["state"]["answer"], told["state"]["verdict"]) == ("done", "Four lamps cost 50.", "pass")
    assert [one["tool"] for one in told["state"]["tool_trace"]] == ["std.file_read@1", "std.calculator@1"]
    assert [one["last_node"] for one in ran.json("graph", "inspect", "latest")["steps"]] == ["work", "check", "report"]


def test_the_agent_stops_when_its_budget_is_used_up(ran: Ran, folder: Path) -> None:
    def talker(request: dict[str, Any]) -> Reply:
        return Calls([("std__calculator", {"expression": "1 + 1"})], "Let me think about it. " * 30)

    with fake_model(talker) as model:
        words = ("graph", "run", "agent.yaml", "-i", "question=Why?", "--model-url", model.url, "--model", "tiny")
        told = ran.json(*words, code=1)
    assert (told["status"], told["error_class"]) == ("failed", "budget_exhausted")
    assert len(model.asked) == 2, "some 160 tokens each, of a budget of 200"


@pytest.mark.parametrize(("text", "verdict"), [("please be short", "accepted"), ("be short", "declined")])
def test_two_votes_of_three_are_enough(ran: Ran, text: str, verdict: str) -> None:
    told = ran.json("graph", "run", "votes.yaml", "-i", f"text={text}")
    assert (told["status"], told["state"]["verdict"]) == ("done", verdict)
    assert sorted(told["state"]["readers"]) == ["polite", "short"]
    steps = ran.json("graph", "inspect", "latest")["steps"]
    assert [(one["step"], one["last_node"]) for one in steps if one["outcome"] == "succeeded"][-2:] == [
        (2, "count"), (3, "accept" if verdict == "accepted" else "decline"),
    ]  # fmt: skip


def test_a_busy_service_is_asked_again_and_then_replaced(ran: Ran, folder: Path) -> None:
    words = ("graph", "run", "fallback.yaml", "-i", "item=tea", "-i", f"folder={folder}")
    (folder / "service.txt").write_text("busy\nbusy\n3.25\n")
    assert ran.json(*words)["state"]["label"] == "tea: 3.25 (service)"
    (folder / "service.txt").write_text("busy\nbusy\nbusy\n3.25\n")
    assert ran.json(*words)["state"]["label"] == "tea: 9.5 (yesterday)"
    assert (folder / "service.txt").read_text() == "3.25", "it was asked three times"
    assert "ask ✗ failed" in ran("graph", "inspect", "latest")


def lender(request: dict[str, Any]) -> Reply:
    if "income" in json.dumps(request.get("response_format")):
        return {"income": 3000, "wanted": 9000}
    return {"verdict": "risky", "confidence": 0.6, "rationale": "no steady work"}


def test_what_would_have_been_decided_otherwise(ran: Ran) -> None:
    text = "I earn 3000 a month, in some months, and want 9000."
    with fake_model(lender) as model:
        words = ("--model-url", model.url, "--model", "tiny")
        first = ran.json("graph", "run", "loan.yaml", "-i", f"application={text}", *words)
        assert first["state"]["letter"] == "We are sorry: no steady work"
        asked = len(model.asked)
        safe = ran.json(
            "graph", "counterfactual", first["run_id"], "--step", "1", "--set", "verdict=safe", "--reason", "steady work"
        )
        assert len(model.asked) == asked, "what is behind the fork is not done again"
    assert (safe["status"], safe["state"]["letter"], safe["parent_run_id"]) == ("done", "You get 9000.", first["run_id"])
    assert safe["diff"]["routes"] == {"orig": ["read", "rate", "deny", "file"], "cf": ["read", "rate", "grant", "file"]}
    greedy = ran.json("graph", "counterfactual", safe["run_id"], "--step", "1", "--set", "wanted=90000")
    assert greedy["state"]["letter"].startswith("We are sorry"), "a fork of a fork, under the rule that weighs more"
    shown = ran("graph", "diff", first["run_id"], safe["run_id"])
    assert "deny | grant" in shown and '~ /letter = "You get 9000."' in shown
    assert ran.json("graph", "inspect", first["run_id"])["state"]["letter"] == "We are sorry: no steady work", (
        "it stays as it was"
    )
    for run in (first, safe, greedy):
        assert ran.json("graph", "verify", run["run_id"])["ok"] is True
