"""`std.calculator`: arithmetic. The expression is parsed, never executed, and numbers stay of a size that is computed at once."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from ...runs.ports import StepFailed, ToolSpec, TryContext

MOST_SIGNS = 1000
MOST_BITS = 4096
"""Of a whole number on the way."""
WHOLE_BITS = 63
"""Of a whole number as a result: what every reader of JSON takes. A larger one is given with a decimal point."""

Number = int | float

_BINARY: dict[type, Callable[[Any, Any], Number]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}  # fmt: skip
_UNARY: dict[type, Callable[[Any], Number]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_CONSTANTS = {"pi": math.pi, "e": math.e, "tau": math.tau}
_FUNCTIONS: dict[str, Callable[..., Number]] = {
    "abs": abs, "min": min, "max": max, "round": round, "sum": lambda *parts: sum(parts), "sqrt": math.sqrt, "exp": math.exp,
    "log": math.log, "log2": math.log2, "log10": math.log10, "sin": math.sin, "cos": math.cos, "tan": math.tan, "floor": math.floor,
    "ceil": math.ceil, "hypot": math.hypot,
}  # fmt: skip


def calculate(expression: str) -> Number:
    """The value. Raises `StepFailed` for what is no arithmetic, has no value, or would be too large."""
    if len(expression) > MOST_SIGNS:
        raise StepFailed(f"an expression has at most {MOST_SIGNS} signs")
    try:
        value = _value(ast.parse(expression.strip().replace("^", "**"), mode="eval").body)
        value = float(value) if isinstance(value, int) and value.bit_length() > WHOLE_BITS else value
    except (SyntaxError, MemoryError, RecursionError):
        raise StepFailed(f"this is no arithmetic: {expression}", code="ValueError") from None
    except (ArithmeticError, ValueError, TypeError) as error:
        raise StepFailed(f"{expression} has no value: {error}", code=type(error).__name__) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise StepFailed(f"{expression} has no finite value", code="OverflowError")
    return value


def _value(node: ast.expr) -> Number:
    match node:
        case ast.Constant(value=bool()):
            raise ValueError("true and false are no numbers")
        case ast.Constant(value=int() | float() as number):
            return _small(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _small(_BINARY[type(op)](_value(left), _value(right)))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _UNARY[type(op)](_value(operand))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _small(_FUNCTIONS[name](*[_value(part) for part in args]))
    known = ", ".join((*_CONSTANTS, *_FUNCTIONS))
    raise ValueError(f"only numbers, + - * / // % **, brackets and {known} are known")


def _power(left: Number, right: Number) -> Number:
    if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > MOST_BITS:
        raise OverflowError("the power is too large")
    power = left**right
    if isinstance(power, complex):
        raise ValueError("the power is no real number")
    return _small(power)


def _small(number: Number) -> Number:
    if isinstance(number, int) and number.bit_length() > MOST_BITS:
        raise OverflowError("the number is too large")
    return number


class Calculator:
    spec = ToolSpec(
        "calculator",
        "std",
        description="Calculates an arithmetic expression, such as (2 + 3) * sqrt(16).",
        input_schema={
            "type": "object",
            "properties": {"expression": {"type": "string", "description": "The expression"}},
            "required": ["expression"],
            "additionalProperties": False,
        },
        output_schema={"type": "number"},
        examples=({"args": {"expression": "2 * 3"}, "result": 6},),
        tags=("math",),
    )

    async def call(self, args: Mapping[str, Any], ctx: TryContext) -> Number:
        return calculate(args["expression"])


TOOL = Calculator()
