"""Two OpenAPI documents compared operation by operation: does ours have all that the reference has? Ours may have more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
Said = tuple[str, str]
"""(where, what is different)."""

METHODS = ("get", "put", "post", "delete", "patch")
NUMBERS = frozenset(("integer", "number"))


class Document:
    """An OpenAPI document with its references followed."""

    def __init__(self, data: Schema, prefix: str = "") -> None:
        self.data = data
        self.prefix = prefix

    def follow(self, node: Any) -> Any:
        while isinstance(node, dict) and "$ref" in node:
            found: Any = self.data
            for part in node["$ref"].split("/")[1:]:
                found = found[part]
            node = found
        return node

    def operations(self) -> Iterator[tuple[str, str, Schema]]:
        """(METHOD, path, operation), the path's own parameters among the operation's."""
        for path, methods in self.data["paths"].items():
            shared = methods.get("parameters", [])
            for method in METHODS:
                if path.startswith(self.prefix) and method in methods:
                    told = methods[method]
                    yield (
                        method.upper(),
                        path.removeprefix(self.prefix),
                        {**told, "parameters": [*shared, *told.get("parameters", [])]},
                    )

    def forms(self, schema: Schema) -> list[Schema]:
        """A schema's alternatives, `null` left out; parts of an `allOf` count as one each."""
        found = self.follow(schema)
        parts = [part for key in ("allOf", "anyOf", "oneOf") for part in found.get(key, [])]
        if not parts:
            return [found] if found.get("type") != "null" else []
        return [form for part in parts for form in self.forms(part)] + ([found] if "properties" in found else [])

    def fields(self, schema: Schema) -> dict[str, Schema]:
        found: dict[str, Schema] = {}
        for form in self.forms(schema):
            found.update(form.get("properties", {}))
        return found

    def required(self, schema: Schema) -> set[str]:
        return {name for form in self.forms(schema) for name in form.get("required", [])}

    def types(self, schema: Schema) -> set[str]:
        """The JSON types a value may have; empty = any."""
        found: set[str] = set()
        for form in self.forms(schema):
            kinds = form.get("type") or ("object" if "properties" in form else "")
            found.update([kinds] if isinstance(kinds, str) else kinds)
        return found - {"", "null"}

    def content(self, node: Any) -> Schema | None:
        for told in (self.follow(node).get("content") or {}).values():
            schema: Schema | None = told.get("schema")
            return schema
        return None


class Comparison:
    """What `ours` lacks of `reference`; `ids`: its operations are called alike."""

    def __init__(self, reference: Document, ours: Document, *, ids: bool = True) -> None:
        self.reference = reference
        self.ours = ours
        self.ids = ids
        self.ours_by_path = {(method, path): told for method, path, told in ours.operations()}

    def missing(self) -> list[str]:
        """Operation ids of the reference whose method and path we do not serve."""
        told = self.reference.operations()
        return [one["operationId"] for method, path, one in told if (method, path) not in self.ours_by_path]

    def differences(self) -> list[Said]:
        """All that differs in the operations both have."""
        found: list[Said] = []
        for method, path, wanted in self.reference.operations():
            told = self.ours_by_path.get((method, path))
            if told is not None:
                found += [(f"{method} {path}", said) for said in self._operation(wanted, told)]
        return found

    def _operation(self, wanted: Schema, told: Schema) -> Iterator[str]:
        if self.ids and wanted["operationId"] != told["operationId"]:
            yield f"operationId {told['operationId']}, not {wanted['operationId']}"
        have = {(one["name"], one["in"]) for one in map(self.ours.follow, told["parameters"])}
        for one in map(self.reference.follow, wanted["parameters"]):
            if (one["name"], one["in"]) not in have and one["in"] != "header":
                yield f"no parameter {one['name']} in the {one['in']}"
        yield from self._body(wanted, told)
        for status, answer in wanted["responses"].items():
            if status.startswith("2"):
                yield from self._answer(status, answer, told["responses"])

    def _body(self, wanted: Schema, told: Schema) -> Iterator[str]:
        if "requestBody" not in wanted:
            return
        if "requestBody" not in told:
            yield "no body"
            return
        theirs = self.reference.content(wanted["requestBody"]) or {}
        mine = self.ours.content(told["requestBody"]) or {}
        yield from self._schema(theirs, mine, "body", answered=False)

    def _answer(self, status: str, answer: Any, responses: Schema) -> Iterator[str]:
        if status not in responses:
            yield f"no status {status}"
            return
        theirs, mine = self.reference.content(answer), self.ours.content(responses[status])
        if theirs is None or self.reference.types(theirs) == {"string"}:
            return
        if mine is None:
            yield f"nothing answered with {status}"
        else:
            yield from self._schema(theirs, mine, "answer", answered=True)

    def _schema(
        self, theirs: Schema, mine: Schema, place: str, *, answered: bool, seen: frozenset[int] = frozenset()
    ) -> Iterator[str]:
        key = id(self.reference.follow(theirs))
        if key in seen:
            return
        seen |= {key}
        wanted, have = self.reference.types(theirs), self.ours.types(mine)
        if wanted and have and not wanted & (have | NUMBERS if have & NUMBERS else have):
            yield f"{place} is {sorted(have)}, not {sorted(wanted)}"
            return
        items = [form["items"] for form in self.reference.forms(theirs) if "items" in form]
        own_items = [form["items"] for form in self.ours.forms(mine) if "items" in form]
        if items and own_items:
            yield from self._schema(items[0], own_items[0], f"{place}[]", answered=answered, seen=seen)
        fields = self.ours.fields(mine)
        for name, schema in self.reference.fields(theirs).items():
            if name not in fields:
                yield f"{place} has no {name}"
            else:
                yield from self._schema(schema, fields[name], f"{place}.{name}", answered=answered, seen=seen)
        always, own_always = self.reference.required(theirs), self.ours.required(mine)
        if answered:
            yield from (f"{place}.{name} may be missing" for name in sorted((always - own_always) & fields.keys()))
        elif fields:
            yield from (f"{place}.{name} is required" for name in sorted(own_always - always))
