"""`astrarium graph`: graphs run, looked at, answered, forked, replayed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import Settings
from ..errors import Invalid
from . import graph_pack, graph_past, graph_simulate
from .graph_file import as_yaml, catalog_of, load_entry, read_mapping, read_state, value_of
from .graph_follow import drive
from .graph_place import There, find_row, open_place
from .graph_text import compile_document, reports_of, show_start
from .option import AsJson, DatabaseUrl, DataDir, examples, new_app, print_json, settings_of
from .screen import show_rows
from .source import LATEST, open_read

APP = new_app()
APP.add_typer(graph_pack.APP, name="pack")
File = Annotated[Path, typer.Argument(metavar="GRAPH", help="A graph's file, YAML or JSON.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="A run id, its beginning, a graph's id (its newest run), or `latest`.")]
Inputs = Annotated[list[str] | None, typer.Option("-i", "--input", metavar="FIELD=VALUE", help="What a state field starts with.")]
InputFile = Annotated[
    list[str] | None, typer.Option("--inputs", metavar="FILE", help="A YAML or JSON mapping of such values; FIELD=VALUE is taken, too.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Leave it to the server and return at once.")]
Grants = Annotated[
    list[str] | None,
    typer.Option("--grant", metavar="PERMISSION", help="What runs may do, e.g. tools:std:file_read; may be repeated."),
]

EXAMPLES = examples("astrarium graph run triage.yaml -i text='it burns'", "astrarium graph inspect latest")
RUN_EXAMPLES = examples(
    "astrarium graph run triage.yaml -i text='it burns'",
    "astrarium graph run agent.yaml --inputs task.json --grant 'tools:std:file_*'",
    "astrarium graph run agent.yaml --model-url http://127.0.0.1:30000/v1 --model tiny",
    "astrarium graph run triage.yaml -i text=x --json | jq .state",
)


@APP.callback(epilog=EXAMPLES)
def graph() -> None:
    """Run graphs, see what they did, answer what they ask, and try what else could have been. docs/guide/graph-examples.md has five."""


@APP.command(epilog=RUN_EXAMPLES)
def run(
    file: File,
    inputs: Inputs = None,
    input_file: InputFile = None,
    grants: Grants = None,
    model_url: Annotated[
        str | None, typer.Option("--model-url", "--lm-url", metavar="URL", help="API of the model to ask.")
    ] = None,
    model_name: Annotated[str | None, typer.Option("--model", "--lm-model", metavar="NAME", help="The model to ask.")] = None,
    non_interactive: Annotated[bool, typer.Option("--non-interactive", help="Put no questions; stop at the first.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what a run would start with, and what it may not do.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Show no steps.")] = False,
    detach: Detach = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Run a graph's file to its end, and show its steps.

    Needs no server; if one works on the data folder and offers the graph, it runs it. At a terminal the run's questions are put to you.
    Exit code 0 when it is done, 2 when it waits for an answer, 1 when it went wrong, 130 after Ctrl-C.
    """
    settings = _settings(data_dir, database_url, grants, model_url, model_name)
    entry = load_entry(file, settings)
    state = read_state(entry, inputs or [], input_file or [])
    if dry_run:
        return show_start(entry, state, settings, as_json)

    async def begin() -> int:
        async with open_place(settings, catalog_of(settings)) as place:
            there = isinstance(place, There)
            if there and (grants or model_url or model_name):
                raise Invalid("a server runs this: what runs may do and which model they ask is its setting", code="usage")
            if detach and not there:
                raise Invalid("--detach needs a running server", hint="start one with `astrarium server`", code="usage")
            begun = await place.start(entry, state)
            if detach:
                row = await find_row(place.read, begun)
                print_json({"run_id": row.alias}) if as_json else print(row.alias)
                return 0
            return await drive(place, settings, begun, quiet=quiet, as_json=as_json, ask=_asks(non_interactive, as_json))

    return asyncio.run(begin())


def _settings(
    data_dir: Path | None, database_url: str | None, grants: list[str] | None = None, model_url: str | None = None,
    model_name: str | None = None,
) -> Settings:  # fmt: skip
    more = {"graph_grants": ",".join(grants) if grants else None, "model_url": model_url, "model_name": model_name}
    return settings_of(data_dir=data_dir, database_url=database_url, **more)


def _asks(non_interactive: bool, as_json: bool) -> bool:
    return not non_interactive and not as_json and sys.stdin.isatty() and sys.stdout.isatty()


@APP.command(
    epilog=examples("astrarium graph validate triage.yaml", "astrarium graph validate *.yaml --json | jq '.files[].problems'")
)
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="GRAPH...", help="Graphs' files.")], as_json: AsJson = False
) -> int:
    """Tell everything that is wrong with graphs, without running anything.

    Each problem is a line `file:line:column: what is wrong (how to mend it)`. Exit code 0 when all of them load, else 1.
    """
    reports = reports_of(files, settings_of())
    good = all(report["valid"] for report in reports)
    if as_json:
        print_json({"valid": good, "files": reports})
        return 0 if good else 1
    for report in reports:
        if report["valid"]:
            print(
                f"{report['file']}: valid, {report['graph_id']}, {report['nodes']} nodes, graph_hash={report['graph_hash'][:12]}"
            )
        for problem in report["problems"]:
            print(problem["text"])
        for warning in report["warnings"]:
            print(f"{report['file']}: warning: {warning}")
    return 0 if good else 1


@APP.command("compile", epilog=examples("astrarium graph compile triage.yaml", "astrarium graph compile triage.yaml --json"))
def compile_(file: File, as_json: AsJson = False) -> int:
    """Print a graph in its long form, with its hash and what its runs need to be allowed."""
    settings = settings_of()
    compiled = compile_document(file, settings)
    if as_json:
        print_json({"graph_id": compiled.id, "graph_hash": compiled.hash, "permissions": compiled.permissions, "effects": compiled.effects,
                    "warnings": compiled.warnings, "governed": bool(compiled.policy.packs), "document": compiled.document})  # fmt: skip
        return 0
    print(f"# graph_hash={compiled.hash}")
    if compiled.permissions:
        print(f"# permissions={', '.join(compiled.permissions)}")
    print(as_yaml(compiled.document), end="")
    return 0


@APP.command("list", epilog=examples("astrarium graph list", "astrarium graph list --json"))
def list_(as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """List the graphs a server on this data folder offers, and files of its folder that do not load."""
    catalog = catalog_of(settings_of(data_dir=data_dir))
    catalog.open()
    found = [
        {"graph_id": one.id, "graph_hash": one.hash, "node_count": one.nodes, "file": str(one.file)}
        for _, one in sorted(catalog.entries.items())
    ]
    if as_json:
        print_json({"graphs": found, "problems": {file: list(map(str, wrong)) for file, wrong in catalog.problems.items()}})
        return 0
    rows = [(one["graph_id"], str(one["graph_hash"])[:12], one["node_count"], one["file"]) for one in found]
    show_rows(("graph", "hash", "nodes", "file"), rows, f"no graphs in {catalog.folder}")
    for file, wrong in catalog.problems.items():
        print(f"astrarium: {file} does not load: {wrong[0]}", file=sys.stderr)
    return 0


@APP.command(
    epilog=examples("astrarium graph runs", "astrarium graph runs --status awaiting-input", "astrarium graph runs --json")
)
def runs(
    status: Annotated[str, typer.Option("--status", metavar="STATUS", help="Only these, separated by commas.")] = "",
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=1000, help="At most so many, newest first.")] = 20,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """List runs of graphs, newest first."""
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    found = asyncio.run(graph_past.list_runs(settings, status, limit))
    if as_json:
        print_json({"items": found})
        return 0
    rows = [(one["run_id"], one["graph_id"], one["status"], one["started_at"], one["duration_ms"]) for one in found]
    show_rows(("run", "graph", "status", "started", "ms"), rows, "no runs of graphs")
    return 0


@APP.command(
    epilog=examples(
        "astrarium graph inspect latest", "astrarium graph inspect triage --step 2", "astrarium graph inspect latest --diff 1 3"
    )
)
def inspect(
    reference: Run = LATEST,
    step: Annotated[int | None, typer.Option("--step", metavar="N", help="Print the state after this step.")] = None,
    diff: Annotated[
        tuple[int, int] | None, typer.Option("--diff", metavar="N M", help="Print what changed between two steps.")
    ] = None,
    events: Annotated[bool, typer.Option("--events", help="Print the run's log, a JSON object a line.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Show what a run did: each step, what was decided after it and by which rule, and what it changed."""
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    return asyncio.run(graph_past.inspect(settings, reference, step, diff, events, as_json))


@APP.command("diff", epilog=examples("astrarium graph diff RUN OTHER", "astrarium graph diff RUN OTHER --json"))
def diff_(
    reference: Run,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The run to compare with.")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Show how two runs differ: the way they took, their states step by step, their ends. Exit code 0 also when they do."""
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    return asyncio.run(graph_past.diff(settings, reference, other, as_json))


@APP.command(
    epilog=examples(
        "astrarium graph respond latest -r decision=approve",
        "astrarium graph respond 01ab --response answer.json --actor anna",
    )
)
def respond(
    reference: Run,
    words: Annotated[list[str] | None, typer.Option("-r", "--reply", metavar="KEY=VALUE", help="A key of the answer.")] = None,
    file: Annotated[Path | None, typer.Option("--response", metavar="FILE", help="The whole answer, a mapping.")] = None,
    actor: Annotated[str, typer.Option("--actor", metavar="NAME", help="Who answers, where nobody signs in.")] = "",
    detach: Annotated[bool, typer.Option("--detach", help="Answer, and do not follow the run.")] = False,
    grants: Grants = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Answer what a run asks, and follow it on. Exit codes as of `graph run`."""
    settings = _settings(data_dir, database_url, grants)
    response = read_mapping(file) if file is not None else {}
    for word in words or []:
        key, equals, text = word.partition("=")
        if not equals:
            raise Invalid(f"`{word}` is no KEY=VALUE", hint="write -r decision=approve", code="usage")
        response[key] = value_of(text, None)
    if not response:
        raise Invalid("the answer is empty", hint="give it with -r KEY=VALUE or --response FILE", code="usage")
    body = {"response": response, **({"actor": actor} if actor else {})}
    return _order(settings, reference, "respond", body, detach, as_json)


@APP.command(epilog=examples("astrarium graph cancel latest", "astrarium graph cancel RUN --grace 0"))
def cancel(
    reference: Run,
    grace: Annotated[float | None, typer.Option("--grace", metavar="SECONDS", help="End the running step after so long.")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Cancel a run at its next step boundary, or when the grace is over."""
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    return _order(settings, reference, "cancel", {} if grace is None else {"grace_seconds": grace}, True, as_json)


@APP.command(epilog=examples("astrarium graph pause latest"))
def pause(reference: Run, as_json: AsJson = False, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> int:
    """Let a run rest after its present step."""
    return _order(settings_of(data_dir=data_dir, database_url=database_url), reference, "pause", {}, True, as_json)


@APP.command(epilog=examples("astrarium graph resume latest", "astrarium graph resume RUN --from-step 3"))
def resume(
    reference: Run,
    from_step: Annotated[int | None, typer.Option("--from-step", metavar="N", help="Go on after this step.")] = None,
    detach: Detach = False,
    grants: Grants = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Go on with a run that rests, failed or was cancelled. Exit codes as of `graph run`."""
    settings = _settings(data_dir, database_url, grants)
    return _order(settings, reference, "resume", {} if from_step is None else {"from_step": from_step}, detach, as_json)


def _order(settings: Settings, reference: str, what: str, body: dict[str, Any], detach: bool, as_json: bool) -> int:
    """Give an order to a run, and follow it unless that is not wanted."""

    async def give() -> int:
        async with open_read(settings) as read:
            row = await find_row(read, reference)
        async with open_place(settings, idle=detach) as place:
            told = await place.order(what, row, body)
            if not detach:
                return await drive(place, settings, row.id, quiet=False, as_json=as_json, ask=_asks(False, as_json))
        print_json(told) if as_json else print(f"run_id={row.alias} status={told['status']}")
        return 0

    return asyncio.run(give())


@APP.command(
    epilog=examples(
        "astrarium graph counterfactual latest --step 1 --set verdict='\"low\"'",
        'astrarium graph counterfactual RUN --step 2 --answer 2=\'{"decision": "refuse"}\'',
        "astrarium graph counterfactual RUN --step 1 --mutate what-if.yaml --reason 'a cheaper model'",
    )
)
def counterfactual(
    reference: Run,
    step: Annotated[
        str, typer.Option("--step", metavar="N", help="The step after which something is different; or a node: its newest visit.")
    ],
    sets: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=JSON", help="Another value of a field.")] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output", metavar="NODE=JSON", help="What a node shall have given; it does not run.")
    ] = None,
    answers: Annotated[
        list[str] | None, typer.Option("--answer", metavar="STEP=JSON", help="Another answer to a question.")
    ] = None,
    mutate: Annotated[Path | None, typer.Option("--mutate", metavar="FILE", help="The whole mutation.")] = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; shown with the run.")] = "",
    live: Annotated[bool, typer.Option("--live-side-effects", help="Let tools change the world again.")] = False,
    grants: Grants = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Fork a run at a step with something different, run the fork, and show how it differs. The run itself stays as it is.

    Exit code 0 when the fork is done, 2 when it waits for an answer, 1 when it went wrong.
    """
    settings = _settings(data_dir, database_url, grants)
    mutation = graph_past.read_mutation(mutate, sets or [], outputs or [], answers or [])
    body = {"step": int(step) if step.isdecimal() else step, "mutation": mutation, "reason": reason, "live_side_effects": live}
    return asyncio.run(graph_past.counterfactual(settings, reference, body, as_json))


@APP.command(epilog=examples("astrarium graph replay latest", "astrarium graph replay RUN --graph changed.yaml"))
def replay(
    reference: Run = LATEST,
    file: Annotated[
        Path | None, typer.Option("--graph", metavar="FILE", help="Under these rules instead of the run's own.")
    ] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
) -> int:
    """Ask the rules again with what the run's steps gave, and execute nothing: would it go the same way?

    Exit code 0 when it would, 1 at the first difference, which is shown.
    """
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    return asyncio.run(graph_past.replay(settings, reference, file, as_json))


@APP.command(epilog=examples("astrarium graph verify latest", "astrarium graph verify RUN --json"))
def verify(reference: Run = LATEST, as_json: AsJson = False, data_dir: DataDir = None, database_url: DatabaseUrl = None) -> int:
    """Check a run: its graph has the hash it began with, its log leads to its state, its rules decide alike, its artifacts are whole.

    Exit code 0 when all of it holds, else 1. `astrarium audit verify` checks the log of acts.
    """
    settings = settings_of(data_dir=data_dir, database_url=database_url)
    return asyncio.run(graph_past.verify(settings, reference, as_json))


@APP.command(epilog=examples("astrarium graph simulate triage.yaml --fixtures fixtures.yaml -i text=x"))
def simulate(
    file: File,
    fixtures: Annotated[Path, typer.Option("--fixtures", metavar="FILE", help="What each node gives, and answers.")],
    inputs: Inputs = None,
    input_file: InputFile = None,
    as_json: AsJson = False,
) -> int:
    """Run a graph with what its nodes shall give instead of the nodes: its rules are really asked, nothing else happens.

    Fixtures map a node to what it writes (a mapping), to a list of such for its visits one after the other, or to `{fail: message}`;
    a question's is its answer. Exit code 0 when it is done, 1 when it went wrong or waits.
    """
    settings = settings_of()
    entry = load_entry(file, settings)
    state = read_state(entry, inputs or [], input_file or [])
    return asyncio.run(graph_simulate.simulate(entry, state, read_mapping(fixtures), as_json))
