"""The server that works on a data folder now, by the `server.json` it keeps there while it lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

SERVER_FILE = "server.json"
CONNECT_S = 2.0


class Server(msgspec.Struct, frozen=True):
    """What `server.json` says. Who can read its `token` is the owner, on a server with sign-in too."""

    url: str
    pid: int
    token: str = ""


def read_live(path: Path) -> Server | None:
    """The server of a `server.json`, if it lives. A file left by one that was killed does not count: nobody listens there any more."""
    try:
        server = msgspec.json.decode(path.read_bytes(), type=Server)
    except (OSError, msgspec.DecodeError):
        return None
    return server if is_alive(server.pid) and _listens(server.url) else None


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _listens(url: str) -> bool:
    address = urlsplit(url)
    try:
        socket.create_connection((address.hostname or "127.0.0.1", address.port or 80), CONNECT_S).close()
    except OSError:
        return False
    return True
