"""What is found only with the help of what is installed, when a graph is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrarium.errors import Invalid
from astrarium.runs.routing.rules import pattern
from astrarium.spec.ir.compile import compile_graph
from astrarium.surfaces.graphs.work.load import installation
from astrarium.worker import load_steps

GRAPH = """ir_version: "1.1.0"
id: "graph:x"
state_schema: {n: int}
nodes: [{id: a, kind: passthrough}, {id: b, kind: passthrough}]
rules: [{id: r, when: '%s', then: [{kind: goto, target: b}]}]
"""


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("(n (value ?x&:(> ?y 3)))", "?y"),
        ("(n (value ?x&:(> ?x)))", "expected at least 2 arguments"),
        ("(test (> ?z 1))", "?z"),
        ("(n (value ?x)) (test (> (str-cat ?x) 2))", "expected argument #1 to be of type integer or float"),
    ],
)
def test_what_clips_has_against_a_pattern_is_told_at_its_place(tmp_path: Path, text: str, told: str) -> None:
    pytest.importorskip("clips")
    with pytest.raises(Invalid) as caught:
        compile_graph(GRAPH % text, installed=installation(load_steps(), tmp_path))
    (problem,) = caught.value.problems
    assert problem.path == "/rules/0/when" and told in problem.message and problem.hint and problem.line == 5


def test_a_pattern_that_calls_what_it_may_not_never_reaches_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pattern, "clips_module", lambda: pytest.fail("CLIPS was asked"))
    with pytest.raises(Invalid, match="system"):
        compile_graph(GRAPH % '(test (system "true"))', installed=installation(load_steps(), tmp_path))
