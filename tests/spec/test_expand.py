import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.spec.expand import (
    StepRef,
    Variables,
    expand,
    expand_command,
    expand_script,
    expand_variables,
    split_backticks,
)

NAMES = Variables(
    {
        "A": "one",
        "1": "foo",
        "2": "bar",
        "EMPTY": "",
        "J": '{"port": 8080, "host": "h", "a": [{"b": "x"}], "n": null, "t": true, "o": {"k": 1}, "d-e": "q"}',
        "Q": 'say "hi" \\ there',
    },
    {"f": StepRef("/log/f.out", "/log/f.err", "3")},
)


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$A ${A} $NOPE ${NOPE}", "one one $NOPE ${NOPE}"),
        ("$A$A-$A.txt", "oneone-one.txt"),
        ("$AB", "$AB"),
        ("'$1' is $1, '$2' is ${2}", "'$1' is foo, '$2' is bar"),
        ("'${A}' 'x $A y'", "'${A}' 'x one y'"),
        ("${J.port} ${J.host} ${J.a[0].b} ${J.t} ${J.o} ${J.n}", '8080 h x true {"k":1} null'),
        ("'${J.host}' ${J.d-e}", "'h' q"),
        ("${J.nope} ${J.a[9]} ${A.x} ${NOPE.x}", "${J.nope} ${J.a[9]} ${A.x} ${NOPE.x}"),
        ("${f.stdout} ${f.stderr} ${f.exitCode} ${f.exit_code} ${f.other}", "/log/f.out /log/f.err 3 3 ${f.other}"),
        ("${A:0:2} ${A:1} ${A:9} ${f.stdout:0:4}", "on ne  /log"),
        ("${NOPE:-x y} ${A:-x} ${EMPTY:-$A}", "x y one one"),
        ("no dollar", "no dollar"),
        ("$$ $ ${} ${ A}", "$$ $ ${} ${ A}"),
    ],
)
def test_variables(text, expanded):
    assert expand_variables(text, NAMES) == expanded


def test_values_are_not_expanded_again():
    assert expand_variables("$X", Variables({"X": "$Y", "Y": "no"})) == "$Y"


def test_command_leaves_defaults_and_backticks_to_the_shell():
    assert expand_command("${A:-x} `echo $A` $HOME", NAMES) == "${A:-x} `echo one` $HOME"


def test_command_escapes_quotes_inside_double_quotes_only():
    assert expand_command('echo "$Q"', NAMES) == 'echo "say \\"hi\\" \\\\ there"'
    assert expand_command("echo $Q", NAMES) == 'echo say "hi" \\ there'
    assert expand_command('echo "x" \'a "\' $Q', NAMES).endswith('say "hi" \\ there')
    assert expand_script('echo "$Q"', NAMES) == 'echo "say "hi" \\ there"'


@settings(max_examples=25, deadline=None)
@given(st.text(alphabet=st.sampled_from("ab \"'\\;&|{}[]n\n"), min_size=1, max_size=12))
def test_a_shell_sees_the_very_value_inside_double_quotes(value):
    line = expand_command('printf %s "$X"', Variables({"X": value}))
    assert subprocess.run(["sh", "-c", line], capture_output=True, check=True, text=True).stdout == value
    assert shlex.split(line)[-1] == value


@given(st.text(alphabet=st.sampled_from("A1$ {}.:-[]0'\"`\\J"), max_size=40))
def test_no_text_makes_it_raise(text):
    for how in (expand_variables, expand_command, expand_script):
        how(text, NAMES)
    split_backticks(text)


def test_backticks_are_split():
    assert split_backticks("a `b c` d") == [("a ", False), ("b c", True), (" d", False)]
    assert split_backticks(r"a \`b\` c") == [("a `b` c", False)]
    assert split_backticks("open ` end") == [("open ` end", False)]
    assert split_backticks(r"`a \`b\``") == [("a `b`", True)]
    assert split_backticks("") == []


async def test_backticks_are_run_with_variables_and_their_output_is_inserted_as_it_is():
    lines = []

    async def shell(line: str) -> str:
        lines.append(line)
        return " $A\n"

    assert await expand("<`echo $A`> $A", NAMES, shell) == "<$A> one"
    assert lines == ["echo one"]
    with pytest.raises(Invalid, match="empty command"):
        await expand("` `", NAMES, shell)
