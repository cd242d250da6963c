import pytest

from astrarium.spec.condition import all_hold, holds
from astrarium.spec.expand import Variables
from astrarium.spec.graph import Condition

NAMES = Variables({"X": "run", "Q": 'a "b"'})


async def probe(line: str) -> tuple[int, str]:
    if line.startswith("echo "):
        return 0, line.removeprefix("echo ") + "\n"
    return (0, "") if line == "true" else (3, "")


@pytest.mark.parametrize(
    ("condition", "held"),
    [
        (Condition("true"), True),
        (Condition("false"), False),
        (Condition("false", negate=True), True),
        (Condition("true", negate=True), False),
        (Condition("$X", "run"), True),
        (Condition("$X", "walk"), False),
        (Condition("$X", "re:^r.n$"), True),
        (Condition("`echo 5`", "re:[1-5]"), True),
        (Condition("`echo a\nb`", "b"), True),
        (Condition("`false`", "x"), False),
        (Condition("$X", "re:("), False),
        (Condition("$UNKNOWN", "$UNKNOWN"), True),
    ],
)
async def test_holds(condition, held):
    result, reason = await holds(condition, NAMES, probe)
    assert result is held
    assert bool(reason) is not held


async def test_every_condition_is_evaluated():
    good, reasons = await all_hold((Condition("false"), Condition("true"), Condition("$X", "no")), NAMES, probe)
    assert not good
    assert [bool(reason) for reason in reasons] == [True, False, True]
    assert "exit code 3" in reasons[0]
    assert "got `run`" in reasons[2]
