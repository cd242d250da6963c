"""Webhooks: paths of their own, for who knows a secret."""

from __future__ import annotations

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import Response

from ...operation import Operation, answer
from .. import wire
from ..trigger import Triggers, Webhook
from ..work.fire import Webhooks
from .entry import check_open


def hook_operations(triggers: Triggers, webhooks: Webhooks) -> Iterator[Operation]:
    """One for each webhook of the file. They are this server's own, and in no document."""
    for number, hook in enumerate(triggers.webhook):
        yield _operation(hook, webhooks, f"callWebhook{number}")


def _operation(hook: Webhook, webhooks: Webhooks, id_: str) -> Operation:
    async def call(request: Request) -> Response:
        check_open(request)
        headers = request.headers
        told = await webhooks.take(
            hook, headers.get(hook.signature_header), headers.get(hook.timestamp_header), await request.body()
        )
        if told.status != 200:
            return answer(wire.GraphFault(told.detail), told.status)
        return answer(wire.WebhookAccepted(True, told.key))

    return Operation("POST", hook.path, id_, f"Start {hook.graph_id}", call)
