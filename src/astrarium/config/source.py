"""Where the values of settings come from: flags, variables, files, defaults; and their conversion.

A value comes from, first hit wins: a command-line flag, an `ASTRARIUM_*` variable, `./astrarium.toml`, the user's
`astrarium.toml` (in the platform's configuration folder), the default. An unknown name is an error wherever it stands.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import platformdirs

from ..errors import Invalid, Problem
from .check import problems_of
from .client import is_client_variable
from .setting import MEANINGS, SECRET, Settings

PREFIX = "ASTRARIUM_"
FILE_NAME = "astrarium.toml"
OWN_VARIABLES = frozenset({"ASTRARIUM_CONFIG", "ASTRARIUM_REQUIRE", "ASTRARIUM_SEED", "ASTRARIUM_SERVER", "ASTRARIUM_TRY"})
"""Variables with our prefix that are no settings: the user file, what tests use, the marks in a child process's environment."""


DAGU_VARIABLES = {
    "DAGU_AUTHTOKEN": "auth_token", "DAGU_BASICAUTH_USERNAME": "auth_username", "DAGU_BASICAUTH_PASSWORD": "auth_password",
    "DAGU_AUTH_MODE": "auth", "DAGU_AUTH_TOKEN": "auth_token", "DAGU_AUTH_BASIC_USERNAME": "auth_username",
    "DAGU_AUTH_BASIC_PASSWORD": "auth_password", "DAGU_AUTH_ADMIN_USERNAME": "admin_username",
    "DAGU_AUTH_ADMIN_PASSWORD": "admin_password", "DAGU_AUTH_TOKEN_TTL": "session_s",
}  # fmt: skip
"""Variables of Dagu 1.x that are read as well, so that a server that had a sign-in keeps it; ours win, later lines win over earlier."""

STARGRAPH_VARIABLES = {"STARGRAPH_PROFILE": "server_profile"}
"""Variables of Stargraph that are read as well."""

RATELIMIT_VARIABLES = {
    "RATELIMIT_ENABLED": "rate_limit", "RATELIMIT_REQUESTS": "rate_limit_requests", "RATELIMIT_BURST": "rate_limit_burst",
    "RATELIMIT_WINDOW_SECONDS": "rate_limit_window_s", "RATELIMIT_COUNTERFACTUAL_PER_MIN": "forks_per_min",
}  # fmt: skip
"""Variables that override the tier, as well as our own; the first one is true or false."""

OIDC_VARIABLES = {
    "OIDC_ISSUER_URL": "oidc_issuer", "OIDC_EXTERNAL_ISSUER_URL": "oidc_external_issuer", "OIDC_AUDIENCE": "oidc_audience",
    "OIDC_JWKS_URL": "oidc_jwks_url", "OIDC_JWKS_CACHE_TTL": "oidc_jwks_ttl_s", "OIDC_CLIENT_ID": "oidc_client_id",
    "OIDC_CLIENT_SECRET": "oidc_client_secret", "OIDC_SDK_CLIENT_ID": "oidc_sdk_client_id",
}  # fmt: skip
"""Variables of the build registry's server that are read as well."""

FLAGS = {"server_profile": "--profile"}
"""Settings whose flag has another name."""

WORDS = {
    "RATELIMIT_ENABLED": {"true": "standard", "1": "standard", "false": "off", "0": "off"},
    "STARGRAPH_PROFILE": {"oss-default": "default"},
}
"""variable → its words for values → ours"""
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
"""As Go writes it, `24h` or `1h30m`."""


def is_own(variable: str) -> bool:
    """Whether a variable of the environment belongs to this server, which may be told its own secrets so: no run is given it."""
    return variable.startswith((PREFIX, "DAGU_AUTH", "DAGU_BASICAUTH")) or variable in OIDC_VARIABLES


_TYPES: dict[str, Any] = {name: kind for name, kind in get_type_hints(Settings).items() if name in MEANINGS}


def user_file() -> Path:
    """The user's own settings file, which need not exist."""
    return platformdirs.user_config_path("astrarium", appauthor=False) / FILE_NAME


def load_settings(flags: Mapping[str, Any], env: Mapping[str, str], cwd: Path) -> Settings:
    """Put the settings together from all sources. `flags` holds only what was really given (None counts as not given).

    Raises `Invalid` with every problem found: unknown names, values of the wrong type, values out of range.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    user = Path(env["ASTRARIUM_CONFIG"]) if env.get("ASTRARIUM_CONFIG") else user_file()
    if env.get("ASTRARIUM_CONFIG") and not user.is_file():
        raise Invalid(f"ASTRARIUM_CONFIG names {user}, which is not a file", code="bad_settings")
    files = [_from_file(user, problems), _from_file(cwd / FILE_NAME, problems)]
    foreign = [_from_named(known, env, cwd) for known in (DAGU_VARIABLES, STARGRAPH_VARIABLES, OIDC_VARIABLES, RATELIMIT_VARIABLES)]
    for layer in [*files, *foreign, _from_env(env, cwd, problems), _from_flags(flags, cwd, problems)]:
        for name, (raw, source, base) in layer.items():
            try:
                values[name] = _value(name, raw, base)
                sources[name] = source
            except ValueError as error:
                shown = "…" if name in SECRET else repr(raw)
                problems.append(Problem(f"{name} = {shown}: {error}", path=name, file=source))
    problems += problems_of(values, sources)
    if problems:
        raise Invalid("the settings are wrong", problems, code="bad_settings", hint="`astrarium config` lists every setting")
    return Settings(**values, sources=sources)


_Layer = dict[str, tuple[Any, str, Path]]


def _from_file(path: Path, problems: list[Problem]) -> _Layer:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"cannot be read: {error}", file=str(path)))
        return {}
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(f"is not valid TOML: {error}", file=str(path)))
        return {}
    return {name: (raw, str(path), path.parent) for name, raw in found.items() if _known(name, str(path), problems)}


def _from_env(env: Mapping[str, str], cwd: Path, problems: list[Problem]) -> _Layer:
    layer: _Layer = {}
    for variable, raw in sorted(env.items()):
        if not variable.startswith(PREFIX) or variable in OWN_VARIABLES or is_client_variable(variable):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if _known(name, variable, problems, spelling=lambda near: PREFIX + near.upper()):
            layer[name] = (raw, variable, cwd)
    return layer


def _from_named(variables: Mapping[str, str], env: Mapping[str, str], cwd: Path) -> _Layer:
    return {name: (_in_our_words(variable, env[variable]), variable, cwd) for variable, name in variables.items() if env.get(variable)}


def _in_our_words(variable: str, raw: str) -> str:
    if variable == "DAGU_AUTH_TOKEN_TTL" and (found := _DURATION.fullmatch(raw)):
        hours, minutes, seconds = (int(part or 0) for part in found.groups())
        return str(hours * 3600 + minutes * 60 + seconds)
    return WORDS.get(variable, {}).get(raw.lower(), raw)


def _from_flags(flags: Mapping[str, Any], cwd: Path, problems: list[Problem]) -> _Layer:
    layer: _Layer = {}
    for name, raw in flags.items():
        flag = FLAGS.get(name) or "--" + name.replace("_", "-")
        if raw is not None and _known(name, flag, problems):
            layer[name] = (raw, flag, cwd)
    return layer


def _known(name: str, source: str, problems: list[Problem], spelling: Any = str) -> bool:
    if name in MEANINGS:
        return True
    near = difflib.get_close_matches(name, MEANINGS, 1)
    hint = f"did you mean `{spelling(near[0])}`?" if near else "see docs/reference/settings.md"
    problems.append(Problem(f"unknown setting `{spelling(name)}`", path=name, file=source, hint=hint))
    return False


def _value(name: str, raw: Any, base: Path) -> Any:
    """Convert one raw value; relative paths count from where they were written. Raises ValueError with a plain reason."""
    kind = _TYPES[name]
    if kind is Path:
        text = os.fspath(raw) if isinstance(raw, (str, Path)) else _fail("must be a path")
        return (base / Path(text).expanduser()).absolute() if text else _fail("must not be empty")
    if kind in (int, float):
        return _number(kind, raw)
    if get_origin(kind) is Literal:
        return raw if raw in get_args(kind) else _fail("must be one of " + ", ".join(get_args(kind)))
    if kind is bool or get_origin(kind) is dict:
        return _structured(kind, raw)
    return raw if isinstance(raw, str) else _fail("must be a text")


def _structured(kind: Any, raw: Any) -> Any:
    """A truth value or a table; in variables and flags they are written as JSON."""
    try:
        return msgspec.json.decode(raw, type=kind) if isinstance(raw, str) else msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        return _fail(str(error)[:1].lower() + str(error)[1:])
    except msgspec.DecodeError as error:
        return _fail("must be true or false" if kind is bool else f"must be a JSON object ({error})")


def _number(kind: type, raw: Any) -> float | int:
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        _fail("must be a number")
    try:
        number: float | int = kind(raw.replace("_", "") if isinstance(raw, str) else raw)
    except (ValueError, OverflowError):
        _fail("must be a whole number" if kind is int else "must be a number")
    if kind is int and isinstance(raw, float) and raw != number:
        _fail("must be a whole number")
    return number


def _fail(reason: str) -> Any:
    raise ValueError(reason)
