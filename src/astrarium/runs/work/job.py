"""How the jobs of a run are carried out. Each kind returns the command that reports its result."""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec

from ...errors import AstrariumError
from ...kernel.types import Job
from ...spec.condition import all_hold, holds
from ...spec.expand import Variables
from ...spec.ir.pack.policy import FINAL
from ...spec.retry import may_repeat, may_retry, repeat_delay_s, retry_delay_s, settle_retry, tolerates
from ..decide.step import NOT_SUCCESS
from ..message import (
    EndTry,
    LoseTry,
    StartTry,
)
from ..ports import Result, StepFailed
from ..state import RunState, Step
from .child import StartChild, StopChildren, TellParent
from .context import TIMED_OUT_CODE, Try
from .due import AskDue, FanDue, GiveAnswer, PrepareRun, RunDue
from .redact import redact
from .secret import secret_in
from .tool.call import DENIED
from .tool.gate import Denial
from .tool.policy import counted, governed
from .workshop import Workshop

NUL_MARK = "\ufffd"



class RunStep:
    """One try of a step."""

    name = "run_step"
    leased = True

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop

    def place(self, job: Job) -> str:
        found = self._shop.find(job)
        return self._shop.kind_of(found[0].node(found[1].no)).place if found else ""

    def claim(self, job: Job) -> Any:
        return StartTry(job.body["no"], self._shop.worker)

    def lose(self, job: Job, begun: bool) -> Any:
        found = self._shop.find(job)
        if found is None:
            return LoseTry(job.body["no"])
        state, step = found
        if not begun:
            return LoseTry(step.no, step.try_no, True, "the try was recorded and never begun")
        return LoseTry(step.no, step.try_no, self._shop.kind_of(state.node(step.no)).idempotent)

    def broke(self, job: Job, error: Exception) -> Any:
        said = f"{type(error).__name__}: {error}"
        found = self._shop.find(job)
        return EndTry(job.body["no"], found[1].try_no, "broken", error=said) if found else LoseTry(job.body["no"], reason=said)

    def carry_out(self, job: Job) -> Any | Awaitable[Any]:
        found = self._shop.find(job)
        if not found:
            return self._load_and_execute(job)
        state, step = found
        if state.overrides and (given := state.overrides.get(state.node(step.no).name)) is not None:
            return EndTry(step.no, step.try_no, patch=given)
        if denied := self._shop.denied(state):
            return refused(Try(self._shop, state, step), denied)
        plain = self._shop.plain(state.known, step.node)
        if plain is not None:
            work, params = plain
            result = work.run(Try(self._shop, state, step), params)
            if isinstance(result, Result) and result.spawn is None:
                return EndTry(
                    step.no, step.try_no, result.outcome, result.output, result.patch, result.exit_code, result.error,
                    ask=result.ask, code=result.code, used=result.used, said=result.said,
                )  # fmt: skip
        return self._execute(Try(self._shop, state, step), state, step)

    async def _load_and_execute(self, job: Job) -> Any:
        """As `_execute`, for a run that is not in memory any more."""
        state = await self._shop.load(job)
        step = state.steps.get(job.body["no"]) if state is not None else None
        if state is None or step is None or step.status != "running":
            return None
        given = state.overrides.get(state.node(step.no).name)
        if given is not None:
            return EndTry(step.no, step.try_no, patch=given)
        if denied := self._shop.denied(state):
            return refused(Try(self._shop, state, step), denied)
        return await self._execute(Try(self._shop, state, step), state, step)

    async def _execute(self, attempt: Try, state: RunState, step: Step) -> Any:
        shop = self._shop
        with shop.executing(state.run, step.no, attempt):
            began = time.monotonic()
            result = await self._outcome(attempt, state, step)
            if isinstance(result, LoseTry):
                return result
            told = await judge(attempt, step, counted(attempt, result, time.monotonic() - began))
            attempt.tidy()
            return told

    async def _outcome(self, attempt: Try, state: RunState, step: Step) -> Result | LoseTry:
        """Run the step; what stopped it from outside, and what it raised, become results."""
        shop, node = self._shop, attempt.node
        work = shop.kind_of(node)
        result: Result
        try:
            result = await attempt.guard(self._run(attempt, state, step))
        except StepFailed as error:
            result = Result("failed", exit_code=error.exit_code, error=str(error), code=error.code)
        except OSError as error:
            result = Result("failed", exit_code=127 if isinstance(error, FileNotFoundError) else 126, error=str(error))
        except AstrariumError as error:
            result = Result("failed", error=error.message)
        return ended_from_outside(attempt, result, work.idempotent)

    async def _run(self, attempt: Try, state: RunState, step: Step) -> Result:
        await attempt.settle()
        unmet = await unmet_condition(attempt, step)
        if unmet:
            return Result("skipped", error=unmet)
        given = self._shop.kind_of(attempt.node).run(attempt, self._shop.params_of(state.known, step.node))
        return await given if inspect.isawaitable(given) else given


def refused(attempt: Try, denied: Sequence[Denial]) -> EndTry:
    """The graph needs what runs here are not allowed: it fails where it begins, and who follows it is told what of it."""
    for one in denied:
        attempt.emit(one.record)
    wanted = "; ".join(f"{one.subject} needs the permission {', '.join(one.permissions)}" for one in denied)
    said = f"{wanted}: runs here do not have it (setting graph_grants, or --grant)"
    return EndTry(attempt.no, attempt.try_no, "failed", error=said, code=DENIED)


def ended_from_outside(attempt: Try, result: Result, again: bool) -> Result | LoseTry:
    if attempt.ended_by == "server_stop":
        return LoseTry(attempt.no, attempt.try_no, again, "the server stopped while the step ran")
    if attempt.ended_by == "timed_out":
        text = f"the step timed out after {attempt.node.timeout_s:g} s"
        return msgspec.structs.replace(result, outcome="timed_out", exit_code=TIMED_OUT_CODE, error=text)
    if attempt.ended_by == "stopped" and not (attempt.cooperative and result.outcome == "succeeded"):
        return msgspec.structs.replace(result, outcome="cancelled", error=result.error or "stopped", ask=None, spawn=None)
    return result


async def unmet_condition(attempt: Try, step: Step) -> str:
    """Why the step is not to be executed; asked once, before its first execution."""
    if step.retries or step.passes or not attempt.node.when:
        return ""
    good, reasons = await all_hold(attempt.node.when, attempt.variables, attempt.probe)
    return "" if good else "; ".join(reason for reason in reasons if reason)


async def judge(attempt: Try, step: Step, result: Result) -> EndTry:
    """The facts only the try knows: its output, which policies apply, whether to go on."""
    node = attempt.node
    result = governed(attempt, masked(capture(attempt, withheld(attempt, result)), attempt.redact))
    policy = node.tolerate
    tolerated = policy is not None and result.outcome in NOT_SUCCESS
    if tolerated and policy is not None:
        tolerated = tolerates(policy, result.exit_code, attempt.printed() if policy.output else "")
    try:
        retry_in_s, limit = await retry_of(attempt, step, result)
    except AstrariumError as error:
        retry_in_s, limit = None, 0
        said = redact(f"{result.error}\nno further try: {error.message}".strip(), attempt.redact)
        result = msgspec.structs.replace(result, error=said)
    spawn, ask = result.spawn, result.ask
    if ask is not None and node.timeout_s and not ask.timeout_s:
        ask = msgspec.structs.replace(ask, timeout_s=node.timeout_s)
    return EndTry(
        step.no, attempt.try_no, result.outcome, result.output, result.patch, result.exit_code, result.error,
        tolerated=tolerated or (spawn is not None and node.tolerate is not None and node.tolerate.failure),
        marked=node.tolerate is not None and node.tolerate.mark_success and (tolerated or spawn is not None),
        passed=result.outcome == "skipped" and node.tolerate is not None and node.tolerate.skipped,
        retry_in_s=retry_in_s, retry_limit=limit,
        again_in_s=await again_in_s(attempt, step, result) if node.repeat is not None else None,
        ask=ask, children=spawn.children if spawn else None,
        max_active=spawn.max_active if spawn else 0, parallel=spawn.parallel if spawn else False,
        fields=spawn.fields if spawn else {}, code=result.code, used=result.used, said=result.said, artifacts=attempt.made,
    )  # fmt: skip


def masked(result: Result, secrets: tuple[str, ...]) -> Result:
    """Secrets never leave a try: not in its output, its error, or its patch. Nor do NUL bytes, which no environment, and not every
    store, can hold."""
    if "\0" in result.error or "\0" in (result.output or ""):
        output = result.output.replace("\0", NUL_MARK) if result.output is not None else None
        result = msgspec.structs.replace(result, output=output, error=result.error.replace("\0", NUL_MARK))
    if not secrets:
        return result
    output = redact(result.output, secrets) if result.output is not None else None
    patch = result.patch
    if patch is not None:
        patch = msgspec.json.decode(redact(msgspec.json.encode(patch).decode(), secrets))
    ask = result.ask
    if ask is not None:
        ask = msgspec.structs.replace(ask, prompt=redact(ask.prompt, secrets))
    return msgspec.structs.replace(result, output=output, error=redact(result.error, secrets), patch=patch, ask=ask)


def withheld(attempt: Try, result: Result) -> Result:
    """A child's parameters are recorded and shown: a secret among them is refused, since masked it would be of no use."""
    if result.spawn is None or not attempt.secrets:
        return result
    for child in result.spawn.children:
        name = secret_in(child.params, attempt.secrets)
        if name:
            said = f"the secret `{name}` cannot be a parameter of `{child.name}`, where it would be recorded: declare it there too"
            return Result("failed", error=said)
    return result


def capture(attempt: Try, result: Result) -> Result:
    """Fill in what the node wants as its output: captured stdout, failed steps' included."""
    node = attempt.node
    if node.output is None:
        return result if attempt.graph.router == "rules" else msgspec.structs.replace(result, output=None)
    if result.outcome == "skipped" or result.spawn is not None or result.ask is not None:
        return result
    if result.output is None and attempt.captures:
        try:
            return msgspec.structs.replace(result, output=attempt.captured())
        except StepFailed as error:
            return msgspec.structs.replace(result, outcome="failed", error=str(error))
    return msgspec.structs.replace(result, output=(result.output or "").strip())


async def retry_of(attempt: Try, step: Step, result: Result) -> tuple[float | None, int]:
    """How long to wait before a further try, and how many further tries there may be; None = no retry applies. Raises
    `AstrariumError` when a number of the policy cannot be told."""
    policy = attempt.node.retry
    if policy is None or result.code in FINAL or (result.outcome not in NOT_SUCCESS and result.spawn is None):
        return None, 0
    if policy.errors and result.spawn is None and not {result.code, result.outcome} & set(policy.errors):
        return None, 0
    if isinstance(policy.limit, str) or isinstance(policy.interval_s, str):
        limit, interval_s = [await attempt.expand(part) if isinstance(part, str) else part for part in (policy.limit, policy.interval_s)]
        policy = msgspec.structs.replace(policy, limit=limit, interval_s=interval_s)
    rule = settle_retry(policy, Variables())
    if result.spawn is None and not may_retry(rule, step.retries, result.exit_code):
        return None, 0
    return retry_delay_s(rule, step.retries), int(rule.limit)


async def again_in_s(attempt: Try, step: Step, result: Result) -> float | None:
    """When a repeating step takes its next turn; None = it does not."""
    policy = attempt.node.repeat
    if policy is None or result.outcome in ("skipped", "cancelled", "timed_out"):
        return None
    held = None
    if policy.condition is not None:
        held, _ = await holds(policy.condition, attempt.variables, attempt.probe)
    done = step.passes + 1
    again = may_repeat(policy, done, result.outcome == "succeeded", result.exit_code, held)
    return repeat_delay_s(policy, step.passes) if again else None


def run_jobs(shop: Workshop) -> list[Any]:
    """Every kind of job a run may owe."""
    timers = [RunDue(), AskDue(), FanDue(), GiveAnswer(shop)]
    return [RunStep(shop), PrepareRun(shop), *timers, TellParent(shop), StartChild(shop), StopChildren(shop)]


