"""What a graph's document refers to on this machine: Python nodes, state classes, child documents, packs.

Modules are looked for beside the graph's file first, then among what is installed (`runs.ports.code`).
"""

from __future__ import annotations

import os
import re
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ....config import Settings
from ....errors import Invalid, NotFound
from ....runs.ports import Step
from ....runs.ports.code import CODES, Found, Nameless
from ....runs.routing.rules.pack import clips_problems
from ....runs.routing.rules.pattern import pattern_problems
from ....spec.ir.installed import Child, Code, Installed
from ....spec.ir.pack.manifest import MANIFEST, RULES, read_manifest, tree_hash
from ....spec.ir.pack.policy import REFERENCE, Pack, built_in
from ....spec.ir.pack.signature import Trust, Trusted, judge_pack
from ....spec.ir.state import Mirror, StateClass
from ....store.log import safe_name
from ..installed import installed_kinds, installed_tools
from ..registry import skill_ids, store_providers

MAX_CHILD_BYTES = 4 * 1024 * 1024
MAX_PACK_BYTES = 16 * 1024 * 1024
PACKS = "packs"
"""The folder beside a graph in which its packs lie."""
PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}")
FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}")


def installation(
    steps: Mapping[str, Step], folder: Path, *, packs: Sequence[Path] = (), belief: Belief | None = None, skills: Collection[str] = ()
) -> Installed:
    """All that a document in `folder` may refer to. `packs` are the folders packs are looked for in, `belief` whose signatures count."""
    belief = belief or Belief()
    importer = Importer(folder)
    return Installed(
        kinds=installed_kinds(steps),
        tools=installed_tools(),
        skills=skills or skill_ids(),
        providers=store_providers() or None,
        code=importer.code,
        state_class=importer.state_class,
        child=Children(folder).read,
        pack=Packs(tuple(packs) or (folder / PACKS,), belief).load,
        signed=belief.signed,
        clips=find_spec("clips") is not None,
        engine=clips_problems,
        pattern=pattern_problems,
    )


class Belief(NamedTuple):
    """Whose signatures on packs count. `keys`: fingerprints by key id, when set the only ones; else the records in the folder `trusted`,
    and a key that is met first, unless packs must be `signed`: then one whose signature does not hold is refused."""

    trusted: Path | None = None
    signed: bool = False
    keys: Mapping[str, str] = {}

    @classmethod
    def of(cls, settings: Settings) -> Belief:
        """Raises `Invalid` for a setting that names no keys."""
        pairs = [part.strip().partition("=") for part in settings.pack_keys.split(",") if part.strip()]
        for key_id, _, print_ in pairs:
            if not key_id or not FINGERPRINT.fullmatch(print_):
                hint = "pack_keys is KEY_ID=FINGERPRINT, …; `astrarium graph pack verify` tells the fingerprint of a key"
                raise Invalid(f"`{key_id}={print_}` names no key", hint=hint, code="bad_settings")
        keys = {key_id: print_.lower() for key_id, _, print_ in pairs}
        return cls(settings.data_dir / "trusted_keys", settings.server_profile == "cleared", keys)

    @property
    def trust(self) -> Trust:
        if self.keys:
            return Trust(self.keys)
        records = {path.stem: path.read_bytes() for path in self.trusted.glob("*.json")} if self.trusted is not None else {}
        return Trust(records=records, first_use=not self.signed and self.trusted is not None)

    def keep(self, key_id: str, print_: str) -> None:
        """A key is known from now on; another one of its name is not believed."""
        assert self.trusted is not None
        self.trusted.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = Trusted(key_id, print_, datetime.now(UTC).isoformat(timespec="seconds"))
        (self.trusted / f"{safe_name(key_id)}.json").write_bytes(msgspec.json.encode(record))


_noted: ContextVar[set[Path] | None] = ContextVar("noted", default=None)


@contextmanager
def noting() -> Iterator[set[Path]]:
    """The files beside its own that a document compiled meanwhile is made of: modules, children, packs."""
    files = set[Path]()
    token = _noted.set(files)
    try:
        yield files
    finally:
        _noted.reset(token)


def note(*files: Path) -> None:
    noted = _noted.get()
    if noted is not None:
        noted.update(files)


class Importer:
    """Imports what documents of one folder name as `module:Name`; those of a child look in the folder of the graph around it, too."""

    def __init__(self, folder: Path, around: Path | None = None) -> None:
        self._folder = str(folder)
        self._folders = (self._folder, *([str(around)] if around is not None and around != folder else []))

    def _elsewhere(self, found: Found) -> str:
        return found.folder if found.folder != self._folder else ""

    def find(self, path: str) -> Found:
        """Raises `Invalid` in words that say what is missing."""
        module = path.partition(":")[0]
        try:
            found = CODES.find(path, *self._folders)
        except Nameless as error:
            told, _, hint = str(error).partition(": ")
            raise Invalid(told, hint=hint) from error
        except Exception as error:  # a user's module may raise anything
            hint = f"modules are looked for in {' and '.join(self._folders)}, and among what is installed"
            raise Invalid(f"the module `{module}` cannot be imported: {type(error).__name__}: {error}", hint=hint) from error
        note(*found.files)
        return found

    def code(self, path: str) -> Code:
        found = self.find(path)
        target = found.target
        if isinstance(target, type) and not callable(getattr(target, "execute", None)):
            raise Invalid(f"`{path}` has no method `execute(state, ctx)`", hint="give it one, or name a function")
        if not callable(target):
            raise Invalid(f"`{path}` is neither a class nor a function")
        model = getattr(target, "config_model", None)
        schema = model.model_json_schema() if model is not None and hasattr(model, "model_json_schema") else None
        return Code(found.fingerprint, schema, getattr(target, "side_effects", "none"), self._elsewhere(found))

    def state_class(self, path: str) -> StateClass:
        found = self.find(path)
        target = found.target
        if not hasattr(target, "model_json_schema"):
            raise Invalid(f"`{path}` is no Pydantic model", hint="derive it from pydantic.BaseModel")
        defaults: dict[str, Any] = {}
        for name, field in target.model_fields.items():
            if field.default_factory is not None:
                made = field.default_factory()
                defaults[name] = made.model_dump(mode="json") if hasattr(made, "model_dump") else msgspec.to_builtins(made)
        schema = target.model_json_schema(mode="validation")
        return StateClass(schema, mirrors_of(target), defaults, found.fingerprint, self._elsewhere(found))


def mirrors_of(model: Any) -> dict[str, Mirror]:
    """Fields with a `Mirror` among their annotations, whoever's class of that name it is."""
    found: dict[str, Mirror] = {}
    for name, hint in typing.get_type_hints(model, include_extras=True).items():
        for mark in getattr(hint, "__metadata__", ()):
            if type(mark).__name__ == "Mirror":
                found[name] = Mirror(getattr(mark, "template", None) or "", getattr(mark, "lifecycle", "run"))
    return found


class Children:
    """Reads the documents nodes of kind `subgraph` run; none outside the folder of the graph."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._around = folder

    def read(self, path: str, parent_file: str) -> Child:
        """`path` is relative to the file that names it. Raises `NotFound`, `Invalid`."""
        if "\0" in path:
            raise Invalid("the path of a child graph holds a NUL character")
        found = (self._folder / Path(parent_file).parent / path).resolve()
        if not found.is_relative_to(self._folder):
            raise Invalid(f"`{path}` lies outside the folder of the graph", hint=f"keep it below {self._folder}")
        note(found)
        try:
            data = found.read_bytes()
        except OSError as error:
            raise NotFound(f"the child graph `{path}` cannot be read: {error.strerror or error}") from error
        if len(data) > MAX_CHILD_BYTES:
            raise Invalid(f"the child graph `{path}` is larger than {MAX_CHILD_BYTES:,} bytes")
        importer = Importer(found.parent, self._around)
        text, shown = data.decode("utf-8-sig", "replace"), str(found.relative_to(self._folder))
        return Child(text, shown, str(found), str(found.parent), importer.code, importer.state_class)


def is_fips() -> bool:
    """Whether packs are hashed with SHA-256 (Stargraph 0.8: the variable STARGRAPH_FIPS_MODE)."""
    return os.environ.get("STARGRAPH_FIPS_MODE") == "1"


def read_pack(place: Path) -> dict[str, bytes]:
    """The files of a pack by relative path. Raises `Invalid`."""
    try:
        found = {path.relative_to(place).as_posix(): path for path in sorted(place.rglob("*")) if path.is_file()}
        if sum(path.stat().st_size for path in found.values()) > MAX_PACK_BYTES:
            raise Invalid(f"the pack in {place} is larger than {MAX_PACK_BYTES:,} bytes")
        files = {name: path.read_bytes() for name, path in found.items()}
    except OSError as error:
        raise Invalid(f"the pack in {place} cannot be read: {error.strerror or error}") from error
    if MANIFEST not in files:
        raise Invalid(f"{place} is no pack: it has no {MANIFEST}", hint="id, version, and what it requires")
    return files


class Packs:
    """Packs as folders `<folder>/<id>` with a `manifest.yaml`, or `<folder>/<id>/<version>` where there are several versions."""

    def __init__(self, folders: Sequence[Path], belief: Belief) -> None:
        self._folders = folders
        self._belief = belief

    def load(self, id_: str, version: str) -> Pack:
        """One that lies in a folder, else one that is built in. Raises `NotFound`, `Invalid` with what is wrong with its manifest."""
        place = self._find(id_, version)
        if place is None:
            own = built_in(id_)
            if own is not None:
                return own
            where = ", ".join(str(folder) for folder in self._folders)
            raise NotFound(
                f"there is no pack `{id_}`{f' of version {version}' if version else ''}",
                hint=f"packs lie in {where}; built in are {', '.join(REFERENCE)}",
            )
        files = read_pack(place)
        note(*(place / name for name in files))
        manifest = read_manifest(files[MANIFEST].decode("utf-8", "replace"), f"{id_}/{MANIFEST}")
        judged = judge_pack(files, self._belief.trust, fips=is_fips())
        if judged.first_met is not None and self._belief.trusted is not None:
            self._belief.keep(*judged.first_met)
        rules = files.get(RULES, b"").decode("utf-8-sig", "replace")
        hash_ = judged.tree_hash or tree_hash(files, "SHA-256" if is_fips() else "BLAKE3")
        return Pack(manifest.id, manifest.version, hash_, judged.reason, manifest.requires, rules)

    def _find(self, id_: str, version: str) -> Path | None:
        """A folder with several versions and none wanted is none: which one counts must be said."""
        if not PLAIN.fullmatch(id_) or (version and not PLAIN.fullmatch(version)):
            return None
        for folder in self._folders:
            places = [folder / id_ / version, folder / id_] if version else [folder / id_]
            for place in places:
                if (place / MANIFEST).is_file():
                    return place
        return None
