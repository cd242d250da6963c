"""Steps that act elsewhere: what `ssh`, `docker`, `mail` and `archive` steps say becomes the parameters of those step types.

The DAG's own `ssh`, `container`, `smtp` and `registryAuths` are defaults; what the step says itself comes first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .fields import Fields
from .shape import read_container

ARCHIVE_OPERATIONS = ("create", "extract", "list")
_PULL = {True: "always", False: "never"}


def read_elsewhere(
    kind: str, step: Fields, commands: list[str], script: str, shell: list[str], given: dict[str, Any], defaults: dict[str, Any]
) -> dict[str, Any]:
    """The parameters of one of `READERS`. `given` is the step's checked config, `shell` the step's own."""
    work = _if_any(script=script, command=commands[0] if commands else "") if script else _if_any(commands=commands)
    return READERS[kind](step, work, shell, given, defaults)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [_text(item) for item in value] if isinstance(value, list) else [_text(value)]


def _if_any(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}


def _shell_words(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else _texts(value)


def _ssh(step: Fields, work: dict[str, Any], shell: list[str], given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    told = {**(defaults.get("ssh") or {}), **given}
    for name in ("user", "host"):
        if not told.get(name):
            step.report.add(
                f"an ssh step needs `{name}`, in its `config` or in the DAG's `ssh`", step.node, step.at(f"config.{name}")
            )
    if not work:
        step.report.add("an ssh step needs `command` or `script`", step.node, step.at("command"))
    params = {
        "user": _text(told.get("user")), "host": _text(told.get("host")), "port": _text(told.get("port")) or "22",
        **_if_any(key=_text(told.get("key")), password=_text(told.get("password")), known_hosts=_text(told.get("knownHostFile"))),
        **_if_any(shell=shell or _shell_words(told.get("shell"))), **work,
    }  # fmt: skip
    return params if told.get("strictHostKey", True) else params | {"strict_host_key": False}


def _mail(
    step: Fields, work: dict[str, Any], shell: list[str], given: dict[str, Any], defaults: dict[str, Any]
) -> dict[str, Any]:
    for name in ("from", "to"):
        if not given.get(name):
            step.report.add(f"a mail step needs `{name}` in its `config`", step.node, step.at(f"config.{name}"))
    smtp = defaults.get("smtp")
    found: dict[str, Any] = {
        "smtp": {name.lower(): _text(value) for name, value in smtp.items()} if isinstance(smtp, dict) else {}
    }
    found |= {name: _text(given.get(name)) for name in ("from", "subject", "html")}
    found |= {name: _texts(given.get(name)) for name in ("to", "cc", "attachments")}
    return _if_any(**found, text=_text(given.get("message")))


def _archive(
    step: Fields, work: dict[str, Any], shell: list[str], given: dict[str, Any], defaults: dict[str, Any]
) -> dict[str, Any]:
    operation = (work.get("commands") or [""])[0].strip()
    if operation not in ARCHIVE_OPERATIONS:
        step.wrong("command", f"one of {', '.join(ARCHIVE_OPERATIONS)} in an archive step")
    if not given.get("source"):
        step.report.add("an archive step needs `source` in its `config`", step.node, step.at("config.source"))
    if operation == "create" and not given.get("destination") and not given.get("dryRun"):
        step.report.add("`create` needs `destination` in its `config`", step.node, step.at("config.destination"))
    if operation == "create" and given.get("password"):
        step.report.add(
            "archives are never made with a password, only read", step.node, step.at("config.password"),
            "encrypt the archive in a step of its own, with gpg or age",
        )  # fmt: skip
    level = given.get("compressionLevel", -1)
    if isinstance(level, int) and not -1 <= level <= 9:
        step.report.add("`compressionLevel` must be from -1 to 9", step.node, step.at("config.compressionLevel"))
    flags = {
        "overwrite": "overwrite", "dryRun": "dry_run", "verbose": "verbose", "followSymlinks": "follow_symlinks",
        "verifyIntegrity": "verify_integrity", "continueOnError": "continue_on_error",
    }  # fmt: skip
    params: dict[str, Any] = {"operation": operation, "source": _text(given.get("source"))}
    params |= _if_any(**{ours: bool(given.get(theirs)) for theirs, ours in flags.items()})
    params |= _if_any(**{name: _text(given.get(name)) for name in ("destination", "format", "password")})
    params |= _if_any(**{name: _texts(given.get(name)) for name in ("include", "exclude")})
    params |= _if_any(strip_components=_text(given.get("stripComponents")).removeprefix("0"))
    if level != -1:
        params["compression_level"] = _text(level)
    return params if given.get("preservePaths", True) else params | {"preserve_paths": False}


def _docker(
    step: Fields, work: dict[str, Any], shell: list[str], given: dict[str, Any], defaults: dict[str, Any]
) -> dict[str, Any]:
    own = read_container(step)
    shared = not given and own is None and bool(defaults.get("container"))
    described = own if own is not None else defaults.get("container")
    if given:
        if own is not None:
            step.wrong("container", "left out where the step's `config` says which container")
        params = _old_style(step, given)
    elif isinstance(described, str):
        params = {"exec": described}
    elif isinstance(described, dict):
        params = container_params(described)
    else:
        step.report.add("a docker step needs `image` in its `config`, or a `container`", step.node, step.at("config.image"))
        return {}
    _check_container(step, params, work)
    auths = defaults.get("registryAuths")
    return params | _if_any(shared=shared, shell=shell, registry_auths=auths) | work


def _check_container(step: Fields, params: dict[str, Any], work: dict[str, Any]) -> None:
    if params.get("startup") == "command" and not params.get("startup_command"):
        step.report.add("a container with `startup: command` needs `command`", step.node, step.at("container.command"))
    if params.get("exec") and not work:
        step.report.add("a step in an existing container needs `command` or `script`", step.node, step.at("command"))


def container_params(told: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a `container:` object."""
    texts = {
        "image": "image", "exec": "exec", "name": "name", "user": "user", "workingDir": "working_dir", "workDir": "working_dir",
        "platform": "platform", "network": "network", "startup": "startup", "waitFor": "wait_for", "logPattern": "log_pattern",
        "restartPolicy": "restart_policy",
    }  # fmt: skip
    told = {next((name for name in (*texts, *_LISTS) if name.lower() == key.lower()), key): value for key, value in told.items()}
    params = _if_any(**{ours: _text(told.get(theirs)) for theirs, ours in texts.items() if told.get(theirs)})
    params |= _if_any(volumes=_texts(told.get("volumes")), ports=_texts(told.get("ports")), env=_env(told.get("env")))
    params |= _if_any(startup_command=_texts(told.get("command")), keep=bool(told.get("keepContainer")))
    return params | _pull(told.get("pullPolicy"))


_LISTS = ("volumes", "ports", "env", "command", "keepContainer", "pullPolicy")


def _old_style(step: Fields, given: dict[str, Any]) -> dict[str, Any]:
    """`config` of an executor of type docker: image or containerName, shortcuts, and objects of the engine's API as they are."""
    if bool(given.get("image")) == bool(given.get("containerName")):
        step.report.add("a docker step's `config` needs either `image` or `containerName`", step.node, step.at("config.image"))
    texts = {"image": "image", "containerName": "exec", "platform": "platform", "workingDir": "working_dir"}
    params = _if_any(**{ours: _text(given.get(theirs)) for theirs, ours in texts.items()})
    raw = {"container": "raw_container", "host": "raw_host", "network": "raw_network", "exec": "raw_exec"}
    params |= _if_any(**{ours: given.get(theirs) for theirs, ours in raw.items()}, volumes=_texts(given.get("volumes")))
    if _text(given.get("autoRemove")) == "false":
        params["keep"] = True
    return params | _pull(given.get("pull"))


def _pull(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    return {"pull": _PULL[value] if isinstance(value, bool) else _text(value)}


def _env(value: Any) -> list[list[str]]:
    """Names and templates, in order."""
    found: list[list[str]] = []
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            found += [[str(name), _text(told)] for name, told in item.items()]
        elif item is not None:
            name, _, told = str(item).partition("=")
            found.append([name, told])
    return found


Reader = Callable[[Fields, dict[str, Any], list[str], dict[str, Any], dict[str, Any]], dict[str, Any]]
READERS: dict[str, Reader] = {"ssh": _ssh, "mail": _mail, "archive": _archive, "docker": _docker}
"""Step types → how their parameters are read."""
