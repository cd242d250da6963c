"""Going on with a run that rests or has ended: the same run, its next round, from the decision recorded at a step.

Source: Stargraph 0.8, the normative column (contract 5.1). What lies behind the step is superseded and stays readable.
"""

from __future__ import annotations

from ...errors import Refused
from ...kernel.engine import Engine
from ...kernel.types import ENGINE, Actor, Command, Receipt, Scope
from ..message import Back, ReopenRun, ResumeRun
from ..row import shown_status
from .read import find_run, moment


async def resume_run(engine: Engine, run: str, scope: Scope, *, place: int | None = None, actor: Actor = ENGINE) -> Receipt:
    """Go on; `place` None = from where the run came to. Raises `Refused`: the run goes on by itself (`running`), waits (`waiting`), went
    well (`done`), or has no such step (`missing-step`)."""
    source = await find_run(engine, run, scope)
    if source.status not in ("paused", "parked", "ended"):
        told = "waits for an answer" if source.asks else f"is {shown_status(source)[0]}"
        raise Refused(f"run {source.alias} {told}: there is nothing to resume", code="waiting" if source.asks else "running")
    if source.status == "ended" and source.outcome not in source.known.graph.doors.reopen_from:
        raise Refused(f"run {source.alias} {source.outcome}: there is nothing to resume", code="done")
    if place is None:
        order = ResumeRun() if source.status in ("paused", "parked") else ReopenRun(queue=source.queue, queue_limit=source.queue_limit)
        return await engine.submit(Command(f"run:{run}", order, scope, actor))
    past = await moment(engine, source, place, decided=True)
    done = {no for no, step in past.state.steps.items() if step.status == "done"}
    later = tuple(no for no in source.steps if no not in done)
    back = Back(past.no, source.known.router.dump(past.state.memo), past.state.document, later)
    again = ReopenRun(queue=source.queue, queue_limit=source.queue_limit, back=back)
    return await engine.submit(Command(f"run:{run}", again, scope, actor, expect=past.seq))
