"""Orders to a run: the commands of the one life. Times are microseconds UTC."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ...kernel.record.artifact import Artifact
from ..ports import Ask, Child, StepOutcome, Used
from ..routing.port import RunOutcome

StopMode = Literal["signal", "cooperative"]


class Parent(msgspec.Struct, frozen=True, omit_defaults=True):
    """The step a run works for: the parent's run id and round, its step number, and the child's place among its siblings."""

    run: str
    round: int
    no: int
    index: int = 0


class Origin(msgspec.Struct, frozen=True):
    """The try an inherited step's log files belong to: its run (with the time that run was made), round and number."""

    run: str
    created_at: int
    round: int
    try_no: int


class Inherited(msgspec.Struct, frozen=True, omit_defaults=True):
    """A step a fork takes over from its parent as it ended."""

    no: int
    node: int
    outcome: StepOutcome
    output: str | None = None
    exit_code: int | None = None
    error: str = ""
    tolerated: bool = False
    marked: bool = False
    passed: bool = False
    partial: bool = False
    try_no: int = 0
    passes: int = 0
    started_at: int = 0
    ended_at: int = 0
    answers: tuple[dict[str, Any], ...] = ()
    origin: Origin | None = None
    retries: int = 0
    at: int = -1
    branch: str = ""
    patch: dict[str, Any] | None = None


# -- commands ---------------------------------------------------------------------------------------------------------


class StartRun(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Begin a life. `alias` is the id the client knows it by; `chosen` = the client chose it, so it must be free.
    `queue` waits for a place among `queue_limit` (0 = no limit), or `at_once` takes one beyond it; `exclusive` and `max_active`
    refuse when runs of that name are active. `resolved`: what its first job would find, for a run that begins at once.
    `state` is what a graph of rules starts with, its other fields being their defaults; `said`: facts it starts with, as {fact, slots,
    source}: what its packs found in the state."""

    graph: str
    name: str
    surface: str
    alias: str
    params: str = ""
    trigger: str = "manual"
    chosen: bool = False
    exclusive: bool = False
    max_active: int = 0
    queue: str = ""
    queue_limit: int = 0
    at_once: bool = False
    priority: int = 0
    parent: Parent | None = None
    root: str = ""
    depth: int = 0
    rerun_of: str = ""
    labels: dict[str, str] = {}
    resolved: Resolved | None = None
    state: dict[str, Any] = {}
    said: tuple[dict[str, Any], ...] = ()

    def told(self) -> Any:
        """What the client said, for telling whether two uses of an idempotency key are the same request."""
        return msgspec.structs.replace(self, alias=self.alias if self.chosen else "", resolved=None)


class ForkRun(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Begin a life with another's past: `steps` are inherited, never run again. `memo` is the router's dump to go on from (None = from
    the start), `at_step` the step forked at (-1 = none named), `changes` what the client asked to be different. `overrides`: by node
    name, the patch its visits shall have made; `answers`: by place on the way, what shall be answered there."""

    start: StartRun
    source: str
    source_round: int
    at_step: int
    steps: tuple[Inherited, ...] = ()
    memo: Any = None
    resolved: Resolved | None = None
    document: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    prepare: bool = False
    overrides: dict[str, dict[str, Any]] = {}
    answers: dict[int, dict[str, Any]] = {}
    by: str = ""

    def told(self) -> Any:
        """As for `StartRun.told`; what was taken from the source follows from these."""
        return [self.start.told(), self.source, self.at_step, self.changes]


class ImportRun(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Begin a life that was lived elsewhere and is over: how its steps ended, and when what happened. `memo` is the router's dump of
    it, so that it may be reopened like any other."""

    start: StartRun
    outcome: RunOutcome
    created_at: int
    began_at: int = 0
    ended_at: int = 0
    queued_at: int = 0
    reason: str = ""
    steps: tuple[Inherited, ...] = ()
    memo: Any = None
    resolved: Resolved | None = None

    def told(self) -> Any:
        return self.start.told()


class Resolved(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """What the first job of a run found: parameters in order ("" = positional), environment, secret names with where they come
    from (never values), the working folder. `unmet` names the run's condition that does not hold, `error` what could not be resolved."""

    params: tuple[tuple[str, str], ...] = ()
    params_json: str = ""
    env: tuple[tuple[str, str], ...] = ()
    secrets: tuple[dict[str, Any], ...] = ()
    workdir: str = ""
    unmet: str = ""
    error: str = ""


class StartTry(msgspec.Struct, frozen=True, tag=True, gc=False):
    no: int
    worker: str


class EndTry(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """What a try reported, with the facts only it could know: whether a policy applies (`tolerated`, `marked`, `passed`), how long
    to wait before a further try (`retry_in_s`, None = none; `retry_limit` tries at most) or a further pass (`again_in_s`)."""

    no: int
    try_no: int
    outcome: StepOutcome = "succeeded"
    output: str | None = None
    patch: dict[str, Any] | None = None
    exit_code: int | None = None
    error: str = ""
    tolerated: bool = False
    marked: bool = False
    passed: bool = False
    partial: bool = False
    retry_in_s: float | None = None
    retry_limit: int = 0
    again_in_s: float | None = None
    ask: Ask | None = None
    children: tuple[Child, ...] | None = None
    max_active: int = 0
    parallel: bool = False
    fields: dict[str, str] = {}
    code: str = ""
    used: Used | None = None
    said: tuple[dict[str, Any], ...] = ()
    artifacts: tuple[Artifact, ...] = ()


class LoseTry(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """The worker of a try is gone, its result unknown. `again` = the step type may simply be executed again."""

    no: int
    try_no: int = 0
    again: bool = False
    reason: str = "the server ended while the step ran"


class AnswerAsk(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    no: int
    by: str
    approve: bool = True
    answer: dict[str, Any] = {}
    reason: str = ""


class TimeOutAsk(msgspec.Struct, frozen=True, tag=True):
    no: int
    until: int


class EndChild(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """A child run ended (or could not be started: `error`). `key` is the child's: one reopened by hand ends for an older round."""

    no: int
    index: int
    round: int
    run: str = ""
    outcome: RunOutcome = "succeeded"
    outputs: dict[str, str] = {}
    error: str = ""
    key: str = ""
    state: dict[str, Any] = {}
    used: Used | None = None


class ExpireFan(msgspec.Struct, frozen=True, tag=True):
    """The branches at this place took longer than they may."""

    at: int
    round: int


class StopRun(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """End the run from outside. `grace_s` None = the graph's own. `if_queued`: only while it waits in a queue."""

    outcome: RunOutcome = "cancelled"
    reason: str = "stopped"
    mode: StopMode = "signal"
    grace_s: float | None = None
    if_queued: bool = False


class TimeOutRun(msgspec.Struct, frozen=True, tag=True):
    round: int


class PauseRun(msgspec.Struct, frozen=True, tag=True):
    pass


class LeavePlace(msgspec.Struct, frozen=True, tag=True):
    """The run's own: while it is paused, or waits for people, its place in the queue is for others."""


class ResumeRun(msgspec.Struct, frozen=True, tag=True):
    pass


class Back(msgspec.Struct, frozen=True, omit_defaults=True):
    """A run as it was when step `no` had ended and what follows was decided: the router's dump and the state document. `later`: the
    steps that had not ended by then."""

    no: int
    memo: Any
    document: dict[str, Any] = {}
    later: tuple[int, ...] = ()


class ReopenRun(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Start the next round (`back`: from there on): everything that went wrong and what depends on it, or only one step. `queue` as in
    `StartRun`; `parent` = the step that now waits for this run."""

    step: int | None = None
    queue: str = ""
    queue_limit: int = 0
    at_once: bool = False
    parent: Parent | None = None
    back: Back | None = None


class MarkStep(msgspec.Struct, frozen=True, omit_defaults=True, tag=True):
    """Edit a step of a run that does not run. `outcome` None = as if it never ran."""

    node: int
    outcome: StepOutcome | None


class RenameRun(msgspec.Struct, frozen=True, tag=True):
    """The definition the run is of has another name from now on."""

    name: str
