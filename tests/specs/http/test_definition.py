"""DAG files over HTTP: list, get, create, change, validate, delete."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytestmark = pytest.mark.net

FULL = """# a comment that must survive
name: full
description: everything at once
group: demo
tags: [Prod, demo]
schedule: "0 3 * * *"
params: ENV=dev N=2
env: [{BASE: /srv}]
timeoutSec: 60
preconditions: test -d /
handlerOn:
  failure: echo failed
  exit: echo bye
steps:
  - name: fetch
    id: f
    command: echo fetch
    output: DATA
  - name: use
    script: |
      echo "use $DATA"
    repeatPolicy: {repeat: until, condition: "true", expected: "true", limit: 1, intervalSec: 1}
    preconditions: [{condition: "a", expected: "a"}]
  - name: many
    call: part
    parallel: {items: [a, b], maxConcurrent: 1}
---
name: part
steps: [echo $1]
"""


@pytest.fixture(scope="module", autouse=True)
def _files(server: Any) -> None:
    server.add("full.yaml", FULL)
    server.add("broken.yaml", "steps:\n  - command: echo\n    depend: b\n")
    server.add("other.yml", "steps: [echo other]\n")
    (server.dags / "sub").mkdir()
    (server.dags / "sub" / "deep.yaml").write_text("name: deep-name\nsteps: [echo deep]\n")


def test_health(server: Any) -> None:
    told = server.get("/health")
    assert told["status"] == "healthy"
    assert {"version", "uptime", "timestamp", "components"} <= told.keys()
    assert server.client.get(server.said + "/health").json()["status"] == "healthy"


def test_the_list_has_good_and_broken_files_of_all_folders(server: Any) -> None:
    told = server.get("/dags")
    by_name = {one["fileName"]: one for one in told["dags"]}
    assert {"full.yaml", "broken.yaml", "other.yml", "deep.yaml"} <= by_name.keys()
    assert by_name["full.yaml"]["errors"] == []
    assert by_name["full.yaml"]["dag"]["schedule"] == [{"expression": "0 3 * * *"}]
    assert by_name["full.yaml"]["latestDAGRun"]["status"] == 0
    assert by_name["full.yaml"]["suspended"] is False
    assert "broken.yaml:3:5" in by_name["broken.yaml"]["errors"][0]
    assert told["errors"] == []
    assert told["pagination"]["prevPage"] is None
    assert told["pagination"]["nextPage"] is None


def test_the_list_is_paged_narrowed_and_sorted(server: Any) -> None:
    first = server.get("/dags", page=1, perPage=1)
    assert [one["fileName"] for one in first["dags"]] == ["broken.yaml"]
    assert first["pagination"]["nextPage"] == 2
    assert [one["fileName"] for one in server.get("/dags", name="UL")["dags"]] == ["full.yaml"]
    assert [one["fileName"] for one in server.get("/dags", tag="PROD")["dags"]] == ["full.yaml"]
    end = time.monotonic() + 20  # the folder is watched, so a schedule is known a moment after its file
    while (first := server.get("/dags", sort="nextRun")["dags"][0]["fileName"]) != "full.yaml":
        assert time.monotonic() < end, first
    names = [one["fileName"] for one in server.get("/dags", order="desc")["dags"]]
    assert names == sorted(names, reverse=True)


@pytest.mark.parametrize("query", [{"page": "0"}, {"perPage": "x"}, {"sort": "size"}, {"order": "up"}, {"remoteNode": "mars"}])
def test_bad_queries_of_the_list(server: Any, query: dict[str, str]) -> None:
    answer = server.call("GET", "/dags", **query)
    assert answer.status_code == 400
    assert answer.json()["code"] == "bad_request"
    assert answer.json()["details"]["problems"]


@pytest.mark.parametrize("name", ["full", "full.yaml"])
def test_details(server: Any, name: str) -> None:
    told = server.get(f"/dags/{name}")
    dag = told["dag"]
    assert dag["name"] == "full"
    assert dag["params"] == ["ENV=dev", "N=2"]
    assert dag["env"] == ["BASE=/srv"]
    assert dag["preconditions"] == [{"condition": "test -d /"}]
    assert dag["handlerOn"]["failure"]["commands"] == [{"command": "echo failed"}]
    fetch, use, many = dag["steps"]
    assert fetch == {
        "name": "fetch", "id": "f", "commands": [{"command": "echo fetch"}], "output": "DATA", "command": "echo fetch",
        "cmdWithArgs": "echo fetch",
    }  # fmt: skip
    assert use["depends"] == ["fetch"]
    assert use["repeatPolicy"]["repeat"] == "until"
    assert use["preconditions"] == [{"condition": "a", "expected": "a"}]
    assert many["call"] == many["run"] == "part"
    assert many["parallel"] == {"items": ["a", "b"], "maxConcurrent": 1}
    assert [local["name"] for local in told["localDags"]] == ["part"]
    assert told["latestDAGRun"]["nodes"] == []


def test_a_broken_file_shows_its_problems(server: Any) -> None:
    told = server.get("/dags/broken")
    assert "dag" not in told
    assert "did you mean `depends`" in told["errors"][0]
    assert server.get("/dags/broken/spec")["spec"].startswith("steps:")
    answer = server.call("POST", "/dags/broken/start", {})
    assert answer.status_code == 400
    assert answer.json()["details"]["problems"][0]["line"] == 3


def test_files_in_folders_are_found_by_file_and_by_name(server: Any) -> None:
    assert server.get("/dags/deep")["dag"]["name"] == "deep-name"
    assert server.get("/dags/deep.yaml")["dag"]["name"] == "deep-name"
    assert server.get("/dags/deep-name")["dag"]["name"] == "deep-name"


def test_spec_is_the_text_as_it_is(server: Any) -> None:
    told = server.get("/dags/full/spec")
    assert told["spec"] == FULL
    assert told["errors"] == []


def test_create_get_change_delete(server: Any) -> None:
    assert server.call("POST", "/dags", {"name": "my-new-dag"}).status_code == 201
    assert server.get("/dags/my-new-dag")["dag"]["steps"]
    again = server.call("POST", "/dags", {"name": "my-new-dag"})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")
    assert server.call("PUT", "/dags/my-new-dag/spec", {"spec": "steps: [echo changed]\n"}).json() == {"errors": []}
    assert server.get("/dags/my-new-dag")["dag"]["steps"][0]["commands"] == [{"command": "echo changed"}]
    refused = server.call("PUT", "/dags/my-new-dag/spec", {"spec": "steps: [echo changed\n"})
    assert refused.status_code == 200
    assert refused.json()["errors"]
    assert server.get("/dags/my-new-dag/spec")["spec"] == "steps: [echo changed]\n"
    assert server.call("DELETE", "/dags/my-new-dag").status_code == 204
    assert server.call("DELETE", "/dags/my-new-dag").status_code == 404
    assert server.call("GET", "/dags/my-new-dag").json()["code"] == "not_found"


def test_create_refuses_a_spec_with_problems(server: Any) -> None:
    answer = server.call("POST", "/dags", {"name": "bad", "spec": "steps:\n  - command: x\n    nam: y\n"})
    assert answer.status_code == 400
    assert answer.json()["details"]["problems"][0]["line"] == 3
    assert not (server.dags / "bad.yaml").exists()


def test_validate_never_refuses(server: Any) -> None:
    good = server.call("POST", "/dags/validate", {"spec": FULL}).json()
    assert good["valid"] is True
    assert good["dag"]["name"] == "full"
    bad = server.call("POST", "/dags/validate", {"spec": "steps: 3"})
    assert bad.status_code == 200
    assert bad.json()["valid"] is False
    assert bad.json()["errors"]


@pytest.mark.parametrize("name", ["../evil", "..", ".hidden", "a/b", "", "x" * 41, "a b", "-x", "a\0b", "/etc/passwd", ".yaml"])
def test_hostile_names_are_refused(server: Any, name: str) -> None:
    answer = server.call("POST", "/dags", {"name": name})
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "bad_request"
    assert not (server.folder / "evil.yaml").exists()


@pytest.mark.parametrize(
    "path",
    ["..%2F..%2Fetc%2Fpasswd", "%2Fetc%2Fpasswd", "..%2Fsecret.yaml", "a%00b", ".hidden", "%2e%2e%2fsecret", "..%5Csecret"],
)
def test_no_path_leaves_the_folder(server: Any, path: str) -> None:
    (server.folder / "secret.yaml").write_text("steps: [echo secret]\n")
    (server.dags / ".hidden.yaml").write_text("steps: [echo hidden]\n")
    for suffix in ("", "/spec"):
        answer = server.client.get(f"/dags/{path}{suffix}")
        assert answer.status_code == 404, answer.text
        assert answer.json()["code"] == "not_found"
    assert server.client.delete(f"/dags/{path}").status_code in (404, 405)
    assert (server.folder / "secret.yaml").exists()


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        ("POST", "/dags", b"{"), ("POST", "/dags", b""), ("POST", "/dags", b"[]"), ("POST", "/dags", b'{"name": 3}'),
        ("POST", "/dags", b"{}"), ("POST", "/dags/full/start", b'{"params": {}}'), ("POST", "/dags/full/start", b"\xff"),
        ("POST", "/dags/validate", b"{}"), ("PUT", "/dags/full/spec", b'{"spec": null}'),
        ("POST", "/dag-runs", b'{"name": "x"}'), ("POST", "/dags/full/start", b'{"singleton": "yes"}'),
    ],
)  # fmt: skip
def test_wrong_bodies(server: Any, method: str, path: str, content: bytes) -> None:
    answer = server.client.request(method, path, content=content)
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] == "bad_request"


def test_errors_before_a_route_have_this_surfaces_shape(server: Any) -> None:
    for method, path, status in (("GET", "/dags/a/b/c/d", 404), ("PATCH", "/dags", 405), ("GET", "/dag-runs/a/b/nothing", 404)):
        answer = server.client.request(method, path)
        assert answer.status_code == status
        assert answer.json().keys() >= {"code", "message"}
    assert server.client.get(server.said + "/api/v2/nowhere").json() == {"detail": "Not Found"}
    big = server.client.post("/dags", content=b"x" * (9 * 1024 * 1024))
    assert (big.status_code, big.json()["code"]) == (413, "bad_request")


def test_credentials_that_cannot_be_valid_are_refused(server: Any) -> None:
    answer = server.client.get("/dags", headers={"Authorization": "Bearer nonsense"})
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.token_invalid")
    token = server.told()["token"]
    assert server.client.get("/dags", headers={"Authorization": f"Bearer {token}"}).status_code == 200


def test_strange_names_of_this_server_are_refused(server: Any) -> None:
    assert server.client.get("/dags", headers={"Host": "evil.example"}).status_code == 403
    assert server.client.post("/dags", json={"name": "x"}, headers={"Origin": "https://evil.example"}).status_code == 403


def test_the_document_lists_every_route(server: Any) -> None:
    document = server.client.get(server.said + "/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    ids = [told["operationId"] for path in document["paths"].values() for told in path.values()]
    assert len(ids) == len(set(ids))
    assert {"executeDAG", "getDAGRunDetails", "getHealthStatus", "listDAGs", "retryDAGRun"} <= set(ids)
    start = document["paths"]["/api/v2/dags/{fileName}/start"]["post"]
    assert [one["name"] for one in start["parameters"] if one["in"] == "path"] == ["fileName"]
    assert start["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/StartDag"}
