"""`subgraph`: a graph in a graph, as a run of its own (Stargraph 0.8: contract 11.7). Fields go in when it starts and come out when it
ends; its steps are checkpointed, paused and resumed like those of every run."""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

from ...runs.ports import Child, Result, Spawn, TryContext
from .child import child_run_key


class SubgraphParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As compiled: `inputs` child field → field here, `outputs` field here → child field; `shared`: the child has no state of its own."""

    name: str
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    shared: bool = False


class Subgraph:
    """The graph lies in the parent's `locals` under the node's name. Another state, or another visit, is another run."""

    kind: ClassVar[str] = "subgraph"
    Params: ClassVar[type[msgspec.Struct]] = SubgraphParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False

    async def run(self, ctx: TryContext, params: SubgraphParams) -> Result:
        state = {theirs: ctx.state[ours] for theirs, ours in params.inputs.items() if ours in ctx.state}
        told = msgspec.json.encode(state, order="sorted").decode()
        key = child_run_key(ctx.run_id, f"{ctx.node.name}#{ctx.at}", told)
        child = Child(key, ctx.graph.locals[ctx.node.name], params.name, state=state)
        return Result(spawn=Spawn((child,), fields=dict(params.outputs)))


STEP = Subgraph()
