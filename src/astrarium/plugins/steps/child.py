"""`child`: runs of another DAG, one or many side by side (Dagu 1.30: `call`, `parallel`, contract §5).

The step becomes the parent of its runs and waits. A child's id is a function of parent, step and parameters, so a retry finds
the same child again, and items that expand to equal parameters are one run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec

from ...errors import NotFound
from ...runs.ports import Child, Result, Spawn, StepFailed, TryContext
from ...spec.ids import child_run_key

MAX_ITEMS = 10_000
_SEPARATORS = ("\n", ",", ";", "|", "\t", " ")
_ITEM = re.compile(r"\$\{ITEM((?:\.[\w-]+)*)\}|\$ITEM\b")
_QUOTED = re.compile(r'(`(?:\\.|[^`\\])*`)|"((?:\\.|[^"\\])*)"', re.DOTALL)
_BARE, _INSIDE, _END = "\ue000", "\ue001", "\ue002"
_MARK = re.compile(f"(=?)([{_BARE}{_INSIDE}])([^{_END}]*){_END}")
_NOTHING = {"summary": {"total": 0, "succeeded": 0, "failed": 0}, "results": [], "outputs": []}


class Parallel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`items` is a list, or a text that expands to a JSON array or to values between newlines, else `,` `;` `|` tab blank."""

    items: str | list[str | dict[str, str]]
    max_concurrent: int = 10


class ChildParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`name` is a local document, a DAG's name or file; in `params`, `${ITEM}` and `${ITEM.key}` stand for the item."""

    name: str
    params: str = ""
    parallel: Parallel | None = None


def split_items(text: str) -> list[Any]:
    """The items a variable holds."""
    text = text.strip()
    if text.startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            return list(found)
    separator = next((each for each in _SEPARATORS if each in text), " ")
    return [part.strip() for part in text.split(separator) if part.strip()]


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def params_of(item: Any) -> str:
    """The parameters an item is when the step names none: an object gives named ones, anything else its text."""
    if isinstance(item, dict):
        return " ".join(f'{name}="{_escaped(as_text(value))}"' for name, value in item.items())
    return as_text(item)


async def expand_params(ctx: TryContext, template: str) -> str:
    """Expand a parameter text once for all items: item references become marks, and what is inserted between double
    quotes is escaped, so that a value with quotes stays one value."""
    parts: list[str] = []
    done = 0
    for match in _QUOTED.finditer(template):
        if match[1] is not None:
            continue
        parts.append(await ctx.expand(_marked(template[done : match.start()], _BARE)))
        inner = re.sub(r"\\([\"\\])", r"\1", match[2])
        parts.append(f'"{_escaped(await ctx.expand(_marked(inner, _INSIDE)))}"')
        done = match.end()
    parts.append(await ctx.expand(_marked(template[done:], _BARE)))
    return "".join(parts)


def _marked(text: str, mark: str) -> str:
    return _ITEM.sub(lambda match: f"{mark}{match[1] or ''}{_END}", text)


def insert_item(template: str, item: Any) -> str:
    """Put an item in place of its marks; a bare value after `=` is quoted if it needs to be. Items are never expanded again."""

    def put(match: re.Match[str]) -> str:
        equals, mark, path = match.groups()
        value = item
        for key in path.split(".")[1:]:
            if not isinstance(value, dict) or key not in value:
                return f"{equals}${{ITEM{path}}}"
            value = value[key]
        text = as_text(value)
        if mark == _INSIDE:
            return equals + _escaped(text)
        if equals and re.search(r'[\s"\\]', text):
            return f'{equals}"{_escaped(text)}"'
        return equals + text

    return _MARK.sub(put, template)


class ChildRun:
    """Starts the runs; the parent's outcome follows from theirs."""

    kind: ClassVar[str] = "child"
    Params: ClassVar[type[msgspec.Struct]] = ChildParams
    idempotent: ClassVar[bool] = True
    place: ClassVar[Literal["", "process", "python"]] = ""
    captures: ClassVar[bool] = False

    async def run(self, ctx: TryContext, params: ChildParams) -> Result:
        name = await ctx.expand(params.name)
        try:
            graph_hash, graph = await ctx.resolve_graph(name)
        except NotFound as error:
            raise StepFailed(f"cannot call DAG `{name}`: {error.message}") from None
        texts = await self._texts(ctx, params)
        if not texts:
            return Result(output=json.dumps(_NOTHING))
        # A later pass of a repeating step starts new runs instead of finding those of the pass before.
        step = ctx.node.name if not ctx.pass_no else f"{ctx.node.name}#{ctx.pass_no}"
        children = tuple(Child(child_run_key(ctx.run_id, step, text), graph_hash, graph.name, text) for text in texts)
        most = params.parallel.max_concurrent if params.parallel else 0
        return Result(spawn=Spawn(children, max_active=most, parallel=params.parallel is not None))

    async def _texts(self, ctx: TryContext, params: ChildParams) -> Sequence[str]:
        """The parameters of each run, equal ones once, in order."""
        if params.parallel is None:
            return [insert_item(await expand_params(ctx, params.params), "${ITEM}")]
        items = await self._items(ctx, params.parallel.items)
        if len(items) > MAX_ITEMS:
            raise StepFailed(f"`parallel` has {len(items)} items, at most {MAX_ITEMS} are allowed; split them over several steps")
        if not params.params:
            return list(dict.fromkeys(params_of(item) for item in items))
        template = await expand_params(ctx, params.params)
        return list(dict.fromkeys(insert_item(template, item) for item in items))

    async def _items(self, ctx: TryContext, items: str | list[str | dict[str, str]]) -> list[Any]:
        if isinstance(items, str):
            return split_items(await ctx.expand(items))
        expanded: list[Any] = []
        for item in items:
            if isinstance(item, str):
                expanded.append(await ctx.expand(item))
            else:
                expanded.append({name: await ctx.expand(value) for name, value in item.items()})
        return expanded


STEP = ChildRun()
