"""What was used against what may be used. Costs are decimals: sums of them are exact."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from ....spec.ir.flow import Budget
from ...ports import Used

EXHAUSTED: Final = "budget_exhausted"
_MOST: Final = Decimal(10) ** 18


def exact(value: Any) -> Decimal:
    """The number a value stands for; 0 for what is none, or no use (negative, endless)."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return Decimal(0)
    return min(number, _MOST) if number.is_finite() and number > 0 else Decimal(0)


def added(one: Any, other: Any) -> int | str:
    """The sum, as it is kept: a whole number, or a decimal as text."""
    total = exact(one) + exact(other)
    return int(total) if total == total.to_integral_value() else format(total.normalize(), "f")


def add_used(into: dict[str, Any], used: Mapping[str, Any] | None) -> None:
    for kind, number in (used or {}).items():
        into[kind] = added(into.get(kind, 0), number)


def sum_used(parts: Iterable[Used | None]) -> Used | None:
    total: Used = {}
    for part in parts:
        add_used(total, part)
    return total or None


def amount(value: Any) -> int | float:
    """The number as rules compare it."""
    number = exact(value)
    return int(number) if number == number.to_integral_value() else float(number)


def limits(budget: Budget) -> Iterator[tuple[str, Any]]:
    for kind, most in (("tokens", budget.tokens), ("cost", budget.cost), ("latency_ms", budget.latency_ms)):
        if exact(most):
            yield kind, most


def overdrawn(budgets: Mapping[str, Budget], before: Mapping[str, Used], node: str, used: Used | None) -> str:
    """Which budget the run or the node has gone beyond with what was used now, in words; empty when none."""
    if not budgets or not used:
        return ""
    for name in ("", node):
        budget = budgets.get(name)
        for kind, most in limits(budget) if budget is not None else ():
            total = added(before.get(name, {}).get(kind, 0), used.get(kind, 0))
            if exact(total) > exact(most):
                what = f"{total} ms of {most} ms" if kind == "latency_ms" else f"{total} of {most} {kind}"
                return f"{what} are used by {f'the node {name}' if name else 'the run'}"
    return ""
