"""The part of a try that reaches for tools, models and artifacts."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ....errors import NotFound, Unavailable
from ....kernel.record.artifact import Artifact
from ....spec.ir.pack.policy import Policy, Violation
from ....store.log import run_folder
from ...ports import Called, Model, Provider, Tool, ToolSpec, Used
from ...routing.rules.budget import add_used
from ...state import RunState, Step
from .call import call_tool
from .means import Means, Price
from .policy import audit_of, let_through
from .record import append_record, recorded_result

LIVE_LABEL = "live_side_effects"
"""A label of a forked run that may call what writes again."""
MOST_FORKS = 20
"""How far back a forked run looks for what tools gave."""


class Reading(Protocol):
    async def read(self, sql: str, args: Any = ()) -> list[tuple[Any, ...]]: ...


class Bench(Protocol):
    """What this asks of the workshop."""

    means: Means
    folder: Path

    @property
    def reading(self) -> Reading: ...
    def make_run_folder(self, state: RunState) -> None: ...
    def record_path(self, state: RunState, step: Step, try_no: int) -> Path: ...
    def scratch(self, state: RunState) -> Path: ...


class ToolUse:
    """Mixed into `Try`."""

    _shop: Bench
    _state: RunState
    _step: Step
    try_no: int
    redact: tuple[str, ...] = ()
    _calls = 0
    halted: Violation | None = None
    used: Used | None = None
    """What this try has used up so far."""
    made: tuple[Artifact, ...] = ()
    """Artifacts this try has kept; its result carries them."""

    def emit(self, record: Mapping[str, Any]) -> None:
        bench = self._shop
        bench.make_run_folder(self._state)
        at = time.time_ns() // 1000
        path = bench.record_path(self._state, self._step, self.try_no)
        append_record(path, {"at": at, **record}, self.redact)
        audit = audit_of(self.policy, record)
        if audit is not None:
            audit["fact"] |= {"run_id": self._state.alias or self._state.run, "step": self._step.place}
            append_record(path, {"at": at, **audit}, self.redact)

    @property
    def policy(self) -> Policy:
        return self._state.known.policy

    def count(self, used: Used) -> None:
        self.used = self.used or {}
        add_used(self.used, used)

    def price(self, model: str) -> Price | None:
        prices = self._shop.means.prices
        return prices.get(model) or prices.get("*")

    # -- tools --------------------------------------------------------------------------------------------------------

    def granted(self, permission: str) -> bool:
        return self._shop.means.granted(permission)

    def tool(self, tool: str) -> Tool:
        found = self._shop.means.tools.get(tool)
        if found is None:
            raise NotFound(f"the tool `{tool}` is not installed here")
        return found

    def tool_spec(self, tool: str) -> ToolSpec:
        return self.tool(tool).spec

    def next_call(self) -> str:
        self._calls += 1
        return f"call-{self._step.round}-{self._step.no}-{self.try_no}-{self._calls}"

    async def call_tool(self, tool: str, args: Mapping[str, Any], *, waits: bool = False) -> Called:
        return await call_tool(self, tool, args, waits)  # type: ignore[arg-type]  # the try that this is part of

    def let_through(self, value: Any) -> None:
        let_through(self, value)  # type: ignore[arg-type]  # as above

    async def replays(self) -> bool:
        state = self._state
        if state.labels.get(LIVE_LABEL) == "true":
            return False
        if state.forked_from:
            return True
        run = state.parent.run if state.parent else ""
        while run:  # a run that works for a forked one changes nothing either
            rows = await self._shop.reading.read("SELECT parent_run, forked_from FROM runs WHERE id = ?", (run,))
            if not rows or rows[0][1]:
                return bool(rows)
            run = rows[0][0]
        return False

    async def recorded(self, key: str) -> dict[str, Any] | None:
        """What the runs this one was forked from recorded under a key, the nearest first."""
        bench, run = self._shop, self._state.run
        for _ in range(MOST_FORKS):
            run = await self._origin(run)
            rows = await bench.reading.read("SELECT created_at FROM runs WHERE id = ?", (run,))
            if not rows:
                return None
            found = recorded_result(run_folder(bench.folder / "logs", run, rows[0][0]), key)
            if found is not None:
                return found
        return None

    async def _origin(self, run: str) -> str:
        """The run a run was forked from; of one that works for a fork, the one that did the same for the fork's origin. Empty = none."""
        read = self._shop.reading.read
        rows = await read("SELECT forked_from, parent_run, parent_step, parent_index FROM runs WHERE id = ?", (run,))
        if not rows or rows[0][0] or not rows[0][1]:
            return str(rows[0][0]) if rows else ""
        _, parent, step, index = rows[0]
        above = await self._origin(parent)
        sql = "SELECT id FROM runs WHERE parent_run = ? AND parent_step = ? AND parent_index = ? ORDER BY created_at DESC LIMIT 1"
        found = await read(sql, (above, step, index)) if above else []
        return str(found[0][0]) if found else ""

    # -- models, files, artifacts ---------------------------------------------------------------------------------------

    def provider(self, kind: str) -> Provider:
        found = self._shop.means.providers.get(kind)
        if found is None:
            known = ", ".join(sorted(self._shop.means.providers))
            raise NotFound(f"no provider of models `{kind}` is installed here", hint=f"installed: {known}")
        return found

    @property
    def model(self) -> Model:
        return self._shop.means.model

    @property
    def files(self) -> Path:
        folder = self._shop.means.files or self._shop.scratch(self._state)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    async def put_artifact(self, name: str, content: bytes, content_type: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        artifacts = self._shop.means.artifacts
        if artifacts is None:
            raise Unavailable("this worker keeps no artifacts", hint="the setting artifact_store names a place for them")
        known = {"step": self._step.place, "node": self._state.node(self._step.no).name, **metadata}
        made = await artifacts.put(content, name, content_type, metadata=known)
        self.made = (*self.made, made)
        return {
            "artifact_id": made.id, "content_hash": made.blake3, "name": made.name, "content_type": made.content_type,
            "run_id": self._state.alias or self._state.run, "step": self._step.place,
            "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }  # fmt: skip
