"""`react`: a model works on a task with tools, turn by turn, until it has an answer (Stargraph 0.8: contract 12).

Each turn the model may call tools; what they give is told to it, errors and refusals too. A budget of tokens ends the loop before the next
question, `max_iters` after so many."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, ClassVar, Literal

import msgspec

from ...errors import NotFound
from ...runs.ports import Answer, Called, Prompt, Result, StepFailed, ToolSpec, TryContext, WantedCall
from ...spec.ir.installed import Kind
from .filling import config_schema, fitting
from .lm import BUDGET, LmParams, Told, ask, broken, conclude, messages, tokens_fact

MOST_ITERS = 64
TASK = "Work on the task with the tools you have. When you know the answer, give it as plain text and call no tool."


class ReactParams(LmParams, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`tools`: ids, `namespace.name@version`; without a version it is version 1."""

    tools: list[str]
    max_iters: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.max_iters <= MOST_ITERS:
            raise ValueError(f"max_iters is 1 to {MOST_ITERS}, not {self.max_iters}")


class React:
    """Outputs: `answer`, `tool_trace` (a list of `{tool, args, ok, result | error}`)."""

    kind: ClassVar[str] = "react"
    Params: ClassVar[type[msgspec.Struct]] = ReactParams
    idempotent: ClassVar[bool] = False
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False
    ir: ClassVar[Kind] = Kind("external", config_schema(ReactParams), writes=("out",))

    async def run(self, ctx: TryContext, params: ReactParams) -> Result:
        try:
            return await Loop(ctx, params).run()
        except StepFailed as error:
            return broken(error)


class Loop:
    def __init__(self, ctx: TryContext, params: ReactParams) -> None:
        self.ctx, self.params = ctx, params
        self.tools: dict[str, ToolSpec] = {}
        self.tokens = 0
        self.trace: list[dict[str, Any]] = []
        self.said: list[dict[str, Any]] = []
        self.budget = ctx.graph.flow.budgets.get(ctx.node.name) if ctx.graph.flow else None

    async def run(self) -> Result:
        """Raises `StepFailed`."""
        ctx, params = self.ctx, self.params
        self._find_tools()
        talk = messages(ctx, params, TASK)
        for _ in range(params.max_iters):
            for kind in ("tokens", "cost"):
                most, spent = (Decimal(str(part)) for part in (getattr(self.budget, kind, 0) or 0, (ctx.used or {}).get(kind, 0)))
                if most and spent >= most:
                    return self._give_up(BUDGET, f"{spent} {kind} are used, of a budget of {most}")
            answer = await ask(ctx, params, Prompt(tuple(talk), tools=tuple(map(function_of, self.tools.items()))))
            self.tokens += answer.tokens
            if not answer.calls:
                outputs = {"answer": answer.text.strip(), "tool_trace": self.trace}
                return conclude(ctx, params, Told(outputs, self.tokens, tuple(self.said)), "answer")
            talk.append(spoken(answer))
            for wanted in answer.calls:
                talk.append({"role": "tool", "tool_call_id": wanted.id, "content": await self._call(wanted)})
        return self._give_up("max_iters", f"the model had no answer after {params.max_iters} turns")

    def _find_tools(self) -> None:
        for tool in self.params.tools:
            try:
                spec = self.ctx.tool_spec(tool if "@" in tool else f"{tool}@1")
            except NotFound as error:
                raise StepFailed(error.message, code="ToolNotFound") from None
            self.tools[f"{spec.namespace}__{spec.name}"] = spec

    async def _call(self, wanted: WantedCall) -> str:
        """Make a call the model asked for, and say what came of it."""
        spec = self.tools.get(wanted.name)
        if spec is None:
            return self._note(wanted.name, {}, Called(False, error=f"there is no tool {wanted.name}"))
        try:
            args = json.loads(wanted.arguments)
        except (ValueError, RecursionError) as error:
            return self._note(spec.id, {}, Called(False, error=f"the arguments are no JSON: {error}"))
        if not isinstance(args, dict):
            return self._note(spec.id, {}, Called(False, error="the arguments are no object"))
        called = await self.ctx.call_tool(spec.id, args)
        if called.code == "replay_missing":
            raise StepFailed(called.error, code=called.code)
        self.said.extend(called.said)
        return self._note(spec.id, args, called)

    def _note(self, tool: str, args: dict[str, Any], called: Called) -> str:
        told: dict[str, Any] = {"result": called.result} if called.ok else {"error": called.error}
        self.trace.append({"tool": tool, "args": args, "ok": called.ok, **told})
        return json.dumps(told, ensure_ascii=False)

    def _give_up(self, code: str, said: str) -> Result:
        patch = fitting(self.ctx, {"tool_trace": self.trace})
        facts = (*self.said, tokens_fact(self.ctx, self.tokens))
        return Result("failed", error=said, code=code, patch=patch or None, said=facts)


def function_of(named: tuple[str, ToolSpec]) -> dict[str, Any]:
    """A tool as a model is told of it."""
    name, spec = named
    parameters = spec.input_schema or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": name, "description": spec.description, "parameters": parameters}}


def spoken(answer: Answer) -> dict[str, Any]:
    """What a model said, as a message of the talk."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}} for call in answer.calls
    ]
    return {"role": "assistant", "content": answer.text or None, "tool_calls": calls}


STEP = React()
