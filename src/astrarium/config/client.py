"""What a client works by: which registry, as whom, where in it. `load_config` puts it together; the SDK and the commands use it.

A value comes from, first hit wins: an argument, an `ASTRARIUM_*` variable, a `STARDAG_*` variable, the active profile of the nearest
`config.toml` (see `profile`), the default. Nothing here asks a server.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..errors import Invalid, Problem
from .home import Home, key_place, registry_key
from .profile import Written, is_address, read_all

VARIABLES: dict[str, tuple[str, ...]] = {
    "profile": ("PROFILE",),
    "registry_url": ("API_URL", "REGISTRY_URL"),
    "workspace": ("WORKSPACE_ID",),
    "environment": ("ENVIRONMENT_ID",),
    "api_key": ("API_KEY",),
    "timeout_s": ("API_TIMEOUT",),
    "no_registry": ("NO_REGISTRY",),
    "target_roots": ("TARGET_ROOTS",),
}
"""value → its variables, after `ASTRARIUM_` or `STARDAG_`; an earlier one wins (Stardag: `REGISTRY_URL` is the older name)"""
PREFIXES = ("ASTRARIUM_", "STARDAG_")
ROOT_VARIABLE = "TARGET_ROOTS__"
TIMEOUT_S = 30.0
WRONG = "the configuration of the client is wrong"
LOCAL_ROOTS = ".astrarium/local-target-roots/default"

CLIENT_MEANINGS: dict[str, str] = {
    "profile": "The profile that is active: a registry with a user and a place in it.",
    "registry": "Name of the registry in `config.toml`; empty when only its address is known.",
    "registry_url": "Address of the server; empty means that nothing is registered.",
    "user": "Who signed in there with `astrarium auth login`.",
    "workspace": "Workspace worked in, by slug or id. The id of an environment is taken as that environment.",
    "environment": "Environment worked in, by slug or id. An API key has its own.",
    "api_key": "API key to call with; it goes before a sign-in.",
    "timeout_s": "Seconds a request may take.",
    "no_registry": "Whether to register nothing although a registry is configured.",
    "target_roots": "Where results of tasks lie, by name.",
}
"""One sentence a value, in the order in which they are shown."""


class ClientConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a client works by. `workspace_id` and `environment_id` are empty where only a server could tell them."""

    profile: str = ""
    registry: str = ""
    registry_url: str = ""
    user: str = ""
    workspace: str = ""
    environment: str = ""
    workspace_id: str = ""
    environment_id: str = ""
    api_key: str = ""
    timeout_s: float = TIMEOUT_S
    no_registry: bool = False
    target_roots: dict[str, str] = {}
    home: Path = msgspec.field(default_factory=Path.home)
    sources: dict[str, str] = {}

    def __repr__(self) -> str:
        """Without the key."""
        return (
            f"ClientConfig({self.registry_url or 'no registry'}, {self.workspace}/{self.environment}, profile {self.profile!r})"
        )

    @property
    def key(self) -> str:
        """What files about this registry are called by."""
        return self.registry or registry_key(self.registry_url)

    @property
    def root_place(self) -> tuple[str, str]:
        """(workspace, environment) under which the target roots are remembered; an API key stands for its own."""
        return ("", key_place(self.api_key)) if self.api_key else (self.workspace_id, self.environment_id)

    def source_of(self, name: str) -> str:
        """Where the value of `name` came from: `argument`, a variable's name, a file's path, or `default`."""
        return self.sources.get(name, "default")

    def shown(self, name: str) -> Any:
        """The value as people may see it: of the API key only its beginning."""
        value = getattr(self, name)
        return f"{value[:9]}…" if name == "api_key" and value else value


def load_config(
    *,
    profile: str | None = None,
    registry: str | None = None,
    registry_url: str | None = None,
    user: str | None = None,
    workspace: str | None = None,
    environment: str | None = None,
    api_key: str | None = None,
    timeout_s: float | None = None,
    no_registry: bool | None = None,
    target_roots: Mapping[str, str] | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    home: Path | None = None,
) -> ClientConfig:
    """Put the client's configuration together. An argument that is None was not given; `env`, `cwd` and `home` are the process's own
    unless told otherwise.

    The profile that is active by default is passed over when an address of another registry is given: its user and its place mean
    nothing there. Raises `Invalid` with every problem found, `NotFound` for an unknown profile or registry.
    """
    given = {
        "profile": profile, "registry_url": registry_url, "user": user, "workspace": workspace, "environment": environment,
        "api_key": api_key, "timeout_s": timeout_s, "no_registry": no_registry,
        "target_roots": None if target_roots is None else dict(target_roots),
    }  # fmt: skip
    at = Home(home)
    values = {name: (value, "argument") for name, value in given.items() if value is not None}
    values = _from_env(os.environ if env is None else env) | values
    written = read_all(at, cwd or Path.cwd())
    if registry:
        values["registry"] = (registry, "argument")
        values["registry_url"] = (written.url_of(registry), written.file_of("registry", registry))
    values = _from_profile(written, values) | values
    if written.target_roots and "target_roots" not in values:
        values["target_roots"] = (written.target_roots, written.file_of("target_roots"))
    if "registry" not in values and "registry_url" in values:
        _name_registry(written, values)
    return _settled({name: value for name, value in values.items() if value[0] != ""}, at)


_Values = dict[str, tuple[Any, str]]


_READ: dict[str, tuple[Any, str]] = {
    "timeout_s": (float, "a number of seconds above 0"),
    "no_registry": (bool, "true or false"),
    "target_roots": (dict[str, str], 'JSON like {"default": "/data"}'),
}
"""What is no text in a variable: what it is read as, and how people are told."""


def _from_env(env: Mapping[str, str]) -> _Values:
    values: _Values = {}
    for prefix in reversed(PREFIXES):
        for name, suffixes in VARIABLES.items():
            for variable in reversed([prefix + suffix for suffix in suffixes]):
                if env.get(variable):
                    values[name] = (env[variable], variable)
        roots = {
            variable.removeprefix(prefix + ROOT_VARIABLE).lower(): uri
            for variable, uri in sorted(env.items())
            if variable.startswith(prefix + ROOT_VARIABLE) and uri
        }
        if roots and not env.get(prefix + "TARGET_ROOTS"):
            values["target_roots"] = (roots, f"{prefix}{ROOT_VARIABLE}*")
    problems = []
    for name, (kind, told) in _READ.items():
        raw, variable = values.get(name, (None, ""))
        if isinstance(raw, str):
            try:
                values[name] = (_read(kind, raw), variable)
            except (msgspec.ValidationError, msgspec.DecodeError, ValueError):
                problems.append(Problem(f"{raw!r} is not {told}", path=name, file=variable))
    if problems:
        raise Invalid(WRONG, problems, code="bad_settings")
    return values


def _read(kind: Any, raw: str) -> Any:
    if kind is float:
        if not 0 < (number := float(raw)) < float("inf"):
            raise ValueError(raw)
        return number
    if kind is bool:
        return msgspec.convert(
            {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(raw.lower(), raw), bool, strict=False
        )
    return msgspec.json.decode(raw, type=kind)


def _from_profile(written: Written, values: _Values) -> _Values:
    """What the active profile says, unless it is only the usual one and another registry is asked for."""
    named = "profile" in values
    name, source = values.get("profile") or (written.default, written.file_of("default"))
    if not name:
        return {}
    profile = written.profile_of(name)
    url = written.url_of(profile.registry)
    asked = values.get("registry_url", (url, ""))[0]
    same = asked.rstrip("/") == url.rstrip("/") and values.get("registry", (profile.registry,))[0] == profile.registry
    if not same and not named:
        return {}
    found: _Values = {"profile": (name, source)}
    place: dict[str, str] = {"workspace": profile.workspace, "environment": profile.environment}
    if "workspace" in values and values["workspace"][0] != profile.workspace:
        place = {}
    if same:
        place |= {"registry": profile.registry, "registry_url": url, "user": profile.user}
    file = written.file_of("profile", name)
    urls_file = written.file_of("registry", profile.registry)
    found |= {key: (value, urls_file if key == "registry_url" else file) for key, value in place.items() if value}
    return found


def _name_registry(written: Written, values: _Values) -> None:
    """The registry of an address that was given without its name, if the files have one."""
    url = values["registry_url"][0].rstrip("/")
    for name, known in written.registries.items():
        if known.rstrip("/") == url:
            values["registry"] = (name, written.file_of("registry", name))
            users = {one.user for one in written.profiles.values() if one.registry == name and one.user}
            if "user" not in values and len(users) == 1:
                values["user"] = (users.pop(), written.file_of("registry", name))
            return


def _settled(values: _Values, at: Home) -> ClientConfig:
    config = ClientConfig(
        **{name: value for name, (value, _) in values.items()},
        home=at.folder,
        sources={name: source for name, (_, source) in values.items()},
    )
    if config.registry_url and not is_address(config.registry_url):
        problem = Problem(f"{config.registry_url!r} is no address", path="registry_url", file=config.source_of("registry_url"))
        raise Invalid(WRONG, [problem], code="bad_settings", hint="write http://… or https://…")
    set_ = msgspec.structs.force_setattr
    set_(config, "registry_url", config.registry_url.rstrip("/"))
    workspace_id = config.workspace if is_id(config.workspace) else at.workspace_id(config.key, config.workspace)
    set_(config, "workspace_id", workspace_id)
    known = is_id(config.environment)
    set_(
        config, "environment_id", config.environment if known else at.environment_id(config.key, workspace_id, config.environment)
    )
    roots, source = config.target_roots, config.sources.get("target_roots")
    if source is None:
        kept = (
            at.target_roots(config.registry_url, *config.root_place) if config.registry_url and not config.no_registry else None
        )
        roots = {"default": f"~/{LOCAL_ROOTS}"} if kept is None else kept
        if kept is not None:
            config.sources["target_roots"] = str(at.roots_file)
    set_(config, "target_roots", {name: _expanded(uri, at.folder) for name, uri in roots.items()})
    return config


def _expanded(uri: str, home: Path) -> str:
    return str(home / uri[2:]) if uri.startswith("~/") else uri


def is_id(text: str) -> bool:
    """Whether this is the id of something and no slug."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def is_client_variable(variable: str) -> bool:
    """Whether a variable with our prefix is one of the client's, and so none of the server's settings."""
    name = variable.removeprefix(PREFIXES[0])
    return name in _NAMES or name.startswith(ROOT_VARIABLE)


_NAMES = frozenset(suffix for suffixes in VARIABLES.values() for suffix in suffixes) | {
    "CODE_ID", "DEPLOYMENT_ID", "BUILD_ID", "PLAN_ID", "EXECUTION_ID", "CLAIM_TTL_SECONDS",
}  # fmt: skip
"""With those the SDK reads or hands to its workers."""
