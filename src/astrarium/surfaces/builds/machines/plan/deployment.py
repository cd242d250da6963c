"""The deployments of an app, or the one of a code id that runs where its driver does (`local`).

A `local` deployment is found by its code id, is active from birth and never the current one. Another has an id of its client, is activated
by a second order, and the activated one of the highest generation is its app's current one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from .....errors import Bug, NotFound, Refused
from .....kernel.machine import Machine, Move
from .....kernel.types import Facts, Row, Scope
from .row import DEPLOYMENTS

DeploymentKind = Literal["local", "modal"]
LOCAL = "local"


def deployments_stream(environment: str, kind: str, name: str) -> str:
    """`name`: of the app; the code id of a `local` one."""
    return f"deployments:{environment}/{kind}/{name}"


class RegisterDeployment(msgspec.Struct, frozen=True, tag=True):
    id: str
    app: str
    code: str
    image: str | None = None
    modal_app: str | None = None


class ActivateDeployment(msgspec.Struct, frozen=True, tag=True):
    id: str
    image: str | None = None
    modal_app: str | None = None


class DeploymentRegistered(RegisterDeployment, frozen=True, tag=True):
    pass


class DeploymentActivated(ActivateDeployment, frozen=True, tag=True):
    pass


class Deployment(msgspec.Struct, omit_defaults=True):
    app: str
    code: str
    generation: int
    deployed_at: int
    activated_at: int = 0
    image: str | None = None
    modal_app: str | None = None


class DeploymentsState:
    """`known` by id, the oldest first; `touched` ones are to be written."""

    __slots__ = ("environment", "kind", "known", "name", "touched")

    def __init__(self, stream: str, known: dict[str, Deployment] | None = None) -> None:
        self.environment, self.kind, self.name = stream.partition(":")[2].split("/", 2)
        self.known = known if known is not None else {}
        self.touched: list[str] = []


class DeploymentMachine(Machine[DeploymentsState]):
    name = "deployments"
    events = (DeploymentRegistered, DeploymentActivated)
    tables = (DEPLOYMENTS,)
    table = (
        Move("deployments", ("new", "known"), (RegisterDeployment,), DeploymentRegistered, ("known",)),
        Move("deployments", ("known",), (ActivateDeployment,), DeploymentActivated, ("known",)),
    )

    def new(self, stream: str, scope: Scope) -> DeploymentsState:
        return DeploymentsState(stream)

    def decide(self, state: DeploymentsState, command: Any, facts: Facts) -> list[Any]:
        if isinstance(command, RegisterDeployment):
            if state.known and state.kind == LOCAL:
                return []
            there = state.known.get(command.id)
            if there is None:
                return [DeploymentRegistered(command.id, command.app, command.code, command.image, command.modal_app)]
            if there.code != command.code:
                raise Refused(f"deployment {command.id} is of another code", code="deployment_id_conflict", hint="use a new id")
            return []
        if isinstance(command, ActivateDeployment):
            there = state.known.get(command.id)
            if there is None:
                raise NotFound(f"there is no deployment {command.id}", code="unknown_deployment")
            news = [
                new for new, old in ((command.image, there.image), (command.modal_app, there.modal_app)) if new not in (None, old)
            ]
            done = there.activated_at and not news
            return [] if done else [DeploymentActivated(command.id, command.image, command.modal_app)]
        raise Bug(f"deployments know no {type(command).__name__}")

    def status(self, state: DeploymentsState, event: Any) -> str:
        return "known" if state.known else "new"

    def evolve(self, state: DeploymentsState, event: Any, at: int) -> None:
        if isinstance(event, DeploymentRegistered):
            made = Deployment(event.app, event.code, len(state.known) + 1, at, 0, event.image, event.modal_app)
            made.activated_at = at if state.kind == LOCAL else 0
            state.known[event.id] = made
        else:
            there = state.known[event.id]
            there.activated_at = there.activated_at or at
            there.image, there.modal_app = event.image or there.image, event.modal_app or there.modal_app
        state.touched.append(event.id)

    def rows(self, state: DeploymentsState) -> Iterable[Row]:
        touched, state.touched = state.touched, []
        return [(DEPLOYMENTS, deployment_row(state, id_)) for id_ in dict.fromkeys(touched)]

    def dump(self, state: DeploymentsState) -> bytes:
        return msgspec.json.encode(state.known)

    def load(self, stream: str, scope: Scope, data: bytes, things: Mapping[str, Any]) -> DeploymentsState:
        return DeploymentsState(stream, msgspec.json.decode(data, type=dict[str, Deployment]))


def deployment_row(state: DeploymentsState, id_: str) -> tuple[Any, ...]:
    one = state.known[id_]
    return (
        state.environment, id_, state.kind, one.app, one.code, one.image, one.modal_app, one.generation, one.deployed_at,
        one.activated_at,
    )  # fmt: skip
