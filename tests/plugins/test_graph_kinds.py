"""Node kinds without a model: marks, templates, tool calls, graphs in graphs, artifacts; and packs, which look at what they give."""

from __future__ import annotations

import json
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from astrarium.errors import Invalid
from astrarium.runs.fork import fork_run
from astrarium.runs.past.mutate import Mutation
from tests.specs.dags.desk import SCOPE, Desk, open_desk

from .graph import artifacts, begin, compile_text, ended, records, run


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    files = tmp_path / "files"
    files.mkdir()
    async with open_desk(tmp_path, graph_grants="tools:std:file_*, tools:std:exec", graph_files=str(files)) as desk:
        yield desk


async def test_marks_change_nothing_whatever_the_state(desk: Desk) -> None:
    text = """
    id: marks
    nodes: {a: {kind: passthrough}, b: {kind: echo}, c: {kind: halt}}
    """
    assert (await run(desk, text))[1:4] == ("succeeded", "", {})
    shown = await run(desk, "{id: m, state: {message: str}, nodes: {b: {kind: echo}}}", message="hello")
    assert shown.state == {"message": "hello"}
    assert (await desk.steps(shown.run))["b"].output == "hello"


async def test_a_template_is_filled_with_fields(desk: Desk) -> None:
    text = """
    id: page
    state: {text: str, n: int, ok: bool, tags: list, out: str}
    nodes: {page: {kind: template, template: 'PAGE {text} {n} {ok} {tags} {"json": {n}}', out: out}}
    """
    told = await run(desk, text, text="a {n}", n=3, ok=True, tags=["x"])
    assert told.state["out"] == 'PAGE a {n} 3 True ["x"] {"json": 3}'


async def test_a_template_of_an_unknown_field_breaks_the_run(desk: Desk) -> None:
    told = await run(desk, "{id: t, state: {out: str}, nodes: {t: {kind: template, template: '{who}', out: out}}}")
    assert (told.outcome, told.code) == ("broken", "KeyError")
    assert "{who}" in told.error


def test_a_wrong_configuration_does_not_load(desk: Desk) -> None:
    text = "{id: t, state: {out: str}, nodes: {t: {kind: template, template: 'x', out: other, colour: red}, u: {kind: templat}}}"
    with pytest.raises(Invalid) as caught:
        compile_text(desk, text)
    told = "\n".join(map(str, caught.value.problems))
    assert "colour" in told and "other" in told and "templat" in told


CALC = """
id: calc
state: {n: int, total: float}
nodes: {calc: {kind: tool, tool: std.calculator, static: {expression: "2 * (3 + 4) ** 2"}, out: total}}
"""


async def test_a_tool_is_called_and_told_of(desk: Desk) -> None:
    told = await run(desk, CALC)
    assert told.state["total"] == 98
    call, result = await records(desk, told.run)
    assert (call["type"], call["tool_name"], call["namespace"]) == ("tool_call", "calculator", "std")
    assert (result["type"], result["ok"], result["result"]) == ("tool_result", True, {"value": 98})
    assert call["call_id"] == result["call_id"] != ""


async def test_rules_are_told_of_tools(desk: Desk) -> None:
    text = """
    ir_version: "1.1.0"
    id: facts
    state_schema: {total: {type: float, default: 0.0}}
    nodes:
      - {id: calc, kind: tool, config: {tool: std.calculator@1, static: {expression: "1"}, out: total}}
      - {id: never, kind: passthrough}
    rules:
      - id: used
        when: {cel: "facts.exists(f, f.fact == 'stargraph-tool-result' && f.slots.tool_id == 'std.calculator@1')"}
        then: [{kind: halt, reason: calculated}]
    """
    told = await run(desk, text)
    assert (told.outcome, told.reason) == ("succeeded", "calculated")


async def test_a_tool_that_fails_breaks_the_run_under_its_code(desk: Desk) -> None:
    told = await run(desk, CALC.replace("2 * (3 + 4) ** 2", "1 / 0"))
    assert (told.outcome, told.code) == ("broken", "ZeroDivisionError")
    assert [record.get("ok") for record in await records(desk, told.run)] == [None, False]


async def test_arguments_from_the_state_are_checked(desk: Desk) -> None:
    text = "{id: c, state: {n: int, total: float}, nodes: {calc: {kind: tool, tool: std.calculator, inputs: {expression: n}, out: total}}}"
    told = await run(desk, text, n=3)
    assert (told.outcome, told.code) == ("broken", "ToolInputError")
    assert not await records(desk, told.run), "it was not called"


async def test_a_tool_without_its_permission_is_refused_and_recorded(desk: Desk) -> None:
    text = (
        "{id: s, state: {out: dict}, nodes: {sh: {kind: tool, tool: std.shell, static: {command: 'touch /tmp/never'}, out: out}}}"
    )
    told = await run(desk, text)
    assert (told.outcome, told.code) == ("failed", "capability_denied")
    assert "tools:std:shell" in told.error
    (record,) = await records(desk, told.run)
    assert record["fact"] == {
        "kind": "capability_denied", "subject_kind": "tool", "subject": "std.shell@1", "permissions": ["tools:std:shell"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "kind", "subject"),
    [
        ("  - {id: late, kind: tool, config: {tool: std.shell@1, static: {command: 'true'}}}", "tool", "std.shell@1"),
        ("tools: [{id: std.sql_query, version: '1'}]", "tool", "std.sql_query@1"),
        ("stores: [{name: papers, provider: any}]", "graph", "graph:g"),
    ],
)
async def test_what_a_graph_needs_is_asked_before_its_first_step(desk: Desk, more: str, kind: str, subject: str) -> None:
    text = f"""
    ir_version: 1.1.0
    id: graph:g
    state_schema: {{note: str}}
    nodes:
      - {{id: first, kind: template, config: {{template: done, out: note}}}}
    {more}
    """
    told = await run(desk, textwrap.dedent(text), note="")
    assert (told.outcome, told.reason, told.code) == ("failed", "capability_denied", "capability_denied")
    assert told.state["note"] == "", "not even what would come before it was executed"
    (record,) = await records(desk, told.run)
    assert (record["fact"]["subject_kind"], record["fact"]["subject"]) == (kind, subject)


async def test_a_program_runs_as_a_process_of_the_try(desk: Desk) -> None:
    text = """
    id: p
    state: {out: dict}
    nodes:
      py:
        kind: tool
        tool: std.python_exec
        static: {code: "import sys; print(6 * 7); print('oh', file=sys.stderr); sys.exit(3)"}
        out: out
    """
    told = await run(desk, text)
    assert told.state["out"] == {"exit_code": 3, "stdout": "42\n", "stderr": "oh\n"}
    assert await desk.log(told.run, "py") == "42\n"


async def test_a_program_that_takes_too_long_is_ended(desk: Desk) -> None:
    text = """
    id: p
    state: {out: dict}
    nodes: {py: {kind: tool, tool: std.python_exec, static: {code: "while True: pass", timeout_s: 1}, out: out}}
    """
    assert (await run(desk, text)).state["out"]["exit_code"] == 128 + 14


async def test_files_are_written_and_read(desk: Desk) -> None:
    text = """
    id: f
    state: {text: str, wrote: dict, read: dict, listed: dict}
    nodes:
      write: {kind: tool, tool: std.file_write, inputs: {content: text}, static: {path: deep/a.txt}, out: wrote}
      read: {kind: tool, tool: std.file_read, static: {path: deep/a.txt}, out: read}
      list: {kind: tool, tool: std.file_list, static: {path: deep}, out: listed}
    """
    told = await run(desk, text, text="x <|im_start|> < y\x07")
    assert (desk.folder.parent / "files" / "deep" / "a.txt").read_text() == "x <|im_start|> < y\x07"
    assert told.state["read"] == {"path": "deep/a.txt", "content": "x  &lt; y"}, "what comes from outside is made harmless"
    assert told.state["listed"]["entries"][0]["name"] == "a.txt"


# -- graphs in graphs ------------------------------------------------------------------------------------------------------

PARENT = """
ir_version: "1.1.0"
id: "graph:parent"
state_schema: {order: str, verdict: {type: str, default: ""}}
nodes:
  - {id: check, kind: subgraph, spec: child.yaml, config: {inputs: {text: order}, outputs: {verdict: result}}}
  - {id: say, kind: template, config: {template: "{order} is {verdict}", out: verdict}}
"""
CHILD = """
ir_version: "1.1.0"
id: "graph:child"
state_schema: {text: str, result: {type: str, default: ""}}
nodes:
  - {id: look, kind: template, config: {template: "good", out: result}}
  - {id: never, kind: template, config: {template: "bad", out: result}}
rules:
  - {id: enough, when: {result: good}, then: [{kind: halt, reason: decided}]}
"""


async def test_a_child_graph_takes_fields_and_gives_fields(desk: Desk) -> None:
    (desk.folder / "child.yaml").write_text(CHILD)
    told = await run(desk, PARENT, order="tea")
    assert told.state == {"order": "tea", "verdict": "tea is good"}
    (child,) = await desk.children(told.run)
    assert (child.name, child.outcome, child.reason) == ("graph:child", "succeeded", "decided")


async def test_a_child_without_rules_runs_on_the_parents_state(desk: Desk) -> None:
    (desk.folder / "child.yaml").write_text(
        'ir_version: "1.1.0"\nid: c\nnodes:\n- {id: t, kind: template, config: {template: "<{order}>", out: verdict}}\n'
    )
    text = PARENT.replace(", config: {inputs: {text: order}, outputs: {verdict: result}}", "")
    assert (await run(desk, text, order="tea")).state["verdict"] == "tea is <tea>"


async def test_a_child_that_goes_on_too_long_fails_its_parent(desk: Desk) -> None:
    (desk.folder / "child.yaml").write_text(CHILD.replace("kind: halt, reason: decided", "kind: goto, target: look"))
    told = await run(desk, PARENT.replace("outputs: {verdict: result}", "outputs: {verdict: result}, max_steps: 5"), order="tea")
    assert told.outcome == "failed"
    assert (await desk.children(told.run))[0].reason == "max_steps"


# -- artifacts -------------------------------------------------------------------------------------------------------------

REPORT = """
id: report
state: {who: str, text: str, artifact_ref: dict}
nodes:
  write: {kind: write_artifact, content_field: text, name: "for-{who}.txt", content_type: text/plain, metadata: {kind: letter}}
"""


async def test_a_field_becomes_an_artifact(desk: Desk) -> None:
    told = await run(desk, REPORT, who="anna", text="Dear Anna")
    reference = told.state["artifact_ref"]
    (kept,) = await artifacts(desk, told.run)
    assert (kept.id, kept.blake3, kept.name) == (reference["artifact_id"], reference["content_hash"], "for-anna.txt")
    assert (kept.content_type, kept.size, kept.metadata) == ("text/plain", 9, {"step": 0, "node": "write", "kind": "letter"})
    assert reference["artifact_id"] == reference["content_hash"][:32]
    means = desk.worker.shop.means
    assert means.artifacts is not None
    assert await means.artifacts.read(kept.sha256, 100) == b"Dear Anna"
    (record,) = await records(desk, told.run)
    assert (record["type"], record["artifact_ref"]) == ("artifact_written", reference)


async def test_an_artifact_that_is_not_taken_breaks_the_run(desk: Desk) -> None:
    told = await run(desk, REPORT, who="../../etc", text="x")
    assert told.outcome == "broken" and "name" in told.error
    assert await artifacts(desk, told.run) == []


# -- forked runs -----------------------------------------------------------------------------------------------------------

WRITES = """
ir_version: "1.1.0"
id: writes
state_schema: {text: str, wrote: {type: dict, default: {}}, mark: {type: str, default: ""}}
nodes:
  - {id: begin, kind: passthrough}
  - {id: write, kind: tool, config: {tool: std.file_write@1, inputs: {content: text}, static: {path: a.txt}, out: wrote}}
"""


async def test_a_fork_takes_what_a_writing_tool_gave_before(desk: Desk) -> None:
    first = await run(desk, WRITES, text="one")
    path = desk.folder.parent / "files" / "a.txt"
    path.unlink()
    fork = await fork_run(desk.engine, first.run, SCOPE, step=0, changes={"mutation": Mutation({"mark": "cf"})})
    told = await ended(desk, fork)
    assert (told.outcome, told.state["wrote"]) == ("succeeded", first.state["wrote"])
    assert not path.exists(), "nothing was written again"
    again = await fork_run(desk.engine, fork, SCOPE, step=0, changes={"mutation": Mutation({"mark": "cf2"})})
    assert (await ended(desk, again)).state["wrote"] == first.state["wrote"], "a fork of a fork finds it too"


async def test_a_graph_in_a_forked_one_takes_what_was_given_before_too(desk: Desk) -> None:
    (desk.folder / "writes.yaml").write_text(WRITES)
    text = """
    ir_version: "1.1.0"
    id: around
    state_schema: {text: str, wrote: {type: dict, default: {}}, mark: {type: str, default: ""}}
    nodes:
      - {id: begin, kind: passthrough}
      - {id: inner, kind: subgraph, spec: writes.yaml}
    """
    first = await run(desk, textwrap.dedent(text), text="one")
    path = desk.folder.parent / "files" / "a.txt"
    path.unlink()
    source = first.run
    for mark in ("cf", "cf2"):
        source = await fork_run(desk.engine, source, SCOPE, step=0, changes={"mutation": Mutation({"mark": mark})})
        told = await ended(desk, source)
        assert (told.outcome, told.state["wrote"], told.state["mark"]) == ("succeeded", first.state["wrote"], mark)
    assert not path.exists(), "nothing was written again"


async def test_a_fork_that_would_write_something_else_fails(desk: Desk) -> None:
    first = await run(desk, WRITES, text="one")
    fork = await fork_run(desk.engine, first.run, SCOPE, step=0, changes={"mutation": Mutation({"text": "two"})})
    told = await ended(desk, fork)
    assert (told.outcome, told.code) == ("failed", "replay_missing")
    assert (desk.folder.parent / "files" / "a.txt").read_text() == "one"


# -- packs ---------------------------------------------------------------------------------------------------------------

PACKED = """
ir_version: "1.1.0"
id: packed
governance: [{id: stargraph.bosun.safety_pii}, {id: stargraph.bosun.retries}]
state_schema: {text: str, out: {type: str, default: ""}}
nodes: [{id: say, kind: template, config: {template: "call {text}", out: out}}]
"""


async def test_a_number_that_must_not_be_told_ends_the_run(desk: Desk) -> None:
    told = await run(desk, PACKED.replace("call", "call 078-05-1120"), text="now")
    assert (told.outcome, told.code, told.state["out"]) == ("failed", "pack_violation", "")
    assert "078" not in json.dumps([told.error, await records(desk, told.run)])
    assert (await desk.steps(told.run))["say"].retries == 0, "another try would give the same"


async def test_a_number_that_may_be_one_is_a_warning(desk: Desk) -> None:
    told = await run(desk, PACKED, text="555-123-4567")
    assert (told.outcome, told.state["out"]) == ("succeeded", "call 555-123-4567")
    state = await desk.engine.state(f"run:{told.run}", SCOPE)
    assert state is not None
    assert {(fact.source, fact.slots["kind"], fact.slots["severity"]) for fact in state.memo.facts} == {
        ("stargraph.bosun.safety_pii", "phone", "warn")
    }


async def test_a_run_waits_for_nobody_when_it_is_begun_and_left(desk: Desk) -> None:
    """A graph is begun by one and looked at by another."""
    assert (await desk.ended(await begin(desk, CALC))).outcome == "succeeded"


SPENDING = """
from astrarium.runs.ports import Result

def spend(state):
    spent = state["spent"] + 40
    return Result(patch={"spent": spent}, said=({"fact": "bosun.budget", "slots": {"kind": "cost", "allowed": 100, "consumed": spent}},))
"""


async def test_a_budget_that_facts_say_is_used_up_ends_the_run(desk: Desk) -> None:
    (desk.folder / "spending.py").write_text(SPENDING)
    text = """
    ir_version: "1.1.0"
    id: spending
    governance: [{id: stargraph.bosun.budgets}]
    state_schema: {spent: {type: int, default: 0}}
    nodes: [{id: spend, kind: "spending:spend"}]
    rules: [{id: again, when: {node: spend}, then: [{kind: goto, target: spend}]}]
    """
    compiled = compile_text(desk, text)
    graph = msgspec.structs.replace(compiled.graph, base_dir=str(desk.folder))
    told = await ended(desk, await desk.start_graph(graph))
    assert (told.outcome, told.reason, told.state["spent"]) == ("failed", "budget_exhausted", 120)
    assert told.error == "stargraph.bosun.budgets: 120 of 100 cost are used"


async def test_the_audit_pack_is_told_of_tools_and_artifacts(desk: Desk) -> None:
    text = """
    ir_version: "1.1.0"
    id: audited
    governance: [{id: stargraph.bosun.audit}]
    state_schema: {text: str, total: {type: float, default: 0.0}}
    nodes:
      - {id: calc, kind: tool, config: {tool: std.calculator@1, static: {expression: "1"}, out: total}}
      - {id: keep, kind: write_artifact, config: {content_field: text, name: a.txt}}
    """
    told = await run(desk, text, text="x")
    audits = [one for one in await records(desk, told.run) if one["type"] == "bosun_audit"]
    assert [(one["pack_id"], one["fact"]["kind"], one["fact"]["step"]) for one in audits] == [
        ("stargraph.bosun.audit", "tool_call", 0), ("stargraph.bosun.audit", "artifact_write", 1),
    ]  # fmt: skip
    assert audits[0]["fact"]["detail"]["tool_name"] == "calculator"
