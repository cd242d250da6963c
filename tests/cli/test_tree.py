"""How a run looks: on a terminal, and as lines."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from astrarium.cli.tree import MOST_LINES, Lines, LiveTree, run_tree
from astrarium.cli.view import RunView, StepView, duration

SECOND = 1_000_000


def step(name: str, status: str, **more: object) -> StepView:
    times = {} if status == "pending" else {"started_at": SECOND, "ended_at": 0 if status == "running" else 2 * SECOND}
    return StepView(name, status, **{"tries": 1, **times, **more})  # type: ignore[arg-type]


def run(status: str, *steps: StepView, **more: object) -> RunView:
    ended = 0 if status == "running" else 3 * SECOND
    facts: dict[str, object] = {"created_at": SECOND, "started_at": SECOND, "ended_at": ended, "steps": list(steps), **more}
    return RunView("id-1", "demo", status, **facts)  # type: ignore[arg-type]


def text(shown: RunView, preview: dict[str, list[str]] | None = None) -> str:
    return run_tree(shown, preview or {}, 4 * SECOND).plain


def test_a_finished_run() -> None:
    shown = run(
        "failed",
        step("fetch", "succeeded"),
        step("use it", "failed", error="exit code 3\nno such file"),
        step("tell", "aborted", tries=0),
        step("onFailure", "succeeded", phase="failure"),
        reason="",
    )
    assert text(shown, {"fetch": ["one", "two"]}) == (
        "✗ demo  id-1  failed  1/3 steps  2.0s\n"
        "├─ ✓ fetch      1.0s\n"
        "│     one\n"
        "│     two\n"
        "├─ ✗ use it     1.0s  exit code 3 no such file\n"
        "├─ ■ tell       1.0s  aborted\n"
        "└─ ✓ onFailure  1.0s  on failure"
    )


def test_a_running_run() -> None:
    shown = run(
        "running", step("a", "running"), step("b", "pending", after=("a",)), step("c", "delayed", tries=2, error="exit code 1")
    )
    lines = text(shown).splitlines()
    assert lines[0].endswith("demo  id-1  running  0/3 steps  3.0s")
    assert lines[1].endswith("a  3.0s")
    assert lines[2] == "├─ · b  after a"
    assert lines[3] == "└─ ↻ c  1.0s  try 2  delayed  exit code 1"


def test_children_stand_under_their_step() -> None:
    child = RunView("c1", "part", "succeeded", params="N=1", started_at=SECOND, ended_at=2 * SECOND)
    assert "\n      ✓ part N=1  1.0s" in text(run("succeeded", step("each", "succeeded", children=[child])))


def test_outputs_and_the_reason_come_last() -> None:
    shown = run("failed", step("a", "timed_out"), outputs={"key": "a\nvalue", "empty": ""}, reason="timed_out")
    assert text(shown).splitlines()[-2:] == ["   key = a value", "   reason: timed_out"]


def test_a_large_run_shows_only_what_is_of_interest() -> None:
    steps = [step(f"s{number}", "succeeded") for number in range(5000)] + [step("bad", "failed"), step("now", "running")]
    lines = text(run("running", *steps)).splitlines()
    assert len(lines) == 4
    assert "bad" in lines[1]
    assert lines[3] == "└─ … 5,000 succeeded"


def test_never_more_lines_than_fit() -> None:
    steps = [step(f"s{number}", "failed") for number in range(1000)]
    assert len(text(run("failed", *steps)).splitlines()) == MOST_LINES + 2


def test_lines_tell_each_thing_once_in_the_order_it_happened() -> None:
    out = io.StringIO()
    lines = Lines(out)
    first = StepView("a", "running", tries=1, started_at=SECOND)
    lines.update(run("running", first, step("b", "pending")), {})
    first = StepView("a", "succeeded", tries=3, started_at=SECOND, ended_at=3 * SECOND)
    second = StepView("b", "skipped", tries=1, started_at=3 * SECOND, ended_at=3 * SECOND, error="unmet")
    done = run("succeeded", second, first, outputs={"n": "4"})
    lines.update(done, {"a": ["four"]})
    lines.finish(done, {"a": ["four"]})
    assert out.getvalue().splitlines() == [
        "demo id-1",
        "a: started",
        "a | four",
        "a: succeeded in 2.0s on try 3",
        "b: started",
        "b: skipped in 0ms: unmet",
        "n = 4",
        "demo: succeeded in 2.0s",
    ]


def test_the_live_tree_leaves_the_finished_one() -> None:
    out = io.StringIO()
    tree = LiveTree(Console(file=out, force_terminal=True, width=80, color_system=None))
    tree.update(run("running", step("a", "running")), {})
    tree.say("a remark")
    tree.finish(run("succeeded", step("a", "succeeded")), {})
    assert "a remark" in out.getvalue()
    assert "✓ a  1.0s" in out.getvalue()


@pytest.mark.parametrize(
    ("micros", "said"),
    [(0, "0ms"), (12_345, "12ms"), (1_500_000, "1.5s"), (59_949_000, "59.9s"), (61_000_000, "1m01s"), (3_725_000_000, "1h02m")],
)
def test_durations(micros: int, said: str) -> None:
    assert duration(SECOND, SECOND + micros) == said


def test_a_duration_of_what_has_not_begun_is_empty() -> None:
    assert duration(0, 0, 5) == ""
