"""The state of a graph of rules: what a run starts with, and what a patch may write.

Each patch is checked before it is taken, field by field, so a state is always one of the schema.
Source: Stargraph 0.8, the normative column (contract 2.3: a value that does not fit breaks the run, `StateValidationError`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import jsonschema_rs

from ....errors import Invalid, Problem
from ....spec.ir.flow import Field, Flow

WRONG_STATE: Final = "StateValidationError"
_CHECKS: Final[dict[str, Callable[[Any], bool]]] = {
    "any": lambda value: True,
    "str": lambda value: isinstance(value, str),
    "bytes": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "float": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "bool": lambda value: isinstance(value, bool),
    "list": lambda value: isinstance(value, list | tuple),
    "dict": lambda value: isinstance(value, Mapping),
}
_EMPTY: Final[dict[str, Any]] = {"str": "", "bytes": "", "int": 0, "float": 0.0, "bool": False, "list": [], "dict": {}}


class Shape:
    """The fields of a flow, made ready for checking."""

    def __init__(self, flow: Flow) -> None:
        self.fields: dict[str, Field] = {field.name: field for field in flow.fields}
        self.open = flow.open_state
        self._schemas = {name: _validator(field) for name, field in self.fields.items() if field.schema}

    def start(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The first state: what is given, and defaults for the rest. Raises `Invalid` with all problems."""
        problems = list(self.problems(given))
        problems += [
            Problem(f"field `{name}` is required", f"state.{name}", hint=f"give it ({field.type}) with the run's inputs")
            for name, field in self.fields.items()
            if field.required and name not in given
        ]  # fmt: skip
        if problems:
            raise Invalid(str(problems[0]), problems)
        return self.complete(given)

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """`given` with the defaults of the other fields, in the fields' order."""
        rest = {name: default(field) for name, field in self.fields.items() if name not in given}
        ordered = {name: given[name] if name in given else rest[name] for name in self.fields}
        return {**ordered, **given}

    def problems(self, patch: Mapping[str, Any]) -> Iterator[Problem]:
        for name, value in patch.items():
            field = self.fields.get(name)
            if field is None:
                if not self.open:
                    known = ", ".join(self.fields) or "none"
                    yield Problem(f"the state has no field `{name}`", f"state.{name}", hint=f"fields are: {known}")
            elif not (value is None and field.nullable):
                yield from self._misfits(field, value)

    def _misfits(self, field: Field, value: Any) -> Iterator[Problem]:
        if not _CHECKS[field.type](value):
            told = f"field `{field.name}` is {field.type}, not {type(value).__name__}"
            yield Problem(told, f"state.{field.name}")
        elif field.name in self._schemas:
            for error in self._schemas[field.name].iter_errors(value):
                where = "".join(f".{part}" for part in error.instance_path)
                yield Problem(error.message, f"state.{field.name}{where}")


def misfits(schema: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[Problem]:
    """What of an answer does not fit the schema that was asked for."""
    for error in _validator(Field("answer", schema=dict(schema))).iter_errors(dict(answer)):
        where = ".".join(str(part) for part in error.instance_path)
        yield Problem(error.message, f"response.{where}" if where else "response")


def default(field: Field) -> Any:
    if field.default is not None or field.nullable:
        return field.default
    empty = _EMPTY.get(field.type)
    return type(empty)(empty) if isinstance(empty, list | dict) else empty


def _refuse_fetch(uri: str) -> Any:
    raise ValueError(f"a schema of a state refers to nothing outside: {uri}")


def _validator(field: Field) -> Any:
    try:
        return jsonschema_rs.validator_for(dict(field.schema), retriever=_refuse_fetch)
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        problem = Problem(f"the schema of field `{field.name}` cannot be used: {error}", f"state.{field.name}.schema")
        raise Invalid(str(problem), [problem]) from error
