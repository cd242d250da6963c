"""The served OpenAPI document against the server that serves it: no request, valid or not, may end in a 5xx, and every answer
has a status, a type and a shape the document names."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from tests.specs.hard.conftest import Served

pytestmark = [pytest.mark.fuzz, pytest.mark.net]

KNOWN = {
    "fileName": ("good", "bad", "ask.yaml", "parent", "nowhere"),
    "name": ("good", "ask", "parent", "nowhere"),
    "dagRunId": ("one", "latest", "nowhere"),
    "stepName": ("a", "sign", "call", "onExit"),
}
"""Half of the requests name something that is there."""


SPEC = "steps:\n  - name: a\n    type: noop\n"


def aim(case: Any, server: Served, child: str) -> None:
    """Turn half of the names and texts of a request into ones that mean something."""
    names = case.path_parameters or {}
    for name, value in names.items():
        known, pick = KNOWN.get(name, ()), sum(map(ord, str(value)))
        if known and pick % 2 == 0:
            names[name] = known[pick // 2 % len(known)]
        if name == "subDAGRunId" and pick % 2 == 0:
            names.update({"name": "parent", "dagRunId": "one", "subDAGRunId": child})
    if case.method == "DELETE" and names.get("fileName") in KNOWN["fileName"]:
        server.add("spare.yaml", SPEC)
        names["fileName"] = "spare"
    if isinstance(case.body, dict):
        good = {"spec": SPEC, "name": f"made-{len(str(case.body))}", "dagRunId": f"run-{len(str(case.body))}"}
        picked = {name for name in good if isinstance(case.body.get(name), str) and len(case.body[name]) % 2 == 0}
        case.body.update({name: good[name] for name in picked})


def ask(case: Any, server: Served, child: str) -> None:
    """One request and what its answer must be."""
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks

    aim(case, server, child)
    wanted = [
        not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_schema_conformance,
    ]
    case.validate_response(case.call(base_url=server.url, timeout=30), checks=wanted)


def is_stream(operation: Any) -> bool:
    """Whether an answer of the operation goes on for as long as the client listens."""
    return any("text/event-stream" in told.get("content", {}) for told in operation.definition.raw["responses"].values())


def listen(case: Any, server: Served, child: str) -> None:
    """One request to a stream: its answer must begin well, or be a refusal in shape."""
    aim(case, server, child)
    with requests.request(**case.as_transport_kwargs(base_url=server.url), stream=True, timeout=30) as answer:
        assert answer.status_code < 500, answer.text
        if answer.status_code >= 400:
            assert {"code", "message"} <= answer.json().keys() or answer.json().keys() == {"detail"}
        elif answer.status_code != 204:
            assert answer.headers["content-type"].startswith("text/event-stream")


def fuzz(server: Served, **how: Any) -> None:
    """Every operation of the document in turn; all that went wrong is told at once."""
    import schemathesis
    from schemathesis import GenerationMode

    document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) > 66
    child = server.get("/dag-runs/parent/one/sub-dag-runs")["subRuns"][0]["dagRunId"]
    wrong: list[str] = []
    for operation in operations:
        for mode in GenerationMode:

            @given(operation.as_strategy(generation_mode=mode))
            @settings(deadline=None, database=None, print_blob=False, suppress_health_check=list(HealthCheck), **how)
            def every(case: Any) -> None:
                (listen if is_stream(case.operation) else ask)(case, server, child)

            try:
                every()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, f"{operation.label} takes nothing"  # nothing of it can be wrong
            except BaseExceptionGroup as group:
                wrong += [f"{operation.label} ({mode.value}): {error}" for error in group.exceptions]
            except AssertionError as error:
                wrong.append(f"{operation.label} ({mode.value}): {error}")
    assert not wrong, "\n\n".join(wrong)
    assert server.get("/health")["status"] == "healthy"


def test_every_operation(fuzzed: Served) -> None:
    fuzz(fuzzed, max_examples=2, derandomize=True, phases=[Phase.generate])


@pytest.mark.all
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_operation_at_length(fuzzed: Served) -> None:
    fuzz(fuzzed, max_examples=20)
