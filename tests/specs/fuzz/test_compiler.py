"""Mutated YAML against the compiler: it compiles, or raises `Invalid` whose problems all have a line. Nothing else, ever."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.spec.dag import compile_dag
from astrarium.spec.graph import decode_graph, encode_graph
from astrarium.spec.params import parse_overrides

pytestmark = pytest.mark.fuzz

SEEDS = (
    """name: one
params: [A: 1, B: two]
env: [{X: "${A}"}]
schedule: {start: "0 1 * * *", stop: ["0 2 * * *"]}
maxActiveRuns: 2
timeoutSec: 60
preconditions: [{condition: "$A", expected: "re:[0-9]+"}]
handlerOn: {failure: {command: echo f}, exit: echo e}
steps:
  - name: a
    command: echo $A
    output: OUT
    retryPolicy: {limit: 3, intervalSec: 1, backoff: true, exitCode: [1, 2]}
  - name: b
    script: |
      echo hi
    continueOn: {failure: true, exitCode: 3, output: ["x", "re:y"]}
    repeatPolicy: {repeat: until, condition: "$OUT", expected: done, intervalSec: 1, limit: 3}
""",
    """type: graph
secrets: [{name: S, provider: env, key: K}]
workerSelector: {gpu: "true"}
steps:
  a: {command: "true", id: first}
  b: {type: http, command: GET http://x/, config: {timeout: 5, headers: {A: b}}, depends: a}
  c: {type: jq, command: .a, script: '{"a": 1}', depends: [a, b]}
  d: {call: part, parallel: {items: [1, {K: v}], maxConcurrent: 2}, depends: [c]}
---
name: part
params: {schema: {type: object, properties: {K: {type: integer}}}, values: {K: 1}}
steps: [echo $K]
""",
    "base: &base {shell: bash}\nsteps:\n  - <<: *base\n    command: [echo, hi]\n  - [echo one, {command: echo two}]\n  - type: noop\n",
    "steps:\n  - {type: hitl, config: {prompt: p, input: [A], required: [A]}}\n  - {type: wait, config: {seconds: 1}}\n  - {type: ssh, config: "  # noqa: E501
    "{host: h, user: u}, command: ls}\n  - {type: python, config: {call: 'm:f', args: {a: [1]}}}\n",
)
WORDS = (
    "steps", "name", "command", "depends", "type", "params", "env", "call", "parallel", "config", "output", "null", "~", "true", "[", "]",
    "{", "}", "- ", ": ", ":", "&a", "*a", "<<", "!!int", "!x", "|", ">", "---\n", "...\n", "%YAML 9.9\n", "#", "'", '"', "\\", "\t",
    "\n", "\r", " " * 3, "$", "${", "`", "re:(", "1e999", ".nan", "0x" + "f" * 60, "9" * 30, "-1", "\0", "\x07", "\u2028", "\ufeff", "ö", "🚀", "\ud800",  # noqa: E501
    "? ", "@", "=", "a" * 300, "2001-01-01", "retryPolicy", "handlerOn", "continueOn", "preconditions", "schedule", "* * * * *",
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A good text with some pieces cut, doubled, swapped and put in."""
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        word = draw(st.sampled_from(WORDS) | st.text(max_size=6))
        text = text[:start] + draw(st.sampled_from((word, text[start:end] * 2, "", text[start:end] + word))) + text[end:]
    return text


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3), max_leaves=8
)
ROOT_KEYS = (
    "name type steps schedule params env dotenv workingDir shell preconditions handlerOn maxActiveRuns maxActiveSteps queue timeoutSec delaySec "  # noqa: E501
    "restartWaitSec maxCleanUpTimeSec histRetentionDays logDir maxOutputSize mailOn smtp errorMail runConfig secrets container ssh tags otel"  # noqa: E501
).split()
STEP_KEYS = (
    "name id description workingDir command script shell stdout stderr output depends continueOn retryPolicy repeatPolicy mailOnError "
    "preconditions signalOnStop env call params parallel timeoutSec type config container workerSelector args dir executor run"
).split()
steps = st.dictionaries(st.sampled_from(STEP_KEYS), values, max_size=5) | values
documents = st.dictionaries(st.sampled_from(ROOT_KEYS), values, max_size=4).flatmap(
    lambda root: st.lists(steps, max_size=3).map(lambda listed: {"steps": listed, **root})
)


def check(text: str) -> None:
    try:
        made = compile_dag(text, name="fuzz", file="fuzz.yaml", base_dir="/nowhere")
    except Invalid as error:
        assert error.problems
        for problem in error.problems:
            assert problem.file == "fuzz.yaml", problem
            assert problem.line >= 1 or problem.message.startswith("… and"), problem
            assert problem.line <= len(f"{text}.".splitlines())
            assert problem.message
            str(problem).encode()
        return
    assert decode_graph(encode_graph(made.graph)) == made.graph, "a graph is the same after a round trip"


LIGHT = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
FULL = settings(max_examples=6000, deadline=None, suppress_health_check=list(HealthCheck))


@given(mutated())
@LIGHT
def test_mutated_texts(text: str) -> None:
    check(text)


@given(documents)
@LIGHT
def test_documents_of_known_keys_with_odd_values(document: object) -> None:
    check(json.dumps(document))


@given(st.text(max_size=200) | st.lists(st.sampled_from(WORDS), max_size=40).map("".join))
@LIGHT
def test_any_text(text: str) -> None:
    check(text)


@given(st.text(max_size=80) | st.lists(st.sampled_from(WORDS), max_size=10).map(" ".join))
@LIGHT
def test_any_parameters(text: str) -> None:
    try:
        parse_overrides(text)
    except Invalid as error:
        assert error.message


@pytest.mark.all
@pytest.mark.slow
@given(mutated() | documents.map(json.dumps) | st.text())
@FULL
def test_all_of_it_much_longer(text: str) -> None:
    check(text)
