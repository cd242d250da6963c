import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.spec.expand import Variables
from astrarium.spec.params import (
    Param,
    apply_schema,
    default_text,
    override,
    params_json,
    parse_overrides,
    parse_params,
    render,
    resolve,
    to_text,
    variables,
)


async def shell(line: str) -> str:
    if line == "bad":
        raise Invalid("`bad` failed with exit code 127")
    return f"<{line}>\n"


def pairs(data):
    return [(param.name, param.text) for param in parse_params(data)]


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (None, []),
        ("", []),
        ("p1 p2", [("", "p1"), ("", "p2")]),
        ('first NAME="Ann B" D=`date +%F`', [("", "first"), ("NAME", "Ann B"), ("D", "`date +%F`")]),
        (r'X="a \"b\" c" "two words"', [("X", 'a "b" c'), ("", "two words")]),
        ("X='a b'", [("X", "'a"), ("", "b'")]),
        ('A= B="" C=x=y', [("A", ""), ("B", ""), ("C", "x=y")]),
        ('{"env": "production", "n": 3, "o": {"a": 1}}', [("env", "production"), ("n", "3"), ("o", '{"a":1}')]),
        ('["a", 1, true, "K=v"]', [("", "a"), ("", "1"), ("", "true"), ("K", "v")]),
        ("{not json}", [("", "{not"), ("", "json}")]),
        ([{"REGION": "eu"}, {"N": 3}, "x Y=z", 4], [("REGION", "eu"), ("N", "3"), ("", "x"), ("Y", "z"), ("", "4")]),
        ({"B": "2", "A": None}, [("A", ""), ("B", "2")]),
    ],
)
def test_every_form(data, found):
    assert pairs(data) == found


async def test_templates_are_resolved_in_order():
    params = parse_params('first P1=foo P2=${E} P3=`echo BAR` Y=${P1} Z="A $1"')
    resolved = await resolve(params, Variables({"E": "TEXT"}), shell)
    assert render(resolved) == ["1=first", "P1=foo", "P2=TEXT", "P3=<echo BAR>", "Y=foo", "Z=A first"]
    assert variables(resolved)["2"] == variables(resolved)["P1"] == "foo"


async def test_a_failing_backtick_names_the_parameter():
    with pytest.raises(Invalid, match=r"params: .*`X`.*exit code 127"):
        await resolve(parse_params("X=`bad`"), Variables(), shell)


async def test_overrides_are_data():
    given = parse_overrides("X=`bad` $HOME")
    assert render(await resolve(given, Variables({"HOME": "/root"}), shell)) == ["X=`bad`", "2=$HOME"]


def test_overrides_replace_by_position_and_name():
    base = parse_params("FOO=foo BAR=bar BAZ=baz")
    assert render(override(base, parse_overrides("FOO=X BAZ=Y"))) == ["FOO=X", "BAR=bar", "BAZ=Y"]
    assert render(override(base, parse_overrides("one two"))) == ["FOO=one", "BAR=two", "BAZ=baz"]
    assert render(override(base, parse_overrides("NEW=1"))) == ["FOO=foo", "BAR=bar", "BAZ=baz", "NEW=1"]
    assert render(override([], parse_overrides(["a b", "K=v w"]))) == ["1=a b", "K=v w"]


def test_json_of_the_parameters():
    params = [Param("A", "1"), Param("", "x")]
    assert params_json(params) == '{"A": "1", "2": "x"}'
    assert params_json(params, ' {"A": 1} ') == ' {"A": 1} '


def test_default_text():
    assert default_text("a B=`x`") == "a B=`x`"
    assert default_text([{"A": "x y"}, {"B": "1"}]) == 'A="x y" B=1'
    assert default_text(None) == ""


@given(st.lists(st.tuples(st.sampled_from(["", "A", "B_1"]), st.text(max_size=12)), max_size=5))
def test_text_reads_back(items):
    params = [Param(name, text) for name, text in items]
    text = to_text(params)
    if not text.startswith(("{", "[")):
        assert pairs(text) == [(name, value) for name, value in items]


@given(st.text(max_size=40))
def test_no_text_makes_it_raise(text):
    parse_params(text)


SCHEMA = {
    "type": "object",
    "properties": {"batch": {"type": "integer", "minimum": 1, "default": 10}, "zone": {"type": "string", "enum": ["eu", "us"]}},
    "required": ["zone"],
}


def test_schema_fills_defaults_and_refuses_mismatches():
    assert render(apply_schema(parse_params("zone=eu"), SCHEMA)) == ["zone=eu", "batch=10"]
    with pytest.raises(Invalid) as caught:
        apply_schema(parse_params("zone=mars batch=0"), SCHEMA)
    assert {problem.path for problem in caught.value.problems} == {"params.zone", "params.batch"}
    with pytest.raises(Invalid):
        apply_schema(parse_params("zone=eu batch=many"), SCHEMA)
    with pytest.raises(Invalid, match="schema is not usable"):
        apply_schema([], {"type": 3})
