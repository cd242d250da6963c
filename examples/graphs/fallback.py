"""The nodes of `fallback.yaml`. The service is a file with one line for each answer it will still give: `busy`, or a price."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Busy(Exception):
    """The service has no time now."""


def ask(state: Any) -> dict[str, Any]:
    """Ask the service once."""
    path = Path(state.folder, "service.txt")
    answers = path.read_text().split()
    path.write_text("\n".join(answers[1:]))
    if not answers or answers[0] == "busy":
        raise Busy("the service is busy")
    return {"price": float(answers[0]), "source": "service"}


def yesterday(state: Any) -> dict[str, Any]:
    """The price that was good yesterday."""
    return {"price": 9.5, "source": "yesterday"}
