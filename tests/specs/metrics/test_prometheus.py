"""A real Prometheus scrapes a real server: the queries users copy, and every query of the dashboard, give what happened."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.prometheus import PrivatePrometheus, find_program
from tests.served import Server

pytestmark = [pytest.mark.all, pytest.mark.net, pytest.mark.slow]

DASHBOARD = Path(__file__).parents[3] / "examples" / "grafana" / "astrarium.json"
GOOD = "steps:\n  - name: fine\n    command: 'true'\n"
BAD = "steps:\n  - name: wrong\n    command: 'false'\n"
BATCH = ("good", "good", "good", "bad")
HELD = "queue: slow\nmaxActiveRuns: 1\nsteps:\n  - name: hold\n    command: sleep 60\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("data"))
    for name, text in (("good", GOOD), ("bad", BAD), ("held", HELD)):
        made.add(f"{name}.yaml", text)
    yield made
    made.close()


def enqueue(server: Server, name: str) -> str:
    answer = server.call("POST", f"/dags/{name}/enqueue", {})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["dagRunId"])


@pytest.fixture(scope="module")
def prometheus(server: Server, require: Callable[[str, bool, str], None]) -> Iterator[PrivatePrometheus]:
    """Between two looks of it, three runs succeeded and one failed; one goes on and one waits."""
    program = find_program()
    require("prometheus", program is not None, "no program `prometheus` in PATH (Debian package prometheus)")
    assert program
    # Prometheus extends a rate to where the counter was 0: with twice the numbers at the end, that changes all rates alike.
    for name in BATCH:
        server.ended(name, enqueue(server, name))
    made = PrivatePrometheus(program, urlsplit(server.said).netloc, "/api/v2/metrics")
    try:
        made.until('dagu_dag_runs_total{status="error"}', 1)
        for name in BATCH:
            server.ended(name, enqueue(server, name))
        for _ in range(2):
            enqueue(server, "held")
        made.until('dagu_dag_runs_total{status="success"}', 6)
        made.until("dagu_dag_runs_queued_total", 1)
        made.until("dagu_dag_runs_currently_running", 1)
        made.until("astrarium_event_loop_lag_seconds_count > bool 1", 1)
        yield made
    finally:
        made.stop()
        for run in server.get("/dag-runs/held")["dagRuns"]:
            server.call("POST", f"/dag-runs/held/{run['dagRunId']}/stop", {})


def test_the_seed_queries(prometheus: PrivatePrometheus) -> None:
    """As users copy them. Without sum() the success rate is matched label by label and always 1."""
    assert prometheus.value('rate(dagu_dag_runs_total{status="success"}[5m]) / rate(dagu_dag_runs_total[5m])') == 1
    rate = prometheus.value('sum(rate(dagu_dag_runs_total{status="success"}[5m])) / sum(rate(dagu_dag_runs_total[5m]))')
    assert rate == pytest.approx(0.75)
    assert prometheus.value("dagu_dag_runs_queued_total") == 1
    assert prometheus.value("avg_over_time(dagu_scheduler_running[5m]) * 100") == 100


def test_every_status_is_there_from_zero(prometheus: PrivatePrometheus) -> None:
    found = {one["metric"]["status"]: float(one["value"][1]) for one in prometheus.query("dagu_dag_runs_total")}
    assert found == {"success": 6, "error": 2, "partial_success": 0, "aborted": 0, "rejected": 0}
    by_dag = {tuple(one["metric"][name] for name in ("dag", "status")): float(one["value"][1])
              for one in prometheus.query("dagu_dag_runs_total_by_dag")}  # fmt: skip
    assert by_dag == {("good", "success"): 6, ("bad", "error"): 2}


def dashboard_queries() -> list[tuple[str, str]]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]


def test_every_query_of_the_dashboard_has_an_answer(prometheus: PrivatePrometheus) -> None:
    empty = []
    for title, text in dashboard_queries():
        values = [float(one["value"][1]) for one in prometheus.query(text)]
        if not values or not any(value == value for value in values):
            empty.append((title, text, values))
    assert empty == []


def test_the_dashboard_says_what_happened(prometheus: PrivatePrometheus) -> None:
    queries = dict(dashboard_queries())
    assert prometheus.value(queries["Success rate"]) == pytest.approx(0.75)
    assert prometheus.value(queries["Runs waiting"]) == 1
    assert prometheus.value(queries["Runs going on"]) == 1
    assert prometheus.value(queries["Scheduler uptime"]) == 100
    waiting = {
        one["metric"].get("queue", ""): float(one["value"][1]) for one in prometheus.query(queries["Runs waiting by queue"])
    }
    assert waiting["slow"] == 1
