"""Putting a run's question to the person at the terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from .graph_show import keys_of, say, short

Read = Callable[[str], str]


async def ask_person(awaiting: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, key by key."""
    return await asyncio.to_thread(ask, awaiting)


def ask(awaiting: Mapping[str, Any], read: Read = input) -> dict[str, Any]:
    """Stargraph 0.8: `open_questions` are asked one by one and answered as `slot_answers`; a schema's keys one by one; else one text."""
    payload = awaiting.get("interrupt_payload") or {}
    say((str(awaiting["prompt"]), "bold"))
    for name, value in payload.items():
        if name not in ("response_schema", "open_questions"):
            say(f"  {name}: {short(value, 200)}")
    questions = payload.get("open_questions")
    if isinstance(questions, list):
        asked = {str(one["slot"]): (str(one.get("prompt") or one["slot"]), one.get("schema") or {}) for one in questions}
        return {"slot_answers": {slot: ask_one(label, schema, read) for slot, (label, schema) in asked.items()}}
    wanted = keys_of(payload)
    if wanted:
        return {name: ask_one(name, schema, read) for name, schema in wanted.items()}
    return {"answer": read("answer: ")}


def ask_one(label: str, schema: Mapping[str, Any], read: Read) -> Any:
    """One value, asked until it is one of the kind."""
    choices = schema.get("enum")
    told = f"{label} ({' | '.join(map(str, choices))}): " if choices else f"{label}: "
    while True:
        text = read(told).strip()
        value = parse_value(text, schema)
        if choices and value not in choices:
            say(f"  one of {', '.join(map(str, choices))}")
        elif value is not None:
            return value
        else:
            say(f"  a value of type {schema.get('type')}, as JSON")


def parse_value(text: str, schema: Mapping[str, Any]) -> Any:
    """None when it is no value of the schema's type."""
    kind = schema.get("type", "string")
    if kind == "string":
        return text
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
    fits: Any = {"integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}.get(kind)
    good = fits is None or (isinstance(value, fits) and isinstance(value, bool) <= (kind == "boolean"))
    return value if good else None
