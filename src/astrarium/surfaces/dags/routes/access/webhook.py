"""Webhooks of DAGs: managing them, and being called by strangers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from .....errors import TooMuch
from .....kernel.record.entry import Entry
from .....web.caller import credential_of
from ....gate import admit
from ....operation import answer, read_body
from ....tenancy.room import Tenancy
from ... import wire
from ...work.webhook import BODY_MAX, Webhooks, trigger
from ..entry import DAG, desk_of, enter, row
from .account import moment, tenancy_of

HOOK = DAG + "/webhook"


def webhooks_of(request: Request) -> tuple[Webhooks, Tenancy]:
    tenancy = tenancy_of(request)
    return Webhooks(desk_of(request).engine, tenancy.ring), tenancy


def shown(entry: Entry, tenancy: Tenancy) -> wire.webhook.Webhook:
    used = tenancy.identity.used_at(entry)
    return wire.webhook.Webhook(
        entry.id, entry.name, entry.body["prefix"], entry.body["enabled"], moment(entry.created_at), moment(entry.updated_at),
        created_by=entry.created_by.partition(":")[2], last_used_at=moment(used) if used else "",
    )  # fmt: skip


async def get_webhooks(request: Request) -> Response:
    _, caller = await enter(request)
    webhooks, tenancy = webhooks_of(request)
    return answer(wire.webhook.WebhookList([shown(entry, tenancy) for entry in await webhooks.all(caller)]))


async def get_webhook(request: Request) -> Response:
    _, caller = await enter(request)
    webhooks, tenancy = webhooks_of(request)
    return answer(shown(await webhooks.get(caller, request.path_params["fileName"]), tenancy))


async def create_webhook(request: Request) -> Response:
    desk, caller = await enter(request)
    webhooks, tenancy = webhooks_of(request)
    file = await desk.find(request.path_params["fileName"])
    entry, token = await webhooks.create(caller, file.stem)
    return answer(wire.webhook.NewWebhook(shown(entry, tenancy), token), 201)


async def delete_webhook(request: Request) -> Response:
    _, caller = await enter(request)
    await webhooks_of(request)[0].drop(caller, request.path_params["fileName"])
    return Response(status_code=204)


async def regenerate_webhook(request: Request) -> Response:
    _, caller = await enter(request)
    webhooks, tenancy = webhooks_of(request)
    entry, token = await webhooks.regenerate(caller, request.path_params["fileName"])
    return answer(wire.webhook.NewWebhook(shown(entry, tenancy), token))


async def toggle_webhook(request: Request) -> Response:
    _, caller = await enter(request)
    webhooks, tenancy = webhooks_of(request)
    body = await read_body(request, wire.webhook.Toggle)
    return answer(shown(await webhooks.toggle(caller, request.path_params["fileName"], body.enabled), tenancy))


async def trigger_webhook(request: Request) -> Response:
    """Open to everybody with the webhook's token; the token is looked at before the body is read."""
    webhooks, tenancy = webhooks_of(request)
    name = request.path_params["fileName"]
    caller = await webhooks.admit(name, credential_of(request.headers), tenancy.identity)
    await admit(request, caller, "runs:start", "triggerWebhook")
    declared = request.headers.get("content-length", "")
    if (declared.isdigit() and int(declared) > BODY_MAX) or len(await request.body()) > BODY_MAX:
        raise TooMuch(f"the body of a webhook may have at most {BODY_MAX:,} bytes", hint="send a reference instead of the data")
    body = await read_body(request, wire.webhook.Call, required=False)
    return answer(await trigger(desk_of(request), caller, name, body))


OPERATIONS = (
    row("GET", "/webhooks", "listWebhooks", "List all webhooks", get_webhooks, needs="admin", answer=wire.webhook.WebhookList),
    row("GET", HOOK, "getDAGWebhook", "Get the webhook of a DAG", get_webhook, needs="admin", answer=wire.webhook.Webhook),
    row("POST", HOOK, "createDAGWebhook", "Make a webhook for a DAG", create_webhook, needs="admin",
         answer=wire.webhook.NewWebhook, status=201, failures=(404, 409)),
    row("DELETE", HOOK, "deleteDAGWebhook", "Delete the webhook of a DAG", delete_webhook, needs="admin", status=204),
    row("POST", HOOK + "/regenerate", "regenerateDAGWebhookToken", "Give a webhook another token", regenerate_webhook,
         needs="admin", answer=wire.webhook.NewWebhook),
    row("POST", HOOK + "/toggle", "toggleDAGWebhook", "Switch a webhook on or off", toggle_webhook, needs="admin",
         body=wire.webhook.Toggle, answer=wire.webhook.Webhook, failures=(400, 404)),
    row("POST", "/webhooks/{fileName}", "triggerWebhook", "Enqueue a run of a DAG by its webhook's token", trigger_webhook,
         body=wire.webhook.Call, body_required=False, answer=wire.webhook.Called, failures=(400, 401, 403, 404, 409, 413)),
)  # fmt: skip
