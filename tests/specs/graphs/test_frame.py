"""Every frame a run tells has the shape that the document gives it, and no field the document does not know."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from astrarium.surfaces.graphs.wire import FrameType, GraphFrame
from tests.specs.graphs.conftest import Server

pytestmark = [pytest.mark.net]

KNOWN = {field.encode_name for field in msgspec.structs.fields(GraphFrame)}
GRAPHS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("calc", {"expression": "6*7"}), ("fan-all", {}), ("clash", {}), ("broken", {}), ("artifact", {"text": "# Rye"}), ("expire", {}),
)  # fmt: skip
TOLD = {
    "transition", "checkpoint", "result", "tool_call", "tool_result", "branch_started", "branch_completed", "error", "artifact_written",
    "waiting_for_input", "interrupt_timeout", "bosun_audit", "run_cancelled", "run_paused",
}  # fmt: skip


def test_frames_are_as_the_document_says(server: Server) -> None:
    runs = [server.start(graph, inputs) for graph, inputs in GRAPHS]
    asking, slow = server.start("ask"), server.start("slow")
    server.status(asking, "awaiting-input")
    server.post(asking, "cancel")
    server.post(slow, "pause")
    server.status(slow, "paused")
    server.post(slow, "resume", status=202)
    seen: set[str] = set()
    for run in (*runs, asking, slow):
        server.ended(run)
        for frame in server.frames(run):
            assert frame.keys() <= KNOWN, frame
            assert msgspec.to_builtins(msgspec.convert(frame, GraphFrame)).items() <= frame.items()
            seen.add(frame["type"])
    assert TOLD <= seen <= set(get_args(FrameType))
