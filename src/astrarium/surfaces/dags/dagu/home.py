"""Where things lie in a home of Dagu 1.x, and its settings in our words (contract dagu.md §7.4, §8)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ....errors import Invalid, NotFound, Problem

CONFIG = "config.yaml"
SUFFIXES = (".yaml", ".yml")
_VARIABLE = re.compile(r"\$\{?(HOME|DAGU_HOME)\}?")


class Home(msgspec.Struct, frozen=True):
    """The folders of one installation; any of them may be missing. `settings` is its configuration file as read."""

    folder: Path
    dags: Path
    runs: Path
    suspended: Path
    base: Path
    settings: dict[str, Any]


def open_home(folder: Path, data: Path | None = None) -> Home:
    """Find out where things lie: all in one folder (`DAGU_HOME`), or as the paths of its configuration say. `data` is the folder of
    data where that lies elsewhere (XDG: `~/.local/share/dagu`). Raises `NotFound` when this is no such home, `Invalid` when its
    configuration cannot be read."""
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", hint="name the folder DAGU_HOME points to, or ~/.config/dagu")
    settings = read_config(folder / CONFIG)
    paths = {key.lower(): value for key, value in _table(settings, "paths").items()}
    rest = data.expanduser().absolute() if data is not None else folder

    def place(key: str, *choices: Path) -> Path:
        named = paths.get(key.lower())
        if isinstance(named, str) and named.strip():
            return _path(named, folder)
        return next((path for path in choices if path.exists()), choices[0])

    data_dir = place("dataDir", rest / "data", rest)
    home = Home(
        folder,
        dags=place("dagsDir", folder / "dags"),
        runs=place("dagRunsDir", data_dir / "dag-runs"),
        suspended=place("suspendFlagsDir", rest / "suspend", data_dir / "suspend"),
        base=place("baseConfig", folder / "base.yaml"),
        settings=settings,
    )
    if not home.dags.is_dir() and not home.runs.is_dir():
        raise NotFound(
            f"{folder} is no home of Dagu: neither {home.dags} nor {home.runs} is there",
            hint="name the folder DAGU_HOME points to; --data names the folder of its data where that lies elsewhere",
        )
    return home


def read_config(path: Path) -> dict[str, Any]:
    """The configuration; empty when there is none. Raises `Invalid`."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Invalid(f"{path} cannot be read", [Problem(" ".join(str(error).split()), file=str(path))]) from error
    return found if isinstance(found, dict) else {}


def _table(settings: dict[str, Any], name: str) -> dict[str, Any]:
    found = next((value for key, value in settings.items() if str(key).lower() == name.lower()), None)
    return {str(key): value for key, value in found.items()} if isinstance(found, dict) else {}


def _path(text: str, folder: Path) -> Path:
    known = {"HOME": str(Path.home()), "DAGU_HOME": str(folder)}
    return Path(folder, Path(_VARIABLE.sub(lambda match: known[match[1]], text)).expanduser())


def dag_files(home: Home) -> Iterator[Path]:
    """Its DAG files, those in sub-folders too, by path."""
    for path in sorted(home.dags.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(home.dags).parts)
        if path.suffix in SUFFIXES and path.is_file() and not hidden and path != home.base:
            yield path


def suspended_names(home: Home) -> list[str]:
    """The names of DAG files whose schedule is suspended."""
    return sorted(path.name.removesuffix(".suspend") for path in home.suspended.glob("*.suspend"))


def our_settings(home: Home) -> tuple[dict[str, Any], list[str]]:
    """(settings of ours that say the same, what has no counterpart here). Credentials are not taken over."""
    ours: dict[str, Any] = {}
    left: list[str] = []
    told = {str(key).lower(): value for key, value in home.settings.items()}
    if told.get("port"):
        ours["port"] = told.pop("port")
    if told.get("tz"):
        ours["time_zone"] = told.pop("tz")
    if told.get("defaultshell"):
        ours["default_shell"] = told.pop("defaultshell")
    permissions = {key.lower(): value for key, value in _table(home.settings, "permissions").items()}
    for theirs, name in (("writedags", "write_dags"), ("rundags", "run_dags")):
        if permissions.get(theirs) is False:
            ours[name] = False
    queues = {key.lower(): value for key, value in _table(home.settings, "queues").items()}.get("config")
    if isinstance(queues, list):
        limits = {
            str(one.get("name")): one.get("maxConcurrency", one.get("maxActiveRuns", 1))
            for one in queues
            if isinstance(one, dict)
        }
        ours["queues"] = {name: limit for name, limit in limits.items() if isinstance(limit, int)}
    nodes = told.get("remotenodes")
    if isinstance(nodes, list):
        urls = {str(one.get("name")): one.get("apiBaseURL") for one in nodes if isinstance(one, dict)}
        ours["remote_nodes"] = {name: {"url": url} for name, url in urls.items() if isinstance(url, str)}
        if urls:
            left.append("remoteNodes: give each its token or password in `remote_nodes`")
    for name in ("auth", "tls", "ui", "host", "basePath", "scheduler", "coordinator", "worker"):
        if name.lower() in told:
            left.append(f"{name}: has no counterpart that could be taken over")
    return ours, left
