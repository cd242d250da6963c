"""What an engine is told: the body of a new container, the words of a command, the credentials for an image."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ...runs.ports import StepFailed

KEEP_ALIVE = ("sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done")
_SHELL_SIGNS = re.compile(r"[|&;<>()$`*?\[\]~\n#]")
_DEFAULT_REGISTRY = ("docker.io", "index.docker.io", "registry-1.docker.io", "index.docker.io/v1")


class DockerParams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A new container of `image`, or a process in the existing one `exec` names, or (`shared`) in the one all steps of the run
    share. `startup`, `wait_for` (`running`, `healthy`) and `log_pattern` say how a container that serves commands is started, and
    when it is ready. `pull` is `always`, `never` or `missing`. `keep`: it is not removed at the end. `raw_…` are objects of the
    engine's API, taken as they are. All texts are templates."""

    image: str = ""
    exec: str = ""
    shared: bool = False
    name: str = ""
    pull: Literal["always", "never", "missing"] = "missing"
    env: tuple[tuple[str, str], ...] = ()
    volumes: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    platform: str = ""
    ports: tuple[str, ...] = ()
    network: str = ""
    startup: Literal["", "keepalive", "entrypoint", "command"] = ""
    startup_command: tuple[str, ...] = ()
    wait_for: Literal["", "running", "healthy"] = ""
    log_pattern: str = ""
    restart_policy: Literal["", "no", "always", "unless-stopped"] = ""
    keep: bool = False
    registry_auths: str | dict[str, Any] = ""
    raw_container: dict[str, Any] = {}
    raw_host: dict[str, Any] = {}
    raw_network: dict[str, Any] = {}
    raw_exec: dict[str, Any] = {}
    shell: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    script: str = ""
    command: str = ""

    def __post_init__(self) -> None:
        if bool(self.image) == bool(self.exec):
            raise ValueError("a container step needs `image` or `exec`, one of them")

    @property
    def serves(self) -> bool:
        """Whether the container runs by itself and the commands are further processes in it."""
        own = self.startup in ("entrypoint", "command") or self.wait_for == "healthy" or bool(self.log_pattern)
        return self.shared or len(self.commands) > 1 or (own and bool(self.commands or self.script))


def body_of(params: DockerParams, workdir: Path, env: Mapping[str, str], labels: Mapping[str, str]) -> dict[str, Any]:
    """A new container; its command is added by who makes it."""
    body: dict[str, Any] = dict(params.raw_container)
    host: dict[str, Any] = dict(params.raw_host)
    body["Image"] = params.image
    body["Tty"] = False
    body["AttachStdout"] = body["AttachStderr"] = True
    body["Env"] = [*body.get("Env", ()), *env_words(env, params.env)]
    body["Labels"] = {**body.get("Labels", {}), **labels}
    body |= {key: value for key, value in (("User", params.user), ("WorkingDir", params.working_dir)) if value}
    if params.volumes:
        host["Binds"] = [*host.get("Binds", ()), *(bind(text, workdir) for text in params.volumes)]
    if params.ports:
        bindings = ports_of(params.ports)
        body["ExposedPorts"] = {**body.get("ExposedPorts", {}), **{port: {} for port in bindings}}
        host["PortBindings"] = {**host.get("PortBindings", {}), **bindings}
    if params.network:
        host["NetworkMode"] = params.network
    if params.restart_policy:
        host["RestartPolicy"] = {"Name": params.restart_policy}
    host.pop("AutoRemove", None)  # its exit code would be gone with it; the step removes it
    body["HostConfig"] = host
    if params.raw_network:
        body["NetworkingConfig"] = params.raw_network
    return body


def env_words(env: Mapping[str, str], more: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"{name}={value}" for name, value in {**env, **dict(more)}.items()]


def bind(text: str, workdir: Path) -> str:
    """`host:container[:mode]`; a host path that begins with `.` or `~` is made absolute, and made when it is missing."""
    source, colon, rest = text.partition(":")
    if not colon or not rest.startswith("/"):
        raise StepFailed(f"a volume is written `host_path:/container_path[:ro]`, not {text!r}")
    if source.startswith((".", "~")):
        path = Path(os.path.normpath(workdir / os.path.expanduser(source)))
        path.mkdir(parents=True, exist_ok=True) if not path.exists() else None
        source = str(path)
    return f"{source}:{rest}"


def ports_of(texts: tuple[str, ...]) -> dict[str, list[dict[str, str]]]:
    """`8080:80`, `127.0.0.1:8080:80/udp`, `80` → the engine's bindings."""
    found: dict[str, list[dict[str, str]]] = {}
    for text in texts:
        head, _, kind = text.strip().partition("/")
        ip, _, pair = head.rpartition(":") if head.count(":") > 1 else ("", "", head)
        host, _, inside = pair.rpartition(":")
        if ip:
            ip, _, host = head.rpartition(":")[0].rpartition(":")
            inside = head.rpartition(":")[2]
        if not inside.isdecimal() or (host and not host.isdecimal()) or kind not in ("", "tcp", "udp", "sctp"):
            raise StepFailed(f"a port is written `host_port:container_port` or `container_port`, not {text!r}")
        found.setdefault(f"{inside}/{kind or 'tcp'}", []).append({"HostIp": ip, "HostPort": host})
    return found


def words_of(text: str, shell: tuple[str, ...]) -> list[str]:
    """One command line as words: in the step's shell, else in `sh` when it uses one (pipes, variables, globs), else as it is."""
    if shell:
        return [*shell, "-c", text]
    if _SHELL_SIGNS.search(text):
        return ["sh", "-e", "-c", text]
    try:
        return shlex.split(text)
    except ValueError as error:
        raise StepFailed(f"cannot split the command into words ({error}): {text}") from None


def auth_for(image: str, given: str | dict[str, Any]) -> dict[str, str] | None:
    """Credentials for the registry of an image: by host, or the whole of a Docker `config.json` as text (`DOCKER_AUTH_CONFIG`)."""
    found = _parsed(given) if isinstance(given, str) else given
    if isinstance(found.get("auths"), dict):
        found = found["auths"]
    head, slash, _ = image.partition("/")
    registry = head if slash and ("." in head or ":" in head or head == "localhost") else "docker.io"
    for host, value in found.items():
        bare = host.removeprefix("https://").removeprefix("http://").rstrip("/")
        if bare == registry or (registry in _DEFAULT_REGISTRY and bare in _DEFAULT_REGISTRY):
            return _credentials(host, value)
    return None


def _parsed(text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        raise StepFailed("`registryAuths` must be a map, or the JSON text of a Docker config; it is neither") from None
    return found if isinstance(found, dict) else {}


def _credentials(host: str, value: Any) -> dict[str, str]:
    """`{username, password}`, `{auth}`, or a text with base64 of `user:password` or the JSON of either."""
    if isinstance(value, str):
        value = _parsed(value) if value.strip().startswith("{") else {"auth": value}
    told = {key.lower(): str(text) for key, text in value.items()}
    if told.get("auth") and not told.get("username"):
        if told["auth"].strip().startswith("{"):
            return _credentials(host, told["auth"])
        try:
            user, _, password = base64.b64decode(told["auth"], validate=True).decode().partition(":")
        except ValueError:
            raise StepFailed(f"the `auth` of registry {host} must be base64 of user:password") from None
        told |= {"username": user, "password": password}
    return {"username": told.get("username", ""), "password": told.get("password", ""), "serveraddress": host}
