"""How often a caller may ask: the two counters, what is shown, and what servers tell each other."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from astrarium.errors import TooOften
from astrarium.web import limit
from astrarium.web.limit import PREMIUM, STANDARD, Limits, Tier


class Hand:
    """A clock turned by hand, in seconds."""

    def __init__(self, at: float = 1_000_020.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def request(path: str = "/api/v2/dags", host: str = "10.0.0.1") -> Any:
    return SimpleNamespace(scope={"path": path}, state=SimpleNamespace(), client=SimpleNamespace(host=host))


@pytest.mark.parametrize(("host", "address"), [
    ("192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
    ("::ffff:192.0.2.1", "::ffff:192.0.2.1"), ("testclient", "testclient"),
])  # fmt: skip
def test_clients_are_told_apart_by_what_is_theirs(host: str, address: str) -> None:
    assert limit.address_of(request(host=host)) == address


def test_a_client_without_an_address_is_counted_too() -> None:
    assert limit.address_of(SimpleNamespace(client=None)) == ""  # type: ignore[arg-type]


def passed(limits: Limits, times: int, principal: str = "ws/user:anna") -> int:
    """How many of so many requests pass."""
    count = 0
    for _ in range(times):
        try:
            limits.take(request(), principal)
            count += 1
        except TooOften:
            pass  # counted by what is missing
    return count


@pytest.mark.parametrize(("tier", "burst", "requests"), [(STANDARD, 100, 1000), (PREMIUM, 500, 5000)])
def test_the_tiers(tier: Tier, burst: int, requests: int) -> None:
    clock = Hand(60.0 * 20_000)
    limits = Limits(tier, refuse=True, now=clock)
    assert passed(limits, requests * 2) == burst
    total = burst
    for _ in range(59):
        clock.at += 1
        total += passed(limits, requests)
    assert total == requests, "the bucket fills up at the window's rate, and the window ends it"


def test_both_counters_must_have_room_and_say_which_had_none() -> None:
    clock = Hand(600.0)
    limits = Limits(Tier(6, 3, 60), refuse=True, now=clock)
    assert passed(limits, 3) == 3
    with pytest.raises(TooOften, match="3 requests at once") as burst:
        limits.take(request(), "ws/user:anna")
    assert (burst.value.details, burst.value.retry_after_s) == ({"limit": "burst"}, 10)
    clock.at += 30
    assert passed(limits, 9) == 3
    clock.at += 20
    with pytest.raises(TooOften, match="6 requests in 60 s") as minute:
        limits.take(request(), "ws/user:anna")
    assert (minute.value.details, minute.value.retry_after_s) == ({"limit": "minute"}, 10)
    clock.at += 10
    assert passed(limits, 9) == 3, "a new window, a full bucket"


def test_each_caller_has_its_own() -> None:
    limits = Limits(Tier(10, 2), refuse=True, now=Hand())
    assert [passed(limits, 5, who) for who in ("ws/user:a", "ws/user:b", "other/user:a")] == [2, 2, 2]


def test_what_is_shown() -> None:
    clock = Hand(600.0)
    limits = Limits(Tier(10, 2), refuse=True, now=clock)
    asked = [request() for _ in range(3)]
    for one in asked[:2]:
        limits.take(one, "a")
    with pytest.raises(TooOften):
        limits.take(asked[2], "a")
    assert [one.state.rate for one in asked] == [(10, 9, 660), (10, 8, 660), (10, 8, 660)]


def test_where_nobody_is_refused_it_is_counted_and_shown_under_its_prefixes() -> None:
    limits = Limits(Tier(3, 1), refuse=False, shown=("/v1/",), now=Hand(600.0))
    assert passed(limits, 10) == 10
    other, shown = request(), request("/v1/runs")
    limits.take(other, "ws/user:anna")
    limits.take(shown, "ws/user:anna")
    assert not hasattr(other.state, "rate")
    assert shown.state.rate == (3, 0, 660), "never negative"


def test_strangers_are_counted_by_address() -> None:
    clock = Hand(600.0)
    limits = Limits(STANDARD, refuse=True, now=clock)
    for _ in range(limit.STRANGERS.requests):
        limits.take_stranger(request())
    with pytest.raises(TooOften):
        limits.take_stranger(request())
    limits.take_stranger(request(host="10.0.0.2"))
    clock.at += 60
    limits.take_stranger(request())
    lenient = Limits(STANDARD, refuse=False, now=clock)
    for _ in range(limit.STRANGERS.requests + 1):
        lenient.take_stranger(request())


def test_a_clock_put_back_gives_nothing_away() -> None:
    clock = Hand(600.0)
    limits = Limits(Tier(100, 2), refuse=True, now=clock)
    assert passed(limits, 5) == 2
    clock.at -= 3600
    assert passed(limits, 5) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limit, "KEPT", 3)
    limits = Limits(Tier(100, 1), refuse=True, now=Hand())
    assert [passed(limits, 1, str(number)) for number in range(5)] == [1] * 5
    assert passed(limits, 1, "4") == 0, "the newest are known"
    assert passed(limits, 1, "0") == 1, "the oldest was forgotten"


def test_servers_count_together() -> None:
    clock = Hand(600.0)
    one, other = (Limits(Tier(10, 10), refuse=True, now=clock) for _ in range(2))
    assert passed(one, 4, "a") == 4 and passed(other, 5, "a") == 5
    assert one.untold() == [("a", 10, 4)] and other.untold() == [("a", 10, 5)]
    assert one.untold() == [] and not one.touched.is_set()
    assert passed(one, 1, "a") == 1, "meanwhile"
    for limits in (one, other):
        limits.heard("a", 10, 9)
        limits.heard("a", 10, 9)
        limits.heard("a", 9, 1_000)
        limits.heard("b", 10, 1_000)
    assert one.untold() == [("a", 10, 1)]
    assert passed(one, 5, "a") == 0
    assert passed(other, 5, "a") == 1, "it has not heard of the last one yet"
