"""How refusals look to clients of plans."""

from __future__ import annotations

from typing import Any

import pytest

from astrarium.errors import Invalid, NotFound, Problem, Refused, TooOften, Unauthenticated
from astrarium.surfaces.builds.problem import plan_shape
from astrarium.web.problems import fault_of


@pytest.mark.parametrize(
    "error, status, detail",
    [
        (TooOften("too often", retry_after_s=3), 429, {"code": "RATE_LIMIT", "message": "too often"}),
        (
            Refused("full", code="concurrency_limit_reached", details={"keys": ["gpu"]}),
            409,
            {"code": "concurrency_limit_reached", "message": "full", "keys": ["gpu"]},
        ),
        (Invalid("no", code="clock_skew"), 400, {"code": "clock_skew", "message": "no"}),
        (NotFound("no build", code="unknown_build"), 404, {"code": "unknown_build", "message": "no build"}),
        (NotFound("Environment not found"), 404, "Environment not found"),
        (Unauthenticated("who"), 401, "Authentication required. Provide X-API-Key header or Bearer token."),
        (
            Invalid("x: wrong", [Problem("wrong", path="x")]),
            422,
            [{"type": "value_error", "loc": ["body", "x"], "msg": "wrong", "input": None}],
        ),
    ],
)
def test_a_refusal_has_a_code_where_one_was_decided(error: Exception, status: int, detail: Any) -> None:
    assert plan_shape(fault_of(error)) == (status, {"detail": detail})
