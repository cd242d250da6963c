"""The time zone of this machine by its name: expressions count in a zone, not in today's distance to UTC."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

log = logging.getLogger("astrarium.dags")
LINK = Path("/etc/localtime")
NAME = Path("/etc/timezone")
FOLDER = "zoneinfo/"


def zone_name(wanted: str) -> str:
    """`wanted`, or the machine's zone where that is empty: `TZ`, then what /etc/localtime or /etc/timezone names, then UTC."""
    for name in (wanted, os.environ.get("TZ", "").lstrip(":"), _linked(), _written()):
        name = name.partition(FOLDER)[2] or name
        if name and _known(name):
            return name
    log.warning("the machine's time zone has no name: schedules count in UTC (the setting time_zone names another)")
    return "UTC"


def _linked() -> str:
    try:
        return os.path.realpath(LINK).partition(FOLDER)[2]
    except OSError:
        return ""


def _written() -> str:
    try:
        return NAME.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _known(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
