"""`astrarium graph`: what its commands say and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from astrarium.cli.graph_prompt import ask, parse_value
from astrarium.cli.graph_show import changes, short

from .command import Ran, move_in

HELLO = """
ir_version: "1.1.0"
id: "graph:hello"
state_schema: {name: str, times: {type: int, default: 1}, said: {type: str, default: ""}}
nodes:
  - {id: say, kind: template, config: {template: "Hello {name}", out: said}}
  - {id: ask, kind: interrupt, config: {prompt: "Enough, {name}?", output_field: said}}
"""
SHORT = "{id: short, state: {text: str}, nodes: {a: {kind: template, template: '<{text}>', out: text}, b: {kind: passthrough}}}"
BROKEN = """
ir_version: "1.1.0"
id: "graph:broken"
nodes:
  - {id: a, kind: passthroug}
  - {id: a, kind: passthrough, colour: red}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = move_in(tmp_path, monkeypatch)
    for name, text in (("hello", HELLO), ("short", SHORT), ("broken", BROKEN)):
        (home / f"{name}.yaml").write_text(text)
    return home


@pytest.fixture
def ran(folder: Path, capsys: pytest.CaptureFixture[str]) -> Ran:
    return Ran(capsys)


def test_problems_have_their_places(ran: Ran) -> None:
    told = ran("graph", "validate", "broken.yaml", "short.yaml", code=1).splitlines()
    assert told[0].startswith("broken.yaml:5:") and "passthroug" in told[0] and "did you mean `passthrough`?" in told[0]
    assert any("colour" in line for line in told) and any("twice" in line for line in told)
    assert told[-1].startswith("short.yaml: valid, graph:short, 2 nodes, graph_hash=")
    (broken,) = ran.json("graph", "validate", "broken.yaml", code=1)["files"]
    assert {"message", "path", "expected", "actual", "file", "line"} <= set(broken["problems"][0])
    ran("graph", "run", "broken.yaml", code=1)
    assert ran.err.startswith("astrarium: broken.yaml does not load: ") and "broken.yaml:5:" in ran.err
    assert not Path("data").exists(), "nothing was begun"


def test_the_long_form_of_a_short_one_is_the_same_graph(ran: Ran, folder: Path) -> None:
    long = ran("graph", "compile", "short.yaml")
    (folder / "long.yaml").write_text(long)
    hashes = {ran.json("graph", "compile", name)["graph_hash"] for name in ("short.yaml", "long.yaml")}
    assert len(hashes) == 1 and hashes.pop() in long


def test_inputs_are_read_by_the_types_of_their_fields(ran: Ran, folder: Path) -> None:
    (folder / "in.json").write_text('{"name": "you", "times": 2}')
    told = ran.json("graph", "run", "hello.yaml", "--inputs", "in.json", "-i", "times=3", "-i", "name=12", code=2)
    assert (told["state"]["name"], told["state"]["times"]) == ("12", 3)
    for words, said in (
        (["-i", "name"], "no FIELD=VALUE"),
        (["-i", "nam=x"], "has no field `nam`"),
        (["-i", "times=many", "-i", "name=x"], "`many` is no int"),
        ([], "the field `name` (str) is required"),
        (["--inputs", "none.json"], "cannot be read"),
    ):
        ran("graph", "run", "hello.yaml", *words, code=2)
        assert said in ran.err
    ran("graph", "run", "hello.yaml", "-i", "name=x", "-i", 'times="2"', code=1)
    assert "times" in ran.err
    assert len(ran.json("graph", "runs")["items"]) == 1, "what was refused began nothing"


def test_a_question_waits_between_commands(ran: Ran, folder: Path) -> None:
    told = ran("graph", "run", "hello.yaml", "-i", "name=you", code=2).splitlines()
    assert told[0].startswith("[00] say ✓") and told[1].startswith("asks: Enough")
    run = told[-1].removeprefix("run_id=").partition(" ")[0]
    assert told[-1] == f"run_id={run} status=awaiting-input"
    assert f"{run}\tgraph:hello\tawaiting-input" in ran("graph", "runs", "--status", "awaiting-input")
    ran("graph", "respond", "latest", code=2)
    assert "the answer is empty" in ran.err
    ran("graph", "pause", "latest", code=1)
    assert "cannot pause from state 'awaiting-input'" in ran.err
    (folder / "answer.json").write_text('{"answer": "yes"}')
    ran("graph", "respond", "hello", "--response", "answer.json", code=1)
    assert "said" in ran.err, "the answer does not fit the field"
    assert ran.json("graph", "cancel", run)["run_id"] == run
    assert ran.json("graph", "inspect", run)["status"] == "cancelled"
    ran("graph", "respond", run, "-r", "answer=late", code=1)
    assert "cannot respond from state 'cancelled'" in ran.err
    ran("graph", "resume", run, "--from-step", "0", code=2)
    assert ran.json("graph", "inspect", run)["attempt"] == 2


def test_what_a_run_did_can_be_looked_at(ran: Ran) -> None:
    run = ran.json("graph", "run", "short.yaml", "-i", "text=x")["run_id"]
    told = ran("graph", "inspect", run[:-3])
    assert told.splitlines()[0].startswith(f"{run}  graph:short  done")
    assert 'text: "x"' not in told and 'text: "<x>"' in told
    assert json.loads(ran("graph", "inspect", run, "--step", "0")) == {"text": "<x>"}
    assert ran("graph", "inspect", run, "--diff", "0", "1").strip() == "no difference"
    events = [json.loads(line) for line in ran("graph", "inspect", run, "--events").splitlines()]
    assert [one["type"] for one in events][-2:] == ["StepEnded", "RunEnded"]
    assert [one["seq"] for one in events] == list(range(1, len(events) + 1))
    ran("graph", "inspect", run, "--step", "7", code=1)
    ran("graph", "inspect", "nothing", code=1)
    assert "there is no run `nothing`" in ran.err


def test_other_rules_may_lead_elsewhere(ran: Ran, folder: Path) -> None:
    run = ran.json("graph", "run", "short.yaml", "-i", "text=x")["run_id"]
    assert "2 steps replayed, the same moves follow" in ran("graph", "replay", run)
    long = ran("graph", "compile", "short.yaml")
    (folder / "other.yaml").write_text(long + "rules: [{id: enough, when: {node: a}, then: [{kind: halt, reason: soon}]}]\n")
    told = ran("graph", "replay", run, "--graph", "other.yaml", code=1)
    assert "another way after step 0 (a)" in told and "end succeeded (soon)" in told
    found = ran.json("graph", "replay", run, "--graph", "other.yaml", code=1)
    assert (found["same"], found["difference"]["node"]) == (False, "a")
    ran("graph", "replay", run, "--graph", "hello.yaml", code=2)
    assert "other nodes" in ran.err


def test_a_run_is_verified_and_damage_is_told(ran: Ran, folder: Path) -> None:
    (folder / "keep.yaml").write_text(
        "{id: keep, state: {text: str}, nodes: {w: {kind: write_artifact, content_field: text, name: a.txt}}}"
    )
    run = ran.json("graph", "run", "keep.yaml", "-i", "text=precious")["run_id"]
    assert all(line.startswith("✓ ") for line in ran("graph", "verify", run).splitlines())
    (blob,) = [path for path in (folder / "data" / "blobs").rglob("*") if path.is_file() and path.read_bytes() == b"precious"]
    blob.chmod(0o600)
    blob.write_bytes(b"worthles")
    told = ran.json("graph", "verify", run, code=1)
    assert [one["ok"] for one in told["checks"]] == [True, True, True, False]


def test_fixtures_must_fit(ran: Ran, folder: Path) -> None:
    (folder / "f.yaml").write_text("nobody: {}\na: x\n")
    ran("graph", "simulate", "short.yaml", "--fixtures", "f.yaml", "-i", "text=x", code=2)
    assert "there is no node `nobody`" in ran.err and "the fixture of `a`" in ran.err
    (folder / "f.yaml").write_text("a: [{fail: 'no ink'}]\n")
    assert "no ink" in ran("graph", "simulate", "short.yaml", "--fixtures", "f.yaml", "-i", "text=x", code=1)
    assert not (folder / "data").exists(), "nothing is left of it"


def test_the_offered_graphs_are_listed(ran: Ran, folder: Path) -> None:
    offered = folder / "data" / "graphs"
    offered.mkdir(parents=True)
    for name in ("hello", "broken"):
        (offered / f"{name}.yaml").write_text((folder / f"{name}.yaml").read_text())
    told = ran.json("graph", "list")
    assert [(one["graph_id"], one["node_count"]) for one in told["graphs"]] == [("graph:hello", 2)]
    assert list(told["problems"]) == ["broken.yaml"]
    assert ran("graph", "list").startswith("graph:hello\t")
    assert "broken.yaml does not load" in ran.err


# -- what people are asked and shown --------------------------------------------------------------------------------------


def test_a_schema_is_asked_key_by_key(capsys: pytest.CaptureFixture[str]) -> None:
    properties = {"decision": {"enum": ["yes", "no"]}, "amount": {"type": "integer"}}
    told = iter(["maybe", "yes", "many", "3"])
    awaiting = {"prompt": "Well?", "interrupt_payload": {"response_schema": {"properties": properties}, "hint": "think"}}
    assert ask(awaiting, lambda label: next(told)) == {"decision": "yes", "amount": 3}
    assert 'hint: "think"' in capsys.readouterr().out


def test_open_questions_are_slots_and_else_it_is_one_answer() -> None:
    questions = [{"slot": "age", "prompt": "How old?", "schema": {"type": "number"}}, {"slot": "name"}]
    told = iter(["7", "Ada", "fine"])
    asked = {"prompt": "", "interrupt_payload": {"open_questions": questions}}
    assert ask(asked, lambda label: next(told)) == {"slot_answers": {"age": 7, "name": "Ada"}}
    assert ask({"prompt": "How are you?"}, lambda label: next(told)) == {"answer": "fine"}


def test_values_are_of_their_type() -> None:
    pairs = [("1", "boolean"), ("true", "integer"), ("true", "boolean"), ("[1]", "array"), ("{", "object"), ("x", "string")]
    assert [parse_value(text, {"type": kind}) for text, kind in pairs] == [None, None, True, [1], None, "x"]


def test_changes_tell_what_came_and_went() -> None:
    found = changes({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": None})
    assert [(name, short(old), short(new)) for name, old, new in found] == [("b", "2", "3"), ("c", "nothing", "null")]
    assert short("x" * 100).endswith("…") and len(short("x" * 100)) == 60
