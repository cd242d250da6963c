"""A client of a stream that keeps what it gets, and can go away in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.served import Server


class Frame(NamedTuple):
    id: str
    event: str
    data: dict[str, Any]


def frames(server: Server, path: str, last: str = "", **params: Any) -> Iterator[Frame]:
    """The frames of a stream, in order, until it ends or the caller stops."""
    assert server.client is not None
    headers = {"Last-Event-ID": last} if last else {}
    with server.client.stream("GET", path, params=params, headers=headers) as answer:
        if answer.status_code == 204:
            return
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        id_ = event = ""
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                id_ = value
            elif name == "event":
                event = value
            elif name == "data":
                yield Frame(id_, event, json.loads(value))
                event = ""


def text_of(found: list[Frame]) -> str:
    return "".join(frame.data["text"] for frame in found if frame.event == "log")


def take(source: Iterator[Frame], number: int) -> list[Frame]:
    """So many frames; then the client is gone."""
    found = []
    for frame in source:
        found.append(frame)
        if len(found) == number:
            break
    source.close()  # type: ignore[attr-defined]
    return found
