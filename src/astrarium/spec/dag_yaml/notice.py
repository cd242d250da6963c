"""Who is told of a run: `mailOn` with its addresses, steps' `mailOnError`, and the webhooks under `notify`.

Dagu 1.30: a mail goes out when `mailOn` asks for it and the address book of that event names somebody; `mailOn.failure` uses
`errorMail`, `success` uses `infoMail`, `wait` uses `waitMail`, a step's `mailOnError` uses `errorMail`. `notify` is ours.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from ..graph import Notice, NoticeOn
from .fields import Fields, known, scalar_text

_NOTIFY = known("webhook", "on", "headers", "template", "secret")
_BOOKS: dict[str, tuple[NoticeOn, str]] = {
    "failure": ("failure", "errorMail"), "success": ("success", "infoMail"), "wait": ("wait", "waitMail"),
}  # fmt: skip
EVENTS: tuple[NoticeOn, ...] = get_args(NoticeOn)
DEFAULT_ON: tuple[NoticeOn, ...] = ("failure",)


def read_notices(fields: Fields, kept: dict[str, Any], failing: Iterable[str]) -> tuple[Notice, ...]:
    """All notices of a DAG. `kept` are its root fields for mail, `failing` the names of the steps with `mailOnError`."""
    wanted = kept.get("mailOn") or {}
    found = [
        mail(kept, book, on=(on,)) for key, (on, book) in _BOOKS.items() if wanted.get(key) is True and _to(kept.get(book) or {})
    ]
    steps = tuple(failing)
    if steps and _to(kept.get("errorMail") or {}):
        found.append(mail(kept, "errorMail", steps=steps))
    return (*found, *_webhooks(fields))


def mail(kept: dict[str, Any], book: str, **when: Any) -> Notice:
    addresses = kept[book]
    prefix = str(addresses.get("prefix") or "").strip()
    params: dict[str, Any] = {
        "smtp": {name: str(value) for name, value in (kept.get("smtp") or {}).items() if value is not None},
        "from": str(addresses.get("from") or ""),
        "to": _to(addresses),
        "subject": f"{prefix} ${{NOTICE_SUBJECT}}" if prefix else "${NOTICE_SUBJECT}",
        "html": "${NOTICE_HTML}",
        "text": "${NOTICE_TEXT}",
    }
    return Notice("mail", params=params, attach_logs=addresses.get("attachLogs") is True, **when)


def _to(addresses: dict[str, Any]) -> list[str]:
    to = addresses.get("to")
    return [str(one).strip() for one in (to if isinstance(to, list) else [to]) if one and str(one).strip()]


def _webhooks(fields: Fields) -> list[Notice]:
    node = fields.get("notify")
    if node is None:
        return []
    if node.kind not in ("list", "map"):
        fields.wrong("notify", "a list of {webhook, on, headers, secret, template}")
        return []
    found = []
    for place, item in enumerate(node.items if node.kind == "list" else [node]):
        rule = Fields(item, f"notify[{place}]", fields.report, _NOTIFY)
        found.append(_webhook(rule))
    return found


def _webhook(rule: Fields) -> Notice:
    url = rule.text("webhook").strip()
    if not url or not url.startswith(("http://", "https://", "$")):
        rule.wrong("webhook", "an address that begins with http:// or https://, or a variable with one")
    on = rule.texts("on") or DEFAULT_ON
    for word in on:
        if word not in EVENTS:
            rule.wrong("on", f"among {', '.join(EVENTS)}, not `{word}`{rule.report.suggest(word, EVENTS)}")
    headers = rule.sub("headers", None)
    params: dict[str, Any] = {"url": url, "event": "${NOTICE_EVENT}"}
    if headers is not None:
        given = {name: node for name, node in headers.entries.items() if node.kind == "scalar"}
        if len(given) != len(headers.entries):
            rule.wrong("headers", "a map of texts")
        params["headers"] = {name: scalar_text(node) for name, node in given.items()}
    if rule.has("secret"):
        params["secret"] = rule.text("secret")
    if rule.has("template"):
        params["template"] = rule.plain("template")
    else:
        params["body"] = "${NOTICE_BODY}"
    return Notice("webhook", on=tuple(word for word in EVENTS if word in on), params=params)
