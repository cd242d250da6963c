"""What `triage.yaml` looks for in a ticket."""

from __future__ import annotations

import re
from typing import Any

URGENT = ("fire", "smoke", "hurt")
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(?:euro|eur|€)", re.IGNORECASE)


def look(state: Any) -> dict[str, Any]:
    """Sort a ticket by its words; `amount` is what it asks back."""
    text = state["text"].lower()
    if any(word in text for word in URGENT):
        return {"level": "urgent"}
    found = AMOUNT.search(text)
    if found and "back" in text:
        return {"level": "money", "amount": float(found[1])}
    return {"level": "plain"}
