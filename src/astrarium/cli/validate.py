"""`astrarium validate`: everything that is wrong with DAG files, each complaint with its place."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from ..config import Settings
from ..errors import Invalid, Problem
from .definition import compile_file
from .option import AsJson, examples, new_app, print_json, settings_of

APP = new_app()
EXAMPLES = examples(
    "astrarium validate hello.yaml",
    "astrarium validate dags/*.yaml && echo all good",
    "astrarium validate hello.yaml --json | jq '.files[].problems'",
)


@APP.command(epilog=EXAMPLES)
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="DAG files.")],
    as_json: AsJson = False,
) -> int:
    """Check DAG files without running anything.

    Every problem is a line `file:line:column: what is wrong (how to mend it)`. Exit code 0 when all files are valid, else 1.
    """
    settings = settings_of()
    reports = [_check(path, settings) for path in files]
    good = all(report["valid"] for report in reports)
    if as_json:
        print_json({"valid": good, "files": reports})
        return 0 if good else 1
    for report in reports:
        if report["valid"]:
            print(f"{report['file']}: valid, {report['steps']} step{'' if report['steps'] == 1 else 's'}")
        for problem in report["problems"]:
            print(problem)
    count = sum(len(report["problems"]) for report in reports)
    if count > 1:
        print(f"{count} problems", file=sys.stderr)
    return 0 if good else 1


def _check(path: Path, settings: Settings) -> dict[str, Any]:
    try:
        _, compiled = compile_file(path, settings, strict=True)
    except Invalid as error:
        return {"file": str(path), "valid": False, "problems": _placed(error, str(path))}
    steps = sum(node.phase == "main" for node in compiled.dag.graph.nodes)
    return {"file": str(path), "valid": True, "name": compiled.dag.name, "steps": steps, "problems": []}


def _placed(error: Invalid, file: str) -> list[Problem]:
    return [problem if problem.file else msgspec.structs.replace(problem, file=file) for problem in error.problems]
