"""`astrarium tasks`: what a registry knows of tasks, and what people may do about one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import NotFound
from ..sdk.builds.plan import item_of, seen
from ..sdk.registry.api import APIRegistry, told_of
from ..sdk.task.task import Task
from .asking import Ask, Columns, asks, get, table
from .build import import_here
from .client import EnvironmentName, ProfileName, open_registry
from .option import AsJson, examples, new_app, print_json
from .screen import clock, show_values

APP = new_app()
TASK = "51e991c3-3baf-5088-b553-49bd7baeced2"
EXAMPLES = examples("astrarium tasks list --status failed", f"astrarium tasks show {TASK}", f"astrarium tasks retry {TASK}")
LIST_EXAMPLES = examples("astrarium tasks list", "astrarium tasks list --status running --limit 5 --json")
CHECK_EXAMPLES = examples(
    f"astrarium tasks check {TASK} --module pipeline", f"astrarium tasks check {TASK} --module pipeline --report"
)
TaskId = Annotated[str, typer.Argument(metavar="TASK", help="Id of the task.")]
OfBuild = Annotated[str | None, typer.Option("-b", "--build", metavar="BUILD", help="In which build; else the one that has it.")]
MOST_EVENTS = 500


def _name(task: dict[str, Any]) -> str:
    return f"{task['task_namespace']}.{task['task_name']}" if task.get("task_namespace") else str(task["task_name"])


COLUMNS: Columns = {"id": "task_id", "name": _name, "status": "status", "since": "status_at"}


@APP.callback(epilog=EXAMPLES)
def tasks() -> None:
    """Tasks, as the registry has them: list them, look at one, retry or cancel one, check whether its result is there."""


@asks(APP, "list", LIST_EXAMPLES)
def list_tasks(
    status: Annotated[
        str | None, typer.Option("--status", metavar="STATUS", help="pending, running, completed, failed …")
    ] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, max=500, help="Most tasks listed.")] = 50,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Where the last list ended.")] = None,
) -> Ask:
    """List tasks, the last changed first."""
    return Ask(get("/tasks", status=status, limit=limit, cursor=cursor), table("tasks", COLUMNS, "no tasks"))


@asks(APP, "show", examples(f"astrarium tasks show {TASK}", f"astrarium tasks show {TASK} --include-ended --events 20"))
def show(
    task: TaskId,
    include_ended: Annotated[bool, typer.Option("--include-ended", help="Executions that have ended too.")] = False,
    events: Annotated[int, typer.Option("--events", min=0, max=MOST_EVENTS, help="So many of its latest events.")] = 10,
) -> Ask:
    """Show what is known of a task.

    Its fields and status, where its result lies, who makes it, and what happened to it last.
    """

    def ask(registry: APIRegistry) -> Any:
        found = registry.call("GET", f"/tasks/{task}")
        query = {"include_ended": include_ended, "limit": 100}
        found["executions"] = registry.call("GET", f"/tasks/{task}/executions", query=query)["executions"]
        told = registry.call("GET", f"/tasks/{task}/events", query={"limit": events})["events"] if events else []
        found["artifacts"] = registry.call("GET", f"/tasks/{task}/artifacts")["artifacts"]
        return {**found, "events": told[:events]}

    return Ask(ask, _show_task)


def _show_task(found: dict[str, Any]) -> None:
    instances = found.pop("instances", [])
    lists = {name: found.pop(name) for name in ("executions", "events", "artifacts")}
    show_values(
        {**found, "fields": instances[0]["body"] if instances else None, "artifacts": [one["name"] for one in lists["artifacts"]]}
    )
    for one in lists["executions"]:
        print(
            f"execution {one['id']}: {one.get('executor') or ''} {one.get('executor_ref') or ''} {one.get('outcome') or 'live'}"
        )
    for one in lists["events"]:
        print(
            f"{clock(one['created_at'])} {one['event_type']} {(one.get('error_message') or '').strip().rpartition(chr(10))[2]}".rstrip()
        )


@asks(APP, "retry", examples(f"astrarium tasks retry {TASK}"))
def retry(task: TaskId, build: OfBuild = None) -> Ask:
    """Let a failed task be made again."""
    return _act("retry", task, build)


@asks(APP, "cancel", examples(f"astrarium tasks cancel {TASK}"))
def cancel(task: TaskId, build: OfBuild = None) -> Ask:
    """Take a running task away from who makes it.

    What they report of it later does not count.
    """
    return _act("cancel", task, build)


def _act(verb: str, task: str, build: str | None) -> Ask:
    def ask(registry: APIRegistry) -> Any:
        plan = _plan_of(registry, task, build)
        return {"task_id": task, "plan_id": plan, **registry.call("POST", f"/plans/{plan}/members/{task}/{verb}")}

    def show(found: dict[str, Any]) -> None:
        print(f"task {task} {'is now' if found.get('applied', True) else 'was already'} {found['status']}")

    return Ask(ask, show)


def _plan_of(registry: APIRegistry, task: str, build: str | None) -> str:
    """The plan in which a task is acted upon: that of the build, else of who has it, else of who had it last. Raises `NotFound`."""
    if build:
        plans = registry.call("GET", f"/builds/{build}/plans")["plans"]
        found = next((one["id"] for one in plans if one["is_active"]), plans[0]["id"] if plans else None)
    else:
        found = registry.call("GET", f"/tasks/{task}").get("claim_plan_id") or _last(registry, task)
    if found is None:
        raise NotFound(f"no plan is known that has task {task}", hint="name its build with --build")
    return str(found)


def _last(registry: APIRegistry, task: str) -> str | None:
    query = {"include_ended": True, "limit": 1}
    executions = registry.call("GET", f"/tasks/{task}/executions", query=query)["executions"]
    if executions:
        return str(executions[0]["plan_id"])
    events = registry.call("GET", f"/tasks/{task}/events", query={"limit": MOST_EVENTS})["events"]
    return next((str(one["plan_id"]) for one in events if one.get("plan_id")), None)


@APP.command(epilog=CHECK_EXAMPLES)
def check(
    task: TaskId,
    module: Annotated[
        list[str], typer.Option("-m", "--module", metavar="MODULE", help="Module that defines its class; may be repeated.")
    ],
    report: Annotated[bool, typer.Option("--report", help="Tell the registry what was found.")] = False,
    profile: ProfileName = None,
    environment: EnvironmentName = None,
    as_json: AsJson = False,
) -> int:
    """Look whether a task's result is there.

    Its own class is asked, so the module that defines it is needed. Exit code 1 if it is not there.
    """
    import_here(module, Path.cwd())
    with open_registry(profile, environment) as registry:
        found: Task[Any] = Task.from_registry(task, registry)
        known, is_there = registry.read_task(task).status, found.complete()
        if report:
            _report(registry, found, is_there)
    told = {"task_id": task, "complete": is_there, "status": known, "uri": found.target().uri, "reported": report}
    if as_json:
        print_json(told)
    else:
        print(f"{found.target().uri} is {'there' if is_there else 'not there'}; the registry says {known}")
    return 0 if is_there else 1


def _report(registry: APIRegistry, task: Task[Any], is_there: bool) -> None:
    item = item_of(seen(task, is_there), {}, expanded=False)
    registry.call("POST", f"/plans/{_plan_of(registry, str(task.id), None)}/members", {"items": [told_of(item)]})
