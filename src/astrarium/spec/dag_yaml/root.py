"""The fields of a DAG itself: schedule, tags, preparation of a run, limits, and what is only kept for views and mail."""

from __future__ import annotations

import json
import re
from typing import Any

from ..cron import BadCron, BadSpan, parse_cron, parse_span
from ..graph import Prepare
from ..source import YamlNode
from .fields import Fields, known, scalar_text
from .flow import read_conditions, read_env
from .shape import read_auths, read_container, read_llm, read_object
from .step import MAX_NAME, read_selector

ROOT = known(
    "name", "group", "description", "tags", "type", "steps", "schedule", "skipIfSuccessful", "params", "env", "dotenv",
    "workingDir", "shell", "preconditions", "handlerOn", "maxActiveRuns", "maxActiveSteps", "queue", "delaySec",
    "timeoutSec", "restartWaitSec", "maxCleanUpTimeSec", "histRetentionDays", "histRetentionRuns", "logDir", "logOutput",
    "maxOutputSize", "notify",
    "mailOn", "smtp", "errorMail", "infoMail", "waitMail", "runConfig", "secrets", "container", "ssh", "registryAuths",
    "llm", "otel", "workerSelector", "catchup", "catchupWindow", "overlapPolicy", precondition="preconditions",
    hist_retention_runs="histRetentionRuns", catchup_window="catchupWindow", overlap_policy="overlapPolicy",
)  # fmt: skip
_SCHEDULE = known("start", "stop", "restart")
_OVERLAPS = ("skip", "queue", "all", "cancel")
_NO_CATCHUP = ("", "off", "false", "none", "no")
_SECRET = known("name", "provider", "key", "options")
BUILT_IN_SECRETS = frozenset(("env", "file"))
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


def read_overlap(fields: Fields) -> dict[str, Any]:
    """What becomes of slots that were missed, and of those that come due while a run is active. Our own fields, two of them known to
    Dagu 2 as `catchup_window` and `overlap_policy`. A window alone catches up on the latest."""
    window_s = _span_s(fields, "catchupWindow")
    off = fields.text("catchup").lower() in _NO_CATCHUP
    catchup = "" if off else fields.choice("catchup", ("latest", "all", "off"))
    if catchup and not fields.has("catchupWindow"):
        hint = "say how far back to go, e.g. `catchupWindow: 6h`"
        fields.report.add("`catchup` needs a `catchupWindow`", fields.entries["catchup"], "catchup", hint)
    if window_s and not fields.has("catchup"):
        catchup = "latest"
    overlap = fields.choice("overlapPolicy", _OVERLAPS)
    return {"catchup": catchup, "catchupWindow": window_s if catchup else 0, "overlapPolicy": "" if overlap == "skip" else overlap}


def _span_s(fields: Fields, name: str) -> int:
    node = fields.get(name)
    if node is None:
        return 0
    try:
        return parse_span(scalar_text(node) if node.kind == "scalar" else "")
    except BadSpan as error:
        fields.wrong(name, f"a number of seconds above 0, or a time like `90m`, `6h`, `1d` ({error})")
        return 0


def read_prepare(fields: Fields, known_secrets: frozenset[str] | None = None) -> Prepare:
    """`.env` is read always, unless `dotenv` is an empty list. `known_secrets` are the providers that are installed."""
    values, schema = _read_params(fields)
    named = fields.get("dotenv")
    none = named is not None and named.kind == "list" and not named.items
    dotenv = () if none else tuple(dict.fromkeys((".env", *(name for name in fields.texts("dotenv") if name))))
    return Prepare(
        params=values,
        param_schema=schema,
        env=read_env(fields),
        dotenv=dotenv,
        secrets=_read_secrets(fields, known_secrets),
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
        return {key: _params_value(value) for key, (_, value) in node.entries.items()}
    found: list[Any] = []
    for item in node.items:
        if item.kind == "list":
            fields.report.add("an item of `params` is text or a map", item, "params", "give the list a name: `NAME: [...]`")
        else:
            found.append(_params_data(fields, item))
    return found


def _params_value(node: YamlNode) -> str:
    """Values become texts; a list or map becomes its JSON."""
    return scalar_text(node) if node.kind == "scalar" else json.dumps(node.plain(), ensure_ascii=False, separators=(",", ":"))


def _read_secrets(fields: Fields, providers: frozenset[str] | None) -> tuple[dict[str, Any], ...]:
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
        provider = rule.text("provider").strip()
        if provider and provider not in (providers or BUILT_IN_SECRETS):
            installed = ", ".join(sorted(providers or BUILT_IN_SECRETS))
            close = fields.report.suggest(provider, sorted(providers or BUILT_IN_SECRETS))
            rule.wrong("provider", f"the name of an installed secret provider ({installed}), not `{provider}`{close}")
        options = rule.get("options")
        if options is not None and not (options.kind == "map" and all(v.kind == "scalar" for _, v in options.entries.values())):
            rule.wrong("options", "a map of plain values")
            options = None
        values = {key: scalar_text(value) for key, (_, value) in options.entries.items()} if options else {}
        secret = {"name": name, "provider": provider, "key": rule.text("key"), "options": values}
        found.append({key: value for key, value in secret.items() if value})
    return tuple(found)


def read_defaults(fields: Fields) -> dict[str, Any]:
    """What the DAG gives its steps: `container`, `ssh`, `llm`; the keys of each are checked."""
    given = {"container": read_container(fields), "ssh": read_object(fields, "ssh"), "llm": read_llm(fields)}
    if given["container"] and given["ssh"]:
        fields.wrong("ssh", "given without a `container`: steps run in one place")
    given |= {name: fields.plain(name) for name in ("smtp", "registryAuths")}  # checked by `read_kept`
    return {name: value for name, value in given.items() if value}


def read_kept(fields: Fields) -> dict[str, Any]:
    """Fields that neither graph nor steps take: for views, mail, retention, scheduling. Spelling as in the dialect."""
    kept: dict[str, Any] = {
        "type": fields.choice("type", ("chain", "graph"), "chain"),
        "group": fields.text("group"),
        "description": fields.text("description"),
        "skipIfSuccessful": fields.flag("skipIfSuccessful"),
        "restartWaitSec": fields.whole("restartWaitSec"),
        "registryAuths": read_auths(fields),
        "workerSelector": read_selector(fields),
        **read_overlap(fields),
    }
    for name in ("smtp", "mailOn", "errorMail", "infoMail", "waitMail", "runConfig", "otel"):
        kept[name] = read_object(fields, name)
    kept = {name: value for name, value in kept.items() if value}
    for name in ("histRetentionDays", "histRetentionRuns"):
        if fields.has(name):
            kept[name] = fields.whole(name, least=None)
    return kept
