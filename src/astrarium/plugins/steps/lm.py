"""What nodes that ask a model share: which model, how it is asked, how its answer is read (Stargraph 0.8: contract 12).

A node's own `model`, `api_base` and `api_key_env` come first, then the graph's `lm`, then the server's settings. A key is sent only to the
address it was given for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import jsonschema_rs
import msgspec

from ...runs.ports import Answer, Model, Prompt, Result, StepFailed, StepOutcome, TryContext
from .filling import as_text, fill, fitting

OURS = "ASTRARIUM_"
"""Variables of the server's own are no keys of models."""
BUDGET = "budget_exhausted"
REPLAY_MISSING = "replay_missing"
MILLION = Decimal(10) ** 6
_FENCE = re.compile(r"```[\w+-]*\n(.*?)```", re.DOTALL)
_NAME = re.compile(r"[A-Za-z_]\w*")


class LmParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`input`: a field of the state, or a text with `{field}` in it; empty = the whole state as JSON. `out`: the field the answer goes
    to besides the standard one. `max_tokens` 0 = the model's own limit."""

    input: str = ""
    instructions: str = ""
    model: str = ""
    api_base: str = ""
    api_key_env: str = ""
    provider: str = "openai"
    request_timeout_s: float = 120.0
    max_tokens: int = 0
    out: str = ""


class Told(NamedTuple):
    """What became of asking: the standard outputs, the tokens used (they are counted already)."""

    outputs: dict[str, Any]
    tokens: int = 0
    said: tuple[dict[str, Any], ...] = ()


def model_of(ctx: TryContext, params: LmParams) -> Model:
    """Raises `StepFailed` when it is not told which one is asked, or its key is not there."""
    bound = ctx.graph.meta.get("graph", {}).get("lm") or {}
    given = ctx.model
    name = params.model or bound.get("model") or given.name
    base, key = given.base_url, given.key
    if bound:
        base, key = f"http://{bound.get('host') or '127.0.0.1'}:{bound.get('port') or 30000}/v1", ""
    if params.api_base:
        base, key = params.api_base, ""
    if params.api_key_env:
        key = _key(params.api_key_env)
    if not base or not name:
        missing = "model" if base else "api_base" if name else "api_base and model"
        said = f"the node names no {missing}, and neither do the graph's `lm` and the settings model_url and model_name"
        raise StepFailed(f"{said} (--model-url, --model)", code="NoModel")
    return Model(name, base, key, params.request_timeout_s)


def _key(variable: str) -> str:
    if variable.upper().startswith(OURS):
        raise StepFailed(f"the variable {variable} is the server's own and no key of a model", code="NoModel")
    key = os.environ.get(variable)
    if not key:
        raise StepFailed(f"the variable {variable}, which holds the key of the model, is not set", code="NoModel")
    return key


def input_of(ctx: TryContext, params: LmParams) -> str:
    if not params.input:
        return as_text(dict(ctx.state))
    if _NAME.fullmatch(params.input) and params.input in ctx.state:
        return as_text(ctx.state[params.input])
    return fill(params.input, ctx.state)


def messages(ctx: TryContext, params: LmParams, task: str) -> list[dict[str, Any]]:
    """The task, what the node adds to it, and the input."""
    system = "\n\n".join(part for part in (task, fill(params.instructions, ctx.state)) if part)
    return [{"role": "system", "content": system}, {"role": "user", "content": input_of(ctx, params)}]


async def ask(ctx: TryContext, params: LmParams, prompt: Prompt) -> Answer:
    """Ask, and tell each token as it comes. Raises `StepFailed`."""
    model = model_of(ctx, params)
    count = 0

    def told(token: str) -> None:
        nonlocal count
        ctx.emit({"type": "token", "model": model.name, "token": token, "index": count})
        count += 1

    if params.max_tokens and not prompt.max_tokens:
        prompt = msgspec.structs.replace(prompt, max_tokens=params.max_tokens)
    price = price_of(ctx, model.name)
    answer = await ctx.provider(params.provider).ask(model, prompt, told)
    ctx.count({"tokens": answer.tokens, **({"cost": cost_of(price, answer)} if price is not None else {})})
    return answer


def price_of(ctx: TryContext, model: str) -> tuple[Decimal, Decimal] | None:
    """Raises `StepFailed` where a budget of cost could not be kept."""
    price = ctx.price(model)
    flow = ctx.graph.flow
    budgets = [flow.budgets[name] for name in ("", ctx.node.name) if name in flow.budgets] if flow is not None else []
    if price is None and any(budget.cost for budget in budgets):
        said = f"the budget of cost cannot be kept: nobody said what the model `{model}` costs (setting model_prices)"
        raise StepFailed(said, code="NoPrice")
    return price


def cost_of(price: tuple[Decimal, Decimal], answer: Answer) -> str:
    """What an answer cost, exactly."""
    asked, answered = price
    cost = (asked * answer.asked + answered * (answer.tokens - answer.asked)) / MILLION
    return format(cost.normalize(), "f")


async def ask_json(ctx: TryContext, params: LmParams, task: str, properties: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
    """An answer with all of these properties, checked. Raises `StepFailed`, `ModelAnswerError` when it does not fit."""
    schema = {"type": "object", "properties": dict(properties), "required": list(properties), "additionalProperties": False}
    wanted = f"{task}\n\nAnswer with one JSON object and nothing else. Its JSON schema: {json.dumps(schema)}"
    answer = await ask(ctx, params, Prompt(tuple(messages(ctx, params, wanted)), schema=schema))
    return read_json(answer.text, schema), answer.tokens


def read_json(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The object in an answer, also when there is a fence or talk around it."""
    fenced = _FENCE.search(text)
    told = fenced[1] if fenced else text
    start = told.find("{")
    try:
        value, _ = json.JSONDecoder().raw_decode(told[start:] if start >= 0 else told)
    except (ValueError, RecursionError):
        raise StepFailed(f"the model gave no JSON object: {text[:200]!r}", code="ModelAnswerError") from None
    for error in jsonschema_rs.validator_for(dict(schema)).iter_errors(value):
        where = ".".join(str(part) for part in error.instance_path)
        raise StepFailed(
            f"the model's answer does not fit: {where + ': ' if where else ''}{error.message}", code="ModelAnswerError"
        )
    found: dict[str, Any] = value
    return found


def read_code(text: str) -> str:
    fenced = _FENCE.search(text)
    return fenced[1] if fenced else text


def conclude(ctx: TryContext, params: LmParams, told: Told, main: str) -> Result:
    """The result of a node: the standard outputs the state has fields for."""
    patch = dict(told.outputs)
    if params.out and main in patch:
        patch[params.out] = patch[main]
    return Result(patch=fitting(ctx, patch), said=(*told.said, tokens_fact(ctx, told.tokens)))


def tokens_fact(ctx: TryContext, tokens: int) -> dict[str, Any]:
    return {"fact": "stargraph-tokens-used", "slots": {"tool_id": ctx.node.name, "total": tokens}}


def broken(error: StepFailed) -> Result:
    """Whatever keeps a model from answering breaks the run, under its code, unless the node is tried again; only what a forked run may not
    do again is a failure by the run's own rules."""
    outcome: StepOutcome = "failed" if error.code == REPLAY_MISSING else "broken"
    return Result(outcome, error=str(error), code=error.code or "ModelError")
