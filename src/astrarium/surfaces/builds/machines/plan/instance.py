"""Instances of a task: its constructions under a scope, what they need there, and what was seen of their output.

Structure only grows: an instance keeps its body, and edges are added, never taken away. The newest observation says whether the task is
done; one that is older than what is known changes nothing, so observations may come twice and in any order.
"""

from __future__ import annotations

import hashlib
from typing import Any

from .....errors import Invalid, Refused
from .....kernel.types import Facts, Needs, Row
from ..kept import Execution, Instance, Kept, claimed, instance_key
from ..report import TaskReferenced, TaskRegistered
from .claim import places_of
from .fact import InstanceExpanded, InstanceRegistered, TaskDiverged, TaskInvalidated, TaskObserved
from .order import RegisterInstance
from .row import EXECUTIONS, INSTANCE_EDGES, INSTANCES

SKEW = 5_000_000
"""An observation may be so much ahead of our clock, in microseconds."""


def instance_id(environment: str, key: str) -> str:
    """The UUID of an instance (version 8, RFC 9562): always the same one."""
    digest = hashlib.sha256(f"instance {environment}/{key}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


def needs_of(kept: Kept, environment: str, command: RegisterInstance) -> Needs:
    """The plan, to know whether the task is a member already; what of a new task can be searched for; the places of a claim that may
    be over."""
    return Needs((f"plan:{command.plan}",), (), () if kept.id else (command.body,), places_of(kept, environment).at_hand)


def decide(kept: Kept, task_id: str, command: RegisterInstance, facts: Facts) -> list[Any]:
    if command.observed_at > facts.now + SKEW:
        raise Invalid("observed_at is ahead of the registry's clock", code="clock_skew", hint="set the clock of this machine")
    made: list[Any] = []
    if not kept.id:
        made.append(
            TaskRegistered(
                command.build, command.id, command.name, command.body, command.namespace, command.version, command.output_uri,
                plan=command.plan,
            )
        )  # fmt: skip
    else:
        _check_identity(kept, task_id, command)
        plan = facts.streams.get(f"plan:{command.plan}")
        if plan is None or task_id not in plan.kept.members:
            made.append(TaskReferenced(command.build, plan=command.plan))
    return made + _structure(kept, command) + _observation(kept, command, facts.now)


def _check_identity(kept: Kept, task_id: str, command: RegisterInstance) -> None:
    """What one of the two did not say agrees with anything: a task may have been registered by an older client."""
    for field in ("namespace", "name", "version", "output_uri"):
        known, told = getattr(kept, field), getattr(command, field)
        if None not in (known, told) and known != told:
            said = f"task {task_id} is registered as another: its {field} is {known!r}, and not {told!r}"
            hint = (
                "its result lies under another target root; use that root, or another environment"
                if field == "output_uri"
                else ""
            )
            raise Refused(said, code="task_identity_conflict", hint=hint)


def _structure(kept: Kept, command: RegisterInstance) -> list[Any]:
    key = instance_key(command.deployment, command.settings, command.hash)
    known = kept.instances.get(key)
    if known is None:
        return [InstanceRegistered(key, command.body, command.upstreams)]
    if known.body != command.body:
        raise Refused(f"instance {command.hash} has another body", code="instance_body_conflict")
    if command.upstreams is None:
        return []
    if known.upstreams is None:
        return [InstanceExpanded(key, command.upstreams)]
    added = tuple(one for one in command.upstreams if one[0] not in known.upstreams)
    return [TaskDiverged(command.build, "", command.plan, key, added)] if added else []


def _observation(kept: Kept, command: RegisterInstance, now: int) -> list[Any]:
    if command.observed:
        done = kept.status == "completed" or claimed(kept, now) or command.observed_at < kept.invalidated_at
        return [] if done else [TaskObserved(command.build, "", command.plan)]
    if kept.status == "completed" and kept.completed_at < command.observed_at:
        return [TaskInvalidated(command.build, "", command.plan, command.observed_at)]
    return []


# -- folding ----------------------------------------------------------------------------------------------------------


def link(kept: Kept, environment: str, task_id: str, event: Any, at: int, *, dynamic: bool = False) -> list[Row]:
    """An event about structure (`InstanceRegistered`, `InstanceExpanded`, or one that adds upstreams) into the state; the rows that
    follow."""
    if isinstance(event, InstanceRegistered):
        found = kept.instances[event.key] = Instance(event.body, at)
    else:
        found = kept.instances[event.key]
    rows: list[Row] = []
    deployment, settings, hash_ = event.key.split("/", 2)
    if event.upstreams is not None:
        if found.upstreams is None:
            found.upstreams = {}
            found.expanded_at = at
        for upstream, task in event.upstreams:
            if upstream not in found.upstreams:
                found.upstreams[upstream] = task
                rows.append((INSTANCE_EDGES, (environment, deployment, settings, hash_, upstream, task, int(dynamic))))
    id_ = instance_id(environment, event.key)
    scope = (environment, deployment, settings, hash_)
    rows.append((INSTANCES, (*scope, task_id, id_, found.body, found.at, found.expanded_at)))
    return rows


def execution_row(environment: str, task_id: str, id_: str, one: Execution, metadata: bytes | None) -> Row:
    instance = instance_id(environment, one.instance)
    return (
        EXECUTIONS,
        (
            environment, id_, task_id, one.build, one.plan, instance, one.executor, one.executor_ref, metadata, one.started_at,
            one.released_at, one.claim_outcome, one.ended_at, one.outcome,
        ),
    )  # fmt: skip
