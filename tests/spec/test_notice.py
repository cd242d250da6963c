"""What is told of a run."""

from __future__ import annotations

import json

from astrarium.spec import notice
from astrarium.spec.graph import Graph, Node, Notice
from astrarium.spec.notice import Told, ToldStep

STEPS = [
    ToldStep("fetch", "succeeded", "10:00", "10:01"),
    ToldStep("load", "failed", "10:01", "10:02", "<b>$(id)</b> `id`\n" + "x" * 5000, 3),
]
TOLD = Told("run.failure", "etl", "r1", 2, "failed", STEPS, url="https://x/y", params='A="<1>"')


def test_due_are_those_who_asked() -> None:
    graph = Graph(
        "etl",
        nodes=(Node("load", "noop"),),
        notices=(Notice("mail", ("failure",)), Notice("webhook", ("failure", "wait")), Notice("mail", steps=("load",))),
    )
    assert notice.due(graph, "failure") == (0, 1)
    assert notice.due(graph, "wait", "load") == (1,)
    assert notice.due(graph, "failure", "load") == (2,)
    assert notice.due(graph, "failure", "other") == ()
    assert notice.due(graph, "success") == ()


def test_texts_of_others_are_quoted_and_cut() -> None:
    html = notice.as_html(TOLD)
    assert "<b>$(id)" not in html and "&lt;b&gt;$(id)&lt;/b&gt; `id`" in html
    assert "A=&quot;&lt;1&gt;&quot;" in html and '<a href="https://x/y">' in html
    assert "x" * 2001 not in html + notice.as_text(TOLD) + notice.as_document(TOLD)
    document = json.loads(notice.as_document(TOLD))
    assert document["failedSteps"][0]["error"].startswith("<b>$(id)</b> `id`\n") and document["failedSteps"][0]["exitCode"] == 3
    assert "step" not in document


def test_a_subject_is_one_line() -> None:
    assert notice.subject(TOLD) == "etl (failed)"
    assert notice.subject(Told("step.failure", "etl", "r1", 1, "running", STEPS, step="lo\nad")) == "etl: lo ad (failed)"


def test_of_very_many_steps_the_failed_ones_are_told_first() -> None:
    many = [ToldStep(f"s{number}", "succeeded") for number in range(1000)] + [ToldStep("bad", "failed", error="no")]
    told = Told("run.failure", "etl", "r1", 2, "failed", many)
    text = notice.as_text(told)
    assert "- bad: failed (no)" in text and "… and 801 more steps" in text and len(notice.as_html(told)) < 100_000


def test_names_a_template_mentions() -> None:
    assert notice.mentioned({"a": ["$X ${Y_1:-z}", 3], "b": {"c": "${Z.field}"}}) == {"X", "Y_1", "Z"}


def test_a_delivery_is_tried_with_growing_waits() -> None:
    graph = notice.delivery(Graph("etl"), Notice("mail", params={"to": ["x"]}), 2, tries=8, retry_s=30)
    node = graph.nodes[0]
    assert node.params == {"to": ["x"], "attachments": ["${NOTICE_FILE_0}", "${NOTICE_FILE_1}"]}
    assert node.retry is not None and (node.retry.limit, node.retry.interval_s, node.retry.backoff) == (7, 30, 2.0)
    assert notice.delivery(Graph("etl"), Notice("mail"), 0, tries=1, retry_s=30).nodes[0].retry is None
    assert graph.notices == () and "succeeded" not in graph.doors.reopen_from
