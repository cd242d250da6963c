"""Cron expressions of schedules: five fields, names allowed, an optional time zone in front.

Dagu 1.30: `CRON_TZ=Zone ` sets the zone, else the server's; no `@hourly` descriptors, no seconds field.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from cronsim import CronSim, CronSimError

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_ZONE_PREFIXES = ("CRON_TZ=", "TZ=")
_FIELDS = 5
_SPAN = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s?)?", re.ASCII)
MAX_SPAN_S = 366 * 86_400


class BadCron(ValueError):
    """The expression cannot be read; the text says why."""


class BadSpan(ValueError):
    """The length of time cannot be read; the text says why."""


class Cron(msgspec.Struct, frozen=True):
    """A checked expression: its five fields, and its own time zone (empty = the server's)."""

    fields: str
    zone: str = ""


def parse_cron(expression: str) -> Cron:
    """Check an expression. Raises `BadCron`."""
    zone, fields = "", expression.strip()
    for prefix in _ZONE_PREFIXES:
        if fields.startswith(prefix):
            zone, _, fields = fields.removeprefix(prefix).partition(" ")
            _zone(zone)
            break
    if fields.startswith("@"):
        raise BadCron("descriptors like @daily are not supported, write the five fields")
    words = fields.split()
    if len(words) != _FIELDS:
        raise BadCron(f"a cron expression has five fields (minute hour day month weekday), this has {len(words)}")
    words = ["*" if word == "?" else word for word in words]
    try:
        CronSim(" ".join(words), _EPOCH)
    except (CronSimError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise BadCron(str(error).lower()) from error
    return Cron(" ".join(words), zone)


def parse_span(text: str) -> int:
    """A length of time in seconds: `90`, `90s`, `15m`, `6h`, `1d`, also together (`1d12h`). Raises `BadSpan`."""
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None or not any(found.groups()):
        raise BadSpan(f"`{text[:40]}` is none")
    seconds = sum(int(part or 0) * unit for part, unit in zip(found.groups(), (86_400, 3600, 60, 1), strict=True))
    if not 0 < seconds <= MAX_SPAN_S:
        raise BadSpan(f"`{text[:40]}` is not between one second and 366 days")
    return seconds


def next_slot(cron: Cron, after: datetime, default_zone: tzinfo) -> datetime | None:
    """The first slot later than `after` (an aware time), in UTC; None when there is none within 50 years."""
    zone = _zone(cron.zone) if cron.zone else default_zone
    try:
        return next(CronSim(cron.fields, after.astimezone(zone))).astimezone(UTC)
    except StopIteration:
        return None


def previous_slot(cron: Cron, before: datetime, default_zone: tzinfo) -> datetime | None:
    """The last slot earlier than `before` (an aware time), in UTC; None when there is none within 50 years."""
    zone = _zone(cron.zone) if cron.zone else default_zone
    try:
        return next(CronSim(cron.fields, before.astimezone(zone), reverse=True)).astimezone(UTC)
    except StopIteration:
        return None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadCron(f"unknown time zone `{name}`") from error
