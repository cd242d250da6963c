"""What every DAG of a folder has in common: laid under each of them, complaints with the place they come from."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from astrarium.errors import Invalid
from astrarium.spec.dag import DagFile, compile_dag, read_inherited
from astrarium.spec.graph import Condition, encode_graph, graph_hash


def over(common: str, text: str, **more: Any) -> DagFile:
    inherited = read_inherited(textwrap.dedent(common), "/etc/base.yaml")
    return compile_dag(textwrap.dedent(text), name="demo", file="demo.yaml", base_dir="/dags", inherited=inherited, **more)


def told(common: str, text: str = "steps: [x]") -> list[str]:
    with pytest.raises(Invalid) as caught:
        over(common, text)
    return [str(problem) for problem in caught.value.problems]


def handlers(found: DagFile) -> dict[str, Any]:
    return {node.name: node.params.get("commands") for node in found.graph.nodes if node.phase != "main"}


@pytest.mark.parametrize(
    ("common", "text", "env"),
    [
        ("env: [{A: 1}, B=2]", "env: [C=3]", (("A", "1"), ("B", "2"), ("C", "3"))),
        ("env: {A: 1, B: $A}", "env: {A: 2}", (("A", "1"), ("B", "$A"), ("A", "2"))),
        ("env: {A: 1}", "env: ~", (("A", "1"),)),
        ("ENV: A=1", "Env: B=2", (("A", "1"), ("B", "2"))),
    ],
)
def test_env_is_appended(common: str, text: str, env: tuple[tuple[str, str], ...]) -> None:
    prepare = over(common, text).graph.prepare
    assert prepare is not None and prepare.env == env


def test_lists_are_appended_and_the_common_ones_come_first() -> None:
    found = over(
        """
        tags: Ops, all
        dotenv: [common.env]
        secrets: [{name: A, provider: env, key: A}]
        precondition: test -d /
        schedule: 0 1 * * *
        """,
        """
        tags: [own]
        dotenv: own.env
        secrets: [{name: B, provider: file, key: b}]
        preconditions: [test -d /srv]
        schedule: {start: [0 2 * * *], stop: 0 3 * * *}
        """,
    )
    prepare = found.graph.prepare
    assert prepare is not None
    assert found.tags == ("ops", "all", "own")
    assert prepare.dotenv == (".env", "common.env", "own.env")
    assert [secret["name"] for secret in prepare.secrets] == ["A", "B"]
    assert prepare.when == (Condition("test -d /"), Condition("test -d /srv"))
    assert (found.schedule.start, found.schedule.stop) == (("0 1 * * *", "0 2 * * *"), ("0 3 * * *",))


def test_scalars_and_maps_are_overridden() -> None:
    found = over(
        """
        maxActiveRuns: 3
        histRetentionDays: 14
        timeoutSec: 10
        shell: [bash, -e]
        mailOn: {failure: true, success: true}
        SMTP: {Host: a, port: 25}
        errorMail: {from: f, to: [ops], prefix: p}
        runConfig: {disableParamEdit: true}
        otel: {enabled: true, resource: {service.name: all, team: t}}
        """,
        """
        timeoutSec: 20
        shell: sh
        mailOn: {wait: true}
        smtp: {host: b}
        errorMail: {to: me}
        otel: {resource: {service.name: own}}
        """,
    )
    assert (found.max_active_runs, found.active_limit, found.graph.timeout_s, found.graph.shell) == (3, 3, 20, ("sh",))
    assert found.meta["histRetentionDays"] == 14
    assert found.meta["mailOn"] == {"wait": True}, "taken as a whole"
    assert found.meta["smtp"] == {"host": "b", "port": 25}
    assert found.meta["errorMail"] == {"from": "f", "to": "me", "prefix": "p"}
    assert found.meta["runConfig"] == {"disableParamEdit": True}
    assert found.meta["otel"] == {"enabled": True, "resource": {"service.name": "own", "team": "t"}}


def test_handlers_are_taken_one_by_one_and_do_not_reach_sub_dags() -> None:
    common = "handlerOn: {Failure: echo f, cancel: {command: a}, exit: {command: e}}\nenv: {A: 1}\n"
    text = "handlerOn: {abort: own}\nsteps: [{call: part}]\n---\nname: part\nsteps: [x]\n"
    found = over(common, text)
    assert handlers(found) == {"onFailure": ["echo f"], "onCancel": ["own"], "onExit": ["e"]}
    part = found.locals["part"]
    assert [node.name for node in part.nodes] == ["cmd_1"]
    assert part.prepare is not None and part.prepare.env == (("A", "1"),), "everything else does"
    assert handlers(over(common, text, called=True)) == {"onCancel": ["own"]}


def test_what_it_gives_is_in_the_hash_of_the_graph() -> None:
    hashes = {graph_hash(encode_graph(over(common, "steps: [x]").graph)) for common in ("", "env: {A: 1}", "env: {A: 2}")}
    assert len(hashes) == 3
    assert over("", "steps: [x]").graph == over("name: any\n---\n", "steps: [x]").graph


def test_complaints_name_the_file_they_are_about() -> None:
    assert told("env: {A: 1}\ntimeoutSec: soon\n", "steps: [x]\nnope: 1\n") == [
        "demo.yaml:2:1: unknown key `nope`",
        "/etc/base.yaml:2:13: `timeoutSec` must be a whole number of at least 0",
    ]
    assert told("a: [")[0].startswith("/etc/base.yaml:1: this is not valid YAML")
    assert told("- a") == ["/etc/base.yaml:1:1: a DAG must be a map of fields"]


@pytest.mark.parametrize(
    ("common", "message"),
    [
        ("steps: [x]", "/etc/base.yaml:1:1: what all DAGs have in common are no `steps` (give them to each DAG)"),
        ("env: {A: 1}\n---\nname: b\n", "/etc/base.yaml:3:1: what all DAGs have in common is one document"
         " (local sub-DAGs belong into a DAG's own file)"),
        ("handlerOn: {exit: {comand: x}}", "/etc/base.yaml:1:20: unknown key `comand`, did you mean `command`?"),
    ],
)  # fmt: skip
def test_what_does_not_belong_there(common: str, message: str) -> None:
    assert message in told(common)


def test_what_only_both_together_make_wrong_is_told_where_it_stands() -> None:
    assert told("container: {image: a}", "ssh: {user: u, host: h}\nsteps: [x]") == [
        "demo.yaml:1:6: `ssh` must be given without a `container`: steps run in one place"
    ]
    assert told("queue: q", "steps: [{call: a}]\ntags: {a: 1}") == ["demo.yaml:2:7: `tags` must be text or a list of texts"]


def test_a_dag_that_is_no_map_is_told_as_ever() -> None:
    assert told("env: {A: 1}", "- a") == ["demo.yaml:1:1: a DAG must be a map of fields"]
    assert told("env: {A: 1}", "") == ["demo.yaml:1:1: the file is empty: a DAG needs at least `steps`"]
