"""Field by field: where each field of a DAG and of a step goes. A field that is missing here, or goes nowhere, fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from astrarium.spec.dag_yaml.root import ROOT
from astrarium.spec.dag_yaml.step import STEP
from astrarium.spec.graph import Graph, encode_graph
from tests.spec.dag_yaml.compiling import dag

SCHEMA = Path(__file__).resolve().parents[4] / "shared" / "contracts" / "dagu-dag.schema.json"

ROOT_VALUES = {
    "name": "other", "group": "g", "description": "d", "tags": "a, b", "type": "graph", "steps": "[y]", "schedule": "0 1 * * *",
    "skipIfSuccessful": "true", "params": "A=1", "env": "{A: 1}", "dotenv": "a.env", "workingDir": "w", "shell": "bash",
    "preconditions": "test -d /", "handlerOn": "{exit: x}", "maxActiveRuns": "2", "maxActiveSteps": "2", "queue": "q", "delaySec": "1",
    "timeoutSec": "1", "restartWaitSec": "1", "maxCleanUpTimeSec": "1", "histRetentionDays": "1", "logDir": "l", "logOutput": "merged",
    "maxOutputSize": "1", "mailOn": "{failure: true}", "smtp": "{host: h}", "errorMail": "{from: f}", "infoMail": "{from: f}",
    "waitMail": "{from: f}", "runConfig": "{disableParamEdit: true}", "secrets": "[{name: A, provider: env, key: k}]",
    "container": "{image: i}", "ssh": "{user: u, host: h}", "registryAuths": "{h: t}", "llm": "{model: m}", "otel": "{enabled: true}",
    "workerSelector": "local",
}  # fmt: skip
STEP_VALUES = {
    "name": "n", "id": "i", "description": "d", "command": "y", "script": "y", "shell": "bash", "shellPackages": "[jq]", "workingDir": "w",
    "depends": "[]", "env": "{A: 1}", "output": "OUT", "stdout": "o", "stderr": "e", "logOutput": "merged", "preconditions": "test -d /",
    "continueOn": "failed", "retryPolicy": "{limit: 1, intervalSec: 1}", "repeatPolicy": "{repeat: true}", "timeoutSec": "1",
    "signalOnStop": "SIGINT", "mailOnError": "true", "workerSelector": "{gpu: 'true'}", "container": "{image: i}",
    "type": "jq", "executor": "jq",
}  # fmt: skip
WITH_OTHERS = {
    "call": "call: a", "params": "call: a, params: B=1", "parallel": "call: a, parallel: [b]", "config": "type: jq, config: {raw: true}",
    "llm": "type: chat, llm: {model: m}", "messages": "type: chat, messages: [{content: c}]",
}  # fmt: skip
"""Fields of a step that mean something only beside others."""
KINDS = frozenset(("chat",))


def graph(text: str) -> Graph:
    return dag(text, known_kinds=KINDS).graph


def changed(before: str, after: str) -> bool:
    return encode_graph(graph(before)) != encode_graph(graph(after))


@pytest.mark.parametrize("name", ROOT_VALUES)
def test_each_field_of_a_dag_goes_into_its_graph(name: str) -> None:
    rest = "" if name == "steps" else "steps: [x, z]\n"
    assert changed("steps: [x, z]\n", f"{rest}{name}: {ROOT_VALUES[name]}\n")


@pytest.mark.parametrize("name", STEP_VALUES)
def test_each_field_of_a_step_goes_into_its_graph(name: str) -> None:
    rest = "" if name == "command" else "command: x, "
    assert changed("steps: [a, {command: x}]", f"steps: [a, {{{rest}{name}: {STEP_VALUES[name]}}}]")


@pytest.mark.parametrize("name", WITH_OTHERS)
def test_each_field_that_needs_others_goes_into_its_graph(name: str) -> None:
    text = WITH_OTHERS[name]
    less = text.rpartition(", ")[0] if name != "call" else "type: noop"
    assert changed(f"steps: [{{{less}}}]", f"steps: [{{{text}}}]")


@pytest.mark.parametrize(("old", "new"), [("dir: w", "workingDir: w"), ("precondition: x", "preconditions: x")])
def test_old_spellings_mean_the_same(old: str, new: str) -> None:
    assert graph(f"steps: [{{command: x, {old}}}]") == graph(f"steps: [{{command: x, {new}}}]")
    assert graph("steps: [{run: a}]") == graph("steps: [{call: a}]")
    assert graph("precondition: x") == graph("preconditions: x")


def test_the_table_and_the_reader_know_the_same_fields_and_the_schema_no_other(require: Callable[[str, bool, str], None]) -> None:
    assert set(STEP_VALUES) | set(WITH_OTHERS) == set(STEP.values())
    assert set(ROOT_VALUES) <= set(ROOT.values())
    require("shared", SCHEMA.is_file(), "the original's JSON schema is not beside this checkout")
    schema = json.loads(SCHEMA.read_text())
    assert {name.lower() for name in schema["properties"]} <= ROOT.keys()
    assert {name.lower() for name in schema["definitions"]["step"]["properties"]} <= STEP.keys()
