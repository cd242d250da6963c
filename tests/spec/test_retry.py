import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.spec.expand import Variables
from astrarium.spec.graph import Condition, Repeat, Retry, Tolerate
from astrarium.spec.retry import (
    MAX_DELAY_S,
    delay_s,
    may_repeat,
    may_retry,
    repeat_delay_s,
    retry_delay_s,
    settle_retry,
    tolerates,
)


def test_delays_grow_and_are_capped():
    assert [retry_delay_s(Retry(3, 2, 2.0, 30), n) for n in range(6)] == [2, 4, 8, 16, 30, 30]
    assert retry_delay_s(Retry(3, 2), 9) == 2
    assert [repeat_delay_s(Repeat("while", interval_s=5, backoff=2), n) for n in range(3)] == [5, 10, 20]


@given(st.floats(0, 1e9), st.floats(1.001, 1e6) | st.just(0.0), st.floats(0, 1e9), st.integers(0, 10**6))
def test_delays_are_finite(interval_s, backoff, cap, n):
    assert 0 <= delay_s(interval_s, backoff, cap, n) <= MAX_DELAY_S


def test_retries():
    assert may_retry(Retry(2), 1, 1)
    assert not may_retry(Retry(2), 2, 1)
    assert may_retry(Retry(2, exit_codes=(75,)), 0, 75)
    assert not may_retry(Retry(2, exit_codes=(75,)), 0, 1)
    assert settle_retry(Retry("$N", "${S}"), Variables({"N": "3", "S": "0.5"})) == Retry(3, 0.5)
    for bad in ("x", "-1", "nan", "1.5"):
        with pytest.raises(Invalid):
            settle_retry(Retry("$N"), Variables({"N": bad}))


def test_repeats():
    assert may_repeat(Repeat("while", limit=3), 2, True, 0, None)
    assert not may_repeat(Repeat("while", limit=3), 3, True, 0, None)
    assert not may_repeat(Repeat("while"), 1, False, 1, None)
    assert may_repeat(Repeat("while", exit_codes=(1,)), 1, False, 1, None)
    until = Repeat("until", condition=Condition("x"))
    assert may_repeat(until, 1, True, 0, False)
    assert not may_repeat(until, 1, True, 0, True)


def test_tolerance():
    assert tolerates(Tolerate(failure=True), 1, "")
    assert tolerates(Tolerate(exit_codes=(2,)), 2, "")
    assert not tolerates(Tolerate(exit_codes=(2,)), 1, "")
    assert tolerates(Tolerate(output=("WARN",)), 1, "a WARN b")
    assert tolerates(Tolerate(output=("re:^W.*N$",)), 1, "WxN")
    assert not tolerates(Tolerate(output=("re:(",)), 1, "(")
