"""The served OpenAPI document against the server that serves it: no request, valid or not, may end in a 5xx, and every answer
has a status, a type and a shape the document names."""

from __future__ import annotations

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.specs.hard.conftest import Served

pytestmark = [pytest.mark.fuzz, pytest.mark.net]

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
KNOWN = {
    "fileName": ("good", "bad", "ask.yaml", "parent", "nowhere"),
    "name": ("good", "ask", "parent", "nowhere"),
    "dagRunId": ("one", "latest", "nowhere"),
    "subDAGRunId": ("nowhere",),
    "stepName": ("a", "sign", "call", "onExit"),
}
"""Half of the requests name something that is there."""


@pytest.fixture(scope="session")
def document(fuzzed: Served) -> Any:
    return schemathesis.openapi.from_url(f"{fuzzed.url}/openapi.json")


schema = schemathesis.pytest.from_fixture("document")


def ask(case: Any, server: Served) -> None:
    for name, value in (case.path_parameters or {}).items():
        known, pick = KNOWN.get(name, ()), sum(map(ord, str(value)))
        if known and pick % 2 == 0:
            case.path_parameters[name] = known[pick // 2 % len(known)]
    answer = case.call(base_url=server.url, timeout=30)
    case.validate_response(answer, checks=CHECKS)


@schema.parametrize()
@settings(max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_every_operation(case: Any, fuzzed: Served) -> None:
    ask(case, fuzzed)


@pytest.mark.all
@pytest.mark.slow
@schema.parametrize()
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_operation_at_length(case: Any, fuzzed: Served) -> None:
    ask(case, fuzzed)
