"""`std.graph_invoke`: another graph, as a run of its own that the node waits for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...errors import AstrariumError
from ...runs.ports import Child, Spawn, StepFailed, ToolSpec, TryContext
from ...spec.ids import child_run_key


class GraphInvoke:
    """What the run of the other graph came to is the result. It is no effect of its own: what its tools do is judged where they are
    called, and a run started by a fork's is part of the fork."""

    spec = ToolSpec(
        "graph_invoke",
        "std",
        description="Runs another graph and gives the state it came to.",
        input_schema={
            "type": "object",
            "properties": {
                "graph": {
                    "type": "string",
                    "description": "Its id, or the path of its file below the folder of the calling graph.",
                },
                "inputs": {"type": "object", "description": "What its state starts with.", "default": {}},
            },
            "required": ["graph"],
            "additionalProperties": False,
        },
        output_schema={"type": "object"},
        permissions=("tools:std:graph_invoke",),
        tags=("graphs",),
    )

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Any:
        inputs = args.get("inputs", {})
        try:
            graph_hash, graph = await ctx.resolve_graph(args["graph"])
        except AstrariumError as error:
            raise StepFailed(f"the graph {args['graph']!r} cannot be run: {error.message}", code="GraphNotFound") from None
        told = msgspec.json.encode([graph_hash, inputs], order="sorted").decode()
        key = child_run_key(ctx.run_id, f"{ctx.node.name}#{ctx.at}", told)
        return Spawn((Child(key, graph_hash, graph.name, state=dict(inputs)),))


TOOL = GraphInvoke()
