"""Runs over HTTP: start, look, logs, stop, retry, edit, answer, sub-runs, outputs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytestmark = pytest.mark.net

FILES = {
    "my-dag.yaml": """
params: ENV=dev
steps:
  - name: step1
    command: echo hello $ENV
    output: GREETING
  - name: step2
    command: sh -c 'echo got "$GREETING"; echo oops >&2'
handlerOn:
  exit: echo bye
  failure: echo failed
""",
    "flaky.yaml": """
steps:
  - name: first
    command: echo once
    output: ONE
  - name: gate
    command: test -f {folder}/flag
  - name: after
    command: echo after
""",
    "slow.yaml": "steps:\n  - name: nap\n    command: sleep 60\n  - name: never\n    command: echo never\n",
    "limited.yaml": "maxActiveRuns: 1\nsteps:\n  - name: nap\n    command: sleep 60\n",
    "free.yaml": "steps:\n  - name: nap\n    command: sleep 60\n",
    "lines.yaml": "steps:\n  - name: count\n    command: seq 1 2500\n",
    "quiet.yaml": "steps: [echo nothing]\n",
    "calm.yaml": "steps: [echo nothing]\n",
    "parent.yaml": """
steps:
  - name: fan
    call: part
    parallel: {items: [a, b, c], maxConcurrent: 2}
  - name: one
    call: child-file
    params: X=9
---
name: part
steps:
  - name: say
    command: echo part $1
    output: SAID
""",
    "child-file.yaml": "params: X=1\nsteps:\n  - name: say\n    command: echo child $X\n    output: OUT\n",
    "ask.yaml": """
steps:
  - name: before
    command: echo before
  - name: sign
    type: hitl
    config: {prompt: ok?, input: [WHO], required: [WHO]}
  - name: use
    command: echo by $WHO
""",
    "unmet.yaml": "preconditions: 'false'\nsteps:\n  - name: a\n    command: echo a\n",
    "locked.yaml": "runConfig: {disableParamEdit: true, disableRunIdEdit: true}\nparams: A=1\nsteps: [echo $A]\n",
    "redirect.yaml": "steps:\n  - name: write\n    command: echo to a file\n    stdout: {folder}/written-$DAG_RUN_ID.txt\n",
    "far.yaml": "steps:\n  - name: mail\n    type: mail\n    config: {to: a@example.org, subject: s, message: m}\n",
}


@pytest.fixture(scope="module", autouse=True)
def _files(server: Any) -> None:
    for name, text in FILES.items():
        server.add(name, text.replace("{folder}", str(server.folder)))


def status_of(run: dict[str, Any], name: str) -> tuple[int, str]:
    node = next(node for node in run["nodes"] if node["step"]["name"] == name)
    return node["status"], node["statusLabel"]


def test_a_run_from_start_to_end(server: Any) -> None:
    run = server.start("my-dag.yaml", params='{"ENV": "production"}', dagRunId="custom-run-id")
    assert run == "custom-run-id"
    found = server.ended("my-dag", run)
    assert (found["status"], found["statusLabel"]) == (4, "succeeded")
    assert found["params"] == "ENV=production"
    assert (found["rootDAGRunName"], found["rootDAGRunId"]) == ("my-dag", run)
    assert "parentDAGRunId" not in found
    assert [node["step"]["name"] for node in found["nodes"]] == ["step1", "step2"]
    assert found["onExit"]["status"] == 4
    assert found["onFailure"]["status"] == 0
    assert found["onFailure"]["startedAt"] == "-"
    assert found["finishedAt"] >= found["startedAt"] > "2020"
    logs = server.get(f"/dag-runs/my-dag/{run}/steps/step1/log")
    assert logs == {"content": "hello production", "lineCount": 1, "totalLines": 1, "hasMore": False}
    assert server.get(f"/dag-runs/my-dag/{run}/steps/step2/log")["content"] == "got hello production"
    assert server.get(f"/dag-runs/my-dag/{run}/steps/step2/log", stream="stderr")["content"] == "oops"
    assert server.get(f"/dag-runs/my-dag/{run}/steps/onExit/log")["content"] == "bye"
    assert server.get(f"/dag-runs/my-dag/{run}/steps/onFailure/log")["content"] == ""
    outputs = server.get(f"/dag-runs/my-dag/{run}/outputs")
    assert outputs["outputs"] == {"greeting": "hello production"}
    assert outputs["metadata"]["status"] == "succeeded"
    assert server.get(f"/dag-runs/my-dag/{run}/spec")["spec"] == FILES["my-dag.yaml"]
    log = server.get(f"/dag-runs/my-dag/{run}/log")
    assert "step step1 succeeded" in log["content"]
    assert log["content"].splitlines()[-1].endswith("run succeeded")
    assert server.get(f"/dag-runs/my-dag/{run}/log", tail=1)["lineCount"] == 1


def test_lists_of_runs(server: Any) -> None:
    first = server.start("calm")
    server.ended("calm", first)
    second = server.start("calm", dagRunId="deploy-v1.2.3")
    server.ended("calm", second)
    assert [run["dagRunId"] for run in server.get("/dag-runs/calm")["dagRuns"]] == [second, first]
    assert server.run("calm", "latest")["dagRunId"] == second
    assert server.get("/dag-runs", name="CAL", status=4)["dagRuns"][0]["dagRunId"] == second
    assert server.get("/dag-runs", name="calm", status=2)["dagRuns"] == []
    assert [run["dagRunId"] for run in server.get("/dag-runs", dagRunId="v1.2")["dagRuns"]] == [second]
    assert server.get("/dag-runs", name="calm", fromDate=4_000_000_000)["dagRuns"] == []
    assert server.get("/dag-runs", name="calm", toDate=1)["dagRuns"] == []
    assert len(server.get("/dag-runs", name="calm", fromDate=1, toDate=4_000_000_000)["dagRuns"]) == 2
    assert server.get("/dag-runs", name="%")["dagRuns"] == []
    assert server.get("/dag-runs/unknown")["dagRuns"] == []
    history = server.get("/dags/calm/dag-runs")
    assert [run["dagRunId"] for run in history["dagRuns"]] == [first, second]
    assert history["gridData"] == [{"name": "cmd_1", "history": [4, 4]}]
    assert server.get(f"/dags/calm/dag-runs/{first}")["dagRun"]["dagRunId"] == first
    listed = next(one for one in server.get("/dags", name="calm")["dags"] if one["fileName"] == "calm.yaml")
    assert listed["latestDAGRun"]["dagRunId"] == second
    assert server.get("/dags/calm")["latestDAGRun"]["nodes"][0]["status"] == 4


@pytest.mark.parametrize("query", [{"status": "9"}, {"status": "x"}, {"fromDate": "today"}, {"toDate": "-1"}])
def test_bad_filters(server: Any, query: dict[str, str]) -> None:
    answer = server.call("GET", "/dag-runs", **query)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


@pytest.mark.parametrize("run", ["a b", "-x", "x" * 129, "a/b", ".x", "latest", "ü"])
def test_run_ids_that_cannot_be(server: Any, run: str) -> None:
    answer = server.call("POST", "/dags/quiet/start", {"dagRunId": run})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_run_id_is_taken_once(server: Any) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: server.call("POST", "/dags/quiet/start", {"dagRunId": "only-one"}), range(24)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] + [409] * 23
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} == {"already_exists"}
    automatic = server.start("quiet")
    again = server.call("POST", "/dags/quiet/start", {"dagRunId": automatic})
    assert (again.status_code, again.json()["code"]) == (409, "already_exists")


def test_limits_of_active_runs(server: Any) -> None:
    first = server.start("limited")
    refused = server.call("POST", "/dags/limited/start", {})
    assert (refused.status_code, refused.json()["code"]) == (409, "already_running")
    server.call("POST", f"/dag-runs/limited/{first}/stop")
    server.ended("limited", first)
    free = [server.start("free"), server.start("free")]
    refused = server.call("POST", "/dags/free/start", {"singleton": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "already_running")
    for run in free:
        assert server.call("POST", f"/dag-runs/free/{run}/stop").status_code == 200
    for run in free:
        assert server.ended("free", run)["status"] == 3
    third = server.start("free", singleton=True)
    server.call("POST", f"/dag-runs/free/{third}/stop")
    server.ended("free", third)


def test_stop(server: Any) -> None:
    run = server.start("slow")
    server.until("slow", run, lambda found: status_of(found, "nap")[0] == 1)
    editing = server.call("PATCH", f"/dag-runs/slow/{run}/steps/nap/status", {"status": 4})
    assert (editing.status_code, editing.json()["code"]) == (400, "bad_request")
    assert server.get("/dag-runs", name="slow", status=1)["dagRuns"]
    stopped = server.call("POST", f"/dag-runs/slow/{run}/stop")
    assert (stopped.status_code, stopped.json()) == (200, {})
    found = server.ended("slow", run)
    assert (found["status"], found["statusLabel"]) == (3, "aborted")
    assert status_of(found, "nap") == (3, "aborted")
    again = server.call("POST", f"/dag-runs/slow/{run}/stop")
    assert (again.status_code, again.json()["code"]) == (400, "not_running")


def test_retry_keeps_what_succeeded(server: Any) -> None:
    run = server.start("flaky", dagRunId="20240101_120000")
    found = server.ended("flaky", run)
    assert found["status"] == 2
    assert status_of(found, "after") == (3, "aborted")
    began = next(node for node in found["nodes"] if node["step"]["name"] == "first")["startedAt"]
    (server.folder / "flag").write_text("")
    assert server.call("POST", f"/dag-runs/flaky/{run}/retry", {"dagRunId": run}).status_code == 200
    found = server.ended("flaky", run)
    assert found["status"] == 4
    assert next(node for node in found["nodes"] if node["step"]["name"] == "first")["startedAt"] == began
    assert server.call("POST", f"/dag-runs/flaky/{run}/retry", {"dagRunId": run, "stepName": "after"}).status_code == 200
    assert server.ended("flaky", run)["status"] == 4
    assert "round 3" in server.get(f"/dag-runs/flaky/{run}/log")["content"]
    wrong = server.call("POST", f"/dag-runs/flaky/{run}/retry", {"dagRunId": run, "stepName": "nobody"})
    assert wrong.status_code == 404


def test_retry_under_another_id_is_a_new_run(server: Any) -> None:
    run = server.start("my-dag", params="ENV=blue")
    server.ended("my-dag", run)
    assert server.call("POST", f"/dag-runs/my-dag/{run}/retry", {"dagRunId": "new-run-id"}).status_code == 200
    found = server.ended("my-dag", "new-run-id")
    assert (found["status"], found["params"]) == (4, "ENV=blue")
    taken = server.call("POST", f"/dag-runs/my-dag/{run}/retry", {"dagRunId": "new-run-id"})
    assert (taken.status_code, taken.json()["code"]) == (409, "already_exists")
    assert server.call("POST", f"/dag-runs/my-dag/{run}/retry").status_code == 200
    server.ended("my-dag", run)


def test_step_status_is_edited_and_counts_in_a_retry(server: Any) -> None:
    (server.folder / "flag").unlink(missing_ok=True)
    run = server.start("flaky")
    server.ended("flaky", run)
    path = f"/dag-runs/flaky/{run}/steps/gate/status"
    assert server.call("PATCH", path, {"status": 4}).status_code == 200
    found = server.run("flaky", run)
    assert found["status"] == 2
    assert status_of(found, "gate") == (4, "succeeded")
    server.call("POST", f"/dag-runs/flaky/{run}/retry", {"dagRunId": run})
    assert server.ended("flaky", run)["status"] == 4
    for number, shown in ((2, 2), (3, 3), (5, 5), (0, 0), (6, 0), (8, 8)):
        assert server.call("PATCH", path, {"status": number}).status_code == 200
        assert status_of(server.run("flaky", run), "gate")[0] == shown
    for body in ({"status": 9}, {"status": -1}, {"status": "4"}, {}):
        assert server.call("PATCH", path, body).status_code == 400
    assert server.call("PATCH", f"/dag-runs/flaky/{run}/steps/nobody/status", {"status": 4}).status_code == 404


def test_windows_of_a_log(server: Any) -> None:
    run = server.start("lines")
    server.ended("lines", run)
    path = f"/dag-runs/lines/{run}/steps/count/log"
    whole = server.get(path)
    assert (whole["lineCount"], whole["totalLines"], whole["hasMore"]) == (1000, 2500, True)
    assert server.get(path, tail=2)["content"] == "2499\n2500"
    assert server.get(path, head=2)["content"] == "1\n2"
    part = server.get(path, offset=1001, limit=3)
    assert part["content"] == "1001\n1002\n1003"
    assert server.get(path, tail=1, head=5, offset=7)["content"] == "2500"
    assert server.get(path, offset=2500)["hasMore"] is False
    assert server.get(path, offset=9999)["content"] == ""
    for query in ({"tail": "x"}, {"limit": "0"}, {"limit": "10001"}, {"stream": "both"}, {"offset": "-1"}):
        assert server.call("GET", path, **query).status_code == 400
    assert server.call("GET", f"/dag-runs/lines/{run}/steps/nobody/log").status_code == 404


def test_unknown_names(server: Any) -> None:
    run = server.start("quiet")
    server.ended("quiet", run)
    for method, path, body in (
        ("GET", "/dags/nobody", None), ("GET", "/dags/nobody/spec", None), ("PUT", "/dags/nobody/spec", {"spec": "steps: []"}),
        ("POST", "/dags/nobody/start", {}), ("GET", "/dags/nobody/dag-runs", None), ("GET", "/dags/quiet/dag-runs/x", None),
        ("GET", "/dag-runs/quiet/x", None), ("GET", "/dag-runs/nobody/latest", None), ("GET", "/dag-runs/quiet/x/log", None),
        ("GET", "/dag-runs/quiet/x/spec", None), ("GET", "/dag-runs/quiet/x/outputs", None),
        ("POST", "/dag-runs/quiet/x/stop", None), ("POST", "/dag-runs/quiet/x/retry", {}),
        ("GET", f"/dag-runs/quiet/{run}/sub-dag-runs/x", None),
        ("GET", f"/dag-runs/other/{run}", None), ("POST", f"/dag-runs/quiet/{run}/steps/x/approve", {}),
    ):  # fmt: skip
        answer = server.call(method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, path, answer.text)


def test_a_spec_that_is_no_file(server: Any) -> None:
    spec = "params: A=1\nsteps:\n  - name: one\n    command: echo $A\n    output: X\n"
    answer = server.call("POST", "/dag-runs", {"spec": spec, "name": "adhoc", "params": "A=7", "dagRunId": "r1"})
    assert (answer.status_code, answer.json()) == (200, {"dagRunId": "r1"})
    assert server.ended("adhoc", "r1")["status"] == 4
    assert server.get("/dag-runs/adhoc/r1/outputs")["outputs"] == {"x": "7"}
    assert server.get("/dag-runs/adhoc/r1/spec")["spec"] == spec
    assert server.call("POST", "/dag-runs", {"spec": spec, "name": "adhoc", "dagRunId": "r1"}).status_code == 409
    for body in ({"spec": spec}, {"spec": "steps: 3", "name": "a"}, {"spec": spec, "name": "../x"}, {"spec": "", "name": "a"}):
        assert server.call("POST", "/dag-runs", body).status_code == 400, body


def test_sub_runs(server: Any) -> None:
    run = server.start("parent")
    found = server.ended("parent", run)
    assert found["status"] == 4, found
    fan, one = found["nodes"]
    assert len(fan["subRuns"]) == 3
    assert one["subRuns"][0]["params"] == "X=9"
    listed = server.get(f"/dag-runs/parent/{run}/sub-dag-runs")["subRuns"]
    assert {sub["statusLabel"] for sub in listed} == {"succeeded"}
    assert len(listed) == 4
    child = one["subRuns"][0]["dagRunId"]
    path = f"/dag-runs/parent/{run}/sub-dag-runs/{child}"
    details = server.get(path)["dagRunDetails"]
    assert (details["name"], details["parentDAGRunId"], details["rootDAGRunName"]) == ("child-file", run, "parent")
    assert server.get(f"{path}/steps/say/log")["content"] == "child 9"
    assert "run succeeded" in server.get(f"{path}/log")["content"]
    assert server.call("PATCH", f"{path}/steps/say/status", {"status": 2}).status_code == 200
    assert server.get(path)["dagRunDetails"]["nodes"][0]["status"] == 2
    assert server.get(f"/dag-runs/parent/{run}/sub-dag-runs", parentSubDAGRunId=child)["subRuns"] == []
    assert server.get("/dag-runs", name="part")["dagRuns"] == []
    assert server.get(f"/dag-runs/child-file/{child}/spec")["spec"] == FILES["child-file.yaml"]
    assert server.get(f"/dag-runs/part/{fan['subRuns'][0]['dagRunId']}/spec")["spec"] == FILES["parent.yaml"]


def test_a_person_approves(server: Any) -> None:
    run = server.start("ask")
    found = server.until("ask", run, lambda found: found["status"] == 7)
    assert status_of(found, "sign") == (7, "waiting")
    assert server.get("/dag-runs", status=7, name="ask")["dagRuns"]
    path = f"/dag-runs/ask/{run}/steps"
    assert server.call("POST", f"{path}/before/approve", {}).status_code == 400
    assert server.call("POST", f"{path}/sign/approve", {}).status_code == 400
    answer = server.call("POST", f"{path}/sign/approve", {"inputs": {"WHO": "ann"}})
    assert answer.json() == {"dagRunId": run, "stepName": "sign", "resumed": True}
    found = server.ended("ask", run)
    assert found["status"] == 4
    sign = found["nodes"][1]
    assert sign["approvalInputs"] == {"WHO": "ann"}
    assert sign["approvedBy"]
    assert server.get(f"{path}/use/log")["content"] == "by ann"
    assert server.call("POST", f"{path}/sign/approve", {"inputs": {"WHO": "bob"}}).status_code == 400


def test_a_person_rejects(server: Any) -> None:
    run = server.start("ask")
    server.until("ask", run, lambda found: found["status"] == 7)
    answer = server.call("POST", f"/dag-runs/ask/{run}/steps/sign/reject", {"reason": "not today"})
    assert answer.json() == {"dagRunId": run, "stepName": "sign"}
    found = server.ended("ask", run)
    assert (found["status"], found["statusLabel"]) == (8, "rejected")
    assert found["nodes"][1]["rejectionReason"] == "not today"
    assert status_of(found, "use") == (3, "aborted")


def test_an_unmet_precondition_aborts_the_run(server: Any) -> None:
    run = server.start("unmet")
    found = server.ended("unmet", run)
    assert found["status"] == 3
    assert status_of(found, "a") == (0, "not_started")
    assert found["preconditions"][0]["error"]


def test_what_a_dag_forbids(server: Any) -> None:
    for body in ({"params": "A=2"}, {"dagRunId": "mine"}):
        answer = server.call("POST", "/dags/locked/start", body)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert server.ended("locked", server.start("locked"))["status"] == 4


def test_a_step_type_that_is_not_installed_is_refused_at_the_start(server: Any) -> None:
    answer = server.call("POST", "/dags/far/start", {})
    assert answer.status_code == 400
    assert "mail" in answer.json()["message"]


def test_the_log_of_a_redirected_step_is_its_file(server: Any) -> None:
    run = server.start("redirect")
    server.ended("redirect", run)
    assert server.get(f"/dag-runs/redirect/{run}/steps/write/log")["content"] == "to a file"
    assert (server.folder / f"written-{run}.txt").read_text() == "to a file\n"


def test_another_name_for_the_run(server: Any) -> None:
    run = server.start("quiet", dagName="renamed")
    assert server.ended("renamed", run)["name"] == "renamed"
    assert server.call("POST", "/dags/quiet/start", {"dagName": "no/name"}).status_code == 400


def test_a_start_without_a_body(server: Any) -> None:
    answer = server.client.post("/dags/quiet/start")
    assert answer.status_code == 200
    server.ended("quiet", answer.json()["dagRunId"])


def test_a_script_creates_and_starts(server: Any) -> None:
    assert server.call("POST", "/dags", {"name": "automated-dag"}).status_code == 201
    run = server.start("automated-dag.yaml", params="{}")
    assert server.ended("automated-dag", run)["status"] == 4
    assert server.get("/dags", page=1, perPage=10, name="automated")["dags"][0]["latestDAGRun"]["dagRunId"] == run
    assert server.call("POST", "/dags/automated-dag/start", {"params": '{"a": '}).status_code == 200


def test_parameters_no_process_could_be_given(server: Any) -> None:
    answer = server.call("POST", "/dags/my-dag/start", {"params": "ENV=a\0b"})
    assert (answer.status_code, answer.json()["details"]["problems"][0]["path"]) == (400, "params")


def test_a_run_is_forked_with_another_output_and_with_other_parameters(server: Any) -> None:
    run = server.start("my-dag")
    server.ended("my-dag", run)
    made = server.post(f"/dag-runs/my-dag/{run}/fork", {"dagRunId": "forked", "outputs": {"step1": "something else"}})
    assert made == {"dagRunId": "forked"}
    assert server.ended("my-dag", "forked")["status"] == 4
    assert "got something else" in server.get("/dag-runs/my-dag/forked/steps/step2/log")["content"]
    again = server.post("/dag-runs/my-dag/forked/fork", {"params": "ENV=test"})["dagRunId"]
    server.ended("my-dag", again)
    assert server.get(f"/dag-runs/my-dag/{again}/steps/step1/log")["content"].strip() == "hello test"
    assert server.get(f"/dag-runs/my-dag/{run}/outputs") != server.get(f"/dag-runs/my-dag/{again}/outputs")


def test_a_run_that_runs_is_forked_and_goes_on(server: Any) -> None:
    run = server.start("slow")
    server.until("slow", run, lambda found: found["nodes"][0]["status"] == 1)
    made = server.post(f"/dag-runs/slow/{run}/fork", {})["dagRunId"]
    server.until("slow", made, lambda found: found["nodes"][0]["status"] == 1)
    for one in (run, made):
        server.call("POST", f"/dag-runs/slow/{one}/stop")
        server.ended("slow", one)
