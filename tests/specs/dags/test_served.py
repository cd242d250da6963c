"""What the language promises, as clients of a server see it: defaults of all DAGs, folders, logs, policies with templates."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from astrarium.surfaces.dags.work.retention import remove_folder
from tests.specs.hard.conftest import Served, make_room, serving

pytestmark = [pytest.mark.slow, pytest.mark.net]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(make_room(tmp_path_factory.mktemp("language"), SHELL="/bin/sh")) as server:
        yield server


@pytest.fixture
def common(served: Served) -> Iterator[Path]:
    """The file with what all DAGs have in common; gone with the test."""
    path = served.room.data / "base.yaml"
    yield path
    path.unlink(missing_ok=True)


def done(served: Served, name: str, **body: str) -> dict[str, object]:
    answer = served.call("POST", f"/dags/{name}/start", body)
    assert answer.status_code == 200, answer.text
    return served.ended(str(answer.json()["dagRunId"]), name)


def outputs(served: Served, run: dict[str, object]) -> dict[str, str]:
    found: dict[str, str] = served.get(f"/dag-runs/{run['name']}/{run['dagRunId']}/outputs")["outputs"]
    return found


class TestCommonFile:
    def test_it_is_laid_under_files_and_texts_at_once(self, served: Served, common: Path) -> None:
        text = "env: [{B: '2 $A'}]\nsteps: [{command: 'echo $A-$B', output: SEEN}]\n"
        served.add("plain.yaml", text)
        assert outputs(served, done(served, "plain"))["seen"] == "-2 $A"
        common.write_text("env: [{A: one}]\nhandlerOn: {exit: {command: echo bye}}\n")
        ended = done(served, "plain")
        assert outputs(served, ended)["seen"] == "one-2 one"
        assert ended["onExit"]["statusLabel"] == "succeeded"  # type: ignore[index]
        common.write_text("env: [{A: two!}]\n")
        ended = done(served, "plain")
        assert (outputs(served, ended)["seen"], ended.get("onExit")) == ("two!-2 two!", None)
        spec = served.get("/dags/plain/spec")
        assert spec["spec"] == text
        run = served.begin(text, name="adhoc-plain")
        assert outputs(served, served.ended(run, "adhoc-plain"))["seen"] == "two!-2 two!"

    def test_complaints_show_on_every_dag_and_the_server_goes_on(self, served: Served, common: Path) -> None:
        served.add("fine.yaml", "steps: [echo]\n")
        common.write_text("timeoutSec: soon\n")
        said = f"{common}:1:13: `timeoutSec` must be a whole number of at least 0"
        assert served.get("/dags/fine")["errors"] == [said]
        listed = {dag["fileName"]: dag.get("errors") for dag in served.get("/dags", name="fine")["dags"]}
        assert all(said in errors for errors in listed.values() if errors is not None)
        assert said in served.refused(served.call("POST", "/dags/fine/start", {}), 400)["message"]
        assert served.call("POST", "/dags/validate", {"spec": "steps: [x]"}).json()["errors"] == [said]
        shown = served.room.call("validate", str(served.room.dags / "fine.yaml"))
        assert (shown.returncode, said in shown.stdout) == (1, True)
        common.write_text("timeoutSec: 60\n")
        assert served.get("/dags/fine")["errors"] == []

    def test_its_handlers_do_not_reach_sub_dags(self, served: Served, common: Path) -> None:
        marks = served.room.folder / "marks"
        common.write_text(f"env: [{{MARKS: {marks}}}]\nhandlerOn: {{exit: {{command: 'echo $DAG_NAME >> $MARKS'}}}}\n")
        served.add("below.yaml", "steps: [{command: 'echo $MARKS', output: SEEN}]\n")
        served.add("above.yaml", "steps:\n- {call: below, output: R}\n- {command: 'echo ${R.outputs.SEEN}', output: SEEN}\n")
        assert outputs(served, done(served, "above"))["seen"] == str(marks)
        assert marks.read_text() == "above\n"
        done(served, "below")
        assert marks.read_text() == "above\nbelow\n", "run by itself it has them"

    def test_it_is_no_dag_itself(self, served: Served) -> None:
        assert served.call("GET", "/dags/base").status_code == 404


def test_logs_lie_where_the_dag_says_and_are_found(served: Served) -> None:
    root = served.room.folder / "own logs"
    text = f"env: [{{ROOT: '{root}'}}]\nlogDir: ${{ROOT}}/deeper\nsteps: [{{name: a, command: echo hello}}]\n"
    run = served.begin(text, name="logged")
    served.ended(run, "logged")
    assert served.log(run, "a", "logged")["content"] == "hello"
    [file] = (root / "deeper" / "logged").glob(f"dag-run_*_{run}/a.1.out")
    assert file.read_text() == "hello\n"
    [link] = (served.room.data / "logs").glob(f"*/*/*/{run}")
    remove_folder(link, served.room.data / "logs")
    assert not link.is_symlink() and not file.parent.exists(), "the logs go with the run, wherever they lie"
    refused = served.begin("logDir: /proc/nowhere\nsteps: [echo]\n", name="unlogged")
    assert served.ended(refused, "unlogged")["statusLabel"] == "failed"
    assert "/proc/nowhere" in served.get(f"/dag-runs/unlogged/{refused}/log")["content"]


def test_the_log_of_a_redirected_step_is_the_file_it_wrote(served: Served) -> None:
    text = """
env: [{FOLDER: parts}]
steps:
  - {name: a, command: echo 7, output: NUMBER}
  - name: b
    env: [{EXT: "`echo log`"}]
    command: 'echo out $DAG_RUN_STEP_NAME; echo err >&2'
    stdout: $FOLDER/part-${NUMBER}.$EXT
    stderr: $FOLDER/errors
    repeatPolicy: {repeat: true, limit: 2}
"""
    run = served.begin(text, name="redirected", baseDir=str(served.room.dags))
    assert served.ended(run, "redirected")["statusLabel"] == "succeeded"
    assert (served.room.dags / "parts" / "part-7.log").read_text() == "out b\nout b\n"
    assert served.log(run, "b", "redirected")["content"].splitlines() == ["out b", "out b"]
    assert served.log(run, "b", "redirected", stream="stderr")["content"].splitlines() == ["err", "err"]
    assert "out b" in served.room.call("logs", run, "b").stdout


def test_streams_are_merged_or_kept_apart_step_by_step(served: Served) -> None:
    both = "'echo one; echo two >&2'"
    text = f"logOutput: merged\nsteps:\n- {{name: a, command: {both}, output: A}}\n- {{name: b, command: {both}}}\n"
    text += f"- {{name: c, command: {both}, logOutput: separate, output: C}}\n"
    run = served.begin(text, name="merged")
    ended = served.ended(run, "merged")
    logs = {name: sorted(served.log(run, name, "merged")["content"].split()) for name in "abc"}
    assert logs == {"a": ["one", "two"], "b": ["one", "two"], "c": ["one"]}
    errors = {name: sorted(served.log(run, name, "merged", stream="stderr")["content"].split()) for name in "abc"}
    assert errors == {"a": ["one", "two"], "b": ["one", "two"], "c": ["two"]}, "a merged log is both streams'"
    files = {node["step"]["name"]: node["stderr"] == node["stdout"] for node in ended["nodes"]}
    assert files == {"a": True, "b": True, "c": False}
    said = {name: sorted(served.room.ok("logs", run, name, "--stderr").split()) for name in "bc"}
    assert said == {"b": ["one", "two"], "c": ["two"]}
    assert sorted(served.room.ok("logs", run, "b").split()) == ["one", "two"], "once, not for each stream"
    assert outputs(served, ended) == {"a": "one", "c": "one"}, "an output is what stdout said"


@pytest.mark.parametrize(
    ("policy", "tries", "said"),
    [
        ("{limit: $N, intervalSec: 0}", 3, ""),
        ("{limit: '${N}', intervalSec: '${NONE:-0}'}", 3, ""),
        ("{limit: '`echo 1`', intervalSec: '`echo 0`'}", 2, ""),
        ("{limit: $OWN, intervalSec: 0}", 2, ""),
        ("{limit: '$NOBODY', intervalSec: 0}", 1, "no further try: `retryPolicy.limit` must expand to a number"),
        ("{limit: '`exit 9`', intervalSec: 0}", 1, "failed with exit code 9"),
    ],
)
def test_a_retry_policy_may_hold_templates(served: Served, policy: str, tries: int, said: str) -> None:
    text = f'params: N=2\nsteps: [{{name: a, env: [OWN=1], command: "false", retryPolicy: {policy}}}]\n'
    run = served.begin(text, name="retried")
    [node] = served.ended(run, "retried")["nodes"]
    assert (node["retryCount"] + 1, said in node.get("error", "")) == (tries, True)


def test_labels_no_worker_has_are_told_at_the_start(served: Served) -> None:
    for text in ("workerSelector: {gpu: 'true'}\nsteps: [echo]", "steps: [{command: echo, workerSelector: {gpu: 'true'}}]"):
        answer = served.call("POST", "/dag-runs", {"spec": text, "name": "labelled"})
        assert "no worker has the labels gpu=true" in served.refused(answer, 400)["message"]
    assert served.done("workerSelector: local\nsteps: [{command: echo, workerSelector: {}}]")["statusLabel"] == "succeeded"
    served.add("labelled.yaml", "workerSelector: {gpu: 'true'}\nsteps: [echo]")
    assert served.done("steps: [{call: labelled}]")["statusLabel"] == "failed"


def test_a_sub_dag_works_in_its_parents_folder(served: Served) -> None:
    (served.room.dags / "inner").mkdir(exist_ok=True)
    served.add("inner/where.yaml", "steps: [{command: pwd, output: HERE}]\n")
    text = "workingDir: made-for-it\nsteps: [{call: where, output: R}, {command: 'echo ${R.outputs.HERE}', output: HERE}]\n"
    served.add("calls.yaml", text)
    assert outputs(served, done(served, "calls"))["here"] == str(served.room.dags / "made-for-it")
    assert outputs(served, done(served, "where"))["here"] == str(served.room.dags / "inner")


def test_dotenv_files_are_named_with_variables_or_not_read_at_all(served: Served) -> None:
    folder = served.room.dags / "with-env"
    folder.mkdir(exist_ok=True)
    (folder / ".env").write_text("A=usual\n")
    (folder / "more.env").write_text("B=more\n")
    step = "steps: [{command: 'echo $A-$B', output: SEEN}]\n"
    for line, seen in (("", "usual-"), ("dotenv: []\n", "-"), (f"dotenv: ['{folder}/more.env']\n", "usual-more")):
        run = served.begin(line + step, name="dotenv", baseDir=str(folder))
        assert outputs(served, served.ended(run, "dotenv"))["seen"] == seen


class Schema(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []
    texts = {
        "/good.json": b'{"type": "object", "properties": {"n": {"type": "integer", "maximum": 5}, "zone": {"default": "eu"}}}',
        "/far.json": b'{"properties": {"n": {"$ref": "http://127.0.0.1:%d/other.json"}}}',
        "/large.json": b'{"a": "' + b"x" * 1_100_000 + b'"}',
        "/no.json": b"[]",
    }

    def do_GET(self) -> None:
        self.asked.append(self.path)
        text = self.texts.get(self.path)
        self.send_response(200 if text else 404)
        self.end_headers()
        self.wfile.write((text or b"").replace(b"%d", str(self.server.server_address[1]).encode()))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def schemas() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Schema)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("file", "params", "said"),
    [
        ("good.json", "n=3", ""),
        ("good.json", "n=9", "9 is greater than the maximum of 5"),
        ("far.json", "n=3", "other.json, which is not fetched"),
        ("large.json", "n=3", "is larger than 1,048,576 bytes"),
        ("no.json", "n=3", "is not a JSON schema"),
        ("missing.json", "n=3", "answers with status 404"),
    ],
)
def test_a_schema_may_be_fetched_what_it_refers_to_never(served: Served, schemas: str, file: str, params: str, said: str) -> None:
    text = f"params: {{schema: '{schemas}/{file}', values: {{n: 1}}}}\nsteps: [{{command: 'echo $n $zone', output: SEEN}}]\n"
    run = served.begin(text, name="schema", params=params)
    ended = served.ended(run, "schema")
    if not said:
        assert outputs(served, ended)["seen"] == "3 eu"
        return
    assert ended["statusLabel"] == "failed"
    assert said in served.get(f"/dag-runs/schema/{run}/log")["content"]
    assert "/other.json" not in Schema.asked


def test_a_schema_file_is_looked_for_in_the_working_folder_and_beside_the_dag(served: Served) -> None:
    folder = served.room.dags / "schemas"
    (folder / "work").mkdir(parents=True, exist_ok=True)
    (folder / "a.json").write_text(json.dumps({"properties": {"x": {"default": "beside"}}}))
    text = "workingDir: work\nparams: {schema: a.json}\nsteps: [{command: echo $x, output: SEEN}]\n"
    for seen in ("beside", "inside"):
        run = served.begin(text, name="schema-file", baseDir=str(folder))
        assert outputs(served, served.ended(run, "schema-file"))["seen"] == seen
        (folder / "work" / "a.json").write_text(json.dumps({"properties": {"x": {"default": "inside"}}}))


def test_a_time_out_also_ends_a_step_that_waits_for_people(served: Served) -> None:
    ended = served.done("steps:\n- {name: a, type: hitl, timeoutSec: 1}\n")
    [node] = ended["nodes"]
    assert (ended["statusLabel"], node["statusLabel"]) == ("failed", "failed")


def test_parameters_whose_program_is_not_there_are_told_before_the_run(served: Served) -> None:
    text = "params: 'A=`no-such-program-here`'\nsteps: [echo]\n"
    served.add("lacking.yaml", text)
    assert served.get("/dags/lacking")["errors"] == []
    assert (
        "there is no program `no-such-program-here`"
        in served.refused(served.call("POST", "/dags/lacking/start", {}), 400)["message"]
    )
    assert done(served, "lacking", params="A=given")["statusLabel"] == "succeeded"
    assert os.path.exists(served.room.dags / "lacking.yaml")
