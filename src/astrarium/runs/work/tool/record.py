"""What a try tells while it runs: tokens of a model, calls of tools, artifacts, judgements of packs. One JSON line each, in a file beside
the try's log; streams follow it as logs are followed, and a run forked from this one finds in it what tools gave."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ....store.log import safe_name
from ..redact import redact

RECORD_MAX_BYTES = 256 * 1024
"""A longer record is told without what makes it long."""

_SORTED = msgspec.json.Encoder(order="sorted")


def record_file(folder: Path, step: str, try_no: int) -> Path:
    """`<step>.<try>.ev`, in the folder of its run."""
    return folder / f"{safe_name(step)}.{try_no}.ev"


def append_record(path: Path, record: Mapping[str, Any], secrets: tuple[str, ...]) -> None:
    """One line, written at once. Secrets are masked in it."""
    line = msgspec.json.encode(record, enc_hook=str)
    if len(line) > RECORD_MAX_BYTES:
        short = {key: value for key, value in record.items() if isinstance(value, int | float) or len(str(value)) < 1000}
        line = msgspec.json.encode({**short, "cut": True}, enc_hook=str)
    if secrets:
        line = redact(line.decode(), secrets).encode()
    with path.open("ab") as file:
        file.write(line + b"\n")


def read_records(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file; a line that is being written is none yet."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    for line in data.split(b"\n")[:-1]:
        try:
            record = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(record, dict):
            yield record


def call_key(tool: str, args: Mapping[str, Any]) -> str:
    """By which a recorded result is found: of the tool's id and its canonical arguments (Stargraph 0.8: contract 5.4)."""
    return hashlib.sha256(_SORTED.encode([tool, args])).hexdigest()


def recorded_result(folder: Path, key: str) -> dict[str, Any] | None:
    """The last result a run's tries recorded under a key."""
    found: dict[str, Any] | None = None
    for path in sorted(folder.glob("*.ev"), key=lambda one: one.stat().st_mtime_ns):
        wanted: set[str] = set()
        for record in read_records(path):
            if record.get("type") == "tool_call" and record.get("key") == key:
                wanted.add(str(record.get("call_id")))
            elif record.get("type") == "tool_result" and record.get("call_id") in wanted and record.get("ok") is True:
                found = record if "cut" not in record else found
    return found
