"""The real command line as somebody's who uses a server, with a home of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.specs.cli.room import Room

BROWSER = """
import sys, httpx2
assert httpx2.get(sys.argv[1], follow_redirects=True, timeout=30).status_code == 200
"""


@pytest.fixture
def room(tmp_path: Path) -> Room:
    """A server's folder; its commands have their home in `home`, and a browser that follows every redirect."""
    room = Room(tmp_path)
    (tmp_path / "home").mkdir()
    script = room.write("browser.py", BROWSER)
    room.env = {name: value for name, value in room.env.items() if not name.startswith("STARDAG_")}
    room.env |= {"HOME": str(tmp_path / "home"), "BROWSER": f"{sys.executable} {script} %s"}
    return room
