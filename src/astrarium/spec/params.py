"""Parameters of a DAG in every form of the dialect (§3.4): read, overridden at start, resolved once, rendered as `K=V`.

A parameter has a position (from 1, in the order of declaration) and perhaps a name; `$2` reaches the second one either way.
Values given at a start are data: they are never expanded nor run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jsonschema_rs
import msgspec

from ..errors import AstrariumError, Invalid, Problem
from .expand import Shell, Variables, expand, split_backticks
from .graph import Prepare

_NAME = re.compile(r"""([^\s="'`]+)=""")
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"', re.DOTALL)
_TICKED = re.compile(r"`(?:\\`|[^`])*`")
_PLAIN = re.compile(r"[^\s`]+")
_NEEDS_QUOTES = re.compile(r"""[\s"`\\]""")
_BLANKS = " \t\r\n"


class Param(msgspec.Struct, frozen=True, omit_defaults=True):
    """One parameter. `name` empty = positional only; `text` is a template until resolved; `literal` = taken as it is."""

    name: str
    text: str
    literal: bool = False


def parse_params(data: Any) -> list[Param]:
    """Read `Prepare.params`: None, a text, a list of texts and maps, or a map (sorted by key). Raises `Invalid`."""
    if data is None or data == "":
        return []
    if isinstance(data, str):
        from_json = _parse_json(data)
        return from_json if from_json is not None else _parse_text(data)
    if isinstance(data, Mapping):
        return [Param(str(key), as_text(data[key])) for key in sorted(data, key=str)]
    if isinstance(data, Sequence):
        found: list[Param] = []
        for item in data:
            if isinstance(item, Mapping):
                found += [Param(str(key), as_text(value)) for key, value in item.items()]
            elif isinstance(item, str):
                found += _parse_text(item)
            else:
                found.append(Param("", as_text(item)))
        return found
    raise Invalid(f"params must be text, a list or a map, not `{data!r}`", code="bad_request")


def parse_overrides(given: str | Sequence[str] | Mapping[str, Any] | None) -> list[Param]:
    """What a start gives: a text of the same syntax, a JSON object or array as text, a list of command-line words
    (each `K=V` or one positional value, not split further), or a map. All literal. Raises `Invalid`."""
    if given is None:
        return []
    if isinstance(given, str):
        found = parse_params(given)
    elif isinstance(given, Mapping):
        found = [Param(str(key), as_text(value)) for key, value in given.items()]
    else:
        found = [_word(word) for word in given]
    return [Param(param.name, param.text, literal=True) for param in found]


def _word(word: str) -> Param:
    named = _NAME.match(word)
    return Param(named[1], word[named.end() :]) if named else Param("", word)


def _parse_json(text: str) -> list[Param] | None:
    """Parameters when the whole text is a JSON object or array; None for any other text."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(document, dict):
        return [Param(key, as_text(value)) for key, value in document.items()]
    found: list[Param] = []
    for item in document:
        if isinstance(item, dict):
            found += [Param(key, as_text(value)) for key, value in item.items()]
        else:
            found.append(_word(item) if isinstance(item, str) else Param("", as_text(item)))
    return found


def _parse_text(text: str) -> list[Param]:
    found: list[Param] = []
    place, end = 0, len(text)
    while True:
        while place < end and text[place] in _BLANKS:
            place += 1
        if place >= end:
            return found
        named = _NAME.match(text, place)
        if named:
            place = named.end()
        value, place = _parse_value(text, place)
        found.append(Param(named[1] if named else "", value))


def _parse_value(text: str, place: int) -> tuple[str, int]:
    """The value at `place` and where it ends. Only double quotes group, `\\"` inside them; backticks hold blanks too."""
    quoted = _QUOTED.match(text, place)
    if quoted:
        return re.sub(r'\\(["\\])', r"\1", quoted[1]), quoted.end()
    start = place
    while place < len(text) and text[place] not in _BLANKS:
        match = _TICKED.match(text, place) or _PLAIN.match(text, place)
        place = match.end() if match else place + 1
    return text[start:place], place


def as_text(value: Any) -> str:
    """A value as the text a parameter holds: texts as they are, nothing for null, everything else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def override(params: Sequence[Param], given: Sequence[Param]) -> list[Param]:
    """Positional overrides replace the value at their own place (a name there stays), named ones the value of that name;
    what matches nothing is added at the end. The order of declaration is kept."""
    result = list(params)
    by_name = {param.name: place for place, param in enumerate(result) if param.name}
    for place, param in enumerate(given):
        at = by_name.get(param.name) if param.name else (place if place < len(params) else None)
        if at is not None:
            result[at] = Param(result[at].name, param.text, param.literal)
            continue
        if param.name:
            by_name[param.name] = len(result)
        result.append(param)
    return result


async def resolve(params: Sequence[Param], names: Variables, shell: Shell) -> list[Param]:
    """Expand and run what the templates hold, in order; each may use `names` and the parameters before it. The result is
    all literal. Raises `Invalid` naming the parameter when a backtick command fails."""
    known = dict(names.values)
    resolved: list[Param] = []
    for place, param in enumerate(params, 1):
        text = param.text
        if not param.literal:
            try:
                text = await expand(text, Variables(known, names.steps), shell)
            except AstrariumError as error:
                label = f"`{param.name}`" if param.name else f"number {place}"
                message = f"params: the value of parameter {label} cannot be resolved: {error.message}"
                raise Invalid(message, hint=error.hint) from error
        resolved.append(Param(param.name, text, literal=True))
        known[str(place)] = text
        if param.name:
            known[param.name] = text
    return resolved


_WORD = re.compile(r"\s*([A-Za-z0-9_][A-Za-z0-9_.+-]*)(?=\s|\Z)")
_SHELLS_OWN = frozenset(
    ". : [ alias bg break case cd command continue do done echo elif else esac eval exec exit export false fg fi for function "
    "getopts hash if in jobs kill local printf pwd read readonly return set shift source test then time times trap true type "
    "typeset ulimit umask unalias unset until wait while let declare select".split()
)
"""Words a shell knows by itself."""


def missing_programs(params: Sequence[Param], prepare: Prepare, has_program: Callable[[str], bool]) -> list[Problem]:
    """Complaints about commands between backticks that certainly fail, since their program is not there. Nothing is run: only
    simple commands are looked at, and none where the definition may change the path on which programs are looked for."""
    if any(name == "PATH" for name, _ in prepare.env) or set(prepare.dotenv) - {".env"}:
        return []
    found: list[Problem] = []
    for place, param in enumerate(params, 1):
        parts = [] if param.literal or "`" not in param.text else split_backticks(param.text)
        for command in (text for text, is_command in parts if is_command):
            word = None if set(command) & set("|&;<>()$`\\\"'\n") else _WORD.match(command)
            if word is None or word[1] in _SHELLS_OWN or has_program(word[1]):
                continue
            label = f"`{param.name}`" if param.name else f"number {place}"
            told = f"params: the value of parameter {label} cannot be resolved: there is no program `{word[1]}`"
            found.append(Problem(told, path="params", hint="install it where the server runs, or give its path"))
    return found


def variables(params: Sequence[Param]) -> dict[str, str]:
    """Resolved parameters as variables: each by its position, and by its name."""
    found = {str(place): param.text for place, param in enumerate(params, 1)}
    found.update({param.name: param.text for param in params if param.name})
    return found


def render(params: Sequence[Param]) -> list[str]:
    """`["1=first", "NAME=value"]`, as runs store and show their parameters."""
    return [f"{param.name or place}={param.text}" for place, param in enumerate(params, 1)]


def to_text(params: Sequence[Param]) -> str:
    """One text that `parse_params` reads back: values quoted where they hold blanks, quotes or backticks."""
    return " ".join((f"{param.name}=" if param.name else "") + _quote(param) for param in params)


def _quote(param: Param) -> str:
    text = param.text
    # An unnamed value in braces, bare at the start, would make the whole text JSON.
    bare = text and not _NEEDS_QUOTES.search(text) and (param.name or not (_NAME.match(text) or text[0] in "{["))
    if bare:
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def default_text(data: Any) -> str:
    """The defaults as a start form shows them: a text as written, everything else in the text syntax."""
    return data if isinstance(data, str) else to_text(parse_params(data))


def params_json(params: Sequence[Param], given: str = "") -> str:
    """`DAGU_PARAMS_JSON`: the JSON text given at the start as it is, else an object of all parameters."""
    if given and _parse_json(given) is not None:
        return given
    return json.dumps({param.name or str(place): param.text for place, param in enumerate(params, 1)}, ensure_ascii=False)


def apply_schema(params: Sequence[Param], schema: Mapping[str, Any]) -> list[Param]:
    """Check resolved parameters against a JSON schema (an object's) and fill in its defaults. Texts are read as the
    property's type first. Raises `Invalid` with one problem per mismatch, or when the schema itself is none."""
    given = schema.get("properties")
    properties = given if isinstance(given, Mapping) else {}
    names = {param.name for param in params}
    filled = list(params)
    for name, rule in properties.items():
        if isinstance(rule, Mapping) and "default" in rule and name not in names:
            filled.append(Param(name, as_text(rule["default"]), literal=True))
    values = {p.name or str(n): _typed(p.text, properties.get(p.name, {})) for n, p in enumerate(filled, 1)}
    try:
        errors = list(jsonschema_rs.validator_for(dict(schema), retriever=_refuse_fetch).iter_errors(values))
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise Invalid(f"params: the JSON schema is not usable: {error}", hint="mend the schema named under `params`") from error
    if errors:
        problems = [
            Problem(f"params: {error.message}", path=".".join(["params", *map(str, error.instance_path)])) for error in errors
        ]
        raise Invalid(problems[0].message, problems, hint="give values the schema allows")
    return filled


def _refuse_fetch(uri: str) -> Any:
    """Schemas are whole: what one refers to elsewhere is never fetched."""
    raise ValueError(f"it refers to {uri}, which is not fetched; put that part under `$defs`")


def _typed(text: str, rule: Any) -> Any:
    """A text as the JSON value its schema asks for, or the text itself when it is none."""
    wanted = rule.get("type", "string") if isinstance(rule, Mapping) else "string"
    types = wanted if isinstance(wanted, list) else [wanted]
    if "string" in types:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
