"""Node kinds that ask a model, against one that speaks OpenAI's wire format."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.llm import Calls, FakeModel, Plain, Raw, Refuse, Reply, Stall, fake_model
from tests.specs.dags.desk import Desk, open_desk

from .graph import Ended, records, run


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, graph_grants="tools:std:exec") as desk:
        yield desk


def document(kind: str, model: FakeModel, more: str = "", node: str = "") -> str:
    config = f"{{model: tiny, api_base: '{model.url}', input: text{', ' + more if more else ''}}}"
    return f"""
ir_version: "1.1.0"
id: "graph:{kind}"
state_schema:
  text: str
  verdict: {{type: str, default: ""}}
  confidence: {{type: str, default: ""}}
  score: {{type: float, default: 0.0}}
  rationale: {{type: str, default: ""}}
  answer: {{type: str, default: ""}}
  summary: {{type: str, default: ""}}
  short: {{type: str, default: ""}}
  tasks: {{type: list, default: []}}
  tool_trace: {{type: list, default: []}}
  city: {{type: str, default: ""}}
  people: {{type: int, default: 0}}
nodes:
  - {{id: ask, kind: {kind}, config: {config}{", " + node if node else ""}}}
"""


async def answered(desk: Desk, kind: str, reply: Reply | list[Reply], more: str = "", node: str = "") -> tuple[Ended, FakeModel]:
    with fake_model(reply if isinstance(reply, list) else [reply]) as model:
        return await run(desk, document(kind, model, more, node), text="the input"), model


async def test_classify(desk: Desk) -> None:
    reply = {"verdict": "high", "confidence": 0.75, "rationale": "it burns"}
    told, model = await answered(desk, "classify", reply, "labels: [high, low], instructions: 'Mind {text}.'")
    assert told.outcome == "succeeded"
    assert {name: told.state[name] for name in ("verdict", "confidence", "rationale")} == {**reply, "confidence": "0.75"}
    (asked,) = model.asked
    assert asked["model"] == "tiny" and asked["stream"] is True
    system, user = asked["messages"]
    assert "- high" in system["content"] and "Mind the input." in system["content"]
    assert user == {"role": "user", "content": "the input"}
    assert asked["response_format"]["json_schema"]["schema"]["properties"]["verdict"] == {"enum": ["high", "low"]}


async def test_tokens_are_told_as_they_come_and_counted(desk: Desk) -> None:
    told, _ = await answered(desk, "summarize", "a few words", "out: short")
    assert (told.state["summary"], told.state["short"]) == ("a few words", "a few words")
    tokens = await records(desk, told.run)
    assert [(one["type"], one["model"], one["token"], one["index"]) for one in tokens] == [
        ("token", "tiny", "a ", 0), ("token", "tiny", "few ", 1), ("token", "tiny", "words", 2),
    ]  # fmt: skip
    ended = [event for event in await desk.events(told.run) if type(event).__name__ == "StepEnded"]
    assert ended[0].used == {"tokens": 13}
    assert {"fact": "stargraph-tokens-used", "slots": {"tool_id": "ask", "total": 13}} in ended[0].said


async def test_judge_gives_numbers_to_fields_of_numbers(desk: Desk) -> None:
    told, _ = await answered(desk, "judge", {"verdict": "pass", "score": 0.5, "rationale": "so so"}, "rubric: be kind")
    assert (told.state["verdict"], told.state["score"]) == ("pass", 0.5)


async def test_extract_plan_and_reason(desk: Desk) -> None:
    told, _ = await answered(desk, "extract", {"city": "Padua", "people": 9}, "fields: {city: where, people: int}")
    assert (told.state["city"], told.state["people"]) == ("Padua", 9)
    told, _ = await answered(desk, "plan", {"tasks": ["one", "two"]})
    assert told.state["tasks"] == ["one", "two"]
    told, _ = await answered(desk, "reason", {"rationale": "because", "answer": "42"})
    assert (told.state["rationale"], told.state["answer"]) == ("because", "42")


async def test_talk_around_the_answer_and_fences_are_understood(desk: Desk) -> None:
    told, _ = await answered(desk, "plan", 'Sure!\n```json\n{"tasks": ["x"]}\n```\nDone.')
    assert told.state["tasks"] == ["x"]
    told, _ = await answered(desk, "plan", 'Here: {"tasks": ["y"]} as you wished')
    assert told.state["tasks"] == ["y"]


async def test_an_answer_sent_at_once_is_understood(desk: Desk) -> None:
    told, _ = await answered(desk, "summarize", Plain("short"))
    assert told.state["summary"] == "short"


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("no JSON at all", "ModelAnswerError"),
        ({"tasks": "none"}, "ModelAnswerError"),
        (Refuse(500), "ModelUnavailable"),
        (Refuse(429, "slowly"), "ModelBusy"),
        (Refuse(401, "who are you"), "ModelRefused"),
        (Raw(b"data: {broken\n\n"), "ModelAnswerError"),
        (Raw(b""), "ModelUnavailable"),
        (Raw(b'data: {"error": {"message": "overloaded"}}\n\n'), "ModelUnavailable"),
        (Raw(b"<html>", "text/html"), "ModelAnswerError"),
    ],
)
async def test_what_keeps_a_model_from_answering_breaks_the_run_under_its_code(desk: Desk, reply: Reply, code: str) -> None:
    told, _ = await answered(desk, "plan", reply)
    assert (told.outcome, told.code) == ("broken", code), told.error


async def test_a_model_that_says_nothing_is_given_up(desk: Desk) -> None:
    told, _ = await answered(desk, "plan", Stall(), "request_timeout_s: 0.2")
    assert (told.outcome, told.code) == ("broken", "ModelTimeout")


async def test_the_retry_of_a_node_asks_again(desk: Desk) -> None:
    again = "retry: {max_attempts: 3, backoff_ms: 1, retry_on: [ModelBusy]}"
    told, model = await answered(desk, "plan", [Refuse(429), Refuse(429), {"tasks": ["x"]}], node=again)
    assert (told.outcome, len(model.asked)) == ("succeeded", 3)
    told, model = await answered(desk, "plan", [Refuse(401), {"tasks": ["x"]}], node=again)
    assert (told.outcome, len(model.asked)) == ("broken", 1), "another error is not tried again"


async def test_which_model_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node's own first, then the graph's, then the settings'; a key goes to its own address only."""
    monkeypatch.setenv("OUR_KEY", "of-the-settings")
    monkeypatch.setenv("NODE_KEY", "of-the-node")
    text = "{id: m, state: {text: str, summary: str}, nodes: {ask: {kind: summarize, input: text%s}}}"
    with fake_model(["x"]) as ours, fake_model(["x"]) as theirs:
        settings = {"model_url": ours.url, "model_name": "house", "model_key_env": "OUR_KEY"}
        async with open_desk(tmp_path, **settings) as desk:
            assert (await run(desk, text % "", text="t")).outcome == "succeeded"
            await run(desk, text % f", api_base: '{theirs.url}'", text="t")
            await run(desk, text % f", api_base: '{theirs.url}', model: other, api_key_env: NODE_KEY", text="t")
            for variable in ("ASTRARIUM_MASTER_KEY", "NO_SUCH_KEY"):
                told = await run(desk, text % f", api_key_env: {variable}", text="t")
                assert (told.outcome, told.code) == ("broken", "NoModel") and variable in told.error
    assert [(one["model"], key) for one, key in zip(ours.asked, ours.keys, strict=True)] == [("house", "Bearer of-the-settings")]
    assert [one["model"] for one in theirs.asked] == ["house", "other"]
    assert theirs.keys == ["", "Bearer of-the-node"]


async def test_without_a_model_the_run_says_what_is_missing(desk: Desk) -> None:
    told = await run(desk, "{id: m, state: {summary: str}, nodes: {ask: {kind: summarize}}}")
    assert told.code == "NoModel" and "model_url" in told.error


# -- an agent ----------------------------------------------------------------------------------------------------------


async def test_react_calls_tools_until_it_has_an_answer(desk: Desk) -> None:
    script: list[Reply] = [
        Calls([("std__calculator", {"expression": "6 * 7"})], "let me see"),
        Calls([("std__calculator", {"expression": "1 / 0"}), ("nothing", {}), ("std__calculator", "no json")]),
        "It is 42.",
    ]
    told, model = await answered(desk, "react", script, "tools: [std.calculator]")
    assert (told.outcome, told.state["answer"]) == ("succeeded", "It is 42.")
    assert [(one["tool"], one["ok"]) for one in told.state["tool_trace"]] == [
        ("std.calculator@1", True), ("std.calculator@1", False), ("nothing", False), ("std.calculator@1", False),
    ]  # fmt: skip
    first, second, third = model.asked
    assert first["tools"][0]["function"]["name"] == "std__calculator"
    assert [one["role"] for one in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert json.loads(second["messages"][-1]["content"]) == {"result": 42}
    assert [one["tool_call_id"] for one in third["messages"][-3:]] == ["call-0", "call-1", "call-2"]
    kinds = [one["type"] for one in await records(desk, told.run) if one["type"] != "token"]
    assert kinds == ["tool_call", "tool_result"] * 2


async def test_react_is_told_when_a_tool_is_not_allowed(desk: Desk) -> None:
    script: list[Reply] = [Calls([("std__shell", {"command": "true"})]), "I may not."]
    told, model = await answered(desk, "react", script, "tools: [std.shell@1]")
    assert told.state["answer"] == "I may not."
    assert "tools:std:shell" in model.asked[1]["messages"][-1]["content"]


async def test_react_ends_with_its_budget(desk: Desk) -> None:
    def on(request: dict[str, Any]) -> Reply:
        return Calls([("std__calculator", {"expression": "1"})])

    with fake_model(on) as model:
        text = document("react", model, "tools: [std.calculator], max_iters: 50", "budget: {tokens: 25}")
        told = await run(desk, text, text="count")
    assert (told.outcome, told.reason or told.code) == ("failed", "budget_exhausted")
    assert len(model.asked) == 3, "10 tokens each; the fourth question is not asked"


async def test_react_ends_after_its_turns(desk: Desk) -> None:
    told, model = await answered(
        desk, "react", Calls([("std__calculator", {"expression": "1"})]), "tools: [std.calculator], max_iters: 2"
    )
    assert (told.outcome, told.code, len(model.asked)) == ("failed", "max_iters", 2)


async def test_code_that_a_model_wrote_is_run(desk: Desk) -> None:
    told, _ = await answered(desk, "code", "```python\nprint(sum(range(5)))\n```")
    assert (told.outcome, told.state["answer"]) == ("succeeded", "10")
    told, _ = await answered(desk, "code", "raise SystemExit('sorry')")
    assert (told.outcome, told.code) == ("broken", "ProgramFailed") and "sorry" in told.error


async def test_code_needs_its_permission(tmp_path: Path) -> None:
    async with open_desk(tmp_path) as desk:
        told, _ = await answered(desk, "code", "print(1)")
    assert (told.outcome, told.code) == ("failed", "capability_denied")
