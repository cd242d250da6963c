"""Names say what a thing is; rooms open by saying what belongs in them."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.house.source import modules, words

EMPTY_WORDS = {
    "util",
    "utils",
    "helper",
    "helpers",
    "common",
    "misc",
    "base",
    "manager",
    "service",
    "handler",
    "processor",
    "impl",
}


def _names() -> Iterator[tuple[str, str]]:
    for path, tree in modules().items():
        yield path, path.rpartition("/")[2].removesuffix(".py")
        for node in ast.walk(tree):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and not node.name.startswith("__"):
                yield f"{path}:{node.lineno}", node.name


def test_no_empty_words_in_names() -> None:
    assert [f"{where} {name}" for where, name in _names() if words(name) & EMPTY_WORDS] == []


def test_every_room_says_what_belongs_in_it() -> None:
    silent = [
        path for path, tree in modules().items() if path.endswith("__init__.py") and len(ast.get_docstring(tree) or "") < 40
    ]
    assert silent == []


def test_rooms_have_no_logic_in_their_init() -> None:
    busy = [
        f"{path}:{node.lineno}"
        for path, tree in modules().items()
        if path.endswith("__init__.py") and path != "__init__.py"
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.For, ast.While, ast.If, ast.With, ast.Try))
    ]
    assert busy == []
