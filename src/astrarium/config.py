"""Every setting and limit of Astrarium: its name, its default, what it means, and where a value came from.

A value comes from, first hit wins: a command-line flag, an `ASTRARIUM_*` variable, `./astrarium.toml`, the user's
`astrarium.toml` (in the platform's configuration folder), the default. An unknown name is an error wherever it stands.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import platformdirs

from .errors import Invalid, Problem

PREFIX = "ASTRARIUM_"
FILE_NAME = "astrarium.toml"
OWN_VARIABLES = frozenset({"ASTRARIUM_CONFIG", "ASTRARIUM_REQUIRE", "ASTRARIUM_SEED", "ASTRARIUM_SERVER", "ASTRARIUM_TRY"})
"""Variables with our prefix that are no settings: the user file, what tests use, the marks in a child process's environment."""

KIB = 1024
MIB = 1024 * KIB


def _data_dir() -> Path:
    return platformdirs.user_data_path("astrarium", appauthor=False)


def _processes() -> int:
    return max(8, 4 * (os.cpu_count() or 1))


def _cores() -> int:
    return os.cpu_count() or 1


class RemoteNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another server that requests may be passed on to: its API's address, and how to sign in there."""

    url: str
    username: str = ""
    password: str = ""
    token: str = ""
    verify_tls: bool = True

    def __repr__(self) -> str:
        """Without what signs us in."""
        known = "token" if self.token else f"user {self.username!r}" if self.username else "nobody"
        return f"{self.url} (signed in as {known}{'' if self.verify_tls else ', TLS not verified'})"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a server, a worker or a command of the CLI works by. Made by `load_settings`; tests may make one directly."""

    host: str = "127.0.0.1"
    port: int = 8080
    data_dir: Path = msgspec.field(default_factory=_data_dir)
    dags_dir: Path = Path()
    base_dag: Path = Path()
    database_url: str = ""
    public_url: str = ""
    time_zone: str = ""
    auth: Literal["none", "builtin"] = "none"
    auth_token: str = ""
    auth_username: str = ""
    auth_password: str = ""
    admin_username: str = "admin"
    admin_password: str = ""
    master_key: str = ""
    session_s: int = 86_400
    max_workspaces: int = 0
    max_environments: int = 0
    queues: dict[str, int] = {}
    remote_nodes: dict[str, RemoteNode] = {}
    write_dags: bool = True
    run_dags: bool = True
    keep_days: int = 30
    keep_runs: int = 0
    notice_tries: int = 8
    notice_retry_s: float = 30.0
    egress_allow: str = ""
    metrics: Literal["private", "public"] = "private"
    max_processes: int = msgspec.field(default_factory=_processes)
    max_python_workers: int = msgspec.field(default_factory=_cores)
    drain_timeout_s: float = 10.0
    lease_s: float = 10.0
    default_shell: str = ""
    log_max_bytes: int = 64 * MIB
    body_max_bytes: int = 8 * MIB
    body_timeout_s: float = 60.0
    cors_origins: str = ""
    rate_limit: Literal["auto", "off", "standard", "premium"] = "auto"
    rate_limit_requests: int = 0
    rate_limit_burst: int = 0
    rate_limit_window_s: int = 60
    page_max: int = 1000
    max_yaml_bytes: int = 4 * MIB
    max_yaml_nodes: int = 500_000
    max_steps_per_run: int = 100_000
    max_children: int = 10_000
    max_child_depth: int = 20
    snapshot_steps: int = 64
    snapshot_bytes: int = 256 * KIB
    hot_runs: int = 20_000
    synchronous: Literal["full", "normal"] = "full"
    sources: dict[str, str] = {}
    """Where each value came from, by name; a name that is missing has its default. Not a setting itself."""

    def __post_init__(self) -> None:
        if self.dags_dir == Path():
            msgspec.structs.force_setattr(self, "dags_dir", self.data_dir / "dags")
        if self.base_dag == Path():
            msgspec.structs.force_setattr(self, "base_dag", self.data_dir / "base.yaml")

    def source_of(self, name: str) -> str:
        """Where the value of `name` came from: `--flag`, a variable's name, a file's path, or `default`."""
        return self.sources.get(name, "default")

    def shown(self, name: str) -> Any:
        """The value as people may see it: of a secret only whether there is one."""
        value = getattr(self, name)
        if name in SECRET and isinstance(value, str) and value:
            return _PASSWORD_IN_URL.sub(r"\1\2…", value) if name == "database_url" else "(set)"
        return value


MEANINGS: dict[str, str] = {
    "host": "Address the server listens on. Others than loopback ones need a way to sign in (`auth`, or `auth_token`).",
    "port": "TCP port the server listens on; 0 takes any free one.",
    "data_dir": "Folder of the database, blobs, logs and the server's own files.",
    "dags_dir": "Folder of the DAG files; empty means `dags` in the data folder.",
    "base_dag": "YAML file with defaults of all DAGs; it need not exist. Empty means `base.yaml` in the data folder.",
    "database_url": "`postgresql://…` to keep everything in PostgreSQL; empty means an embedded SQLite file in the data folder.",
    "public_url": "Address under which clients reach the server, used in links; empty means the address listened on.",
    "time_zone": "Time zone of schedules that name none, e.g. `Europe/Paris`; empty means the machine's.",
    "auth": "Who may call: `none` = everybody who reaches the (loopback) address is the owner; `builtin` = users with passwords, and "
    "API keys.",
    "auth_token": "A token that acts as admin, whatever `auth` says; with one, no request is answered without a credential.",
    "auth_username": "User name of HTTP basic authentication, which acts as admin; needs `auth_password`.",
    "auth_password": "Password of HTTP basic authentication.",
    "admin_username": "Name of the first user, made when there is none and `admin_password` is set.",
    "admin_password": "Password of the first user.",
    "master_key": "Secret the server's own keys derive from, at least 32 characters; several servers on one database need the same. "
    "Older ones follow after commas. Empty means `keys/master.key` in the data folder, made at the first start.",
    "session_s": "Seconds a sign-in lasts.",
    "max_workspaces": "Most workspaces one user may make; 0 = no limit.",
    "max_environments": "Most environments of one workspace; 0 = no limit.",
    "queues": "Global queues and how many of their runs may be active at once, e.g. `{heavy = 4}`.",
    "remote_nodes": "Other servers that requests with `remoteNode=NAME` are passed on to: `{NAME = {url = …, token = …}}`.",
    "write_dags": "Whether DAG files may be changed through the API.",
    "run_dags": "Whether runs may be started, stopped and changed through the API.",
    "keep_days": "Days ended runs are kept, with their logs, where the DAG says nothing; negative = for ever.",
    "keep_runs": "Newest ended runs of each DAG that are kept, where the DAG says nothing; 0 = no limit by number.",
    "notice_tries": "How often the delivery of a mail or webhook about a run is tried.",
    "notice_retry_s": "Seconds between the first two tries of a delivery; each further wait is twice as long.",
    "egress_allow": "Addresses inside your network that webhooks may reach all the same: host names, addresses and networks, each "
    "with or without a port, separated by commas, e.g. `hooks.internal:8443, 10.1.0.0/16`.",
    "metrics": "Who may read `/metrics`: `private` = callers who may read runs, of their own workspace; `public` = everybody.",
    "max_processes": "Most child processes alive at once.",
    "max_python_workers": "Most warm Python worker processes.",
    "drain_timeout_s": "Seconds running steps may take to finish when the server is told to stop; then they are signalled.",
    "lease_s": "Seconds a server that fell silent keeps its work before another one may take it (PostgreSQL).",
    "default_shell": "Shell of commands that name none; empty means `$SHELL`, else `sh`.",
    "log_max_bytes": "Most bytes kept of one output stream of one try; the rest is cut, with a note in the log.",
    "body_max_bytes": "Largest HTTP request body.",
    "body_timeout_s": "Seconds a client may take to send the body of a request.",
    "cors_origins": "Origins whose web pages may call the API, separated by commas, e.g. `https://tools.example`; `*` = every page, "
    "only with a way to sign in.",
    "rate_limit": "How often each caller may ask: `standard` = 1000 requests a minute, 100 at once; `premium` = 5000 and 500; `off` = "
    "nobody is refused; `auto` = `off` on a loopback address, else `standard`.",
    "rate_limit_requests": "Requests in each window, in place of the tier's number; switches `auto` on. 0 = the tier's.",
    "rate_limit_burst": "Requests at once, in place of the tier's number. 0 = the tier's.",
    "rate_limit_window_s": "Length of the window, in seconds.",
    "page_max": "Most items on one page of a list.",
    "max_yaml_bytes": "Largest YAML file read as a DAG.",
    "max_yaml_nodes": "Most YAML nodes in one file, aliases counted each time they are used.",
    "max_steps_per_run": "Most visits of nodes in one run, loops and repeats included.",
    "max_children": "Most child runs of one step.",
    "max_child_depth": "Deepest nesting of child runs.",
    "snapshot_steps": "A run's state is written out after this many steps (reading is snapshot plus the events since).",
    "snapshot_bytes": "A run's state is also written out after this many bytes of state changes.",
    "hot_runs": "Most runs whose state is kept in memory.",
    "synchronous": "`full`: every commit is on the disk before anything follows from it. `normal`: a power cut may lose the "
    "last moments, never the consistency (SQLite).",
}
"""One sentence a setting, in the order in which they are shown."""

DEFAULT_TEXTS = {
    "data_dir": "the platform's user data folder, `astrarium`",
    "dags_dir": "`dags` in the data folder",
    "base_dag": "`base.yaml` in the data folder",
    "time_zone": "the machine's",
    "max_processes": "4 × cores, at least 8",
    "max_python_workers": "the number of cores",
}

RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "max_processes": (1, 100_000),
    "max_python_workers": (1, 10_000),
    "drain_timeout_s": (0, 86_400),
    "lease_s": (1, 3_600),
    "session_s": (60, 31_536_000),
    "max_workspaces": (0, 1_000_000),
    "max_environments": (0, 1_000_000),
    "keep_days": (-1, 36_500),
    "keep_runs": (0, 1_000_000_000),
    "notice_tries": (1, 100),
    "notice_retry_s": (0.01, 86_400),
    "log_max_bytes": (4 * KIB, 1 << 50),
    "body_max_bytes": (KIB, 1 << 40),
    "body_timeout_s": (0.05, 86_400),
    "rate_limit_requests": (0, 1_000_000_000),
    "rate_limit_burst": (0, 1_000_000_000),
    "rate_limit_window_s": (1, 86_400),
    "page_max": (1, 100_000),
    "max_yaml_bytes": (KIB, 1 << 30),
    "max_yaml_nodes": (100, 100_000_000),
    "max_steps_per_run": (1, 100_000_000),
    "max_children": (1, 10_000_000),
    "max_child_depth": (1, 1_000),
    "snapshot_steps": (1, 1_000_000),
    "snapshot_bytes": (KIB, 1 << 30),
    "hot_runs": (1, 100_000_000),
}

SECRET = frozenset(("remote_nodes", "auth_token", "auth_password", "admin_password", "master_key", "database_url"))
"""Settings whose values may hold credentials and are not repeated in a complaint."""
_PASSWORD_IN_URL = re.compile(r"(://[^/?#@:]*:).*(?=@)|([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)
"""What stands before the last `@` is hidden: a password may hold any sign, quoted or not."""
_ORIGIN = re.compile(r"https?://(\[[0-9A-Fa-f:]+\]|[^/\s:@?#*\[\]]+)(:\d{1,5})?")

DAGU_VARIABLES = {
    "DAGU_AUTHTOKEN": "auth_token", "DAGU_BASICAUTH_USERNAME": "auth_username", "DAGU_BASICAUTH_PASSWORD": "auth_password",
    "DAGU_AUTH_MODE": "auth", "DAGU_AUTH_TOKEN": "auth_token", "DAGU_AUTH_BASIC_USERNAME": "auth_username",
    "DAGU_AUTH_BASIC_PASSWORD": "auth_password", "DAGU_AUTH_ADMIN_USERNAME": "admin_username",
    "DAGU_AUTH_ADMIN_PASSWORD": "admin_password",
}  # fmt: skip
"""Variables of Dagu 1.x that are read as well, so that a server that had a sign-in keeps it; ours win, later lines win over earlier."""


RATELIMIT_VARIABLES = {
    "RATELIMIT_ENABLED": "rate_limit", "RATELIMIT_REQUESTS": "rate_limit_requests", "RATELIMIT_BURST": "rate_limit_burst",
    "RATELIMIT_WINDOW_SECONDS": "rate_limit_window_s",
}  # fmt: skip
"""Variables that override the tier, as well as our own; the first one is true or false."""


def is_own(variable: str) -> bool:
    """Whether a variable of the environment belongs to this server, which may be told its own secrets so: no run is given it."""
    return variable.startswith((PREFIX, "DAGU_AUTH", "DAGU_BASICAUTH"))


_TYPES: dict[str, Any] = {name: kind for name, kind in get_type_hints(Settings).items() if name in MEANINGS}


class Described(msgspec.Struct, frozen=True):
    """A setting as the documentation shows it."""

    name: str
    default: str
    meaning: str


def describe() -> Iterator[Described]:
    """Every setting with its default in words and its meaning."""
    plain = Settings(data_dir=Path("."))
    for name, meaning in MEANINGS.items():
        value = getattr(plain, name)
        shown = str(value).lower() if isinstance(value, bool) else str(value or "") if isinstance(value, dict) else str(value)
        default = DEFAULT_TEXTS.get(name) or (f"`{shown}`" if shown else "empty")
        yield Described(name, default, meaning)


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
    foreign = [_from_dagu(env, cwd), _from_ratelimit(env, cwd)]
    for layer in [*files, *foreign, _from_env(env, cwd, problems), _from_flags(flags, cwd, problems)]:
        for name, (raw, source, base) in layer.items():
            try:
                values[name] = _value(name, raw, base)
                sources[name] = source
            except ValueError as error:
                shown = "…" if name in SECRET else repr(raw)
                problems.append(Problem(f"{name} = {shown}: {error}", path=name, file=source))
    problems += _check(values, sources)
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
        if not variable.startswith(PREFIX) or variable in OWN_VARIABLES:
            continue
        name = variable.removeprefix(PREFIX).lower()
        if _known(name, variable, problems, spelling=lambda near: PREFIX + near.upper()):
            layer[name] = (raw, variable, cwd)
    return layer


def _from_dagu(env: Mapping[str, str], cwd: Path) -> _Layer:
    return {name: (env[variable], variable, cwd) for variable, name in DAGU_VARIABLES.items() if env.get(variable)}


def _from_ratelimit(env: Mapping[str, str], cwd: Path) -> _Layer:
    words = {"true": "standard", "1": "standard", "false": "off", "0": "off"}
    return {
        name: (words.get(env[variable].lower(), env[variable]) if name == "rate_limit" else env[variable], variable, cwd)
        for variable, name in RATELIMIT_VARIABLES.items()
        if env.get(variable)
    }


def _from_flags(flags: Mapping[str, Any], cwd: Path, problems: list[Problem]) -> _Layer:
    layer: _Layer = {}
    for name, raw in flags.items():
        flag = "--" + name.replace("_", "-")
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


def _check(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[Problem]:
    for name, (low, high) in RANGES.items():
        value = values.get(name)
        if value is not None and not low <= value <= high:
            yield Problem(f"{name} = {value:,} is out of range: {low:,} to {high:,}", path=name, file=sources[name])
    yield from _check_sign_in(values, sources)
    url = values.get("database_url")
    if url and not url.startswith(("postgresql://", "postgres://")):
        yield Problem(
            "database_url must begin with postgresql://",
            path="database_url",
            file=sources["database_url"],
            hint="leave it empty for the embedded SQLite file in the data folder",
        )
    zone = values.get("time_zone")
    if zone and not is_zone(zone):
        hint = "write a name like Europe/Paris or UTC; empty means the machine's"
        yield Problem(f"time_zone = {zone!r} is no known time zone", path="time_zone", file=sources["time_zone"], hint=hint)
    public = values.get("public_url")
    if public and not public.startswith(("http://", "https://")):
        yield Problem("public_url must begin with http:// or https://", path="public_url", file=sources["public_url"])
    for queue, limit in (values.get("queues") or {}).items():
        if limit < 0:
            hint = "a number from 1 on; 0 means no limit"
            yield Problem(f"queue {queue!r} cannot have the limit {limit}", path="queues", file=sources["queues"], hint=hint)
    if values.get("remote_nodes"):
        yield from _check_nodes(values["remote_nodes"], sources["remote_nodes"])


def _check_sign_in(values: Mapping[str, Any], sources: Mapping[str, str]) -> Iterator[Problem]:
    host = values.get("host")
    closed = values.get("auth", "none") != "none" or values.get("auth_token") or values.get("auth_username")
    if host is not None and not is_loopback(host) and not closed:
        yield Problem(
            f"host = {host!r} is not a loopback address, and there is no authentication (auth = none): whoever reaches the port "
            "could run commands on this machine",
            path="host",
            file=sources["host"],
            hint="add --auth builtin and make a user with `astrarium admin create`, or listen on 127.0.0.1 and reach it through "
            "an SSH tunnel or an authenticating proxy on the same machine",
        )
    origins = split_origins(values.get("cors_origins", ""))
    if "*" in origins and not closed:
        told = "cors_origins = '*' without authentication: any web page could run commands on this machine"
        yield Problem(told, path="cors_origins", file=sources["cors_origins"], hint="name the origins, or add --auth builtin")
    for origin in origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            hint = "write scheme and host, without a path, e.g. https://tools.example"
            yield Problem(f"{origin!r} is no origin", path="cors_origins", file=sources["cors_origins"], hint=hint)
    for one, other in (("auth_username", "auth_password"), ("auth_password", "auth_username")):
        if values.get(one) and not values.get(other):
            yield Problem(f"{one} is set, {other} is not", path=other, file=sources[one], hint="HTTP basic needs both")


def _check_nodes(nodes: Mapping[str, RemoteNode], source: str) -> Iterator[Problem]:
    for name, node in nodes.items():
        try:
            parts = urlsplit(node.url)
        except ValueError:
            parts = urlsplit("")
        if not name or name == "local":
            yield Problem(f"a remote node cannot be called {name!r}", path="remote_nodes", file=source)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            yield Problem(f"remote node {name!r}: url must begin with http:// or https://", path="remote_nodes", file=source)
        elif parts.username or parts.password:
            hint = "give username and password, or token, beside url"
            yield Problem(f"remote node {name!r}: url must not hold a credential", path="remote_nodes", file=source, hint=hint)


def split_origins(text: str) -> list[str]:
    """The origins of the setting `cors_origins`."""
    return [origin for part in text.split(",") if (origin := part.strip())]


def is_zone(name: str) -> bool:
    """Whether a time zone of this name is known."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


REFERENCE_HEAD = """# Settings

<!-- Generated by `python -m astrarium.config > docs/reference/settings.md`; a test compares it. -->

A value comes from, first hit wins: a flag of the command, the variable, `./astrarium.toml`, the user's `astrarium.toml`
(in the platform's configuration folder; `ASTRARIUM_CONFIG` names another file), the default. In a file: `port = 8000`.
An unknown name is an error. Relative paths in a file count from that file's folder.

| setting | variable | default | meaning |
|---|---|---|---|
"""


def reference() -> str:
    """The page `docs/reference/settings.md`."""
    rows = "".join(f"| `{one.name}` | `{PREFIX}{one.name.upper()}` | {one.default} | {one.meaning} |\n" for one in describe())
    return REFERENCE_HEAD + rows


if __name__ == "__main__":
    print(reference(), end="")
