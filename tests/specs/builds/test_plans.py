"""Builds on plans over HTTP, as the newest client of the registry drives them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.specs.tenancy.conftest import PASSWORD, Server, serve  # noqa: F401  (a fixture)

NOTHING = "11406eac-39d0-5b1b-9423-cfb4a1454543"
"""The hash of no settings."""


class Plans:
    """A server with one build of the tasks `a` → `b` (needs a), its plan sealed, and short words for what is told of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.deployment = self.post("/deployments", kind="local", code_id="abc")["id"]
        self.build = str(uuid4())
        self.post("/builds", id=self.build, root_task_ids=["b"])
        self.plan = self.new_plan()["id"]
        self.post(f"/plans/{self.plan}/members", items=[self.item("a"), self.item("b", "a")])

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.server.client.request(method, "/api/v2" + path, json=body)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def post(self, path: str, status: int = 200, **body: Any) -> Any:
        return self.call("POST", path, body, status)

    def get(self, path: str, status: int = 200) -> Any:
        return self.call("GET", path, status=status)

    def refused(self, code: str, path: str, status: int = 409, method: str = "POST", **body: Any) -> Any:
        told = self.call(method, path, body or None, status)["detail"]
        assert told["code"] == code and told["message"], told
        return told

    def item(self, task: str, *needs: str, expanded: bool = True, **more: Any) -> dict[str, Any]:
        upstreams = [f"i-{one}" for one in needs] if expanded else None
        at = datetime.now(UTC).isoformat()
        known = {"task_id": task, "task_name": task.upper(), "instance_hash": f"i-{task}", "body": {"of": task}}
        return known | {"declared_upstreams": upstreams, "observed_at": at} | more

    def new_plan(self, status: int = 200, **more: Any) -> Any:
        body = {
            "plan_id": str(uuid4()),
            "deployment_id": self.deployment,
            "settings": {},
            "roots": [self.item("b", expanded=False)],
        }
        return self.call("POST", f"/builds/{self.build}/plans", body | more, status)

    def member(self, task: str, word: str, status: int = 200, **body: Any) -> Any:
        return self.call("POST", f"/plans/{self.plan}/members/{task}/{word}", body or None, status)

    def run(self, task: str) -> None:
        execution = str(uuid4())
        self.member(task, "start", execution_id=execution)
        self.member(task, "complete", execution_id=execution)

    def seal(self) -> Any:
        return self.post(f"/plans/{self.plan}/seal")


@pytest.fixture
def plans(serve: Callable[..., Server]) -> Plans:  # noqa: F811
    return Plans(serve())


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_database: str) -> Iterator[Plans]:
    server = Server(tmp_path, database_url=postgres_database)
    with server.client:
        yield Plans(server)


def test_a_build_from_start_to_end(plans: Plans) -> None:
    whole_build(plans)


def test_the_same_on_postgres(on_postgres: Plans) -> None:
    whole_build(on_postgres)


def whole_build(plans: Plans) -> None:
    build = f"/builds/{plans.build}"
    assert plans.refused("plan_incomplete", build + "/complete", force=False)["reason"] == "not_sealed"
    assert plans.seal()["sealed_at"] and plans.seal()["activated_at"]
    frontier = plans.get(build + "/frontier")
    assert [one["task_id"] for one in frontier["runnable"]] == ["a"] and frontier["runnable"][0]["body"] == {"of": "a"}
    assert frontier["settings_hash"] == NOTHING and frontier["closure"]["admitted"] == 0
    refusal = plans.member("b", "start", 409, execution_id=str(uuid4()))["detail"]
    assert refusal["code"] == "upstream_incomplete" and refusal["task_ids"] == ["a"]
    plans.run("a")
    assert plans.refused("plan_incomplete", build + "/complete", force=False)["task_ids"] == ["b"]
    plans.run("b")
    assert plans.get(build + "/frontier")["plan_complete"] is True
    done = plans.post(build + "/complete", force=False)
    assert done["status"] == "completed" and plans.post(build + "/complete") == done
    assert plans.refused("build_terminal", build + "/fail")["build_status"] == "completed"
    detail = plans.get(f"/plans/{plans.plan}")
    assert (detail["member_counts"], detail["root_count"], detail["is_active"]) == ({"completed": 2}, 1, True)
    assert detail["deployment"]["kind"] == "local" and plans.get(build + "/plans")["plans"] == [detail]
    graph = plans.get(f"/plans/{plans.plan}/graph")
    ids = {node["task_id"]: node["instance_id"] for node in graph["members"]}
    edge = {"upstream_instance_id": ids["a"], "downstream_instance_id": ids["b"], "is_dynamic": False}
    assert graph["edges"] == [edge] and [node["attempts"] for node in graph["members"]] == [1, 1]
    told = [(event["event_type"], event["task_id"]) for event in plans.get(build + "/events")["events"]]
    assert told[0] == ("build_started", None) and told[-1] == ("build_completed", None)
    assert ("task_started", "a") in told and ("task_completed", "b") in told
    task = plans.get("/tasks/a")
    assert (task["status"], task["instances"][0]["body"]) == ("completed", {"of": "a"}) and task["claim_expires_at"] is None
    assert [one["outcome"] for one in plans.get("/tasks/a/executions")["executions"]] == ["completed"]
    assert [one["task_id"] for one in plans.get("/tasks?status=completed&limit=1")["tasks"]] == ["b"]
    listed = plans.get("/builds?status=completed")
    assert listed == {"builds": [done], "total": 1, "next_cursor": None}
    assert plans.get(f"/plans/{plans.plan}/roots")["roots"][0]["task_id"] == "b"
    older = plans.server.client.get(f"/api/v1/builds/{plans.build}/tasks").json()
    assert {one["task_id"]: one["status"] for one in older} == {"a": "completed", "b": "completed"}


def test_what_was_told_before_changes_nothing(plans: Plans) -> None:
    items = [plans.item("a"), plans.item("b", "a")]
    path = f"/plans/{plans.plan}/members"
    assert set(plans.post(path, items=items).values()) == {0} and set(plans.post(path, items=items).values()) == {0}
    again = plans.new_plan()
    assert (again["id"], again["created"]) == (plans.plan, False)
    assert plans.post("/builds", id=plans.build, root_task_ids=["other"])["root_task_ids"] == ["b"]
    known = plans.post("/deployments", kind="local", code_id="abc", id=str(uuid4()))
    assert (known["id"], known["created"], known["is_current"]) == (plans.deployment, False, False)
    body = json.dumps({"items": items}).encode()
    packed = plans.server.client.post("/api/v2" + path, content=gzip.compress(body), headers={"content-encoding": "gzip"})
    assert packed.status_code == 200 and set(packed.json().values()) == {0}


def test_what_plans_refuse(plans: Plans) -> None:
    path, members = f"/builds/{plans.build}/plans", f"/plans/{plans.plan}/members"
    later = (datetime.now(UTC) + timedelta(seconds=60)).isoformat()
    for code, roots in (
        ("root_declared_upstreams", [plans.item("b")]),
        ("root_mismatch", [plans.item("a", expanded=False)]),
    ):
        plans.refused(code, path, 400, plan_id=str(uuid4()), deployment_id=plans.deployment, settings={}, roots=roots)
    root = [plans.item("b", expanded=False)]
    plans.refused("unknown_deployment", path, 400, plan_id=str(uuid4()), deployment_id=str(uuid4()), settings={}, roots=root)
    odd = {"settings": {"STARDAG_X": "1"}, "deployment_id": plans.deployment, "plan_id": str(uuid4())}
    plans.refused("reserved_settings_key", path, 400, roots=root, **odd)
    other = [plans.item("b", expanded=False, instance_hash="i-other")]
    known = {"plan_id": str(uuid4()), "deployment_id": plans.deployment, "settings": {}}
    plans.refused("root_instance_conflict", path, roots=other, **known)
    plans.refused("plan_id_conflict", path, roots=root, **(known | {"plan_id": plans.plan, "settings": {"A": "1"}}))
    for code, status, item in (
        ("unknown_upstream_instance", 400, plans.item("c", "nowhere")),
        ("clock_skew", 400, plans.item("c", observed_at=later)),
        ("instance_body_conflict", 409, plans.item("a", body={"of": "else"})),
        ("task_identity_conflict", 409, plans.item("a", task_name="Else")),
        ("instance_conflict", 409, plans.item("a", instance_hash="i-a2")),
    ):
        plans.refused(code, members, status, items=[plans.item("x"), item])
        plans.get("/tasks/x", 404)  # all or nothing
    plans.refused("chunk_too_large", members, 400, items=[plans.item("a")] * 1001)
    plans.seal()
    plans.refused("plan_sealed", members, items=[plans.item("x")])


def test_what_requests_may_not_be(plans: Plans) -> None:
    """Of what is wrong before anything is decided, clients are told as by other routes."""
    client = plans.server.client
    for path, body in (
        ("/builds", {"root_task_ids": []}),
        ("/builds", {"root_task_ids": ["a"], "strange": 1}),
        (f"/plans/{plans.plan}/members", {"items": [plans.item("a") | {"observed_at": "2026-01-01T00:00:00"}]}),
        (f"/plans/{plans.plan}/members/a/start", {}),
        ("/plans/none/seal", None),
    ):
        answer = client.post("/api/v2" + path, json=body)
        assert answer.status_code == 422 and isinstance(answer.json()["detail"], list), (path, answer.text)
    for path, code in (
        (f"/builds/{uuid4()}", "unknown_build"),
        (f"/plans/{uuid4()}", "unknown_plan"),
        ("/tasks/none", "unknown_task"),
        (f"/deployments/{uuid4()}", "unknown_deployment"),
        ("/settings/none", "unknown_settings"),
    ):
        plans.refused(code, path, 404, "GET")
    plans.refused("unknown_member", f"/plans/{plans.plan}/members/none/retry", 404)
    plans.refused("unknown_execution", f"/executions/{uuid4()}/stopped", 404, outcome="lost")
    plans.refused("unknown_limit", "/concurrency-limits/none", 404, "DELETE")
    answer = client.get("/api/v2/builds/a/b/c/d")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})
    assert client.get("/api/v2/tasks?cursor=none").status_code == 422


def test_claims_and_their_reports(plans: Plans) -> None:
    plans.seal()
    one, two = str(uuid4()), str(uuid4())
    plans.refused("invalid_claim_ttl", f"/plans/{plans.plan}/members/a/start", 400, execution_id=one, claim_ttl_seconds=86_401)
    begun = plans.member("a", "start", execution_id=one, claim_ttl_seconds=120, executor="sequential", executor_ref="host:1")
    assert (begun["applied"], begun["status"], begun["execution_id"]) == (True, "running", one) and begun["claim_expires_at"]
    assert plans.member("a", "start", execution_id=one)["applied"] is False
    assert plans.member("a", "start", execution_id=one, claim=False, executor_metadata={"pid": 1})["status"] == "running"
    plans.refused("task_already_running", f"/plans/{plans.plan}/members/a/start", execution_id=two)
    plans.refused("unknown_execution", f"/plans/{plans.plan}/members/a/complete", execution_id=two)
    assert plans.post("/tasks/a/claim/renew", execution_id=one, claim_ttl_seconds=60)["status"] == "running"
    told = plans.get("/tasks/a")
    assert (told["claim_build_id"], told["claim_plan_id"]) == (plans.build, plans.plan)
    failed = plans.member("a", "fail", execution_id=one, error_message="ValueError: boom")
    assert (failed["status"], failed["claim_expires_at"]) == ("failed", None)
    plans.refused("execution_already_ended", f"/plans/{plans.plan}/members/a/complete", execution_id=one)
    plans.refused("task_not_actionable", f"/plans/{plans.plan}/members/a/start", execution_id=two)
    assert plans.post("/tasks/a/claim/renew", 409, execution_id=one)["detail"]["claim_outcome"] == "failed"
    assert plans.get("/tasks/a")["error_message"] == "ValueError: boom"
    assert plans.post(f"/builds/{plans.build}/skip-blocked")["skipped"] == ["b"]
    assert plans.post(f"/builds/{plans.build}/skip-blocked")["skipped"] == []
    assert plans.member("a", "retry")["status"] == "pending" and plans.member("a", "retry")["applied"] is False
    assert plans.member("b", "retry")["status"] == "pending"
    plans.run("a")
    plans.refused("task_already_completed", f"/plans/{plans.plan}/members/a/retry")
    plans.member("b", "start", execution_id=two)
    assert plans.post(f"/executions/{two}/stopped", outcome="lost")["status"] == "cancelled"
    (stopped,) = plans.get(f"/builds/{plans.build}/executions?include_ended=true")["executions"][:1]
    assert (stopped["claim_outcome"], stopped["outcome"], stopped["in_current_plan"]) == ("cancelled", "lost", True)


def test_a_preempted_execution_has_a_while_to_come_back(plans: Plans) -> None:
    plans.seal()
    execution = str(uuid4())
    before = plans.member("a", "start", execution_id=execution)["claim_expires_at"]
    after = plans.member("a", "preempt", execution_id=execution)["claim_expires_at"]
    assert after < before
    (running,) = plans.get(f"/builds/{plans.build}/frontier")["running"]
    assert running["restart_expected_by"] == after and running["attempts"] == 1
    assert plans.member("a", "start", execution_id=execution, claim=False)["claim_expires_at"] > after


def test_a_build_resumes_under_its_plan_or_another(plans: Plans) -> None:
    plans.seal()
    build = f"/builds/{plans.build}"
    other = plans.post("/deployments", kind="local", code_id="def")["id"]
    second = plans.new_plan(deployment_id=other)
    assert (second["generation"], second["activated_at"]) == (2, None)
    plans.post(f"/plans/{second['id']}/members", items=[plans.item("a"), plans.item("b", "a")])
    plans.post(f"/plans/{second['id']}/seal")
    assert plans.get(f"/plans/{plans.plan}")["superseded_at"] and plans.get(build + "/frontier")["plan_id"] == second["id"]
    plans.refused("plan_superseded", f"/plans/{plans.plan}/members/a/start", execution_id=str(uuid4()))
    plans.post(build + "/cancel")
    back = plans.post(build + "/resume", deployment_id=plans.deployment, settings={})
    assert (back["plan"]["id"], back["changed"], back["build"]["is_resumed"]) == (plans.plan, True, True)
    assert plans.post(build + "/resume", deployment_id=plans.deployment)["changed"] is False
    assert plans.get(build + "/frontier")["plan_id"] == plans.plan


def test_a_deployment_of_an_app_is_current_once_it_is_activated(plans: Plans) -> None:
    first, second = str(uuid4()), str(uuid4())
    known = {"kind": "modal", "app_name": "shop"}
    assert plans.post("/deployments", id=first, code_id="c1", **known)["created"] is True
    plans.post(f"/deployments/{first}/activate")
    plans.post("/deployments", id=second, code_id="c2", **known)
    path, root = f"/builds/{plans.build}/plans", [plans.item("b", expanded=False)]
    plans.refused("deployment_not_activated", path, 400, plan_id=str(uuid4()), deployment_id=second, settings={}, roots=root)
    assert [one["id"] for one in plans.get("/deployments?current=true&kind=modal")["deployments"]] == [first]
    activated = plans.post(f"/deployments/{second}/activate", modal_app_id="ap-1")
    assert activated["is_current"] and activated["generation"] == 2 and activated["modal_app_id"] == "ap-1"
    assert plans.get(f"/deployments/{first}")["is_current"] is False
    late = plans.new_plan(deployment_id=first)
    plans.post(f"/plans/{late['id']}/members", items=[plans.item("a"), plans.item("b", "a")])
    plans.refused("deployment_not_current", f"/plans/{late['id']}/seal")
    plans.post("/deployments", status=422, kind="modal", code_id="c")


def test_a_member_may_be_given_up_with_what_needs_it(plans: Plans) -> None:
    plans.seal()
    given = plans.member("a", "exclude", reason="too dear")
    assert (given["excluded"], given["roots_excluded"], given["build_failed"]) == (["a", "b"], ["b"], True)
    assert plans.member("a", "exclude")["excluded"] == []
    assert plans.get(f"/builds/{plans.build}")["error_message"] == "a root was excluded: too dear"
    assert plans.get(f"/plans/{plans.plan}")["excluded_count"] == 2


def test_limits_and_who_holds_them(plans: Plans) -> None:
    plans.seal()
    assert plans.call("PUT", "/concurrency-limits/gpu", {"max_concurrent": 1}) == {"key": "gpu", "max_concurrent": 1}
    plans.member("a", "start", execution_id=str(uuid4()), limit_keys=["gpu"])
    (limit,) = plans.get("/concurrency-limits?include_holders=true")["limits"]
    assert (limit["in_use"], limit["holders"][0]["task_id"], limit["holders"][0]["build_id"]) == (1, "a", plans.build)
    assert plans.get("/concurrency-limits")["limits"][0]["holders"] is None
    plans.call("DELETE", "/concurrency-limits/gpu", status=204)
    assert plans.get("/concurrency-limits")["limits"] == []
    plans.call("PUT", "/concurrency-limits/gpu", {"max_concurrent": -1}, 422)


def test_artifacts_belong_to_the_task(plans: Plans) -> None:
    put = [
        {"type": "json", "name": "metrics", "body": {"acc": 0.5}},
        {"type": "markdown", "name": "m", "body": {"content": "# hi"}},
    ]
    assert len(plans.member("a", "artifacts", artifacts=put)["artifacts"]) == 2
    told = plans.get("/tasks/a/artifacts")["artifacts"]
    assert [(one["artifact_type"], one["body"], one["task_id"]) for one in told] == [
        ("json", {"acc": 0.5}, "a"),
        ("markdown", {"content": "# hi"}, "a"),
    ]


def test_a_build_that_ended_may_be_deleted(plans: Plans) -> None:
    build = f"/builds/{plans.build}"
    plans.refused("build_running", build, method="DELETE")
    plans.post(build + "/cancel")
    plans.call("DELETE", build, status=204)
    plans.refused("unknown_build", build, 404, "GET")
    plans.refused("unknown_plan", f"/plans/{plans.plan}", 404, "GET")
    assert plans.get("/builds")["total"] == 0 and plans.get("/tasks/a")["task_id"] == "a"


def test_ticks_and_who_schedules_them(plans: Plans) -> None:
    plans.seal()
    build = f"/builds/{plans.build}"
    assert (
        plans.call("PUT", build + "/reactive-meta", {"app_name": "shop", "tick_kwargs": {"n": 1}})["reactive_app_name"] == "shop"
    )
    assert plans.get("/builds?reactive_app_name=shop")["total"] == 1
    asked = plans.call("POST", build + "/notify?can_spawn=true")
    assert (asked["needs_tick"], asked["scheduler_live"]) == (True, False)
    candidate = {"build_id": plans.build, "reactive_app_name": "shop"}
    assert plans.call("POST", "/builds/wake-candidates")["builds"] == [candidate]
    assert plans.call("POST", "/builds/wake-candidates")["builds"] == []
    assert plans.get("/stalled-builds?older_than_seconds=0")["builds"][0]["reason"] == "flagged_unserved"
    lease = build + "/scheduler-lease?ttl_seconds=60&owner_id="
    assert plans.call("POST", lease + "one")["held"] is True and plans.call("POST", lease + "two")["held"] is False
    assert plans.call("PUT", lease + "one")["held"] is True and plans.call("PUT", lease + "two")["held"] is False
    assert plans.call("DELETE", build + "/notify")["needs_tick"] is False
    assert plans.call("DELETE", lease + "one")["held"] is False
    assert plans.call("POST", build + "/tick-summaries", {"outcome": "idle", "started": 0}, 201)["summary"] == {"started": 0}
    assert plans.get(build + "/tick-summaries")["summaries"][0]["outcome"] == "idle"
    second = str(uuid4())
    plans.post("/builds", id=second, root_task_ids=["b"])
    plans.build = second
    plans.plan = plans.new_plan()["id"]
    plans.post(f"/plans/{plans.plan}/members", items=[plans.item("a"), plans.item("b", "a")])
    plans.seal()
    plans.run("a")
    assert plans.get(build + "/notify")["needs_tick"] is True, "a task it waits for is otherwise than it was"


def test_who_calls_is_known_and_where(serve: Callable[..., Server]) -> None:  # noqa: F811
    server = serve(auth="builtin", admin_password=PASSWORD)
    token = server.login("admin")
    assert server.ask("GET", "/v2/builds").json() == {
        "detail": "Authentication required. Provide X-API-Key header or Bearer token."
    }
    assert server.ask("GET", "/v2/builds", token=token).status_code == 400
    workspace = server.call("GET", "/me", token=token)["workspaces"][0]["id"]
    environment = server.call("GET", f"/workspaces/{workspace}/environments", token=token)[0]["id"]
    assert server.ask("GET", f"/v2/builds?environment_id={environment}", token=token).json()["total"] == 0
    assert server.ask("GET", f"/v2/builds?environment_id={uuid4()}", token=token).json() == {"detail": "Environment not found"}
