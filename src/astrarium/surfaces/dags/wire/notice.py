"""Deliveries of notices as the API shows them. An addition of ours: Dagu 1.30 keeps no log of them."""

from __future__ import annotations

from .shape import Pagination, Wire


class Attempt(Wire):
    """One try of a delivery."""

    number: int
    started_at: str
    finished_at: str = ""
    error: str = ""


class Notification(Wire):
    """`status`: delivered, failed, or open while there are tries left. `to` names addresses, or the host of a webhook."""

    id: str
    status: str
    kind: str
    event: str
    dag_name: str
    dag_run_id: str
    to: str
    created_at: str
    tries: int
    step: str = ""
    error: str = ""
    next_try_at: str = ""
    finished_at: str = ""


class NotificationDetails(Notification, kw_only=True):
    attempts: list[Attempt]


class NotificationList(Wire):
    notifications: list[Notification]
    pagination: Pagination


class NotificationAnswer(Wire):
    notification: NotificationDetails
