"""The sample DAGs of this folder, each with what it must come to."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.specs.dags.desk import Desk

CASES = Path(__file__).parent / "cases"
GOOD = "succeeded"


class Expected(NamedTuple):
    """`steps`: outcome by name, those not named need not be looked at unless `all_steps`. `files`: sorted lines of files written."""

    run: str
    steps: dict[str, str] = {}
    outputs: dict[str, str] = {}
    files: dict[str, list[str]] = {}
    reason: str = ""
    params: str = ""
    tries: dict[str, int] = {}
    passes: dict[str, int] = {}
    exits: dict[str, int] = {}


EXPECTED: dict[str, Expected] = {
    "chain": Expected(GOOD, dict.fromkeys(("one", "left", "right", "last"), GOOD), files={"order": ["1", "2", "2", "3"]}),
    "graph": Expected(GOOD, outputs={"a": "a", "b": "ba", "c": "ca", "d": "ba+ca,", "other": "hidden"}),
    "joins": Expected(
        "failed",
        {
            "fails": "failed", "aborted": "aborted", "aborted-too": "aborted", "skips": "skipped", "skipped": "skipped",
            "skip-passes": "skipped", "after-skip": GOOD, "fail-passes": "failed", "after-fail": GOOD, "fail-and-skip": "aborted",
        },
        exits={"fails": 3},
    ),
    "continue": Expected(
        "partial",
        {"by-code": "failed", "by-text": "failed", "by-pattern": "failed", "marked": "failed"}
        | dict.fromkeys(("after-code", "after-text", "after-pattern", "after-marked"), GOOD),
    ),
    "continue-misses": Expected(
        "failed", {"other-code": "failed", "after-code": "aborted", "other-text": "failed", "after-text": "aborted"}
    ),
    "tolerated-alone": Expected("failed", {"only": "failed"}),
    "marked-alone": Expected(GOOD, {"only": "failed"}),
    "retry": Expected(
        "partial",
        {"flaky": GOOD, "never": "failed", "other-code": "failed"},
        files={"tries": ["x"] * 3, "never": ["x"] * 3, "other": ["x"]},
        tries={"flaky": 3, "never": 3, "other-code": 1},
    ),
    "repeat": Expected(
        "partial",
        {"while-holds": GOOD, "until-equal": GOOD, "while-code": GOOD, "until-code": "failed", "limited": GOOD},
        passes={"while-holds": 3, "until-equal": 2, "while-code": 4, "until-code": 3, "limited": 3, "while-success": 3},
    ),
    "step-timeout": Expected(
        "failed", {"slow": "timed_out", "after": "aborted", "onFailure": GOOD}, exits={"slow": 124}, files={"told": ["failed"]}
    ),
    "root-timeout": Expected(
        "failed", {"slow": "cancelled", "onFailure": GOOD, "onExit": GOOD}, reason="timed_out", files={"told": ["exit", "failure"]}
    ),
    "handlers": Expected(
        GOOD, {"onInit": GOOD, "onSuccess": GOOD, "onExit": GOOD},
        files={"told": ["exit succeeded", "init", "success succeeded worked"]},
    ),
    "handlers badly": Expected(
        "failed", {"onFailure": GOOD, "work": "failed"}, params="HOW=badly", files={"told": ["exit failed", "failure failed", "init"]}
    ),
    "handler-fails": Expected("failed", {"work": GOOD, "onSuccess": "failed", "onExit": GOOD}, files={"told": ["exit"]}),
    "exit-fails": Expected("failed", {"work": GOOD, "onExit": "failed"}),
    "init-fails": Expected("cancelled", {"onInit": "failed", "onExit": GOOD}, reason="init_failed", files={"told": ["exit"]}),
    "unmet": Expected("cancelled", reason="precondition", files={"told": []}),
    "conditions": Expected(
        GOOD, {"command": GOOD, "negated": "skipped", "equal": GOOD, "pattern": GOOD, "all": "skipped"}
    ),
    "environment": Expected(
        GOOD,
        outputs={"seen": "base/sub|made|from dotenv|extra|1|two words|plain|own-base|see|environment|", "picked": "7 x"},
    ),
    "broken-prepare": Expected("failed", reason="prepare", files={"told": []}),
    "scripts": Expected(
        "partial",
        {"stops-at-error": "failed", "missing": "failed"},
        outputs={
            "lines": "line 1", "script": "from script", "shebang": "shebang", "py": "py 2", "several": "a\nb", "stopped": "",
            "direct": "a  b *",
        },
        exits={"missing": 127},
    ),
    "merged": Expected(GOOD, outputs={"both": "one\nthree"}),
    "limited": Expected("failed", {"fits": GOOD, "too-much": "failed", "not-captured": GOOD}, outputs={"fits": "x" * 100}),
    "binary": Expected(GOOD, {"bytes": GOOD, "next": GOOD}, outputs={"bytes": "\ufffd\ufffd\ufffd ok"}),
    "children": Expected(GOOD, outputs={"used": "8 succeeded"}),
    "parallel": Expected("partial", {"each": "failed"}, outputs={"count": "2 of 3"}, files={"said": ["a", "b", "bad"]}),
    "nested": Expected(GOOD, {"top": GOOD}),
    "child-missing": Expected("failed", {"gone": "failed"}),
    "child-partial": Expected("partial", {"kid": GOOD}),
    "none": Expected(GOOD),
    "delayed": Expected(GOOD, {"first": GOOD}),
}  # fmt: skip


def test_every_case_is_expected() -> None:
    written = {path.stem for path in CASES.glob("*.yaml")}
    assert written == {name.partition(" ")[0] for name in EXPECTED} | {"folders"}


@pytest.mark.parametrize("name", EXPECTED)
async def test_case(desk: Desk, name: str) -> None:
    expected = EXPECTED[name]
    (desk.folder / ".env").write_text("SHARED='from dotenv'\nEXTRA=overridden\n")
    (desk.folder / "extra.env").write_text("EXTRA=extra\n")
    stem = name.partition(" ")[0]
    run = await desk.start((CASES / f"{stem}.yaml").read_text(), expected.params, name=stem)
    row = await desk.ended(run)
    steps = await desk.steps(run)
    told = {name: (step.outcome, step.error) for name, step in steps.items()}
    assert (row.outcome, row.reason or expected.reason) == (expected.run, expected.reason or row.reason), told
    assert {name: steps[name].outcome for name in expected.steps} == expected.steps, told
    assert {name: row.outputs.get(name) for name in expected.outputs} == expected.outputs
    assert {name: steps[name].tries for name in expected.tries} == expected.tries
    assert {name: steps[name].passes for name in expected.passes} == expected.passes
    assert {name: steps[name].exit_code for name in expected.exits} == expected.exits
    for file, lines in expected.files.items():
        path = desk.folder / file
        assert (sorted(path.read_text().splitlines()) if path.exists() else []) == lines
    await desk.engine.settle()
    assert await desk.left() == {"jobs": 0, "leases": 0}, "nothing is owed after the end"


async def test_folders_and_redirection(desk: Desk) -> None:
    run = await desk.start((CASES / "folders.yaml").read_text())
    row = await desk.ended(run)
    here = desk.folder / "made" / "here"
    assert row.outputs == {"root": str(here), "own": str(here / "deeper")}
    assert (here / "out.txt").read_text() == "to-file\n"
    assert (here / "err.txt").read_text() == "err\n"
