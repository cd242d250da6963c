"""Registries and profiles: what the `config.toml` files of clients say, and how the commands change ours.

[registry.central]
url = "https://astrarium.example.com"
[profile.prod]
registry = "central"
user = "ada@example.com"        # only where one signs in
workspace = "my-team"           # slug or id; Stardag's older word `organization` means the same
environment = "production"      # slug or id
[default]
profile = "prod"

The nearest file wins, entry by entry: `.astrarium/config.toml` in the folder or above it, `.stardag/config.toml` likewise, then
those in the home. In ours an unknown name is an error; in Stardag's it is passed over.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ..errors import Invalid, NotFound, Problem
from .home import CONFIG_FILE, FOREIGN, OWN, Home

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
REGISTRY, PROFILE, DEFAULT, TARGET_ROOTS = "registry", "profile", "default", "target_roots"
_TABLES = {REGISTRY: ("url",), PROFILE: ("registry", "user", "workspace", "organization", "environment")}
_HEADER = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?")


class Profile(msgspec.Struct, frozen=True):
    """A registry with a place in it, under one name."""

    registry: str
    user: str = ""
    workspace: str = ""
    environment: str = ""


class Written(msgspec.Struct, frozen=True):
    """What one `config.toml` says, or several of them together; `found` has the file of each entry, by `table.name`."""

    registries: dict[str, str] = {}
    profiles: dict[str, Profile] = {}
    default: str = ""
    target_roots: dict[str, str] = {}
    found: dict[str, Path] = {}

    def file_of(self, table: str, name: str = "") -> str:
        """The file an entry stands in."""
        return str(self.found.get(f"{table}.{name}" if name else table, ""))

    def url_of(self, name: str) -> str:
        """The address of a registry. Raises `NotFound` with the command that adds one of that name."""
        if name not in self.registries:
            known = f"known are {', '.join(sorted(self.registries))}; " if self.registries else ""
            raise NotFound(
                f"there is no registry {name!r}", code="unknown_registry",
                hint=f"{known}add it with `astrarium config registry add {name} --url https://…`",
            )  # fmt: skip
        return self.registries[name]

    def profile_of(self, name: str) -> Profile:
        """The profile of a name. Raises `NotFound` with the command that adds one."""
        if name not in self.profiles:
            known = f"known are {', '.join(sorted(self.profiles))}; " if self.profiles else ""
            raise NotFound(
                f"there is no profile {name!r}", code="unknown_profile",
                hint=f"{known}`astrarium auth login` makes one, or `astrarium config profile add {name} …`",
            )  # fmt: skip
        return self.profiles[name]


def config_files(home: Home, cwd: Path) -> list[Path]:
    """Where client configuration may stand, nearest first; those that exist."""
    at_home = [home.config_file, home.foreign / CONFIG_FILE]
    near = [
        next((file for folder in (cwd, *cwd.parents) if (file := folder / name / CONFIG_FILE).is_file()), None)
        for name in (OWN, FOREIGN)
    ]
    return [*(file for file in near if file is not None and file not in at_home), *(file for file in at_home if file.is_file())]


def read_all(home: Home, cwd: Path) -> Written:
    """Everything the files say together. Raises `Invalid` with every problem found."""
    problems: list[Problem] = []
    all_ = Written()
    for file in config_files(home, cwd):
        all_ = _beneath(all_, read_file(file, problems))
    if problems:
        raise Invalid("the configuration of the client is wrong", problems, code="bad_settings")
    return all_


def _beneath(near: Written, far: Written) -> Written:
    return Written(
        far.registries | near.registries,
        far.profiles | near.profiles,
        near.default or far.default,
        near.target_roots or far.target_roots,
        far.found | near.found,
    )


def read_file(path: Path, problems: list[Problem]) -> Written:
    """What one file says; complaints are added to `problems`. A file that is not there says nothing."""
    try:
        return read_text(path.read_text(encoding="utf-8"), path, problems)
    except (FileNotFoundError, NotADirectoryError):
        return Written()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(f"cannot be read: {error}", file=str(path)))
    return Written()


def read_text(text: str, path: Path, problems: list[Problem]) -> Written:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problems.append(Problem(f"is not valid TOML: {error}", file=str(path)))
        return Written()
    mine: list[Problem] = []
    if path.parent.name == OWN:
        mine += (Problem(told, path=where, file=str(path), hint=hint) for told, where, hint in _unknown(document))
    try:
        registries = {name: msgspec.convert(entry["url"], str) for name, entry in _table(document, REGISTRY).items()}
        profiles = {name: _profile(entry) for name, entry in _table(document, PROFILE).items()}
        default = msgspec.convert(_table(document, DEFAULT).get(PROFILE, ""), str)
        roots = msgspec.convert(_table(document, TARGET_ROOTS), dict[str, str])
    except (msgspec.ValidationError, KeyError, TypeError, AttributeError) as error:
        told = f"`{error.args[0]}` is missing" if isinstance(error, KeyError) else str(error)
        problems.append(Problem(f"is not as it should be: {told}", file=str(path), hint="see docs/guide/clients.md"))
        return Written()
    mine += (
        Problem(f"{url!r} is no address", path=f"registry.{name}.url", file=str(path), hint="write http://… or https://…")
        for name, url in registries.items()
        if not is_address(url)
    )
    problems += mine
    found = {f"{REGISTRY}.{name}": path for name in registries} | {f"{PROFILE}.{name}": path for name in profiles}
    found |= {table: path for table, value in ((DEFAULT, default), (TARGET_ROOTS, roots)) if value}
    return Written(registries, profiles, default, roots, found)


def _table(document: dict[str, Any], name: str) -> dict[str, Any]:
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise TypeError(f"`{name}` must be a table")
    return table


def _profile(entry: dict[str, Any]) -> Profile:
    return msgspec.convert({**entry, "workspace": entry.get("workspace") or entry.get("organization") or ""}, Profile)


def _unknown(document: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(complaint, place, hint) of every name we do not know."""
    known = (REGISTRY, PROFILE, DEFAULT, TARGET_ROOTS)
    for table, entries in document.items():
        if table not in known:
            yield f"unknown name `{table}`", table, _near(table, known)
        elif table == DEFAULT and isinstance(entries, dict):
            for name in entries.keys() - {PROFILE}:
                yield f"unknown name `{name}`", f"{table}.{name}", _near(name, (PROFILE,))
        elif table in _TABLES and isinstance(entries, dict):
            for name, entry in entries.items():
                for key in (entry.keys() if isinstance(entry, dict) else set()) - set(_TABLES[table]):
                    yield f"unknown name `{key}`", f"{table}.{name}.{key}", _near(key, _TABLES[table])


def _near(name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"


def is_address(url: str) -> bool:
    """Whether this may be the address of a registry."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username and parts.port != 0
    except ValueError:
        return False


def check_name(name: str, what: str) -> str:
    """The name of a registry or profile. Raises `Invalid`."""
    if not NAME.fullmatch(name) or "__" in name:
        raise Invalid(
            f"{name!r} cannot be the name of a {what}", hint="use letters, digits, `-` and single `_`, at most 64", code="usage"
        )
    return name


def put_entry(home: Home, table: str, name: str, fields: dict[str, str]) -> Path:
    """Write `[table.name]` (`[table]` when `name` is empty) into our `config.toml`, in place of what stood there. What else stands
    there, comments too, is kept."""
    header = f"{table}.{name}" if name else table
    lines = [f"[{header}]", *(f"{key} = {_quoted(value)}" for key, value in fields.items() if value)]
    return _change(home, header, "\n".join(lines) + "\n")


def drop_entry(home: Home, table: str, name: str = "") -> Path:
    """Take `[table.name]` out of our `config.toml`."""
    return _change(home, f"{table}.{name}" if name else table, "")


def _change(home: Home, header: str, text: str) -> Path:
    with home.locked():
        path = home.config_file
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        problems: list[Problem] = []
        read_text(before, path, problems)
        after = _edited(before, header, text)
        read_text(after, path, problems)
        if problems or _at(after, header) != (_at(text, header) if text else None):
            raise Invalid(
                f"{path} cannot be changed by a command", problems, hint="write it by hand; docs/guide/clients.md shows how"
            )
        return home.write_config(after)


def _edited(before: str, header: str, text: str) -> str:
    """`before` without the lines of `header`, and `text` where they were, else at the end."""
    kept: list[str] = []
    at, inside = -1, False
    for line in before.splitlines(keepends=True):
        match = _HEADER.fullmatch(line.rstrip("\r\n"))
        if match:
            inside = re.sub(r"""["'\s]""", "", match[1]) == header
            at = len(kept) if inside else at
        if not inside or not line.strip() or line.lstrip().startswith("#"):
            kept.append(line if line.endswith("\n") else line + "\n")
    if at < 0:
        kept += ["\n"] if kept and kept[-1].strip() and text else []
        at = len(kept)
    kept.insert(at, text)
    return "".join(kept)


def _at(text: str, header: str) -> Any:
    found: Any = tomllib.loads(text)
    for name in header.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
