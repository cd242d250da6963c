"""Files aim at 400 lines and end at 600, functions at 40 and 70, folders at 12 entries; what is above may only get less."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.conftest import COUNTED, RATCHET, WHOLE
from tests.house.source import FILE_CEILING, FUNCTION_CEILING, PACKAGE, functions, length, measure, modules

OPEN_SETS = ("plugins/", "cli", "store/migrations")
"""Folders that grow by one file a thing."""

ROOMS = {
    "__init__.py", "__init__.pyi", "__main__.py", "py.typed", "errors.py", "lazy.py", "config", "server.py", "worker.py",
    "spec", "kernel", "runs", "store", "web", "surfaces", "plugins", "sdk", "cli",
}  # fmt: skip


def test_files_keep_the_ceiling() -> None:
    sizes = {name: len((PACKAGE / name).read_text(encoding="utf-8").splitlines()) for name in modules()}
    assert {name: size for name, size in sizes.items() if size > FILE_CEILING} == {}


def test_functions_keep_the_ceiling() -> None:
    long = [
        f"{name}:{node.lineno} {node.name}: {length(node)} lines"
        for name, tree in modules().items()
        for node in functions(tree)
        if length(node) > FUNCTION_CEILING
    ]
    assert long == []


def test_folders_keep_the_ceiling() -> None:
    entries: Counter[str] = Counter()
    for path in PACKAGE.rglob("*"):
        folder = path.parent.relative_to(PACKAGE).as_posix()
        if path.parent != PACKAGE and "__pycache__" not in path.parts and path.name != "__init__.py":
            entries[folder] += 1
    crowded = {folder: number for folder, number in entries.items() if number > 12 and not folder.startswith(OPEN_SETS)}
    assert crowded == {}


def test_the_package_has_only_its_rooms() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"} - ROOMS == set()


def test_what_is_above_the_aim_gets_less() -> None:
    allowed = json.loads(RATCHET.read_text())
    grown = {what: (number, allowed[what]) for what, number in measure().items() if number > allowed[what]}
    assert grown == {}, "cut them, or say why in a decision and run `make ratchet`"


def test_the_number_of_tests_does_not_fall(request: pytest.FixtureRequest) -> None:
    if not request.config.stash[WHOLE]:
        pytest.skip("only a part of the tests was collected: the ratchet needs them all")
    counted = request.config.stash[COUNTED]
    least = json.loads(RATCHET.read_text())["tests"]
    fallen = {what: (counted[what], number) for what, number in least.items() if counted[what] < number}
    assert fallen == {}, "bring them back, or say why in a decision and run `make ratchet`"
