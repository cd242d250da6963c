"""Arrows point down, machines are pure, and nobody hides an import in a function."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.source import ROOT, functions, modules

IMPURE = {
    "asyncio", "asyncpg", "fastapi", "httpx2", "multiprocessing", "os", "psutil", "random", "secrets", "socket",
    "sqlalchemy", "sqlite3", "starlette", "subprocess", "tempfile", "threading", "time", "uuid",
}  # fmt: skip
"""The clock, the disk, the network, chance: what a pure room may not import."""

IMPURE_NAMES = {"astrarium.spec.ids.uuid7"}
"""Functions of ours that read the clock or chance: pure rooms are handed their results."""

BROAD_EXCEPT = (
    "worker.py",
    "plugins/executors/python_worker.py",
    "plugins/steps/node.py",
    "/".join(("runs", "work", "tool", "call.py")),
    "/".join(("surfaces", "graphs", "work", "load.py")),
    "kernel/loops.py",
    "kernel/loop.py",
    "kernel/jobs.py",
    "kernel/job.py",
    "web/problems.py",
    "cli/main.py",
)


def _imports(tree: ast.AST, path: str) -> Iterator[tuple[int, str]]:
    """Every import as (line, absolute name)."""
    package = ["astrarium", *path.split("/")[:-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*start, *((node.module or "").split(".") if node.module else [])])
            yield from ((node.lineno, f"{source}.{alias.name}") for alias in node.names)


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_no_import_of_our_own_inside_a_function() -> None:
    hidden = {
        f"{path}:{line} {name}"
        for path, tree in modules().items()
        for function in functions(tree)
        for line, name in _imports(function, path)
        if name.split(".")[0] == "astrarium"
    }
    assert hidden == set()


def test_no_circle_between_files() -> None:
    """Not even one only for the type checker: a file is understood by what lies below it."""
    name_of = {path: "astrarium." + path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in modules()}
    known = set(name_of.values())
    below = {
        name_of[path]: {
            found
            for _, name in _imports(tree, path)
            for found in (name, name.rpartition(".")[0])
            if found in known and found != name_of[path]
        }
        for path, tree in modules().items()
    }
    graphlib.TopologicalSorter(below).prepare()  # CycleError names the circle


def test_own_imports_are_relative() -> None:
    absolute = [
        f"{path}:{node.lineno}"
        for path, tree in modules().items()
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "astrarium")
        or (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "astrarium" for alias in node.names))
    ]
    assert absolute == []


def _is_machine(path: str) -> bool:
    return "machines" in path.split("/")[:-1] or path in ("runs/run.py", "runs/step.py") or path.startswith("runs/machine/")


MACHINES = [path for path in modules() if _is_machine(path)]
ROUTERS = [path for path in modules() if path.startswith("runs/routing/")]
SPEC = [path for path in modules() if path.startswith("spec/") and path != "spec/ids.py"]
"""Ids are made from the clock and chance in one place, which the pure rooms only call through what they are handed."""


def _foreign(path: str, allowed: tuple[str, ...]) -> list[str]:
    """What a pure module imports that it may not: impure libraries, or rooms of ours beside `allowed` and its own folder."""
    own_folder = ".".join(["astrarium", *path.split("/")[:-1]])
    wrong = []
    for line, name in _imports(modules()[path], path):
        ours = name.startswith("astrarium.")
        if name in IMPURE_NAMES or name.split(".")[0] in IMPURE or (ours and not name.startswith((*allowed, own_folder + "."))):
            wrong.append(f"{path}:{line} {name}")
    return wrong


@pytest.mark.parametrize("path", MACHINES)
def test_machines_import_only_what_is_pure(path: str) -> None:
    allowed = (
        "astrarium.spec.",
        "astrarium.kernel.types",
        "astrarium.kernel.machine",
        *(f"astrarium.kernel.record.artifact.{name}" for name in ("ARTIFACTS", "RUN", "TASK", "Artifact", "artifact_row")),
        "astrarium.errors",
        "astrarium.runs.routing.",
    )
    folder, found, _ = path.partition("/machines/")
    lives = (".".join(["astrarium", *folder.split("/"), "machines."]),) if found else ()
    assert _foreign(path, (*allowed, *lives)) == []


@pytest.mark.parametrize("path", ROUTERS)
def test_routers_import_only_what_is_pure(path: str) -> None:
    assert _foreign(path, ("astrarium.spec.", "astrarium.errors", "astrarium.runs.ports", "astrarium.runs.routing.")) == []


@pytest.mark.parametrize("path", SPEC)
def test_spec_imports_only_what_is_pure(path: str) -> None:
    assert _foreign(path, ("astrarium.spec.", "astrarium.errors")) == []


def _is_broad(caught: ast.ExceptHandler) -> bool:
    kinds = caught.type.elts if isinstance(caught.type, ast.Tuple) else [caught.type]
    return any(kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in kinds)


def _raises_on(caught: ast.ExceptHandler) -> bool:
    """Clean up and raise the same again: nothing is swallowed."""
    last = caught.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_broad_excepts_only_where_a_loop_must_live_on() -> None:
    broad = [
        f"{path}:{node.lineno}"
        for path, tree in modules().items()
        if path not in BROAD_EXCEPT
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and _is_broad(node) and not _raises_on(node)
    ]
    assert broad == []


def test_the_command_line_starts_light() -> None:
    """`astrarium --help` must not pay for the server's libraries."""
    if "cli/main.py" not in modules():
        pytest.skip("no command line yet")
    code = (
        "import sys, astrarium.cli.main; print([m for m in ('fastapi', 'sqlalchemy', 'pydantic', 'asyncpg') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_run_without_a_server_starts_light() -> None:
    """`astrarium run` pays neither for the web framework nor for what single step types need."""
    heavy = "fastapi starlette uvicorn httpx2 jwt psutil aiosmtplib asyncssh prometheus_client sqlalchemy".split()
    loads = "import sys, astrarium.cli.alone, astrarium.worker; astrarium.worker.load_steps()"
    code = f"{loads}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
