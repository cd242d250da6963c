"""Builds, tasks, assets and locks over HTTP, as their clients use them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.specs.tenancy.conftest import PASSWORD, Server, serve  # noqa: F401  (a fixture)

OWNER, OTHER = str(uuid4()), str(uuid4())


class Registry:
    """A server, one build on it, and short words for what is told of it."""

    def __init__(self, server: Server, headers: dict[str, str] | None = None) -> None:
        self.server = server
        self.headers = headers or {}
        self.id: str = self.call("POST", "/builds", {"root_task_ids": ["root"], "commit_hash": "abc"}, status=201)["id"]
        self.build = f"/builds/{self.id}"

    def call(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        answer = self.server.client.request(method, "/api/v1" + path, json=body, headers=self.headers)
        assert answer.status_code == status, (method, path, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def get(self, path: str, status: int = 200) -> Any:
        return self.call("GET", path, status=status)

    def refused(self, status: int, detail: Any, method: str, path: str, body: Any = None) -> None:
        assert self.call(method, path, body, status) == {"detail": detail}

    def register(self, task: str, *upstreams: str, build: str = "", **more: Any) -> Any:
        body = {"task_id": task, "task_name": task.title(), "task_data": {"of": task}, "dependency_task_ids": list(upstreams)}
        return self.call("POST", f"{build or self.build}/tasks", body | more, 201)

    def report(self, task: str, word: str, build: str = "") -> str:
        return str(self.call("POST", f"{build or self.build}/tasks/{task}/{word}")["status"])

    def task(self, task: str) -> Any:
        return next(one for one in self.get(self.build + "/tasks") if one["task_id"] == task)

    def stream(self, after: str = "", build: str = "") -> tuple[int, list[dict[str, str]]]:
        """A whole stream of a build that has ended: status and frames."""
        headers = self.headers | ({"last-event-id": after} if after else {})
        answer = self.server.client.get(f"/api/v1{build or self.build}/stream", headers=headers)
        frames = [dict(line.split(": ", 1) for line in part.split("\n") if ": " in line) for part in answer.text.split("\n\n")]
        return answer.status_code, [frame for frame in frames if "data" in frame]


@pytest.fixture
def registry(serve: Callable[..., Server]) -> Registry:  # noqa: F811
    return Registry(serve())


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_database: str) -> Iterator[Registry]:
    server = Server(tmp_path, database_url=postgres_database)
    with server.client:
        yield Registry(server)


# -- builds --------------------------------------------------------------------------------------------------------------


def test_a_build_from_start_to_end(registry: Registry) -> None:
    build = registry.get(registry.build)
    assert (build["status"], build["root_task_ids"], build["commit_hash"]) == ("running", ["root"], "abc")
    assert build["completed_at"] is None and build["started_at"] == build["created_at"]
    adjective, noun, number = build["name"].split("-")
    assert adjective and noun and 10 <= int(number) <= 99
    ended = registry.call("POST", registry.build + "/complete")
    assert ended["status"] == "completed" and ended["completed_at"] and registry.get(registry.build) == ended


def test_the_last_word_about_a_build_counts(registry: Registry) -> None:
    for word, status in (("complete", "completed"), ("fail", "failed"), ("cancel", "cancelled"), ("exit-early", "exit_early")):
        assert registry.call("POST", f"{registry.build}/{word}?error_message=late&reason=r")["status"] == status
        registry.call("POST", f"{registry.build}/{word}?error_message=late&reason=r")  # told twice
    events = registry.get(registry.build + "/events")
    assert [(event["event_type"], event["error_message"]) for event in events] == [
        ("build_started", None), ("build_completed", None), ("build_failed", "late"), ("build_cancelled", None),
        ("build_exit_early", "r"),
    ]  # fmt: skip
    assert len({event["id"] for event in events}) == 5 and [event["id"] for event in events] == sorted(e["id"] for e in events)


def test_builds_are_listed_by_pages(registry: Registry) -> None:
    made = [registry.id, *(registry.call("POST", "/builds", status=201)["id"] for _ in range(4))]
    registry.call("POST", registry.build + "/fail")
    first, last = registry.get("/builds?page_size=3"), registry.get("/builds?page_size=3&page=2")
    assert [build["id"] for build in first["builds"] + last["builds"]] == made[::-1]
    assert (first["total"], last["page"], last["page_size"]) == (5, 2, 3)
    assert [build["id"] for build in registry.get("/builds?status=failed")["builds"]] == [registry.id]
    assert registry.get("/builds?page=9")["builds"] == []


@pytest.mark.parametrize("query", ["page=0", "page=x", "page_size=0", "page_size=101"])
def test_a_wrong_page_is_refused_in_its_place(registry: Registry, query: str) -> None:
    for noun in ("builds", "tasks"):
        assert registry.get(f"/{noun}?{query}", 422)["detail"][0]["loc"] == ["query", query.partition("=")[0]]


def test_what_is_not_there(registry: Registry) -> None:
    registry.refused(404, "Build not found", "GET", f"/builds/{uuid4()}")
    registry.refused(
        404, "Build not found", "POST", f"/builds/{uuid4()}/tasks", {"task_id": "a", "task_name": "A", "task_data": {}}
    )
    registry.refused(404, "Task not found", "POST", registry.build + "/tasks/none/start")
    for path in ("", "/assets", "/artifacts", "/events", "/metadata"):
        registry.refused(404, "Task not found", "GET", "/tasks/none" + path)
    for path in ("/builds/x/y/z", registry.build + "/none", "/tasks/a/b/c", "/locks/a/b/c/d"):
        registry.refused(404, "Not Found", "GET", path)
    registry.refused(405, "Method Not Allowed", "PUT", "/builds")
    assert registry.get("/builds/none", 422)["detail"][0]["loc"] == ["path", "build_id"]


# -- tasks ---------------------------------------------------------------------------------------------------------------


def test_a_task_is_what_its_first_registration_says(registry: Registry) -> None:
    first = registry.register("a", version="1", output_uri="/a.json", task_namespace="n.s")
    again = registry.register("a", "other", version="2", task_data={"other": True})
    assert again == first == registry.get("/tasks/a")
    assert (first["task_data"], first["version"], first["task_namespace"]) == ({"of": "a"}, "1", "n.s")
    told = registry.get("/tasks/a/metadata")
    assert (told["id"], told["body"], told["version"], told["status"]) == ("a", {"of": "a"}, "1", "pending")
    registry.register("b")
    assert registry.get("/tasks/b")["version"] is None and registry.get("/tasks/b/metadata")["version"] == ""


def test_reports_and_the_two_statuses(registry: Registry) -> None:
    registry.register("a")
    other = f"/builds/{registry.call('POST', '/builds', status=201)['id']}"
    said = [registry.report("a", word) for word in ("waiting-for-lock", "start", "suspend", "resume", "fail?error_message=boom")]
    assert said == ["pending", "running", "suspended", "running", "failed"]
    assert registry.task("a")["error_message"] == "boom" and registry.task("a")["completed_at"]
    assert [registry.report("a", word) for word in ("start", "skip", "cancel", "complete")] == [
        "running", "skipped", "cancelled", "completed",
    ]  # fmt: skip
    assert registry.report("a", "start", other) == "running", "in this build"
    task = registry.task("a")
    assert (task["status"], task["status_build_id"]) == ("completed", registry.id), "over all builds it stays"
    assert registry.report("a", "waiting-for-lock?lock_owner=o", other) == "running"
    newest = registry.get("/tasks/a/events")[0]
    assert (newest["event_type"], newest["build_id"], newest["event_metadata"]) == (
        "task_waiting_for_lock", other.rpartition("/")[2], {"lock_owner": "o"},
    )  # fmt: skip


def test_waiting_for_a_lock_is_shown(registry: Registry) -> None:
    registry.register("a")
    registry.report("a", "waiting-for-lock")
    assert registry.task("a")["waiting_for_lock"] is True
    registry.report("a", "start")
    assert registry.task("a")["waiting_for_lock"] is False


def test_a_report_that_is_sent_again_changes_nothing(registry: Registry) -> None:
    registry.register("a")
    for word in ("start", "start", "complete", "complete"):
        registry.report("a", word)
    before = registry.task("a")
    registry.report("a", "complete")
    assert registry.task("a") == before
    assert [event["event_type"] for event in registry.get("/tasks/a/events")] == [
        "task_completed",
        "task_started",
        "task_pending",
    ]


def test_events_are_told_alike_from_both_sides(registry: Registry) -> None:
    registry.register("a")
    registry.register("a")
    registry.report("a", "fail?error_message=boom")
    of_build = [event for event in registry.get(registry.build + "/events") if event["task_id"]]
    assert of_build == registry.get("/tasks/a/events")[::-1]
    assert [event["event_type"] for event in of_build] == ["task_pending", "task_referenced", "task_failed"]
    assert registry.get(registry.build + "/events?page_size=2&page=2")[0] == of_build[1]


def test_the_graph_has_edges_whichever_end_came_first(registry: Registry) -> None:
    registry.register("late", "early", "never")
    registry.register("early")
    registry.register("more", "late", "late")
    registry.call("POST", registry.build + "/tasks/early/dependencies", {"upstream_task_ids": ["x"], "is_dynamic": True})
    registry.register("x")
    graph = registry.get(registry.build + "/graph")
    names = {node["id"]: node["task_id"] for node in graph["nodes"]}
    assert sorted(names.values()) == ["early", "late", "more", "x"]
    assert sorted((names[edge["source"]], names[edge["target"]]) for edge in graph["edges"]) == [
        ("early", "late"), ("late", "more"), ("x", "early"),
    ]  # fmt: skip


def test_a_graph_has_only_what_is_in_the_build(registry: Registry) -> None:
    registry.register("a")
    other = f"/builds/{registry.call('POST', '/builds', status=201)['id']}"
    registry.register("b", "a", build=other)
    graph = registry.get(other + "/graph")
    assert [node["task_id"] for node in graph["nodes"]] == ["b"] and graph["edges"] == []


def test_tasks_are_listed_by_name_and_namespace(registry: Registry) -> None:
    for number in range(5):
        registry.register(f"t{number}", task_name=f"N{number % 2}", task_namespace="x" if number < 2 else "y")
    assert [task["task_id"] for task in registry.get("/tasks?page_size=2")["tasks"]] == ["t4", "t3"]
    for query, found in (
        ("", 5), ("task_name=N0", 3), ("task_namespace=y", 3), ("task_name=N0&task_namespace=y", 2), ("task_name=none", 0),
    ):  # fmt: skip
        assert registry.get("/tasks?" + query)["total"] == found == len(registry.get("/tasks?" + query)["tasks"])


def test_many_tasks_are_registered_at_once(registry: Registry) -> None:
    tasks = [
        {"task_id": f"t{n}", "task_name": "T", "task_data": {"n": n}, "dependency_task_ids": [f"t{n - 1}"]} for n in range(300)
    ]
    body = json.dumps({"tasks": tasks}).encode()
    answer = registry.server.client.post(
        f"/api/v1{registry.build}/tasks/bulk?id_only=true", content=gzip.compress(body), headers={"content-encoding": "gzip"}
    )
    assert answer.status_code == 201
    refs = answer.json()["tasks"]
    assert [ref["task_id"] for ref in refs] == [task["task_id"] for task in tasks] and set(refs[0]) == {"id", "task_id"}
    again = registry.call("POST", registry.build + "/tasks/bulk", {"tasks": tasks[:2]}, 201)["tasks"]
    assert [task["id"] for task in again] == [ref["id"] for ref in refs[:2]] and again[1]["task_data"] == {"n": 1}
    assert len(registry.get(registry.build + "/graph")["edges"]) == 299
    assert len(registry.get(registry.build + "/tasks?page_size=200&page=2")) == 100


def test_many_tasks_are_registered_all_or_none(registry: Registry) -> None:
    good = {"task_id": "good", "task_name": "T", "task_data": {}}
    for bad in ({"task_id": "", "task_name": "T", "task_data": {}}, {"task_id": "b", "task_name": "T", "task_data": []}):
        refusal = registry.call("POST", registry.build + "/tasks/bulk", {"tasks": [good, bad]}, 422)
        assert refusal["detail"][0]["loc"][:3] == ["body", "tasks", "1"]
    registry.call("POST", registry.build + "/tasks/bulk", {"tasks": [good] * 1001}, 422)
    registry.get("/tasks/good", 404)


@pytest.mark.parametrize(
    "change, place",
    [
        ({"task_id": "a/b"}, "task_id"),
        ({"task_id": "x" * 65}, "task_id"),
        ({"task_id": "a\nb"}, "task_id"),
        ({"task_name": ""}, "task_name"),
        ({"task_data": None}, "task_data"),
        ({"task_data": [1]}, "task_data"),
        ({"task_data": "text"}, "task_data"),
        ({"dependency_task_ids": ["ok", ""]}, "dependency_task_ids"),
        ({"task_namespace": 5}, "task_namespace"),
    ],
)
def test_wrong_fields_of_a_task(registry: Registry, change: dict[str, Any], place: str) -> None:
    body = {"task_id": "a", "task_name": "A", "task_data": {}} | change
    assert registry.call("POST", registry.build + "/tasks", body, 422)["detail"][0]["loc"][:2] == ["body", place]
    assert registry.get("/tasks")["total"] == 0


def test_odd_but_good_values(registry: Registry) -> None:
    odd: dict[str, Any] = {"task_data": {"ü": "\u0000 \U0001f600", "big": 12345678901234567890123, "f": 0.1}}
    registry.register("ä ö%", **odd)
    assert registry.get("/tasks/ä ö%25")["task_data"] == odd["task_data"]
    assert registry.report("ä ö%25", "start") == "running"


# -- assets --------------------------------------------------------------------------------------------------------------


def test_assets_in_both_spellings(registry: Registry) -> None:
    registry.register("a")
    body = [
        {"type": "markdown", "name": "summary", "body": {"content": "# hi"}},
        {"type": "json", "name": "metrics", "body": {"acc": 0.5}},
    ]
    made = registry.call("POST", registry.build + "/tasks/a/assets", body, 201)["assets"]
    assert [(asset["asset_type"], asset["name"], asset["body"], asset["task_id"]) for asset in made] == [
        ("markdown", "summary", {"content": "# hi"}, "a"), ("json", "metrics", {"acc": 0.5}, "a"),
    ]  # fmt: skip
    assert (made[0]["content_type"], made[0]["size"], len(made[0]["sha256"])) == ("application/json", 18, 64)
    changed = registry.call("POST", registry.build + "/tasks/a/artifacts", [body[1] | {"body": {"acc": 0.7}}], 201)["artifacts"]
    assert (changed[0]["id"], changed[0]["artifact_type"], changed[0]["body"]) == (made[1]["id"], "json", {"acc": 0.7})
    assert [asset["body"] for asset in registry.get("/tasks/a/assets")["assets"]] == [{"content": "# hi"}, {"acc": 0.7}]
    assert [asset["id"] for asset in registry.get("/tasks/a/artifacts")["artifacts"]] == [asset["id"] for asset in made]
    assert registry.task("a")["asset_count"] == 2 == registry.get(registry.build + "/graph")["nodes"][0]["asset_count"]
    assert registry.call("POST", registry.build + "/tasks/a/assets", [], 201) == {"assets": []}


@pytest.mark.parametrize("wrong", [{"type": "png"}, {"body": "text"}, {"name": ""}])
def test_wrong_assets_are_refused_whole(registry: Registry, wrong: dict[str, Any]) -> None:
    registry.register("a")
    good = {"type": "json", "name": "m", "body": {}}
    registry.call("POST", registry.build + "/tasks/a/assets", [good, good | wrong], 422)
    assert registry.get("/tasks/a/assets") == {"assets": []}


# -- locks ---------------------------------------------------------------------------------------------------------------


def acquire(registry: Registry, name: str, owner: str = OWNER, status: int = 200, **more: Any) -> Any:
    return registry.call("POST", f"/locks/{name}/acquire", {"owner_id": owner, **more}, status)


def test_a_lock_is_had_by_one(registry: Registry) -> None:
    first = acquire(registry, "l", ttl_seconds=5)
    assert (first["status"], first["acquired"], first["lock"]["owner_id"]) == ("acquired", True, OWNER)
    again = acquire(registry, "l", ttl_seconds=60)
    assert again["lock"]["version"] == first["lock"]["version"] + 1
    held = {"status": "held_by_other", "error_message": "Lock is held by another owner"}
    assert acquire(registry, "l", OTHER, 423) == {"detail": held}
    assert registry.call("POST", "/locks/l/renew", {"owner_id": OWNER}) == {"renewed": True}
    for word in ("renew", "release"):
        registry.refused(409, "Lock not found or not owned by caller", "POST", f"/locks/{word}/{word}", {"owner_id": OWNER})
        registry.refused(409, "Lock not found or not owned by caller", "POST", f"/locks/l/{word}", {"owner_id": OTHER})
    assert registry.get("/locks/l") == registry.get("/locks")["locks"][0] and registry.get("/locks")["count"] == 1
    assert registry.call("POST", "/locks/l/release", {"owner_id": OWNER}) == {"released": True}
    registry.refused(404, "Lock not found", "GET", "/locks/l")
    assert acquire(registry, "l", OTHER)["lock"]["version"] == again["lock"]["version"] + 2


@pytest.mark.parametrize(
    "body", [{"owner_id": "x"}, {}, {"owner_id": OWNER, "ttl_seconds": 0}, {"owner_id": OWNER, "ttl_seconds": 86401}]
)
def test_wrong_orders_to_a_lock(registry: Registry, body: dict[str, Any]) -> None:
    for word in ("acquire", "renew"):
        registry.call("POST", f"/locks/l/{word}", body, 422)
    assert registry.get("/locks?include_expired=true") == {"locks": [], "count": 0}


def test_no_lock_for_what_is_done(registry: Registry) -> None:
    registry.register("a")
    assert registry.get("/locks/tasks/a/completion-status") == {"task_id": "a", "is_completed": False}
    registry.report("a", "complete")
    assert registry.get("/locks/tasks/a/completion-status")["is_completed"] is True
    assert registry.get("/locks/tasks/none/completion-status") == {"task_id": "none", "is_completed": False}
    assert acquire(registry, "a") == {"status": "already_completed", "acquired": False, "lock": None, "error_message": None}
    assert acquire(registry, "a", check_task_completion=False)["acquired"] is True


def test_a_release_may_complete_the_task_for_its_owner_only(registry: Registry) -> None:
    registry.register("a")
    acquire(registry, "a")
    done = {"task_completed": True, "build_id": registry.id}
    registry.call("POST", "/locks/a/release", {"owner_id": OTHER, **done}, 409)
    assert registry.task("a")["status"] == "pending"
    registry.refused(404, "Build not found", "POST", "/locks/a/release", {"owner_id": OWNER, **done, "build_id": str(uuid4())})
    assert registry.get("/locks")["count"] == 1
    registry.call("POST", "/locks/a/release", {"owner_id": OWNER, **done})
    assert registry.task("a")["status"] == "completed" and registry.get("/locks")["count"] == 0
    acquire(registry, "no-task")
    registry.call("POST", "/locks/no-task/release", {"owner_id": OWNER, **done})


# -- streams -------------------------------------------------------------------------------------------------------------


def test_a_stream_tells_a_build_from_any_frame_on(registry: Registry) -> None:
    registry.register("a")
    other = f"/builds/{registry.call('POST', '/builds', status=201)['id']}"
    registry.register("a", build=other)
    registry.report("a", "complete")
    registry.call("POST", registry.build + "/complete")
    status, frames = registry.stream()
    told = ["build_started", "task_pending", "task_completed", "build_completed", "end"]
    assert status == 200 and [frame["event"] for frame in frames] == told
    assert json.loads(frames[1]["data"])["task"] == "a"
    events = registry.get(registry.build + "/events")
    assert [json.loads(frame["data"])["id"] for frame in frames[:-1]] == [event["id"] for event in events]
    _, rest = registry.stream(after=frames[1]["id"])
    assert [frame["event"] for frame in rest] == told[2:]
    assert registry.stream(after=frames[3]["id"])[0] == 204
    assert registry.stream(after="x")[0] == 422


# -- who may -------------------------------------------------------------------------------------------------------------


def test_environments_are_apart(serve: Callable[..., Server]) -> None:  # noqa: F811
    server = serve(auth="builtin", admin_password=PASSWORD)
    admin = server.login("admin")
    path, place = server.team(admin, "team")
    second = server.call("POST", path + "/environments", {"name": "Other", "slug": "other"}, admin, 201)["id"]
    keys = [
        server.call("POST", f"{path}/environments/{id_}/api-keys", {"name": "k"}, admin, 201)["key"]
        for id_ in (place.rpartition("/")[2], second)
    ]
    _, elsewhere = server.team(admin, "elsewhere")
    keys.append(server.call("POST", f"{elsewhere}/api-keys", {"name": "k"}, admin, 201)["key"])
    mine, beside, strange = (Registry(server, {"x-api-key": key}) for key in keys)
    mine.register("a")
    acquire(mine, "l")
    for path in (mine.build, mine.build + "/tasks", mine.build + "/graph", mine.build + "/events", mine.build + "/stream"):
        beside.refused(403, "Build does not belong to this environment", "GET", path)
        strange.refused(404, "Build not found", "GET", path)
    for word in ("complete", "tasks/a/start"):
        beside.refused(403, "Build does not belong to this environment", "POST", f"{mine.build}/{word}")
        strange.refused(404, "Build not found", "POST", f"{mine.build}/{word}")
    for other in (beside, strange):
        other.get("/tasks/a", 404)
        assert other.get("/builds")["total"] == 1 and other.get("/tasks")["total"] == 0 and other.get("/locks")["count"] == 0
        assert acquire(other, "l")["acquired"], "a lock's name belongs to its environment"
        other.register("a", task_data={"mine": False})
    assert mine.get("/tasks/a")["task_data"] == {"of": "a"}
    assert mine.get(mine.build)["user_id"] is None, "a key is no person"


def test_without_a_credential_one_is_told_what_to_send(serve: Callable[..., Server]) -> None:  # noqa: F811
    server = serve(auth="builtin", admin_password=PASSWORD)
    server.refused(401, "Authentication required. Provide X-API-Key header or Bearer token.", "GET", "/builds")
    answer = server.client.get("/api/v1/builds", headers={"x-api-key": "sk_123456_wrong"})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Invalid API key"})
    assert server.call("GET", "/version")["api_version"] == "v1"


def test_an_environment_with_running_builds_stays(registry: Registry) -> None:
    server = registry.server
    path, place = server.team("", "team")
    server.call("POST", path + "/environments", {"name": "Other", "slug": "other"}, status=201)
    id_ = place.rpartition("/")[2]
    build = registry.call("POST", f"/builds?environment_id={id_}", status=201)["id"]
    server.refused(409, "Cannot delete an environment with builds that have not ended", "DELETE", place)
    registry.call("POST", f"/builds/{build}/complete?environment_id={id_}")
    server.call("DELETE", place, status=204)


# -- another store -------------------------------------------------------------------------------------------------------


@pytest.mark.postgres
def test_on_postgres(on_postgres: Registry) -> None:
    registry = on_postgres
    test_the_graph_has_edges_whichever_end_came_first(Registry(registry.server))
    test_assets_in_both_spellings(registry)
    test_a_lock_is_had_by_one(registry)
    registry.report("a", "fail?error_message=boom")
    registry.call("POST", registry.build + "/complete?triggered_by_user_id=somebody")
    assert registry.task("a")["status"] == "failed" and registry.get("/tasks?task_name=A")["total"] == 1
    assert registry.get(registry.build + "/events")[-1]["event_metadata"] == {"triggered_by_user_id": "somebody"}
    assert registry.get("/tasks/a/events")[0]["error_message"] == "boom"
    assert [frame["event"] for frame in registry.stream()[1]][-2:] == ["build_completed", "end"]
    registry.call("POST", registry.build + "/tasks/bulk", {"tasks": [{"task_id": "n", "task_name": "\0x", "task_data": {}}]}, 201)
    assert registry.get("/tasks/a")["task_data"] == {"of": "a"} and registry.get("/builds?status=completed")["total"] == 1


def test_an_environment_may_limit_its_locks(registry: Registry) -> None:
    server = registry.server
    _, place = server.team("", "team")
    inside = f"?environment_id={place.rpartition('/')[2]}"
    assert server.call("GET", place)["max_concurrent_locks"] is None
    assert server.call("PATCH", place, {"max_concurrent_locks": 1})["max_concurrent_locks"] == 1
    body = {"owner_id": OWNER}
    registry.call("POST", f"/locks/a/acquire{inside}", body)
    full = {"status": "concurrency_limit_reached", "error_message": "Environment concurrency limit reached (1)"}
    registry.refused(429, full, "POST", f"/locks/b/acquire{inside}", body)
    registry.call("POST", f"/locks/a/acquire{inside}", body)  # its own place is no other
    registry.call("POST", f"/locks/a/renew{inside}", body)
    registry.refused(429, full, "POST", f"/locks/b/acquire{inside}", body)
    registry.call("POST", f"/locks/a/release{inside}", body)
    registry.call("POST", f"/locks/b/acquire{inside}", body)
    server.call("PATCH", place, {"max_concurrent_locks": 0})
    registry.call("POST", f"/locks/a/acquire{inside}", body)
    server.call("PATCH", place, {"max_concurrent_locks": -1}, status=422)


def test_a_build_sent_twice_with_a_key_is_made_once(registry: Registry) -> None:
    made = [
        registry.server.client.post("/api/v1/builds", json={"description": "once"}, headers={"idempotency-key": "k1"}).json()[
            "id"
        ]
        for _ in range(2)
    ]
    assert made[0] == made[1] and registry.get("/builds")["total"] == 2


def test_after_a_restart_all_is_as_it_was(serve: Callable[..., Server]) -> None:  # noqa: F811
    registry = Registry(serve())
    registry.register("a", "x")
    registry.report("a", "start")
    acquire(registry, "l")
    before = [registry.get(path) for path in (registry.build, registry.build + "/tasks", registry.build + "/events", "/locks")]
    registry.server = serve()
    assert before == [
        registry.get(path) for path in (registry.build, registry.build + "/tasks", registry.build + "/events", "/locks")
    ]
    assert acquire(registry, "l", OTHER, 423)
    registry.register("x")
    assert registry.report("a", "complete") == "completed"
    assert len(registry.get(registry.build + "/graph")["edges"]) == 1


def test_a_long_error_is_kept_whole(registry: Registry) -> None:
    registry.register("a")
    text = "Traceback\n" + "x" * 20_000
    answer = registry.server.client.post(f"/api/v1{registry.build}/tasks/a/fail", params={"error_message": text})
    assert answer.status_code == 200 and registry.task("a")["error_message"] == text


# -- deletion ------------------------------------------------------------------------------------------------------------


def check_a_build_is_deleted(registry: Registry) -> None:
    registry.register("a")
    registry.register("b", "a")
    registry.report("a", "complete")
    other = f"/builds/{registry.call('POST', '/builds', {}, 201)['id']}"
    registry.register("a", build=other)
    told = registry.call("DELETE", registry.build, status=409)["detail"]
    assert "running" in told and registry.get(registry.build)["status"] == "running"
    registry.call("POST", registry.build + "/complete")
    registry.call("DELETE", registry.build, status=204)
    for method, path in (
        ("GET", ""),
        ("GET", "/tasks"),
        ("GET", "/graph"),
        ("GET", "/events"),
        ("POST", "/fail"),
        ("DELETE", ""),
    ):
        registry.refused(404, "Build not found", method, registry.build + path)
    registry.refused(404, "Build not found", "POST", registry.build + "/tasks/a/start")
    assert [build["id"] for build in registry.get("/builds")["builds"]] == [other.rpartition("/")[2]]
    assert [task["status"] for task in registry.get(other + "/tasks")] == ["completed"]
    assert (
        registry.get("/tasks")["total"] == 2 and registry.get("/tasks/search?filter=task_id:b")["tasks"][0]["build_name"] is None
    )
    assert len(registry.get("/tasks/a/events")) == 3


def test_a_build_is_deleted_and_its_tasks_stay(registry: Registry) -> None:
    check_a_build_is_deleted(registry)
    for table in ("build_tasks", "build_task_states", "build_events", "build_activity"):
        assert registry.server.sql(f"SELECT count(*) FROM {table} WHERE build = '{registry.id}'") == [(0,)]
    assert registry.server.acts("build.deleted")


@pytest.mark.postgres
def test_a_build_is_deleted_on_postgres(on_postgres: Registry) -> None:
    check_a_build_is_deleted(on_postgres)


def test_late_clients_are_told_back_what_they_sent(registry: Registry) -> None:
    sent = {"scope_key": "abc/def", "build_config": {"a": {"b": 1}}}
    made = registry.call("POST", "/builds", sent, 201)
    assert (made["scope_key"], made["build_config"]) == ("abc/def", {"a": {"b": 1}})
    assert registry.call("POST", "/builds", {}, 201)["scope_key"] is None
