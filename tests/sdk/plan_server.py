"""As much of `/api/v2` as a build meets, in memory: plans, members, claims with time to live, reports. Clients reach it without a socket.

Time stands still unless a test moves `now_s`."""

from __future__ import annotations

import gzip
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

from astrarium.config import load_config
from astrarium.sdk.registry.api import APIRegistry
from astrarium.sdk.session import Session
from astrarium.spec.graph import Retry

ACTIONABLE = ("pending", "suspended", "interrupted", "cancelled", "skipped")


class Refusal(Exception):
    def __init__(self, code: str, status: int = 409, **more: Any) -> None:
        super().__init__(code)
        self.status = status
        self.detail = {"code": code, "message": code.replace("_", " "), **more}


class Missing(Exception):
    pass


class PlanServer:
    """`calls` has every request as (method, path, body). `last`: the number of calls after which nobody hears an answer. `lose` may say of
    a call that its answer does not arrive; `before` is called with each call before it is carried out."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.calls: list[tuple[str, str, Any]] = []
        self.lose: Callable[[str, str], bool] = lambda method, path: False
        self.before: Callable[[str, str], None] = lambda method, path: None
        self.last: int | None = None
        self.builds: dict[str, dict[str, Any]] = {}
        self.plans: dict[str, dict[str, Any]] = {}
        self.tasks: dict[str, dict[str, Any]] = {}
        self.settings: dict[str, Any] = {}
        self.roots: list[dict[str, str]] = []
        self.locks: dict[str, str] = {}
        self.keys: list[str | None] = []
        self.packed = 0
        self.dynamic: dict[str, set[str]] = {}
        self.keeps_files = True
        self.told_type = ""
        self._lock = threading.Lock()

    def registry(self, home: Path, **known: Any) -> APIRegistry:
        """A client of this server, with a home of its own."""
        config = load_config(
            registry_url="http://plans.test", api_key="sk_000000_" + "k" * 32, env={}, cwd=home, home=home, **known
        )
        retry = Retry(limit=3, interval_s=0.0)
        return APIRegistry(session=Session(config, retry=retry, transport=httpx2.MockTransport(self.answer)), code_id="code-1")

    def paths(self) -> list[str]:
        """`POST /plans/{}/seal`: what was called, ids left out."""
        return [f"{method} {re.sub('[0-9a-f]{8}-[0-9a-f-]{27}', '{}', path)}" for method, path, _ in self.calls]

    def status(self, task: Any) -> str:
        return str(self.tasks[str(task.id)]["status"])

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        content = request.read()
        if request.headers.get("content-encoding") == "gzip":
            content = gzip.decompress(content)
            self.packed += 1
        is_json = request.headers.get("content-type") == "application/json"
        body = json.loads(content) if content and is_json else content or None
        method, path = request.method, request.url.path.removeprefix("/api/v2")
        self.before(method, path)
        dead = self.last is not None and len(self.calls) > self.last
        if dead:
            raise httpx2.ConnectError("nobody is there", request=request)
        with self._lock:
            self.told_type = request.headers.get("content-type", "")
            self.calls.append((method, path, body))
            try:
                answer, status = self._answer(method, path.split("/")[1:], body or {}), 200
            except Missing:
                answer, status = {"detail": "Not Found"}, 404
            except Refusal as refused:
                answer, status = {"detail": refused.detail}, refused.status
        if self.lose(method, path) or (self.last is not None and len(self.calls) > self.last):
            raise httpx2.ReadError("the answer was lost", request=request)
        return httpx2.Response(status, json=answer)

    def _answer(self, method: str, parts: list[str], body: dict[str, Any]) -> Any:
        match [method, *parts]:
            case ["GET", "api", "v1", "target-roots"]:
                return self.roots
            case ["POST", "api", "v1", "locks", name, verb]:
                return self._lock_verb(name, verb, body)
            case ["PUT", "api", "v1", "builds", build, "tasks", task, "files", name] if self.keeps_files:
                assert build in self.builds
                self.tasks[task].setdefault("files", {})[name] = (body, self.told_type)
                return {"name": name}
            case ["POST", "deployments"]:
                return {"id": f"deployment-{body['code_id']}", "kind": "local", "code_id": body["code_id"]}
            case ["POST", "builds"]:
                return self.builds.setdefault(body["id"], {**body, "status": "running"})
            case ["POST", "builds", build, verb]:
                return self._build(build, verb, body)
            case ["GET", "plans", plan, "graph"]:
                return self._graph(self.plans[plan])
            case ["GET", "builds", build, "frontier"]:
                self._admit(build)
                return {"build_id": build, "settings_hash": "settings-1"}
            case ["GET", "settings", found]:
                return {"hash": found, "body": self.settings}
            case ["POST", "plans", plan, "members"]:
                return self._members(self.plans[plan], body["items"])
            case ["POST", "plans", plan, "seal"]:
                self.plans[plan]["sealed"] = True
                return {"id": plan}
            case ["POST", "plans", plan, "members", task, verb]:
                return self._member(self.plans[plan], self.tasks[task], verb, body)
            case ["POST", "tasks", task, "claim", "renew"]:
                return self._renew(self.tasks[task], body)
            case ["GET", "tasks", task]:
                if task not in self.tasks:
                    raise Refusal("unknown_task", 404)
                found = self.tasks[task]
                return {**found, "instances": [{"id": found["instance_hash"], "body": found["body"]}]}
        raise Missing(f"no route {method} {parts}")

    def _graph(self, plan: dict[str, Any]) -> Any:
        """An instance's hash stands for its id."""
        known = {one["instance_hash"]: one for one in self.tasks.values() if "instance_hash" in one}
        edges = [(above, below) for below in known for above in self._above(below)]
        members = [{"instance_id": name, "task_id": one["task_id"], "status": one["status"]} for name, one in known.items()]
        return {
            "members": members,
            "edges": [{"upstream_instance_id": above, "downstream_instance_id": below} for above, below in edges],
        }

    def _admit(self, build: str) -> None:
        """What members need are members too, also where another plan's execution asked for it."""
        known = {one["instance_hash"]: one for one in self.tasks.values() if "instance_hash" in one}
        for plan in (one for one in self.plans.values() if one["build"]["id"] == build):
            open_ = list(plan["members"].values())
            while open_:
                for above in self._above(open_.pop()["instance_hash"]):
                    if known[above]["task_id"] not in plan["members"]:
                        plan["members"][known[above]["task_id"]] = known[above]
                        open_.append(known[above])

    def _above(self, instance: str) -> set[str]:
        task = next((one for one in self.tasks.values() if one.get("instance_hash") == instance), {"declared_upstreams": ()})
        return {*(task["declared_upstreams"] or ()), *self.dynamic.get(instance, ())}

    def _lock_verb(self, name: str, verb: str, body: dict[str, Any]) -> Any:
        holder = self.locks.get(name, body["owner_id"])
        if holder != body["owner_id"]:
            raise Refusal("held_by_other", 423)
        if verb == "acquire" and self.tasks.get(name, {}).get("status") == "completed":
            return {"status": "already_completed", "acquired": False}
        if verb == "release":
            del self.locks[name]
        else:
            self.locks[name] = body["owner_id"]
        return {"status": "acquired", "acquired": True}

    def _build(self, build: str, verb: str, body: dict[str, Any]) -> Any:
        found = self.builds[build]
        if verb == "plans":
            self.settings = body["settings"]
            assert all(root["declared_upstreams"] is None for root in body["roots"])
            assert sorted(root["task_id"] for root in body["roots"]) == found["root_task_ids"]
            plan = next((one for one in self.plans.values() if one["build"] is found), None)
            return plan or self.plans.setdefault(
                body["plan_id"], {"id": body["plan_id"], "build": found, "members": {}, "sealed": False}
            )
        if verb == "resume":
            found["status"] = "running"
        elif verb == "skip-blocked":
            return {"skipped": []}
        elif found["status"] not in ("running", "exit_early"):
            raise Refusal("build_terminal", build_status=found["status"])
        elif verb == "complete" and not body["force"] and (missing := self._missing(build)):
            raise Refusal("plan_incomplete", reason="members_incomplete", task_ids=missing)
        else:
            found["status"] = {"complete": "completed", "fail": "failed", "exit-early": "exit_early", "cancel": "cancelled"}[verb]
            found["error"] = body.get("error_message")
        return found

    def _missing(self, build: str) -> list[str]:
        plan = next(one for one in self.plans.values() if one["build"]["id"] == build)
        return [name for name in plan["members"] if self.tasks[name]["status"] != "completed"]

    def _members(self, plan: dict[str, Any], items: list[dict[str, Any]]) -> Any:
        assert len(items) <= 1000
        created = 0
        known = {one["instance_hash"] for one in plan["members"].values()}
        for item in items:
            assert set(item["declared_upstreams"] or ()) <= known, "an upstream comes after what needs it"
            known.add(item["instance_hash"])
            task = self.tasks.get(item["task_id"])
            if task is None:
                created += 1
                task = self.tasks[item["task_id"]] = {
                    **item,
                    "status": "pending",
                    "execution": None,
                    "until": 0.0,
                    "artifacts": [],
                }
            if item["declared_upstreams"] is not None:
                task["declared_upstreams"] = item["declared_upstreams"]
            if item["task_id"] not in plan["members"] and plan["sealed"] and not plan.get("adding"):
                raise Refusal("plan_sealed")
            plan["members"].setdefault(item["task_id"], item)
            if item["observed_complete"] and not self._live(task):
                task["status"] = "completed"
            elif not item["observed_complete"] and task["status"] == "completed":
                task["status"] = "pending"
        return {"tasks_created": created}

    def _live(self, task: dict[str, Any]) -> bool:
        return bool(task["status"] == "running" and task["until"] > self.now_s)

    def _member(self, plan: dict[str, Any], task: dict[str, Any], verb: str, body: dict[str, Any]) -> Any:
        if verb == "start":
            self._start(plan, task, body)
        elif verb == "retry":
            task["status"] = "pending"
        elif verb == "artifacts":
            task["artifacts"] += body["artifacts"]
        elif task["execution"] != body["execution_id"] or task["status"] != "running":
            raise Refusal("execution_not_current" if task["execution"] != body["execution_id"] else "execution_already_ended")
        elif verb == "yield":
            assert set(body["yielded"]) <= {item["instance_hash"] for item in body["items"]}
            plan["adding"] = True
            self._members(plan, body["items"])
            plan["adding"] = False
            self.dynamic.setdefault(task["instance_hash"], set()).update(body["yielded"])
        else:
            task["status"] = {"complete": "completed", "fail": "failed", "interrupt": "interrupted"}[verb]
            task["error"] = body.get("error_message")
        return {"applied": True, "status": task["status"]}

    def _start(self, plan: dict[str, Any], task: dict[str, Any], body: dict[str, Any]) -> None:
        if task["execution"] == body["execution_id"] and self._live(task):
            return
        if task["status"] == "completed":
            raise Refusal("task_already_completed")
        if self._live(task):
            raise Refusal("task_already_running")
        if task["status"] == "failed":
            raise Refusal("task_not_actionable")
        if plan["build"]["status"] != "running":
            raise Refusal("build_not_running", build_status=plan["build"]["status"])
        by_hash = {one["instance_hash"]: one for one in self.tasks.values() if "instance_hash" in one}
        if any(by_hash[one]["status"] != "completed" for one in self._above(task.get("instance_hash", "")) if one in by_hash):
            raise Refusal("upstream_incomplete")
        task.update(
            status="running", execution=body["execution_id"], until=self.now_s + body["claim_ttl_seconds"], place=body["executor"]
        )

    def _renew(self, task: dict[str, Any], body: dict[str, Any]) -> Any:
        if task["execution"] != body["execution_id"] or task["status"] != "running":
            raise Refusal("claim_not_held", claim_outcome="taken_over")
        task["until"] = self.now_s + body["claim_ttl_seconds"]
        return {"status": "running"}
