"""The registry behind an API: builds, plans, claims and reports in the words of `/api/v2` (the protocol of Stardag 0.28).

All ids are minted here, so that a call which is made again after a lost answer changes nothing twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from ...config import load_config
from ...errors import AstrariumError, Conflict, NotFound
from ...spec.ids import uuid7
from ..session import Session, settle_roots
from .code import code_id as known_code_id
from .item import Denied, Item, Order, Place, StoredTask

log = logging.getLogger("astrarium.sdk")

CHUNK = 1000
"""Items a call may have."""
FILE = "file"
"""The type of an artifact that is bytes."""
ARTIFACTS = 100
"""Artifacts a call may have."""
TOO_LATE = frozenset({"execution_not_current", "execution_already_ended", "not_claim_holder", "unknown_execution"})
"""Refusals of a report that comes when the task is no longer ours: it was recorded, and changes nothing."""


class APIRegistry:
    """`ar.APIRegistry()` works by the configuration (`astrarium config show`); arguments go before it.

    `workspace_id` takes the id of a workspace or of an environment. `code_id` names the code that builds (see `registry.code`).
    Raises `Invalid` when no address is known."""

    keeps = True

    def __init__(
        self,
        api_url: str | None = None,
        workspace_id: str | None = None,
        environment_id: str | None = None,
        api_key: str | None = None,
        timeout: float | None = None,
        *,
        code_id: str | None = None,
        session: Session | None = None,
    ) -> None:
        self.session = session or Session(
            load_config(
                registry_url=api_url, workspace=workspace_id, environment=environment_id, api_key=api_key, timeout_s=timeout
            )
        )
        self._code_id = code_id

    def __repr__(self) -> str:
        return f"APIRegistry({self.session.config.registry_url!r})"

    def close(self) -> None:
        """End all connections."""
        self.session.close()

    def call(self, method: str, path: str, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """One call of `/api/v2`, made again when its answer is lost."""
        return self.session.call(method, f"/api/v2{path}", body=body, query=query, scoped=True, repeatable=True)

    def target_roots(self) -> Mapping[str, str] | None:
        return settle_roots(self.session) or None

    def read_task(self, task_id: str) -> StoredTask:
        found = self.call("GET", f"/tasks/{task_id}")
        bodies = tuple(one["body"] for one in found.get("instances", ()))
        return StoredTask(task_id=task_id, status=found["status"], output_uri=found.get("output_uri"), bodies=bodies)

    def open_build(self, roots: Sequence[Item], order: Order) -> ApiRecord:
        settings = order.settings
        if order.resume_build_id and settings is None:
            frontier = self.call("GET", f"/builds/{order.resume_build_id}/frontier")
            found = frontier.get("settings_hash")
            settings = self.call("GET", f"/settings/{found}")["body"] if found else {}
        code = self._code_id or known_code_id()
        deployment = self.call("POST", "/deployments", {"id": uuid7(), "kind": "local", "code_id": code})["id"]
        build = self._begin(roots, order, deployment, settings or {})
        plan = self.call(
            "POST",
            f"/builds/{build}/plans",
            {
                "plan_id": uuid7(),
                "deployment_id": deployment,
                "settings": settings or {},
                "roots": [told_of(msgspec.structs.replace(root, declared_upstreams=None)) for root in roots],
            },
        )
        return ApiRecord(self, build, plan["id"], deployment, order.ttl_s)

    def _begin(self, roots: Sequence[Item], order: Order, deployment: str, settings: Mapping[str, str]) -> str:
        if order.resume_build_id:
            self.call("POST", f"/builds/{order.resume_build_id}/resume", {"deployment_id": deployment, "settings": settings})
            return order.resume_build_id
        body = {"id": uuid7(), "root_task_ids": sorted({root.task_id for root in roots})}
        if order.description is not None:
            body["description"] = order.description
        return str(self.call("POST", "/builds", body)["id"])


class ApiRecord:
    """One build and its plan on the server."""

    def __init__(self, registry: APIRegistry, build_id: str, plan_id: str, deployment_id: str, ttl_s: int) -> None:
        self._registry = registry
        self.build_id: str | None = build_id
        self.plan_id = plan_id
        self._deployment_id = deployment_id
        self._ttl_s = ttl_s
        self.renew_s = ttl_s / 2

    def register(self, items: Sequence[Item]) -> None:
        for chunk in _chunks(items, CHUNK):
            self._registry.call("POST", f"/plans/{self.plan_id}/members", {"items": [told_of(item) for item in chunk]})

    def seal(self) -> None:
        self._registry.call("POST", f"/plans/{self.plan_id}/seal")

    def start(self, task_id: str, execution_id: str, place: Place, limit_keys: Sequence[str]) -> None:
        body: dict[str, Any] = {
            "execution_id": execution_id,
            "claim": True,
            "claim_ttl_seconds": self._ttl_s,
            **msgspec.to_builtins(place),
        }
        if limit_keys:
            body["limit_keys"] = list(limit_keys)
        try:
            self._ask(task_id, "start", body)
        except Denied as denied:
            if denied.code != "task_not_actionable":
                raise
            self._ask(task_id, "retry")  # it failed in a build before this one
            self._ask(task_id, "start", body)

    def open_upstreams(self, task_id: str, known: Callable[[str], bool]) -> Sequence[StoredTask]:
        self._registry.call("GET", f"/builds/{self.build_id}/frontier")  # takes into the plan what others' executions asked for
        graph = self._registry.call("GET", f"/plans/{self.plan_id}/graph")
        members = {one["instance_id"]: one for one in graph["members"]}
        above = (
            members.get(edge["upstream_instance_id"])
            for edge in graph["edges"]
            if members.get(edge["downstream_instance_id"], {}).get("task_id") == task_id
        )
        missing = [one for one in above if one is not None and one["status"] != "completed"]
        return [
            StoredTask(task_id=one["task_id"], status=one["status"]) if known(one["task_id"]) else self._stored(one)
            for one in missing
        ]

    def _stored(self, member: Mapping[str, Any]) -> StoredTask:
        found = self._registry.call("GET", f"/tasks/{member['task_id']}")
        bodies = tuple(one["body"] for one in found["instances"] if one["id"] == member["instance_id"])
        return StoredTask(task_id=member["task_id"], status=member["status"], bodies=bodies)

    def renew(self, task_id: str, execution_id: str) -> bool:
        body = {"execution_id": execution_id, "claim_ttl_seconds": self._ttl_s}
        try:
            self._registry.call("POST", f"/tasks/{task_id}/claim/renew", body)
        except Conflict:
            return False
        return True

    def complete(self, task_id: str, execution_id: str, artifacts: Sequence[Mapping[str, Any]]) -> None:
        self._report(task_id, "complete", {"execution_id": execution_id})
        for chunk in _chunks([one for one in artifacts if one["type"] != FILE], ARTIFACTS):
            self._registry.call(
                "POST", f"{self._member(task_id)}/artifacts", {"execution_id": execution_id, "artifacts": list(chunk)}
            )

        for one in artifacts:
            if one["type"] == FILE:
                self._attach(task_id, one)

    def _attach(self, task_id: str, file: Mapping[str, Any]) -> None:
        """Files go to a route that Stardag's own server does not have: there they are left out."""
        try:
            self._registry.session.call(
                "PUT", f"/api/v1/builds/{self.build_id}/tasks/{task_id}/files/{quote(file['name'], safe='')}",
                body=file["content"], content_type=file["content_type"], scoped=True,
            )  # fmt: skip
        except NotFound as refused:
            if refused.code != "unknown_route":
                raise
            log.warning("the registry keeps no files: %s of task %s is left out", file["name"], task_id)

    def fail(self, task_id: str, execution_id: str, error: str) -> None:
        self._report(task_id, "fail", {"execution_id": execution_id, "error_message": error})

    def interrupt(self, task_id: str, execution_id: str, error: str) -> None:
        self._report(task_id, "interrupt", {"execution_id": execution_id, "error_message": error})

    def add(self, task_id: str, execution_id: str, items: Sequence[Item], needed: Sequence[str]) -> None:
        for chunk in _chunks(items, CHUNK):
            here = {item.instance_hash for item in chunk}
            self._ask(
                task_id,
                "yield",
                {
                    "execution_id": execution_id,
                    "deployment_id": self._deployment_id,
                    "batch_id": uuid7(),
                    "items": [told_of(item) for item in chunk],
                    "yielded": [one for one in needed if one in here],
                    "suspend": False,
                },
            )

    def skip_blocked(self) -> None:
        self._registry.call("POST", f"/builds/{self.build_id}/skip-blocked")

    def end(self, status: str, error: str | None) -> None:
        path = f"/builds/{self.build_id}"
        try:
            match status:
                case "success" | "forced":
                    self._registry.call("POST", f"{path}/complete", {"force": status == "forced"})
                case "failure":
                    self._registry.call("POST", f"{path}/fail", {"error_message": error})
                case _:
                    self._registry.call("POST", f"{path}/exit-early")
        except Conflict as refused:
            if code_of(refused) == Denied.INCOMPLETE and status == "success":
                raise Denied(code_of(refused), refused.message, _detail(refused)) from refused
            if code_of(refused) != "build_terminal":
                raise
            log.warning("build %s had been ended already: %s", self.build_id, refused.message)

    def _member(self, task_id: str) -> str:
        return f"/plans/{self.plan_id}/members/{task_id}"

    def _ask(self, task_id: str, verb: str, body: Any = None) -> None:
        try:
            self._registry.call("POST", f"{self._member(task_id)}/{verb}", body)
        except Conflict as refused:
            raise Denied(code_of(refused), refused.message, _detail(refused)) from refused

    def _report(self, task_id: str, verb: str, body: Any) -> None:
        try:
            self._ask(task_id, verb, body)
        except Denied as denied:
            if denied.code not in TOO_LATE:
                raise
            log.warning("the registry no longer counts this execution of task %s (%s): %s", task_id, verb, denied.message)


def code_of(error: AstrariumError) -> str:
    """The code a server refused with; `""` when it gave none."""
    return str(_detail(error).get("code", ""))


def _detail(error: AstrariumError) -> dict[str, Any]:
    answer = error.details.get("answer")
    detail = answer.get("detail") if isinstance(answer, dict) else None
    return detail if isinstance(detail, dict) else {}


def told_of(item: Item) -> dict[str, Any]:
    """An item as the registry takes it."""
    return {name: getattr(item, name) for name in item.__struct_fields__}


def _chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
