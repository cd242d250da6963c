"""DAG files as the commands read them: compiled where they lie, complaints with their places."""

from __future__ import annotations

from pathlib import Path

from ..config import Settings
from ..errors import Invalid, NotFound, Problem
from ..lazy import plugins
from ..surfaces.dags import catalog
from ..surfaces.dags.catalog import Catalog, Compiled, strip_suffix

NOT_VALID = "{} is not a valid DAG"


def installed_kinds() -> frozenset[str]:
    """The step types that are installed, by name; none of them is loaded."""
    return frozenset(entry.name for entry in plugins("astrarium.steps"))


def open_catalog(settings: Settings) -> Catalog:
    """The DAG folder."""
    return catalog.open_catalog(settings, installed_kinds())


def find_file(name: str, settings: Settings) -> Path:
    """The file a person names: a path, or the name of a DAG in the DAG folder. Raises `NotFound`."""
    path = Path(name)
    if path.exists():
        return path
    if "/" not in name:
        try:
            return open_catalog(settings).find(name).path
        except NotFound:
            pass
    raise NotFound(f"there is no file {name}", hint=f"nor a DAG of that name in {settings.dags_dir}")


def read_text(path: Path, most_bytes: int) -> str:
    """The text of a DAG file. Raises `Invalid` when it is too large, no UTF-8 or no file at all."""
    try:
        if path.stat().st_size > most_bytes:
            raise _wrong(path, f"is larger than {most_bytes:,} bytes", "the setting max_yaml_bytes allows more")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _wrong(path, f"is no UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}") from error


def _wrong(path: Path, what: str, hint: str = "") -> Invalid:
    return Invalid(NOT_VALID.format(path), [Problem(what, file=str(path), hint=hint)])


def compile_file(path: Path, settings: Settings, *, strict: bool = False) -> tuple[str, Compiled]:
    """(text, what it compiles to); `strict` as in `Catalog.compile`. Raises `Invalid` with every problem, each with file, line
    and column."""
    text = read_text(path, settings.max_yaml_bytes)
    folder, name = path.absolute().parent, strip_suffix(path.name)
    try:
        return text, open_catalog(settings).compile(text, name, file=str(path), base_dir=folder, strict=strict)
    except Invalid as error:
        raise Invalid(NOT_VALID.format(path), error.problems or [Problem(error.message, file=str(path))]) from error
