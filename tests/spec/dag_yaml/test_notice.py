"""Who is told of a run, as a DAG file says it."""

from __future__ import annotations

import pytest

from astrarium.spec.graph import Notice
from tests.spec.dag_yaml.compiling import complaints, dag

MAIL = """
smtp: {host: mail.example.org, port: 587, username: u, password: "${PASS}"}
errorMail: {from: a@x, to: "b@x", prefix: "[F]", attachLogs: true}
infoMail: {from: a@x, to: [c@x, d@x]}
waitMail: {from: a@x, to: e@x}
steps:
  - {name: one, command: 'true', mailOnError: true}
  - {name: two, command: 'true'}
"""


def notices(text: str) -> tuple[Notice, ...]:
    return dag(text).graph.notices


def test_each_event_has_its_address_book() -> None:
    failure, success, wait, step = notices("mailOn: {failure: true, success: true, wait: true}\n" + MAIL)
    assert [one.on for one in (failure, success, wait, step)] == [("failure",), ("success",), ("wait",), ()]
    assert [one.params["to"] for one in (failure, success, wait, step)] == [["b@x"], ["c@x", "d@x"], ["e@x"], ["b@x"]]
    assert failure.params["smtp"] == {"host": "mail.example.org", "port": "587", "username": "u", "password": "${PASS}"}
    assert (failure.params["subject"], success.params["subject"]) == ("[F] ${NOTICE_SUBJECT}", "${NOTICE_SUBJECT}")
    assert (failure.attach_logs, success.attach_logs, step.steps) == (True, False, ("one",))


@pytest.mark.parametrize("text", ["mailOn: {failure: false}", "", "mailOn: {}"])
def test_nobody_is_told_of_what_is_not_asked_for(text: str) -> None:
    assert notices(text + MAIL.replace("mailOnError: true", "mailOnError: false")) == ()


def test_without_an_address_there_is_nobody_to_tell() -> None:
    assert (
        notices("mailOn: {failure: true}\nerrorMail: {from: a@x}\nsteps: [{name: one, command: 'true', mailOnError: true}]") == ()
    )


def test_webhooks() -> None:
    text = """
        notify:
          - webhook: https://x.example.org/a
          - {webhook: "$HOOK", on: [abort, success], headers: {X-A: 1}, secret: "${KEY}", template: {text: hi, n: [1]}}
        steps: [{name: one, command: 'true'}]
    """
    plain, full = notices(text)
    assert plain == Notice(
        "webhook", ("failure",), params={"url": "https://x.example.org/a", "event": "${NOTICE_EVENT}", "body": "${NOTICE_BODY}"}
    )
    assert full.on == ("success", "abort")
    assert full.params == {
        "url": "$HOOK", "event": "${NOTICE_EVENT}", "headers": {"X-A": "1"}, "secret": "${KEY}",
        "template": {"text": "hi", "n": [1]},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("notify: often", "notify", "a list"),
        ("notify: [{webhook: ftp://x}]", "notify[0].webhook", "http"),
        ("notify: [{on: failure}]", "notify[0].webhook", "http"),
        ("notify: [{webhook: http://x, on: [fail]}]", "notify[0].on", "did you mean"),
        ("notify: [{webhook: http://x, headers: [a]}]", "notify[0].headers", "map"),
        ("notify: [{webhook: http://x, headers: {a: [b]}}]", "notify[0].headers", "texts"),
        ("notify: [{webhok: http://x}]", "notify[0].webhok", "unknown key"),
        ("histRetentionRuns: many", "histRetentionRuns", "whole number"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, where: str, said: str) -> None:
    found = complaints(f"{text}\nsteps: [{{name: one, command: 'true'}}]")
    assert any(path == where and said in message for _, _, path, message in found), found


@pytest.mark.parametrize(
    ("text", "tidy"),
    [
        ("histRetentionDays: 0", True),
        ("hist_retention_runs: 5", True),
        ("histRetentionDays: 3", False),
        ("histRetentionDays: -1", False),
        ("", False),
    ],
)
def test_old_runs_go_at_once_where_only_so_many_are_kept(text: str, tidy: bool) -> None:
    assert dag(f"{text}\nsteps: [{{name: one, command: 'true'}}]").graph.tidy is tidy
