"""What must hold for any input: nothing raises but what may, texts without variables stay, what is written reads back."""

from __future__ import annotations

import asyncio
import string
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.spec.condition import holds
from astrarium.spec.cron import BadCron, next_slot, parse_cron, previous_slot
from astrarium.spec.dag import compile_dag
from astrarium.spec.expand import StepRef, Variables, expand, expand_command, expand_script, expand_variables, split_backticks
from astrarium.spec.graph import Condition, Tolerate, decode_graph, encode_graph
from astrarium.spec.params import Param, apply_schema, override, parse_overrides, parse_params, render, to_text, variables
from astrarium.spec.retry import MAX_DELAY_S, delay_s, tolerates

pytestmark = pytest.mark.fuzz

NAMES = Variables(
    {"A": "one", "1": "x y", "J": '{"a": [1, {"b": null}], "c": "d"}', "Q": '"\\$A`'}, {"f": StepRef("/o", "/e", "3")}
)
PIECES = st.sampled_from(
    ["$", "${", "}", "A", "J", "1", ".a", "[0]", "[", "]", ":", ":-", "-", "0", "9" * 4500, "'", '"', "\\", "`", " ", "é", "\0"]
)
texts = st.lists(PIECES, max_size=14).map("".join)


@given(texts)
def test_expansion_never_raises(text: str) -> None:
    results = [how(text, NAMES) for how in (expand_variables, expand_command, expand_script)]
    assert all(isinstance(result, str) for result in results)


@given(st.text().filter(lambda text: "$" not in text))
def test_a_text_without_a_dollar_sign_stays(text: str) -> None:
    assert [how(text, NAMES) for how in (expand_variables, expand_command, expand_script)] == [text] * 3


@given(texts)
def test_without_known_names_a_command_and_a_script_stay(text: str) -> None:
    assert expand_command(text, Variables()) == expand_script(text, Variables()) == text


@given(st.text())
def test_a_value_is_inserted_as_it_is_once(value: str) -> None:
    assert expand_variables("<${A}|$A>", Variables({"A": value, "B": "never"})) == f"<{value}|{value}>"
    assert expand_script("<$A>", Variables({"A": value})) == f"<{value}>"


@given(st.lists(st.text(alphabet="ab $\\`", max_size=6), max_size=5))
def test_commands_between_backticks_are_found_wherever_they_are(words: list[str]) -> None:
    commands = [word.replace("`", "").replace("\\", "") for word in words]
    text = "".join(f"<`{command}`" for command in commands)
    assert [part for part, command in split_backticks(text) if command] == commands


@given(st.text(alphabet=st.characters(exclude_characters="`$", exclude_categories=["Cs"])))
async def test_only_backticks_reach_the_shell(text: str) -> None:
    async def shell(line: str) -> str:
        raise AssertionError(line)

    assert await expand(text, NAMES, shell) == text


names = st.text(alphabet=string.ascii_letters + string.digits + "_.-", max_size=6)
params = st.lists(st.builds(Param, names, st.text(max_size=12) | st.sampled_from(["{}", "[]", "[1]", '{"a": 1}', "A=b", "`x`"])))


@given(params)
def test_params_written_as_text_read_back(given_params: list[Param]) -> None:
    assert parse_params(to_text(given_params)) == given_params


anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part)
)


@given(anything)
def test_any_data_is_read_as_params_or_refused(data: object) -> None:
    try:
        read = parse_params(data)
    except Invalid as refused:
        assert refused.message.startswith("params must be text, a list or a map")
    else:
        assert len(render(read)) == len(read)
        assert {str(place) for place in range(1, len(read) + 1)} <= variables(read).keys()


@given(params, params)
def test_overriding_keeps_places_and_names(declared: list[Param], start: list[Param]) -> None:
    settled = override(declared, start)
    assert [param.name for param in settled[: len(declared)]] == [param.name for param in declared]
    given_texts = {param.text for param in start}
    assert all(param in declared or param.text in given_texts for param in settled)


@given(st.text(max_size=30))
def test_overrides_are_literal(text: str) -> None:
    assert all(param.literal for param in parse_overrides(text))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(["type", "default", "n", "enum"]), part, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["type", "properties", "required", "enum"]), json_values), params)
def test_any_schema_fits_or_is_refused(schema: dict[str, object], given_params: list[Param]) -> None:
    try:
        settled = apply_schema(given_params, schema)
    except Invalid as refused:
        assert refused.message.startswith("params: ")
        assert refused.hint in ("give values the schema allows", "mend the schema named under `params`")
    else:
        assert settled[: len(given_params)] == given_params


interval_s = st.floats(0, 1e9)
backoffs = st.just(0.0) | st.floats(1.001, 1e6)


@given(interval_s, backoffs, st.floats(0, 1e9), st.integers(0, 10**6))
def test_waits_never_shrink_and_are_capped(interval: float, backoff: float, cap: float, n: int) -> None:
    this, following = delay_s(interval, backoff, cap, n), delay_s(interval, backoff, cap, n + 1)
    assert 0 <= this <= following <= (min(cap, MAX_DELAY_S) if cap else MAX_DELAY_S)


patterns = st.sampled_from(["(", "[", "a{99999999999}", "(" * 3000, "(" * 3000 + ")" * 3000, "\\", "(?P<a>", "*"]).map(
    "re:".__add__
)


@settings(max_examples=20, deadline=None)
@given(patterns)
def test_a_bad_pattern_never_holds_and_never_tolerates(pattern: str) -> None:
    async def probe(line: str) -> tuple[int, str]:
        raise AssertionError(line)

    held, reason = asyncio.run(holds(Condition("a", pattern), Variables(), probe))
    assert (held, reason.startswith(f"`{pattern}` is not a valid regular expression: ")) == (False, True)
    assert not tolerates(Tolerate(output=(pattern,)), 1, "a")


cron_words = st.just("9" * 5000) | st.sampled_from(
    "* */5 0 1 7 59 60 1-5 5-1 1,2 MON JAN mon-fri L LW 1#2 1#9 ? @daily x / - , */0".split()
)
crons = st.lists(cron_words, max_size=6).map(" ".join)


@given(st.sampled_from(["", "CRON_TZ=Europe/Oslo ", "TZ=UTC ", "CRON_TZ= ", "CRON_TZ=x\0 ", "CRON_TZ=" + "a" * 300 + " "]), crons)
def test_a_schedule_has_slots_around_a_time_or_is_refused(zone: str, fields: str) -> None:
    at = datetime(2026, 3, 28, 12, 30, 15, tzinfo=UTC)
    try:
        cron = parse_cron(zone + fields)
    except BadCron as refused:
        assert str(refused)
    else:
        before, after = previous_slot(cron, at, UTC), next_slot(cron, at, UTC)
        assert before is None or before < at
        assert after is None or after > at


SEED = """name: one
params: [A: 1, B: two]
env: [{X: "${A}"}, Y=2]
schedule: {start: "0 1 * * *"}
preconditions: [{condition: "$A", expected: "re:[0-9]+"}]
handlerOn: {exit: echo e}
steps:
  - {name: a, id: i, command: x, retryPolicy: {limit: 3, intervalSec: 1}, depends: []}
  - [b, {call: part, parallel: {items: [1], maxConcurrent: 2}, output: OUT}]
  - {repeatPolicy: {repeat: until, condition: c, expected: d}, script: s, continueOn: {exitCode: [1]}, depends: i}
---
name: part
steps: [{call: other}]
"""
INSERTS = st.sampled_from(
    [
        "\n",
        "  ",
        "- ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        "*a",
        "&a ",
        "~",
        "-1",
        "re:a{99999999999}",
        "part",
        "one",
        "x",
        "'",
        '"',
        "---\n",
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """The seed with pieces cut out, doubled or put in."""
    text = SEED
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 12))
        text = text[:start] + draw(INSERTS | st.just(text[start:end] * 2) | st.just("")) + text[end:]
    return text


@settings(max_examples=150, deadline=None)
@given(mutated())
def test_a_damaged_file_compiles_or_every_problem_has_a_line(text: str) -> None:
    try:
        found = compile_dag(text, name="demo", file="demo.yaml", base_dir="/")
    except Invalid as refused:
        last = len(text.splitlines()) + 1
        assert refused.problems
        assert [problem for problem in refused.problems if not 1 <= problem.line <= last or not problem.message] == []
    else:
        assert decode_graph(encode_graph(found.graph)) == found.graph
