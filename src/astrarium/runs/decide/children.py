"""What a step that waits for child runs hands on, as JSON text.

Source of the shapes: Dagu 1.30, one child `{name, dagRunId, params, outputs, status}`; parallel
`{summary{total,succeeded,failed}, results[…], outputs[of the succeeded]}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..ports import Child
from ..state import ChildState

LABELS = {
    "succeeded": "succeeded",
    "partial": "partially_succeeded",
    "cancelled": "aborted",
    "rejected": "rejected",
}


def one_child(spec: Child, child: ChildState) -> dict[str, Any]:
    label = LABELS.get(child.outcome or "", "failed")
    return {"name": spec.name, "dagRunId": spec.key, "params": spec.params, "outputs": child.outputs, "status": label}


def children_output(specs: Sequence[Child], states: Sequence[ChildState], parallel: bool) -> str:
    results = [one_child(spec, child) for spec, child in zip(specs, states, strict=True)]
    if not parallel and results:
        return msgspec.json.encode(results[0]).decode()
    good = [one for one in results if one["status"] in ("succeeded", "partially_succeeded")]
    summary = {"total": len(results), "succeeded": len(good), "failed": len(results) - len(good)}
    told = {"summary": summary, "results": results, "outputs": [one["outputs"] for one in good]}
    return msgspec.json.encode(told).decode()
