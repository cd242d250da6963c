"""Whatever is written, a document loads or every reason is told; nothing else is ever raised."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.spec.graph import decode_graph, encode_graph
from astrarium.spec.ir.cel import compile_cel
from astrarium.spec.ir.compile import compile_graph, compile_value
from astrarium.spec.ir.read import Defect
from astrarium.spec.ir.rule.pattern import read_facts, read_pattern
from tests.spec.ir.test_authoring import SHORT
from tests.spec.ir.test_compile import INSTALLED, WHOLE

pytestmark = pytest.mark.fuzz

ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "b", "goto", "graph:x", "cel: state.n", "(node-id", "PT1S", "a/b~c", "str", "é\x00"]),
    st.lists(st.sampled_from(["a", 1, None]), max_size=2),
    st.dictionaries(st.sampled_from(["node", "kind", "type", "", "n"]), st.sampled_from(["a", 1, None, []]), max_size=2),
)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with each of its keys or positions."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


@pytest.mark.parametrize("text", [WHOLE, SHORT])
@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_document_with_odd_values_loads_or_is_refused(text: str, data: st.DataObject) -> None:
    document = copy.deepcopy(yaml.safe_load(text))
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(_places(document)))
        how = data.draw(st.sampled_from(["change", "remove", "add"]))
        if how == "add" and isinstance(container, dict):
            container[data.draw(st.sampled_from(["x", "node", "id", "a/b"]))] = data.draw(ODD)
        elif how == "remove" and isinstance(container, dict):
            container.pop(key, None)
        elif isinstance(container, dict) or key < len(container):
            container[key] = data.draw(ODD)
    try:
        compiled = compile_value(document, installed=INSTALLED)
    except Invalid as error:
        assert error.problems
        assert all(isinstance(one, Defect) for one in error.problems)
    else:
        assert decode_graph(encode_graph(compiled.graph)) == compiled.graph


@given(st.text(alphabet="(){}[]:,-&*?|~\"'\\ \n#ab1", max_size=60))
@settings(deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    read_facts(text)
    read_pattern(text, ("a",), {"b": ("value",)})
    for what in (lambda: compile_graph(text), lambda: compile_cel(text)):
        with pytest.raises(Invalid):
            what()
