"""The fields that steer a step, one policy at a time."""

from __future__ import annotations

import pytest

from astrarium.spec.dag_yaml.flow import camel_case
from astrarium.spec.graph import Condition, Output, Repeat, Retry, Tolerate
from tests.spec.dag_yaml.compiling import dag, step, step_complaints

AT = 22
"""The column of the second field after `steps: [{command: x, `."""


def wrong(fields: str) -> list[tuple[int, str, str]]:
    """(column counted from the first letter of `fields`, path inside the step, message)"""
    found = step_complaints("command: x, " + fields)
    assert {line for line, _, _, _ in found} <= {1}
    return [(column - AT + 1, path.removeprefix("steps[0]."), message) for _, column, path, message in found]


@pytest.mark.parametrize(
    ("text", "env"),
    [
        ("{A: 1, B: x y}", (("A", "1"), ("B", "x y"))),
        ("[{B: 2}, A=1, {C: $A}, 'D=a=b', E=]", (("B", "2"), ("A", "1"), ("C", "$A"), ("D", "a=b"), ("E", ""))),
        ("A=1", (("A", "1"),)),
        ("{A: ~, B: TRUE, C: 1.50}", (("A", ""), ("B", "true"), ("C", "1.50"))),
        ("[]", ()),
        ("~", ()),
    ],
)
def test_env_keeps_order_and_templates(text: str, env: tuple[tuple[str, str], ...]) -> None:
    assert step(f"command: x\nenv: {text}").env == env
    assert dag(f"env: {text}\nsteps: [x]").graph.prepare.env == env


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            "env: [3, =x]",
            [(7, "`env` holds maps and `NAME=value` texts only"), (10, "`env` holds maps and `NAME=value` texts only")],
        ),
        ("env: {A: [1]}", [(10, "the value of `A` in `env` must be plain text")]),
        ("env: {'A=B': 1}", [(7, "`A=B` is not a name of a variable")]),
    ],
)
def test_env_refusals(fields: str, expected: list[tuple[int, str]]) -> None:
    assert wrong(fields) == [(column, "env", message) for column, message in expected]


@pytest.mark.parametrize(
    ("text", "conditions"),
    [
        ("test -d /srv", (Condition("test -d /srv"),)),
        ("{condition: $X, expected: 're:[1-5]'}", (Condition("$X", "re:[1-5]"),)),
        ("{command: test -d /}", (Condition("test -d /"),)),
        ("[a, {condition: b, expected: c, negate: true}]", (Condition("a"), Condition("b", "c", True))),
        ("{condition: b, expected: ''}", (Condition("b"),)),
        ("{condition: b, expected: 're:$X('}", (Condition("b", "re:$X("),)),
    ],
)
def test_conditions(text: str, conditions: tuple[Condition, ...]) -> None:
    assert step(f"command: x\npreconditions: {text}").when == conditions
    assert dag(f"precondition: {text}\nsteps: [x]").graph.prepare.when == conditions


@pytest.mark.parametrize(
    ("text", "column", "path", "message"),
    [
        ("[1]", 17, "preconditions", "a condition must be text or an object with `condition`"),
        ("[true]", 17, "preconditions", "a condition must be text or an object with `condition`"),
        ("{expected: a}", 16, "preconditions", "this condition lacks the key `condition`"),
        ("{condition: 1}", 28, "preconditions.condition", "`condition` must be text"),
        ("{condition: a, expected: 1}", 41, "preconditions.expected", "`expected` must be text"),
        ("{condition: a, negate: x}", 39, "preconditions.negate", "`negate` must be true or false"),
        ("{condition: a, expect: b}", 31, "preconditions.expect", "unknown key `expect`, did you mean `expected`?"),
        (
            "{condition: a, expected: 're:('}",
            41,
            "preconditions.expected",
            "`expected` is not a valid regular expression: `re:(`",
        ),
        (
            "{condition: a, expected: 're:a{99999999999}'}",
            41,
            "preconditions.expected",
            "`expected` is not a valid regular expression: `re:a{99999999999}`",
        ),
    ],
)
def test_condition_refusals(text: str, column: int, path: str, message: str) -> None:
    assert wrong(f"preconditions: {text}") == [(column, path, message)]


def test_a_pattern_of_hostile_depth_is_refused_like_any_bad_one() -> None:
    [(column, path, message)] = wrong(f"preconditions: {{condition: a, expected: 're:{'(' * 5000}{')' * 5000}'}}")
    assert (column, path) == (41, "preconditions.expected")
    assert message.startswith("`expected` is not a valid regular expression: `re:((((")


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("failed", Tolerate(failure=True)),
        ("Failure", Tolerate(failure=True)),
        ("skipped", Tolerate(skipped=True)),
        ("{failed: true}", Tolerate(failure=True)),
        ("{exitCode: 3}", Tolerate(exit_codes=(3,))),
        ("{exitCode: [3, '4']}", Tolerate(exit_codes=(3, 4))),
        ("{output: WARN}", Tolerate(output=("WARN",))),
        ("{output: [a, 're:b.*'], markSuccess: true}", Tolerate(output=("a", "re:b.*"), mark_success=True)),
        ("{}", Tolerate()),
    ],
)
def test_continue_on(text: str, rule: Tolerate) -> None:
    assert step(f"command: x\ncontinueOn: {text}").tolerate == rule


@pytest.mark.parametrize(
    ("text", "column", "path", "message"),
    [
        ("always", 13, "continueOn", "`continueOn` must be `failed`, `skipped` or an object, not `always`"),
        ("{failed: true, failure: false}", 28, "continueOn.failure", "`failure` gives the field `failure` a second time"),
        ("{exitCode: [a]}", 25, "continueOn.exitCode", "`exitCode` must hold whole numbers only, not `a`"),
        ("[failed]", 13, "continueOn", "`steps[0].continueOn` must be a map of fields"),
    ],
)
def test_continue_on_refusals(text: str, column: int, path: str, message: str) -> None:
    assert wrong(f"continueOn: {text}") == [(column, path, message)]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("{limit: 3, intervalSec: 0}", Retry(3)),
        ("{limit: '3', intervalSec: '2'}", Retry(3, 2)),
        ("{limit: $N, intervalSec: '${S}'}", Retry("$N", "${S}")),
        ("{limit: 1, intervalSec: 1, backoff: true}", Retry(1, 1, 2.0)),
        ("{limit: 1, intervalSec: 1, backoff: false}", Retry(1, 1)),
        ("{limit: 1, intervalSec: 1, backoff: 1.5, maxIntervalSec: 9}", Retry(1, 1, 1.5, 9)),
        ("{limit: 1, intervalSec: 1, backoff: 3, exitCode: 75}", Retry(1, 1, 3.0, 0, (75,))),
        ("{limit: 1, intervalSec: 1, exitCode: [1, 75]}", Retry(1, 1, 0.0, 0, (1, 75))),
    ],
)
def test_retry_policy(text: str, policy: Retry) -> None:
    assert step(f"command: x\nretryPolicy: {text}").retry == policy


BACKOFF = "`backoff` must be true or a number greater than 1"
TEMPLATE = "must be a whole number of at least 0, or text with a variable"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{limit: 1}", [(14, "retryPolicy.intervalSec", "`retryPolicy` lacks the key `intervalSec`")]),
        ("{intervalSec: 1}", [(14, "retryPolicy.limit", "`retryPolicy` lacks the key `limit`")]),
        ("{limit: -1, intervalSec: x}",
         [(22, "retryPolicy.limit", f"`limit` {TEMPLATE}"), (39, "retryPolicy.intervalSec", f"`intervalSec` {TEMPLATE}")]),
        ("{limit: 1, intervalSec: 1, backoff: 1}", [(50, "retryPolicy.backoff", BACKOFF)]),
        ("{limit: 1, intervalSec: 1, backoff: 0.5}", [(50, "retryPolicy.backoff", BACKOFF)]),
        ("{limit: 1, intervalSec: 1, backoff: -2}", [(50, "retryPolicy.backoff", BACKOFF)]),
        ("{limit: 1, intervalSec: 1, backoff: 1e999}", [(50, "retryPolicy.backoff", BACKOFF)]),
        ("{limit: 1, intervalSec: 1, backoff: [2]}", [(50, "retryPolicy.backoff", BACKOFF)]),
        ("{limit: 1, intervalSec: 1, maxIntervalSec: x}",
         [(57, "retryPolicy.maxIntervalSec", "`maxIntervalSec` must be a whole number of at least 0")]),
        ("{limit: 1, interval: 1, intervalSec: 1}", [(25, "retryPolicy.interval", "unknown key `interval`, did you mean `intervalSec`?")]),
    ],
)  # fmt: skip
def test_retry_policy_refusals(text: str, expected: list[tuple[int, str, str]]) -> None:
    assert wrong(f"retryPolicy: {text}") == expected


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("{repeat: true, intervalSec: 5}", Repeat("while", interval_s=5)),
        ("{repeat: true, exitCode: 3}", Repeat("while", exit_codes=(3,))),
        ("{condition: c, expected: d}", Repeat("until", Condition("c", "d"))),
        ("{condition: c}", Repeat("while", Condition("c"))),
        ("{exitCode: [1, 2]}", Repeat("while", exit_codes=(1, 2))),
        ("{repeat: while, condition: c, expected: d}", Repeat("while", Condition("c", "d"))),
        ("{repeat: until, condition: c}", Repeat("until", Condition("c"))),
        ("{repeat: until, exitCode: 0, limit: 9}", Repeat("until", exit_codes=(0,), limit=9)),
        ("{repeat: true, intervalSec: 1, backoff: true, maxIntervalSec: 60}", Repeat("while", None, (), 1, 0, 2.0, 60)),
        ("{limit: 3}", None),
        ("{repeat: false, limit: 3}", None),
    ],
)
def test_repeat_policy(text: str, policy: Repeat | None) -> None:
    assert step(f"command: x\nrepeatPolicy: {text}").repeat == policy


@pytest.mark.parametrize(
    ("text", "column", "path", "message"),
    [
        (
            "{repeat: while}",
            24,
            "repeatPolicy.repeat",
            "`repeat` must be given with `condition` or `exitCode` when it is `while`",
        ),
        (
            "{repeat: until}",
            24,
            "repeatPolicy.repeat",
            "`repeat` must be given with `condition` or `exitCode` when it is `until`",
        ),
        ("{repeat: forever}", 24, "repeatPolicy.repeat", "`repeat` must be `while`, `until`, true or false, not `forever`"),
        ("{repeat: 3}", 24, "repeatPolicy.repeat", "`repeat` must be `while`, `until`, true or false"),
        ("{expected: a}", 26, "repeatPolicy.expected", "`expected` must be given together with `condition`"),
        ("{condition: [a]}", 27, "repeatPolicy.condition", "`condition` must be text"),
        ("true", 15, "repeatPolicy", "`steps[0].repeatPolicy` must be a map of fields"),
    ],
)
def test_repeat_policy_refusals(text: str, column: int, path: str, message: str) -> None:
    assert wrong(f"repeatPolicy: {text}") == [(column, path, message)]


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("OUT", Output("OUT", "out")),
        ("$OUT", Output("OUT", "out")),
        ("'${BUILD_ID}'", Output("BUILD_ID", "buildId")),
        ("{name: BUILD_ID, key: k, omit: true}", Output("BUILD_ID", "k", True)),
        ("{name: $A}", Output("A", "a")),
    ],
)
def test_output(text: str, output: Output) -> None:
    assert step(f"command: x\noutput: {text}").output == output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("'a b'", "`output` must name a variable (letters, digits, `_`), not `a b`"),
        ("''", "`output` must name a variable (letters, digits, `_`), not ``"),
        ("1A", "`output` must name a variable (letters, digits, `_`), not `1A`"),
        ("{key: a}", "`output` must name a variable (letters, digits, `_`), not ``"),
    ],
)
def test_output_refusals(text: str, message: str) -> None:
    assert wrong(f"output: {text}") == [(9, "output", message)]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("BUILD_ID", "buildId"), ("A", "a"), ("buildId", "buildId"), ("My_Var", "myVar"), ("_X_Y_", "xY"), ("A__B1", "aB1"),
        ("___", "___"), ("HTTP_STATUS_CODE", "httpStatusCode"),
    ],
)  # fmt: skip
def test_camel_case(name: str, key: str) -> None:
    assert camel_case(name) == key


def test_signals() -> None:
    assert step("command: x\nsignalOnStop: SIGINT").signal_on_stop == "SIGINT"
    told = "`signalOnStop` must be the name of a signal like SIGINT, not `SIGTEM`, did you mean `SIGTERM`?"
    assert wrong("signalOnStop: SIGTEM") == [(15, "signalOnStop", told)]
