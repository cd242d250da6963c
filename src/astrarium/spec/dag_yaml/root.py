"""The fields of a DAG itself: schedule, tags, preparation of a run, limits, and what is only kept for views and mail."""

from __future__ import annotations

import re
from typing import Any

from ..cron import BadCron, parse_cron
from ..graph import Prepare
from ..source import YamlNode
from .fields import Fields, known, scalar_text
from .flow import read_conditions, read_env
from .kind import LLM, SSH, read_container
from .step import MAX_NAME, read_selector

ROOT = known(
    "name", "group", "description", "tags", "type", "steps", "schedule", "skipIfSuccessful", "params", "env", "dotenv",
    "workingDir", "shell", "preconditions", "handlerOn", "maxActiveRuns", "maxActiveSteps", "queue", "delaySec",
    "timeoutSec", "restartWaitSec", "maxCleanUpTimeSec", "histRetentionDays", "logDir", "logOutput", "maxOutputSize",
    "mailOn", "smtp", "errorMail", "infoMail", "waitMail", "runConfig", "secrets", "container", "ssh", "registryAuths",
    "llm", "otel", "workerSelector", precondition="preconditions",
)  # fmt: skip
_SCHEDULE = known("start", "stop", "restart")
_SECRET = known("name", "provider", "key", "options")
_MAIL_ON = known("failure", "success", "wait")
_MAIL = known("from", "to", "prefix", "attachLogs")
_OBJECTS = {
    "smtp": known("host", "port", "username", "password"),
    "mailOn": _MAIL_ON,
    "errorMail": _MAIL,
    "infoMail": _MAIL,
    "waitMail": _MAIL,
    "runConfig": known("disableParamEdit", "disableRunIdEdit"),
    "otel": known("enabled", "endpoint", "headers", "insecure", "timeout", "resource"),
    "ssh": SSH,
    "llm": LLM,
}
_DAG_NAME = re.compile(r"[A-Za-z0-9_.-]+\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def read_name(fields: Fields, default: str) -> str:
    name = fields.text("name").strip() or default
    node = fields.entries.get("name", fields.node)
    if not _DAG_NAME.match(name):
        fields.report.add(f"the DAG name `{name}` may hold letters, digits, `_`, `.` and `-` only", node, "name")
    if len(name) > MAX_NAME:
        fields.report.add(f"the DAG name `{name}` is longer than {MAX_NAME} characters", node, "name")
    return name


def read_tags(fields: Fields) -> tuple[str, ...]:
    """A comma text or a list; kept in lower case, each once."""
    words = [word.strip().lower() for text in fields.texts("tags") for word in text.split(",")]
    return tuple(dict.fromkeys(word for word in words if word))


def read_schedule(fields: Fields) -> dict[str, tuple[str, ...]]:
    """`start`, `stop`, `restart` → checked cron expressions as written."""
    node = fields.get("schedule")
    if node is None:
        return {}
    if node.kind != "map":
        return {"start": _crons(fields, "schedule")}
    rule = Fields(node, fields.at("schedule"), fields.report, _SCHEDULE)
    return {name: crons for name in ("start", "stop", "restart") if (crons := _crons(rule, name))}


def _crons(fields: Fields, name: str) -> tuple[str, ...]:
    found: list[str] = []
    for node in fields.scalars(name, "a cron expression or a list of them"):
        try:
            parse_cron(scalar_text(node))
        except BadCron as error:
            fields.report.add(f"bad schedule `{scalar_text(node)}`: {error}", node, fields.at(name))
        else:
            found.append(scalar_text(node).strip())
    return tuple(found)


def read_prepare(fields: Fields) -> Prepare:
    values, schema = _read_params(fields)
    dotenv = tuple(dict.fromkeys((".env", *(name for name in fields.texts("dotenv") if name))))
    return Prepare(
        params=values,
        param_schema=schema,
        env=read_env(fields),
        dotenv=dotenv,
        secrets=_read_secrets(fields),
        when=read_conditions(fields),
    )


def _read_params(fields: Fields) -> tuple[Any, Any]:
    """(the parameters as plain data whose scalars are texts, the schema or its path). `spec.params` reads the data."""
    node = fields.get("params")
    if node is None:
        return None, None
    if node.kind == "map":
        keys = {key.lower() for key in node.entries}
        if "schema" in keys and keys <= {"schema", "values"}:
            rule = Fields(node, "params", fields.report, known("schema", "values"))
            values = rule.get("values")
            if values is not None and values.kind != "map":
                rule.wrong("values", "a map")
                values = None
            return (values.plain() if values else {}), rule.plain("schema")
    return _params_data(fields, node), None


def _params_data(fields: Fields, node: YamlNode) -> Any:
    if node.kind == "scalar":
        return scalar_text(node)
    if node.kind == "map":
        pairs = node.entries.items()
        return {key: scalar_text(value) for key, (_, value) in pairs if _is_plain(fields, value)}
    return [_params_data(fields, item) for item in node.items if item.kind != "list" or not _is_plain(fields, item)]


def _is_plain(fields: Fields, node: YamlNode) -> bool:
    if node.kind == "scalar":
        return True
    fields.report.add("the values of `params` must be plain texts or numbers", node, "params", "write JSON as quoted text")
    return False


def _read_secrets(fields: Fields) -> tuple[dict[str, Any], ...]:
    node = fields.get("secrets")
    if node is None:
        return ()
    if node.kind != "list":
        fields.wrong("secrets", "a list of {name, provider, key}")
        return ()
    found: list[dict[str, Any]] = []
    for place, item in enumerate(node.items):
        rule = Fields(item, f"secrets[{place}]", fields.report, _SECRET)
        for needed in ("name", "provider", "key"):
            if not rule.has(needed):
                fields.report.add(f"a secret lacks the key `{needed}`", item, rule.at(needed))
        name = rule.text("name")
        if name and not _VARIABLE.match(name):
            rule.wrong("name", "a name of a variable (letters, digits, `_`)")
        provider = rule.choice("provider", ("env", "file"))
        secret = {"name": name, "provider": provider, "key": rule.text("key"), "options": rule.plain("options")}
        found.append({key: value for key, value in secret.items() if value})
    return tuple(found)


def read_defaults(fields: Fields) -> dict[str, Any]:
    """What the DAG gives its steps: `container`, `ssh`, `llm`; the keys of each are checked."""
    given = {"container": read_container(fields), "ssh": _object(fields, "ssh"), "llm": _object(fields, "llm")}
    return {name: value for name, value in given.items() if value}


def _object(fields: Fields, name: str) -> Any:
    part = fields.sub(name, _OBJECTS[name])
    return {key: value.plain() for key, value in part.entries.items()} if part else None


def read_kept(fields: Fields) -> dict[str, Any]:
    """Fields that neither graph nor steps take: for views, mail, retention, scheduling. Spelling as in the dialect."""
    kept: dict[str, Any] = {
        "type": fields.choice("type", ("chain", "graph"), "chain"),
        "group": fields.text("group"),
        "description": fields.text("description"),
        "skipIfSuccessful": fields.flag("skipIfSuccessful"),
        "restartWaitSec": fields.whole("restartWaitSec"),
        "registryAuths": fields.plain("registryAuths"),
        "workerSelector": read_selector(fields),
    }
    for name in ("smtp", "mailOn", "errorMail", "infoMail", "waitMail", "runConfig", "otel"):
        kept[name] = _object(fields, name)
    for name in ("mailOn", "runConfig"):
        part = kept[name] or {}
        if not all(isinstance(value, bool) for value in part.values()):
            fields.wrong(name, "a map of true and false values")
    kept = {name: value for name, value in kept.items() if value}
    kept["histRetentionDays"] = fields.whole("histRetentionDays", 30, least=None)
    return kept
