"""Builds, deployments and settings."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ....operation import Query, answer, read_body
from ...machines.build import STATUSES, Outcome
from .. import wire, wire_task
from ..views.build import Wanted, list_builds, list_events
from ..views.deployment import list_deployments, read_deployment, read_settings
from ..views.task import list_build_executions
from .entry import (
    BUILD,
    CURSOR,
    INCLUDE_ENDED,
    LIMIT,
    MOST,
    READ,
    WRITE,
    enter,
    flag,
    outlook_of,
    row,
    status_of,
    text_of,
    uuid_of,
    whole,
)

LISTED, DEPLOYMENTS_LISTED = 100, 100
IDLE_LEAST_S = 60
YEARS_S = 1_000_000_000
STATUS = Query("status", "Only builds of this status.", choices=STATUSES)
APP = Query("reactive_app_name", "Only builds this app schedules.")
IDLE = Query("idle_for_seconds", "Only builds nothing happened in for so long, at least 60.", "integer")
STRAYS = Query("not_in_current_plan", "Only those of plans that are not the active one.", "boolean")
KIND = Query("kind", "Only of this kind.")
NAME = Query("app_name", "Only of this app.")
CURRENT = Query("current", "Only current ones.", "boolean")


async def register_deployment(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.register_deployment(caller, await read_body(request, wire.NewDeployment)))


async def activate_deployment(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = uuid_of(request, "deployment_id")
    body = await read_body(request, wire.DeploymentActivation, required=False)
    return answer(await desk.activate_deployment(caller, id_, body))


async def get_deployments(request: Request) -> Response:
    desk, caller = await enter(request)
    kind, app = text_of(request, KIND.name) or "", text_of(request, NAME.name) or ""
    limit = whole(request, LIMIT.name, DEPLOYMENTS_LISTED, MOST)
    found = await list_deployments(desk.store, caller.scope, kind, app, flag(request, CURRENT.name), limit)
    return answer(wire.BuildDeployments(found))


async def get_deployment(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await read_deployment(desk.store, caller.scope, uuid_of(request, "deployment_id")))


async def get_settings(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await read_settings(desk.store, caller.scope, request.path_params["settings_hash"]))


async def create_build(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.create_build(caller, await read_body(request, wire.NewPlannedBuild)))


async def get_builds(request: Request) -> Response:
    desk, caller = await enter(request)
    idle_s = whole(request, IDLE.name, 0, YEARS_S, IDLE_LEAST_S)
    before = desk.engine.clock.now() - idle_s * 1_000_000 if idle_s else 0
    wanted = Wanted(
        status_of(request, STATUSES), text_of(request, APP.name) or "", before, whole(request, LIMIT.name, LISTED, MOST),
        text_of(request, CURSOR.name) or "",
    )  # fmt: skip
    return answer(await list_builds(desk.store, caller.scope, wanted))


async def get_build(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.show_build(caller, uuid_of(request, "build_id")))


async def resume_build(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.BuildResumption, required=False)
    return answer(await desk.resume_build(caller, uuid_of(request, "build_id"), body))


async def complete_build(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.BuildCompletion, required=False)
    return answer(await desk.complete_build(caller, uuid_of(request, "build_id"), body.force))


async def fail_build(request: Request) -> Response:
    desk, caller = await enter(request)
    body = await read_body(request, wire.BuildFailure, required=False)
    return answer(await desk.end_build(caller, uuid_of(request, "build_id"), "failed", body.error_message))


def _ended(outcome: Outcome) -> Any:
    async def end_build(request: Request) -> Response:
        desk, caller = await enter(request)
        return answer(await desk.end_build(caller, uuid_of(request, "build_id"), outcome))

    return end_build


async def delete_build(request: Request) -> Response:
    desk, caller = await enter(request)
    await desk.delete_build(caller, uuid_of(request, "build_id"))
    return Response(status_code=204)


async def get_frontier(request: Request) -> Response:
    desk, caller = await enter(request)
    return answer(await desk.frontier(caller, uuid_of(request, "build_id")))


async def skip_blocked(request: Request) -> Response:
    _, caller = await enter(request)
    return answer(await outlook_of(request).skip_blocked(caller, uuid_of(request, "build_id")))


async def get_executions(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = uuid_of(request, "build_id")
    await desk.build(caller, id_)
    strays, ended = flag(request, STRAYS.name), flag(request, INCLUDE_ENDED.name)
    found = await list_build_executions(desk.store, id_, strays, ended, whole(request, LIMIT.name, 10_000, 10_000))
    return answer(wire_task.BuildExecutions(id_, found))


async def get_events(request: Request) -> Response:
    desk, caller = await enter(request)
    id_ = uuid_of(request, "build_id")
    await desk.build(caller, id_)
    return answer(wire_task.PlanEvents(await list_events(desk.store, caller.scope, id_, whole(request, LIMIT.name, MOST, MOST))))


OPERATIONS = (
    row("POST", "/deployments", "registerDeployment", "Register a deployment, or find the one of a code id", register_deployment, WRITE,
        409, body=wire.NewDeployment, answer=wire.RegisteredDeployment),
    row("GET", "/deployments", "listBuildDeployments", "List deployments, the newest first", get_deployments, READ,
        query=(KIND, NAME, CURRENT, LIMIT), answer=wire.BuildDeployments),
    row("GET", "/deployments/{deployment_id}", "getBuildDeployment", "Get a deployment", get_deployment, READ,
        answer=wire.BuildDeployment),
    row("POST", "/deployments/{deployment_id}/activate", "activateDeployment", "Say that a deployment can be used", activate_deployment,
        WRITE, body=wire.DeploymentActivation, body_required=False, answer=wire.BuildDeployment),
    row("GET", "/settings/{settings_hash}", "getBuildSettings", "Get settings by their hash", get_settings, READ,
        answer=wire.BuildSettings),
    row("POST", "/builds", "createPlannedBuild", "Start a build; one of a known id is returned as it is", create_build, WRITE, 409,
        body=wire.NewPlannedBuild, answer=wire.PlannedBuild),
    row("GET", "/builds", "listPlannedBuilds", "List builds, the last active ones first", get_builds, READ,
        query=(STATUS, APP, IDLE, LIMIT, CURSOR), answer=wire.PlannedBuilds),
    row("GET", BUILD, "getPlannedBuild", "Get a build", get_build, READ, answer=wire.PlannedBuild),
    row("DELETE", BUILD, "deletePlannedBuild", "Delete a build that has ended", delete_build, WRITE, 409, status=204),
    row("POST", BUILD + "/resume", "resumePlannedBuild", "Let a build run again", resume_build, WRITE, 409, body=wire.BuildResumption,
        body_required=False, answer=wire.ResumedBuild),
    row("POST", BUILD + "/complete", "completePlannedBuild", "Say that a build is done", complete_build, WRITE, 409,
        body=wire.BuildCompletion, body_required=False, answer=wire.PlannedBuild),
    row("POST", BUILD + "/fail", "failPlannedBuild", "Say that a build failed", fail_build, WRITE, 409, body=wire.BuildFailure,
        body_required=False, answer=wire.PlannedBuild),
    row("POST", BUILD + "/cancel", "cancelPlannedBuild", "Cancel a build", _ended("cancelled"), WRITE, 409, answer=wire.PlannedBuild),
    row("POST", BUILD + "/exit-early", "exitPlannedBuildEarly", "Say that a build's driver left it to others", _ended("exit_early"),
        WRITE, 409, answer=wire.PlannedBuild),
    row("GET", BUILD + "/frontier", "getBuildFrontier", "What a build can do next", get_frontier, READ, answer=wire.BuildFrontier),
    row("POST", BUILD + "/skip-blocked", "skipBlockedTasks", "Skip what needs a task that failed", skip_blocked, WRITE,
        answer=wire.SkippedTasks),
    row("GET", BUILD + "/executions", "listBuildExecutions", "List the executions of a build, the newest first", get_executions, READ,
        query=(STRAYS, INCLUDE_ENDED, LIMIT), answer=wire_task.BuildExecutions),
    row("GET", BUILD + "/events", "listPlannedBuildEvents", "List what happened in a build, the oldest first", get_events, READ,
        query=(LIMIT,), answer=wire_task.PlanEvents),
)  # fmt: skip
