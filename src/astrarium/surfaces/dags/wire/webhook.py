"""Webhooks of DAGs as the DAG API shows them."""

from __future__ import annotations

from typing import Any

from .shape import Ask, Wire


class Webhook(Wire):
    id: str
    dag_name: str
    token_prefix: str
    enabled: bool
    created_at: str
    updated_at: str
    created_by: str = ""
    last_used_at: str = ""


class WebhookList(Wire):
    webhooks: list[Webhook]


class NewWebhook(Wire):
    """`token` is told once."""

    webhook: Webhook
    token: str


class Toggle(Ask):
    enabled: bool


class Call(Ask):
    """What a caller of a webhook may send; without a `payload` the run is given `{}`."""

    dag_run_id: str | None = None
    payload: dict[str, Any] | None = None


class Called(Wire):
    dag_run_id: str
    dag_name: str
