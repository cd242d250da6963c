from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from astrarium.spec.cron import BadCron, next_slot, parse_cron, previous_slot


@pytest.mark.parametrize(
    "text",
    ["1", "", "* * * *", "0 * * * * *", "60 * * * *", "@daily", "CRON_TZ=Nowhere/Place 0 0 * * *", "CRON_TZ=../etc 0 0 * * *"],
)
def test_bad_expressions(text):
    with pytest.raises(BadCron):
        parse_cron(text)


def test_slots_in_zones():
    oslo = parse_cron("CRON_TZ=Europe/Oslo 15 2 * * *")
    start = datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert next_slot(oslo, start, UTC) == datetime(2024, 1, 2, 1, 15, tzinfo=UTC)
    assert previous_slot(oslo, start, UTC) == datetime(2024, 1, 1, 1, 15, tzinfo=UTC)
    plain = parse_cron("0 8 ? JAN MON-FRI")
    assert next_slot(plain, start, ZoneInfo("Asia/Tokyo")) == datetime(2024, 1, 1, 23, tzinfo=UTC)


def test_a_slot_is_later_than_the_time_asked_from():
    minute = parse_cron("*/1 * * * *")
    at = datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert next_slot(minute, at, UTC) == datetime(2024, 1, 1, 12, 1, tzinfo=UTC)
