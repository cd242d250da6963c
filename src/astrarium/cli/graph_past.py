"""What was: runs of graphs listed, looked at, compared, forked, replayed and checked."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..config import Settings
from ..errors import AstrariumError, Invalid
from ..kernel.engine import Engine
from ..kernel.record.artifact import RUN, list_artifacts
from ..runs.past.read import Checkpoint, checkpoints
from ..runs.past.replay import Replayed, replay_run
from ..runs.past.seek import state_at
from ..runs.state import Definition
from ..spec.graph import encode_graph, graph_hash
from ..store.blob.artifact import open_artifacts
from ..surfaces.graphs.views.checkpoint import compare, shown
from ..surfaces.graphs.views.query import SURFACE, RunRow, run_rows
from ..surfaces.graphs.views.run import RunViews
from ..surfaces.graphs.views.status import parse_statuses, with_statuses
from .graph_file import load_entry, read_mapping
from .graph_follow import Teller, code_of, conclude, engine_of, settled
from .graph_place import find_row, open_place, open_reading, summary_of
from .graph_show import say, show_changes, show_difference, show_head, show_prompt, show_timeline
from .option import pair_of, print_json

SUCH = (f"surface = '{SURFACE}' AND parent_run = ''", list[Any]())


async def list_runs(settings: Settings, status: str, limit: int) -> list[dict[str, Any]]:
    async with open_reading(settings) as engine:
        where = [SUCH, *([with_statuses(parse_statuses(status))] if status else [])]
        rows = await run_rows(engine.store, where, limit, 0)
        found: list[dict[str, Any]] = msgspec.to_builtins(await RunViews(engine).summaries(rows))
        return found


async def inspect(
    settings: Settings, reference: str, step: int | None, pair: tuple[int, int] | None, events: bool, as_json: bool
) -> int:
    async with open_reading(settings) as engine:
        row = await find_row(engine.store.read, reference)
        if events:
            return await _print_events(engine, row)
        if step is not None:
            print_json((await state_at(engine, row.id, row.scope, step)).state)
            return 0
        if pair is not None:
            before, after = [(await state_at(engine, row.id, row.scope, place)).state for place in pair]
            return _print_pair(before, after, as_json)
        graph, found = await _steps(engine, row)
        summary = await summary_of(engine, row.id)
        if as_json:
            print_json({**summary, "steps": [shown(one, row, graph, summary["parent_run_id"]) for one in found]})
            return 0
        show_head(summary)
        show_timeline(found, [node.name for node in graph.nodes], row.began_at)
        if summary.get("awaiting"):
            show_prompt(summary["awaiting"], summary["run_id"])
        return 0


async def _steps(engine: Engine, row: RunRow) -> tuple[Any, list[Checkpoint]]:
    graph = (await engine.things.fetch([row.graph]))[row.graph].graph
    return graph, await checkpoints(engine, row.id, row.scope)


async def _print_events(engine: Engine, row: RunRow) -> int:
    seq = 0
    while page := await engine.tail.read_stream(f"run:{row.id}", seq):
        for event in page:
            seq = event.seq
            told = {"seq": event.seq, "at": event.at, "type": type(event.body).__name__, "event": event.body}
            sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    return 0


def _print_pair(before: dict[str, Any], after: dict[str, Any], as_json: bool) -> int:
    if as_json:
        print_json({"before": before, "after": after})
    elif before == after:
        say("no difference")
    else:
        show_changes(before, after)
    return 0


async def diff(settings: Settings, reference: str, other: str, as_json: bool) -> int:
    async with open_reading(settings) as engine:
        rows = [await find_row(engine.store.read, one) for one in (reference, other)]
        found = msgspec.to_builtins(await compare(engine, settings.data_dir / "logs", rows[0], rows[1]))
    print_json(found) if as_json else show_difference(found)
    return 0


# -- forks ---------------------------------------------------------------------------------------------------------------


def read_mutation(file: Path | None, sets: Sequence[str], outputs: Sequence[str], answers: Sequence[str]) -> dict[str, Any]:
    """The mutation a command line describes. Raises `Invalid`."""
    mutation = read_mapping(file) if file is not None else {}
    for key, words in (("state_overrides", sets), ("node_output_overrides", outputs), ("respond_payloads", answers)):
        for word in words:
            name, text = pair_of(word, "NAME=JSON")
            try:
                value = msgspec.json.decode(text)
            except msgspec.DecodeError:
                if key != "state_overrides":
                    raise Invalid(f"`{text}` is no JSON", hint=f'write {name}=\'{{"key": "value"}}\'', code="usage") from None
                value = text
            mutation.setdefault(key, {})[name] = value
    return mutation


async def counterfactual(settings: Settings, reference: str, body: dict[str, Any], as_json: bool) -> int:
    async with open_place(settings) as place:
        row = await find_row(place.read, reference)
        made = await place.order("counterfactual", row, body)
        run = (await find_row(place.read, made["run_id"])).id
        teller = Teller(as_json)
        if not as_json:
            print(f"cf_run_id={made['run_id']} derived_graph_hash={made['derived_hash']}")
        fork = await settled(place, run, teller)
        engine = engine_of(place, settings)
        summary = await summary_of(engine, run)
        found = msgspec.to_builtins(await compare(engine, settings.data_dir / "logs", row, fork))
    if as_json:
        print_json({**summary, "diff": found})
    else:
        conclude(summary, False)
        show_difference(found)
    return code_of(str(summary["status"]))


# -- replay and checks -----------------------------------------------------------------------------------------------------


async def replay(settings: Settings, reference: str, file: Path | None, as_json: bool) -> int:
    definition = Definition(load_entry(file, settings).graph) if file is not None else None
    async with open_reading(settings) as engine:
        row = await find_row(engine.store.read, reference)
        known = (await engine.things.fetch([row.graph]))[row.graph]
        if definition is not None:
            _check_same_nodes(known, definition)
        told = await replay_run(engine, row.id, row.scope, definition)
    names = [node.name for node in (definition or known).graph.nodes]
    if as_json:
        print_json({"run_id": row.alias, "steps": told.steps, "same": told.difference is None, "difference": told.difference})
    elif told.difference is None:
        say(f"{row.alias}: {told.steps} steps replayed, ", ("the same moves follow", "green"))
    else:
        _show_parting(told, names)
    return 0 if told.difference is None else 1


def _check_same_nodes(one: Definition, other: Definition) -> None:
    names = [[node.name for node in known.graph.nodes] for known in (one, other)]
    if names[0] != names[1]:
        hint = f"the run's nodes are {', '.join(names[0])}"
        raise Invalid("the graph has other nodes than the run's: their outputs are not known", hint=hint, code="usage")


def _show_parting(told: Replayed, names: Sequence[str]) -> None:
    found = told.difference
    assert found is not None
    after = f"after step {found.place} ({found.node})" if found.place >= 0 else "at the beginning"
    say(("another way ", "yellow"), f"{after}, after {told.steps} steps alike")
    for label, moves in (("recorded", found.recorded), ("now", found.now)):
        say(f"  {label}: {'; '.join(_shown_move(move, names) for move in moves) or 'nothing'}")


def _shown_move(move: Any, names: Sequence[str]) -> str:
    kind = type(move).__name__.lower()
    node = getattr(move, "node", None)
    if kind == "chose":
        to = f" {names[move.target]}" if move.target >= 0 else ""
        return f"{move.kind}{to}" + (f" by {move.rule}" if move.rule else "")
    if kind == "close":
        return f"end {move.outcome}" + (f" ({move.reason})" if move.reason else "")
    return f"{kind} {names[node]}" if isinstance(node, int) and 0 <= node < len(names) else kind


async def verify(settings: Settings, reference: str, as_json: bool) -> int:
    async with open_reading(settings) as engine:
        row = await find_row(engine.store.read, reference)
        found = [await _checked(name, check, engine, row, settings) for name, check in CHECKS]
    good = all(not wrong for _, wrong in found)
    if as_json:
        print_json(
            {
                "run_id": row.alias,
                "ok": good,
                "checks": [{"check": name, "ok": not wrong, "error": wrong} for name, wrong in found],
            }
        )
    else:
        for name, wrong in found:
            say((f"{'✗' if wrong else '✓'} ", "bold red" if wrong else "green"), name, f": {wrong}" if wrong else "")
    return 0 if good else 1


async def _checked(name: str, check: Any, engine: Engine, row: RunRow, settings: Settings) -> tuple[str, str]:
    """(what was checked, what is wrong with it)."""
    try:
        return name, await check(engine, row, settings)
    except AstrariumError as error:
        return name, error.message


async def _graph_is_the_same(engine: Engine, row: RunRow, settings: Settings) -> str:
    graph = (await engine.things.fetch([row.graph]))[row.graph].graph
    made = graph_hash(encode_graph(graph))
    return "" if made == row.graph else f"it has the hash {made}, and the run began with {row.graph}"


async def _decides_alike(engine: Engine, row: RunRow, settings: Settings) -> str:
    told = await replay_run(engine, row.id, row.scope)
    found = told.difference
    return f"another way after step {found.place} ({found.node})" if found is not None else ""


async def _leads_to_its_state(engine: Engine, row: RunRow, settings: Settings) -> str:
    told = await replay_run(engine, row.id, row.scope)
    state = await engine.state(f"run:{row.id}", row.scope)
    if state is None or told.difference is not None:
        return "it cannot be told, since the decisions differ"
    same = told.state == state.document and told.outcome == (state.outcome or "") == row.outcome
    return "" if same else "state or outcome are not what the log says"


async def _artifacts_are_whole(engine: Engine, row: RunRow, settings: Settings) -> str:
    artifacts = open_artifacts(settings)
    for one in await list_artifacts(engine.store, row.workspace, RUN, row.id):
        digest = hashlib.sha256()
        async with artifacts.open(one.sha256) as chunks:
            async for chunk in chunks:
                digest.update(chunk)
        if digest.hexdigest() != one.sha256:
            return f"{one.name} ({one.id}) has other bytes than were written"
    return ""


CHECKS = (
    ("the graph is the one the run began with", _graph_is_the_same),
    ("the rules decide alike", _decides_alike),
    ("the log leads to the run's state", _leads_to_its_state),
    ("the artifacts are whole", _artifacts_are_whole),
)
