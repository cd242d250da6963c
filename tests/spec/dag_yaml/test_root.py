"""The fields of a DAG itself, and the later documents of its file."""

from __future__ import annotations

from typing import Any

import pytest

from astrarium.spec import dag as module
from astrarium.spec.dag import Schedule
from astrarium.spec.graph import encode_graph, graph_hash
from tests.spec.dag_yaml.compiling import complaints, dag, refusal


def test_an_almost_empty_dag_has_the_dialects_defaults() -> None:
    found = dag("steps: []")
    graph = found.graph
    assert (found.name, found.file, found.queue, found.max_active_runs, found.schedule) == (
        "demo",
        "demo.yaml",
        "",
        1,
        Schedule(),
    )
    assert (graph.stop_grace_s, graph.timeout_s, graph.delay_s, graph.max_active_steps) == (5, 0, 0, 0)
    assert (graph.max_output_bytes, graph.merge_output, graph.base_dir) == (1024 * 1024, False, "/dags")
    assert graph.prepare is not None and graph.prepare.dotenv == (".env",)
    assert found.meta == {"type": "chain"}


@pytest.mark.parametrize(
    ("text", "tags"), [("Prod, ETL ,prod", ("prod", "etl")), ("[A, 1, a]", ("a", "1")), ("[]", ()), ("','", ())]
)
def test_tags(text: str, tags: tuple[str, ...]) -> None:
    assert dag(f"tags: {text}").tags == tags


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("'0 1 * * *'", Schedule(("0 1 * * *",))),
        ("['0 1 * * *', ' 5 1 * * MON-FRI ']", Schedule(("0 1 * * *", "5 1 * * MON-FRI"))),
        ("{stop: '0 1 * * *', restart: ['0 2 * * *']}", Schedule((), ("0 1 * * *",), ("0 2 * * *",))),
        ("CRON_TZ=Europe/Oslo 15 2 * * *", Schedule(("CRON_TZ=Europe/Oslo 15 2 * * *",))),
        ("{}", Schedule()),
    ],
)
def test_schedules(text: str, schedule: Schedule) -> None:
    assert dag(f"schedule: {text}").schedule == schedule


@pytest.mark.parametrize(
    ("text", "names"), [("a.env", (".env", "a.env")), ("[.env, b, b]", (".env", "b")), ("[]", ()), ("''", (".env",))]
)
def test_dotenv_begins_with_its_usual_file_unless_it_is_an_empty_list(text: str, names: tuple[str, ...]) -> None:
    prepare = dag(f"dotenv: {text}").graph.prepare
    assert prepare is not None and prepare.dotenv == names


@pytest.mark.parametrize(
    ("text", "params", "schema", "shown"),
    [
        ("a B=`x`", "a B=`x`", None, "a B=`x`"),
        ("[{A: 1}, b]", [{"A": "1"}, "b"], None, "A=1 b"),
        ("{B: 2, A: x y}", {"B": "2", "A": "x y"}, None, 'A="x y" B=2'),
        ("{schema: s.json}", {}, "s.json", ""),
        ("{Schema: s.json, values: {n: 1}}", {"n": 1}, "s.json", "n=1"),
        ("{schema: x, other: y}", {"schema": "x", "other": "y"}, None, "other=y schema=x"),
        ("3", "3", None, "3"),
    ],
)
def test_params_stay_templates(text: str, params: Any, schema: Any, shown: str) -> None:
    found = dag(f"params: {text}")
    assert found.graph.prepare is not None
    assert (found.graph.prepare.params, found.graph.prepare.param_schema, found.params_default) == (params, schema, shown)


@pytest.mark.parametrize(("given", "kept"), [("-1", -1), ("0", 1), ("7", 7)])
def test_max_active_runs(given: str, kept: int) -> None:
    assert dag(f"maxActiveRuns: {given}").max_active_runs == kept


def test_what_nothing_here_acts_upon_is_kept_as_written() -> None:
    found = dag(
        """
        group: etl
        description: nightly
        histRetentionDays: -1
        restartWaitSec: 5
        skipIfSuccessful: true
        runConfig: {disableParamEdit: true, disableRunIdEdit: false}
        MailOn: {Failure: true}
        smtp: {Host: h, port: "587"}
        errorMail: {from: a, to: [b], attachLogs: true}
        otel: {enabled: true, resource: {service.name: n}}
        workerSelector: local
        """
    )
    assert (found.group, found.description) == ("etl", "nightly")
    assert found.meta == {
        "type": "chain",
        "group": "etl",
        "description": "nightly",
        "histRetentionDays": -1,
        "restartWaitSec": 5,
        "skipIfSuccessful": True,
        "runConfig": {"disableParamEdit": True, "disableRunIdEdit": False},
        "mailOn": {"failure": True},
        "smtp": {"host": "h", "port": "587"},
        "errorMail": {"from": "a", "to": ["b"], "attachLogs": True},
        "otel": {"enabled": True, "resource": {"service.name": "n"}},
        "workerSelector": "local",
    }


CRON = "bad schedule `{}`: a cron expression has five fields (minute hour day month weekday), this has {}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps: []\nstep: []", (2, 1, "step", "unknown key `step`, did you mean `steps`?")),
        ("name: a\nName: b", (2, 1, "Name", "`Name` gives the field `name` a second time")),
        ("name: a b", (1, 7, "name", "the DAG name `a b` may hold letters, digits, `_`, `.` and `-` only")),
        (f"name: {'x' * 41}", (1, 7, "name", f"the DAG name `{'x' * 41}` is longer than 40 characters")),
        ("type: agent", (1, 7, "type", "`type` must be one of chain, graph, not `agent`")),
        ("schedule: 1", (1, 11, "schedule", CRON.format("1", 1))),
        ("schedule: {stop: ['0 1 * * *', '@daily']}",
         (1, 32, "schedule.stop", "bad schedule `@daily`: descriptors like @daily are not supported, write the five fields")),
        ("schedule: {begin: x}", (1, 12, "schedule.begin", "unknown key `begin`")),
        ("schedule: CRON_TZ=Mars/X 0 1 * * *",
         (1, 11, "schedule", "bad schedule `CRON_TZ=Mars/X 0 1 * * *`: unknown time zone `Mars/X`")),
        ("maxActiveSteps: -1", (1, 17, "maxActiveSteps", "`maxActiveSteps` must be a whole number of at least 0")),
        ("timeoutSec: 1h", (1, 13, "timeoutSec", "`timeoutSec` must be a whole number of at least 0")),
        ("params: [[1]]", (1, 10, "params", "an item of `params` is text or a map")),
        ("params: {schema: s, values: [a]}", (1, 29, "params.values", "`values` must be a map")),
        ("secrets: {name: a}", (1, 10, "secrets", "`secrets` must be a list of {name, provider, key}")),
        ("secrets: [{name: a, provider: env}]", (1, 11, "secrets[0].key", "a secret lacks the key `key`")),
        ("secrets: [{name: a-b, provider: env, key: k}]",
         (1, 18, "secrets[0].name", "`name` must be a name of a variable (letters, digits, `_`)")),
        ("secrets: [{name: a, provider: vault, key: k}]",
         (1, 31, "secrets[0].provider", "`provider` must be the name of an installed secret provider (env, file), not `vault`")),
        ("mailOn: {failure: yes}", (1, 19, "mailOn.failure", "`failure` must be true or false")),
        ("smtp: {hots: a}", (1, 8, "smtp.hots", "unknown key `hots`, did you mean `host`?")),
        ("workerSelector: remote", (1, 17, "workerSelector", "`workerSelector` must be one of local, not `remote`")),
        ("- a", (1, 1, "", "a DAG must be a map of fields")),
        ("", (1, 1, "", "the file is empty: a DAG needs at least `steps`")),
    ],
)  # fmt: skip
def test_what_is_refused(text: str, expected: tuple[int, int, str, str]) -> None:
    assert complaints(text) == [expected]


def test_hints_say_how_to_mend() -> None:
    texts = ("params: [[1]]", "preconditions: 1", "a: [", "steps: *x", "steps: []\n---\nname: a\nsteps: [{call: a}]")
    assert [refusal(text).problems[0].hint for text in texts] == [
        "give the list a name: `NAME: [...]`",
        "put numbers in quotes",
        "check indentation, quotes and colons here",
        "define `&x` before it is used",
        "move it to a file of its own",
    ]


class TestLocalDocuments:
    def test_they_are_called_by_name_and_inherit_the_folder(self) -> None:
        found = dag("name: top\nworkingDir: /w\nsteps: [{call: a}]\n---\nname: a\nsteps: [x]\n---\nname: b\nworkingDir: /b\n")
        assert {name: graph.workdir for name, graph in found.locals.items()} == {"a": "/w", "b": "/b"}
        assert found.graph.locals["a"] == graph_hash(encode_graph(found.locals["a"]))

    def test_an_empty_document_is_passed_over(self) -> None:
        assert list(dag("steps: []\n---\n---\nname: a\n").locals) == ["a"]

    def test_a_caller_changes_when_what_it_calls_does(self) -> None:
        text = "steps: [{{call: a}}]\n---\nname: a\nsteps: [{{call: b}}]\n---\nname: b\nsteps: [{}]\n"
        one, two = dag(text.format("x")), dag(text.format("y"))
        assert all(one.graph.locals[name] != two.graph.locals[name] for name in ("a", "b"))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("steps: []\n---\nsteps: []\n", (3, 1, "name", "a local sub-DAG needs a `name`")),
            ("steps: []\n---\nname: demo\n", (3, 7, "name", "a second DAG named `demo` in this file")),
            ("steps: []\n---\nname: a\n---\nname: a\n", (5, 7, "name", "a second DAG named `a` in this file")),
            ("steps: []\n---\nname: a\nsteps: [{call: a}]\n", (3, 1, "", "the local DAG `a` calls itself in a circle")),
            (
                "steps: []\n---\nname: a\nsteps: [{call: b}]\n---\nname: b\nsteps: [{call: a}]\n",
                (3, 1, "", "the local DAG `a` calls itself in a circle"),
            ),
            ("steps: []\n---\nname: a\nsteps: [{comand: x, call: b}]\n",
             (4, 10, "steps[0].comand", "unknown key `comand`, did you mean `command`?")),
            ("steps: []\n---\n- a\n", (3, 1, "", "a DAG must be a map of fields")),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, text: str, expected: tuple[int, int, str, str]) -> None:
        assert expected in complaints(text)

    def test_their_number_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_DOCUMENTS", 3)
        assert list(dag("steps: []" + "".join(f"\n---\nname: d{n}" for n in range(2))).locals) == ["d0", "d1"]
        assert complaints("steps: []" + "".join(f"\n---\nname: d{n}" for n in range(3))) == [
            (7, 1, "", "more than 3 documents in one file")
        ]
