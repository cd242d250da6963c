"""The project's own sources as the house tests read them."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "src" / "astrarium"
FILE_AIM, FILE_CEILING = 400, 600
FUNCTION_AIM, FUNCTION_CEILING = 40, 70

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package by its path from the package folder, `runs/ports.py`."""
    paths = sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)
    return {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def functions(tree: ast.AST) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def length(node: Function) -> int:
    """Lines from `def` to the end, the docstring not counted."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def words(name: str) -> set[str]:
    """`StoreManager` and `store_manager` → {store, manager}."""
    return {part.lower() for part in re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+", name)}


@cache
def texts() -> dict[str, str]:
    """Every text file that is or would be committed, by its path."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, check=True
        ).stdout.decode().split("\0")  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        listed = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*")]
        listed = [name for name in listed if not re.search(r"(^|/)(\.(?!ci/|gitignore)|__pycache__|build/|dist/)", name)]
    found: dict[str, str] = {}
    for name in listed:
        path = ROOT / name
        if name and path.is_file() and not path.is_symlink():
            try:
                found[name] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    return found


def measure() -> dict[str, int]:
    """What the ratchet lets only shrink: files and functions above their aim."""
    files = [path for path in PACKAGE.rglob("*.py") if len(path.read_text(encoding="utf-8").splitlines()) > FILE_AIM]
    long = [node for tree in modules().values() for node in functions(tree) if length(node) > FUNCTION_AIM]
    return {"files_above_aim": len(files), "functions_above_aim": len(long)}
