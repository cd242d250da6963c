"""The fields that steer a step: environment, conditions, continueOn, retryPolicy, repeatPolicy, output (Dagu 1.30 language)."""

from __future__ import annotations

import re
import signal

from ..condition import BAD_PATTERN
from ..graph import Condition, Output, Repeat, Retry, Tolerate
from ..source import Report, YamlNode
from .fields import Fields, known, scalar_text

_CONDITION = known("condition", "expected", "negate", command="condition")
_CONTINUE = known("failure", "skipped", "exitCode", "output", "markSuccess", failed="failure")
_RETRY = known("limit", "intervalSec", "backoff", "maxIntervalSec", "exitCode")
_REPEAT = known("repeat", "condition", "expected", "exitCode", "intervalSec", "limit", "backoff", "maxIntervalSec")
_OUTPUT = known("name", "key", "omit")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def read_env(fields: Fields, name: str = "env") -> tuple[tuple[str, str], ...]:
    """A map, or a list of maps and `K=V` texts, in order. Values stay templates."""
    node = fields.get(name)
    if node is None:
        return ()
    found: list[tuple[str, str]] = []
    for item in node.items if node.kind == "list" else [node]:
        if item.kind == "map":
            for key, (key_node, value) in item.entries.items():
                if value.kind != "scalar":
                    fields.report.add(f"the value of `{key}` in `{name}` must be plain text", value, fields.at(name))
                elif not key or "=" in key:
                    fields.report.add(f"`{key}` is not a name of a variable", key_node, fields.at(name))
                else:
                    found.append((key, scalar_text(value)))
        elif item.kind == "scalar" and "=" in item.text.lstrip("="):
            key, _, text = item.text.partition("=")
            found.append((key.strip(), text))
        else:
            fields.report.add(f"`{name}` holds maps and `NAME=value` texts only", item, fields.at(name))
    return tuple(found)


def read_conditions(fields: Fields, name: str = "preconditions") -> tuple[Condition, ...]:
    """A text, an object, or a list mixing both."""
    node = fields.get(name)
    if node is None:
        return ()
    items = node.items if node.kind == "list" else [node]
    read = (read_condition(item, fields.at(name), fields.report) for item in items)
    return tuple(condition for condition in read if condition)


def read_condition(node: YamlNode, path: str, report: Report) -> Condition | None:
    if node.kind == "scalar" and isinstance(node.value, str):
        return Condition(node.value)
    if node.kind != "map":
        report.add("a condition must be text or an object with `condition`", node, path, "put numbers in quotes")
        return None
    fields = Fields(node, path, report, _CONDITION)
    text, expected = fields.get("condition"), fields.get("expected")
    if text is None:
        report.add("this condition lacks the key `condition`", node, path)
        return None
    if not isinstance(text.value, str):
        report.add("`condition` must be text", text, fields.at("condition"), "put numbers in quotes")
        return None
    if expected is not None and not isinstance(expected.value, str):
        report.add("`expected` must be text", expected, fields.at("expected"), "put numbers in quotes")
        return None
    wanted = expected.value if expected else None
    if wanted is not None and not _is_pattern(wanted):
        report.add(f"`expected` is not a valid regular expression: `{wanted}`", expected, fields.at("expected"))
    return Condition(text.value, wanted or None, fields.flag("negate"))


def _is_pattern(text: str) -> bool:
    if not text.startswith("re:") or "$" in text.rstrip("$"):
        return True
    try:
        re.compile(text[3:])
    except BAD_PATTERN:
        return False
    return True


def read_tolerate(fields: Fields, name: str = "continueOn") -> Tolerate | None:
    node = fields.get(name)
    if node is None:
        return None
    if node.kind == "scalar":
        word = node.text.lower()
        if word not in ("failed", "failure", "skipped"):
            fields.wrong(name, f"`failed`, `skipped` or an object, not `{node.text}`")
        return Tolerate(failure=word in ("failed", "failure"), skipped=word == "skipped")
    rule = Fields(node, fields.at(name), fields.report, _CONTINUE)
    return Tolerate(
        failure=rule.flag("failure"),
        skipped=rule.flag("skipped"),
        exit_codes=rule.wholes("exitCode"),
        output=rule.texts("output"),
        mark_success=rule.flag("markSuccess"),
    )


def read_retry(fields: Fields, name: str = "retryPolicy") -> Retry | None:
    rule = fields.sub(name, _RETRY)
    if rule is None:
        return None
    for needed in ("limit", "intervalSec"):
        if not rule.has(needed):
            fields.report.add(f"`{name}` lacks the key `{needed}`", rule.node, rule.at(needed))
    return Retry(
        limit=rule.number_or_template("limit"),
        interval_s=rule.number_or_template("intervalSec"),
        backoff=_read_backoff(rule),
        max_interval_s=rule.whole("maxIntervalSec"),
        exit_codes=rule.wholes("exitCode"),
    )


def _read_backoff(rule: Fields) -> float:
    """`true` = 2.0; a number must be greater than 1; 0 = constant interval."""
    node = rule.get("backoff")
    if node is None or node.value is False:
        return 0.0
    if node.value is True:
        return 2.0
    if isinstance(node.value, int | float) and 1 < node.value < 1e9:
        return float(node.value)
    if node.value != 0:
        rule.wrong("backoff", "true or a number greater than 1")
    return 0.0


def read_repeat(fields: Fields, name: str = "repeatPolicy") -> Repeat | None:
    """Dagu 1.30: without an explicit mode, condition with expected means until; condition alone or exitCode alone, while."""
    rule = fields.sub(name, _REPEAT)
    if rule is None:
        return None
    condition = None
    if rule.has("condition"):
        parts = {key: rule.node.entries[key] for key in rule.node.entries if key.lower() in ("condition", "expected")}
        asked = rule.node.beside("map")
        asked.entries = parts
        condition = read_condition(asked, fields.at(name), fields.report)
    elif rule.has("expected"):
        rule.wrong("expected", "given together with `condition`")
    exit_codes = rule.wholes("exitCode")
    mode = rule.get("repeat")
    word = mode.value if mode else None
    if isinstance(word, str) and word not in ("while", "until"):
        rule.wrong("repeat", f"`while`, `until`, true or false, not `{word}`")
    elif mode is not None and not isinstance(word, bool | str):
        rule.wrong("repeat", "`while`, `until`, true or false")
    asks = condition is not None or bool(exit_codes)
    if word in ("while", "until") and not asks:
        rule.wrong("repeat", f"given with `condition` or `exitCode` when it is `{word}`")
    if word is not True and not asks:
        return None
    until = word == "until" or (word not in ("while", True) and condition is not None and condition.expected is not None)
    return Repeat(
        mode="until" if until else "while",
        condition=condition,
        exit_codes=exit_codes,
        interval_s=rule.whole("intervalSec"),
        limit=rule.whole("limit"),
        backoff=_read_backoff(rule),
        max_interval_s=rule.whole("maxIntervalSec"),
    )


def read_output(fields: Fields, name: str = "output") -> Output | None:
    """`NAME` (a leading `$` is dropped) or `{name, key, omit}`; the key is the camelCase of NAME unless given."""
    node = fields.get(name)
    if node is None:
        return None
    key, omit = "", False
    if node.kind == "scalar":
        variable = scalar_text(node)
    else:
        given = Fields(node, fields.at(name), fields.report, _OUTPUT)
        variable, key, omit = given.text("name"), given.text("key"), given.flag("omit")
    variable = variable.strip().removeprefix("$").removeprefix("{").removesuffix("}")
    if not _VARIABLE.match(variable):
        fields.report.add(f"`output` must name a variable (letters, digits, `_`), not `{variable}`", node, fields.at(name))
        return None
    return Output(variable, key or camel_case(variable), omit)


def camel_case(name: str) -> str:
    """`BUILD_ID` → `buildId`; a part that is not all upper case keeps its inner capitals."""
    parts = [part.lower() if part.isupper() else part for part in name.split("_") if part]
    if not parts:
        return name
    return parts[0][:1].lower() + parts[0][1:] + "".join(part[:1].upper() + part[1:] for part in parts[1:])


def read_signal(fields: Fields, name: str = "signalOnStop") -> str:
    word = fields.text(name)
    if word and word not in signal.Signals.__members__:
        close = fields.report.suggest(word, list(signal.Signals.__members__))
        fields.wrong(name, f"the name of a signal like SIGINT, not `{word}`{close}")
        return ""
    return word
