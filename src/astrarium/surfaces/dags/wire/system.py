"""What the server tells of itself."""

from __future__ import annotations

from .shape import Wire


class Health(Wire):
    status: str
    version: str
    uptime: int
    timestamp: str
    components: dict[str, str] = {}
