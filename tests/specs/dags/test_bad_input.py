"""Every field of the language with every kind of wrong value: told with its place or accepted, and never anything else.

The fields are our own tables; where the original's JSON schema is at hand, its fields too.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from astrarium.errors import Invalid
from astrarium.spec.dag import compile_dag
from astrarium.spec.dag_yaml.root import ROOT
from astrarium.spec.dag_yaml.shape import CONFIGS, SHAPES
from astrarium.spec.dag_yaml.step import HANDLERS, STEP
from astrarium.spec.graph import decode_graph, encode_graph
from tests.specs.hard.conftest import Served, make_room, serving

SCHEMA = Path(__file__).resolve().parents[4] / "shared" / "contracts" / "dagu-dag.schema.json"
KINDS = frozenset((*CONFIGS, "noop", "gha", "chat"))
VALUES = (
    "5", "-1", "0", "1.5", "1e999", "9" * 30, "0x1F", ".nan", "true", "null", "''", "' '", "text", "'${X}'", "'`x`'", "'re:('",
    "2001-01-01", "[]", "[null]", "[1]", "[[1]]", "[{a: 1}]", "[true, x]", "{}", "{a: 1}", "{a: {b: [1]}}", "{'': 1}",
    "'\\u00e9\\u2028'", "x\ty", "!!str 5", "[" * 40 + "]" * 40, "{a: " * 30 + "1" + "}" * 30, '"' + "x" * 70_000 + '"',
)  # fmt: skip
HOLE = "@@"
INSIDE_STEP = {
    "retryPolicy": ("limit", "intervalSec", "backoff", "maxIntervalSec", "exitCode"),
    "repeatPolicy": ("repeat", "condition", "expected", "exitCode", "intervalSec", "limit", "backoff", "maxIntervalSec"),
    "continueOn": ("failure", "skipped", "exitCode", "output", "markSuccess"),
    "output": ("name", "key", "omit"),
    "preconditions": ("condition", "expected", "negate"),
    "parallel": ("items", "maxConcurrent"),
    "executor": ("type", "config"),
}
BEGUN = {"retryPolicy": {"limit": 1, "intervalSec": 1}, "preconditions": {"condition": "x"}, "repeatPolicy": {"condition": "x"}}

Document = dict[str, Any]


def step_with(**fields: Any) -> Document:
    return {"steps": [{"command": "x", **fields}]}


def own_fields() -> Iterator[Document]:
    """A document for each field of our tables, with a hole where its value goes."""
    for name in dict.fromkeys(ROOT.values()):
        yield {"steps": ["x"], name: HOLE}
    for name in dict.fromkeys(STEP.values()):
        yield step_with(**{name: HOLE})
    for name, shape in SHAPES.items():
        for key in shape:
            yield (
                {"steps": ["x"], name: {key: HOLE}} if name in ROOT.values() else step_with(type="chat", llm={name: {key: HOLE}})
            )
    for kind, shape in CONFIGS.items():
        for key in shape:
            yield step_with(type=kind, config={key: HOLE})
    for name, keys in INSIDE_STEP.items():
        for key in keys:
            yield step_with(**{name: {**BEGUN.get(name, {}), key: HOLE}})
    for key in HANDLERS:
        yield {"steps": ["x"], "handlerOn": {key: HOLE}}
    for key in ("start", "stop", "restart"):
        yield {"steps": ["x"], "schedule": {key: HOLE}}
    for key in ("name", "provider", "key", "options"):
        yield {"steps": ["x"], "secrets": [{"name": "A", "provider": "env", "key": "K", key: HOLE}]}
    for key in ("schema", "values"):
        yield {"steps": ["x"], "params": {"schema": "s.json", key: HOLE}}
    for key in ("role", "content"):
        yield step_with(type="chat", messages=[{key: HOLE}])
    yield {"steps": ["x"], "registryAuths": {"h": {"username": HOLE}}}
    yield {"steps": HOLE}
    yield {"steps": [HOLE]}
    yield {"steps": {"a": HOLE}}


def schema_fields() -> Iterator[Document]:
    """The same from the original's schema, objects in objects."""
    schema = json.loads(SCHEMA.read_text())

    def parts(node: Document) -> Iterator[Document]:
        if "$ref" in node:
            node = schema["definitions"][node["$ref"].rpartition("/")[2]]
        yield node
        for key in ("oneOf", "anyOf"):
            for one in node.get(key, ()):
                yield from parts(one)

    def walk(node: Document, depth: int) -> Iterator[Any]:
        yield HOLE
        if depth == 0:
            return
        for part in parts(node):
            for name, below in part.get("properties", {}).items():
                for value in walk(below, depth - 1):
                    yield {name: value}
            if isinstance(part.get("items"), dict):
                for value in walk(part["items"], depth - 1):
                    yield [value]

    for name, below in schema["properties"].items():
        if name != "steps":
            for value in walk(below, 2):
                yield {"steps": ["x"], name: value}
    for name, below in schema["definitions"]["step"]["properties"].items():
        for value in walk(below, 2):
            yield step_with(**{name: value})


def texts(documents: Iterator[Document]) -> Iterator[str]:
    for document in documents:
        whole = json.dumps(document)
        for value in VALUES:
            yield whole.replace(f'"{HOLE}"', value)


def told(text: str) -> list[str]:
    """What is wrong with a text; empty when it is accepted. Anything but `Invalid` is a failure of the test."""
    try:
        made = compile_dag(text, name="bad", file="bad.yaml", base_dir="/nowhere", known_kinds=KINDS)
    except Invalid as error:
        assert error.problems, text[:300]
        for problem in error.problems:
            assert problem.file == "bad.yaml" and problem.line >= 1 and problem.column >= 1, (problem, text[:300])
        return [str(problem) for problem in error.problems]
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error} for {text[:300]}") from error
    assert decode_graph(encode_graph(made.graph)) == made.graph
    return []


def test_each_wrong_value_of_each_field_of_ours() -> None:
    judged = [bool(told(text)) for text in texts(own_fields())]
    assert len(judged) > 6000
    assert sum(judged) > len(judged) / 2


def test_each_wrong_value_of_each_field_of_the_schema(require: Any) -> None:
    require("shared", SCHEMA.is_file(), "the original's JSON schema is not beside this checkout")
    judged = [bool(told(text)) for text in texts(schema_fields())]
    assert len(judged) > 5000
    assert sum(judged) > len(judged) / 2


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(make_room(tmp_path_factory.mktemp("bad"))) as server:
        server.add("there.yaml", "steps: [echo]\n")
        yield server


def head(served: Served) -> Any:
    """Where the log ends."""
    with sqlite3.connect(f"file:{served.room.data / 'astrarium.db'}?mode=ro", uri=True) as store:
        return store.execute("SELECT max(position), count(*) FROM events").fetchone()


@pytest.mark.net
def test_the_same_through_the_api_moves_nothing(served: Served) -> None:
    every = [text for text in texts(own_fields()) if "\u2028" not in text]
    chosen = every[::17]
    served.get("/dags")
    before = head(served)
    refused = []
    for text in chosen:
        answer = served.call("POST", "/dags/validate", {"spec": text, "name": "bad"})
        assert answer.status_code == 200, (answer.text, text[:300])
        body = answer.json()
        assert body["valid"] is not bool(body["errors"]), body
        if not body["valid"]:
            refused.append(text)
    assert len(refused) > 100
    for text in refused[::4]:
        served.refused(served.call("POST", "/dags", {"name": "made", "spec": text}), 400)
        answer = served.call("PUT", "/dags/there/spec", {"spec": text})
        assert (answer.status_code, bool(answer.json()["errors"])) == (200, True), answer.text
        served.refused(served.call("POST", "/dag-runs", {"spec": text, "name": "bad"}), 400)
    assert head(served) == before
    assert sorted(path.name for path in served.room.dags.iterdir()) == ["there.yaml"]
    assert served.get("/health")["status"] == "healthy"
