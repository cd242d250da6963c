"""A graph's bytes are canonical: the same definition, the same hash."""

from __future__ import annotations

import hashlib

from astrarium.spec.dag import compile_dag
from astrarium.spec.graph import (
    Condition,
    Doors,
    Edge,
    Graph,
    Node,
    Output,
    Prepare,
    Retry,
    decode_graph,
    encode_graph,
    graph_hash,
)

WHOLE = Graph(
    "g",
    nodes=(
        Node("a", "shell", params={"b": 1, "a": [None, "é"]}, retry=Retry("$N", 1.5), output=Output("X", "x", True)),
        Node("b", "noop", phase="exit", when=(Condition("c", "d", True),), env=(("K", "v"),)),
    ),
    edges=(Edge(0, 1, "always"),),
    prepare=Prepare(params=["a", {"B": "1"}], env=(("E", "$A"),)),
    doors=Doors(("failed",), pause=False),
    locals={"l": "00"},
    meta={"dag": {"type": "chain"}},
)


def test_what_is_written_reads_back() -> None:
    assert decode_graph(encode_graph(WHOLE)) == WHOLE


def test_defaults_are_left_out_and_keys_are_sorted() -> None:
    assert encode_graph(Graph("g")) == b'{"name":"g"}'
    assert encode_graph(Graph("g", nodes=(Node("a", "k", params={"z": 1, "b": {"y": 1, "x": 2}}),))) == (
        b'{"name":"g","nodes":[{"kind":"k","name":"a","params":{"b":{"x":2,"y":1},"z":1}}]}'
    )


def test_the_hash_is_the_sha256_of_the_bytes() -> None:
    assert graph_hash(encode_graph(WHOLE)) == hashlib.sha256(encode_graph(WHOLE)).hexdigest()


def test_comments_and_the_order_of_keys_do_not_change_the_hash() -> None:
    texts = ("name: g\nsteps:\n  - {name: a, command: x}\n", "# said\nSteps: [{command: x, name: a}]\n\nname: g\n")
    graphs = [compile_dag(text, name="f", file="f.yaml", base_dir="/").graph for text in texts]
    assert graph_hash(encode_graph(graphs[0])) == graph_hash(encode_graph(graphs[1]))
    other = compile_dag("name: g\nsteps: [{name: a, command: y}]", name="f", file="f.yaml", base_dir="/").graph
    assert graph_hash(encode_graph(other)) != graph_hash(encode_graph(graphs[0]))
