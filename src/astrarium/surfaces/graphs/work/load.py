"""What a graph's document refers to on this machine: Python nodes, state classes, child documents, packs.

Modules are looked for beside the graph's file, after everything that is installed. Code is imported once; a process that is to run other
code is started anew.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
import typing
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from ....errors import Invalid, NotFound
from ....runs.ports import Step
from ....spec.ir.installed import Child, Code, Installed
from ....spec.ir.pack.manifest import read_manifest, tree_hash
from ....spec.ir.pack.policy import Pack, built_in
from ....spec.ir.pack.signature import Trust, Trusted, judge_pack
from ....spec.ir.state import Mirror, StateClass
from ....store.log import safe_name
from ..installed import installed_kinds, installed_tools
from ..registry import skill_ids, store_providers

MAX_CHILD_BYTES = 4 * 1024 * 1024
MAX_PACK_BYTES = 16 * 1024 * 1024
MANIFEST = "manifest.yaml"


def installation(
    steps: Mapping[str, Step], folder: Path, *, packs: Sequence[Path] = (), trusted: Path | None = None, signed: bool = False,
    skills: Collection[str] = (),
) -> Installed:  # fmt: skip
    """All that a document in `folder` may refer to. `packs` are the folders packs are looked for in, `trusted` that of the keys
    that signed packs: a key is trusted when it is met first, unless packs must be `signed`; then one whose signature does not hold is
    refused."""
    importer = Importer(folder)
    return Installed(
        kinds=installed_kinds(steps),
        tools=installed_tools(),
        skills=skills or skill_ids(),
        providers=store_providers() or None,
        code=importer.code,
        state_class=importer.state_class,
        child=Children(folder).read,
        pack=Packs(tuple(packs) or (folder / "packs",), trusted, first_use=not signed).load,
        signed=signed,
        clips=find_spec("clips") is not None,
    )


class Importer:
    """Imports what documents of one folder name as `module:Name`."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)

    def find(self, path: str) -> Any:
        """Raises `Invalid` in words that say what is missing."""
        if self._folder not in sys.path:
            sys.path.append(self._folder)  # last: nothing installed is hidden by it
        module, _, name = path.partition(":")
        try:
            found: Any = import_module(module)
        except Exception as error:  # a user's module may raise anything
            hint = f"modules are looked for in {self._folder}, and among what is installed"
            raise Invalid(f"the module `{module}` cannot be imported: {type(error).__name__}: {error}", hint=hint) from error
        for part in name.split("."):
            found = getattr(found, part, None)
            if found is None:
                raise Invalid(
                    f"the module `{module}` has no `{name}`", hint=f"it is {getattr(sys.modules[module], '__file__', '')}"
                )
        return found

    def code(self, path: str) -> Code:
        target = self.find(path)
        if isinstance(target, type) and not callable(getattr(target, "execute", None)):
            raise Invalid(f"`{path}` has no method `execute(state, ctx)`", hint="give it one, or name a function")
        if not callable(target):
            raise Invalid(f"`{path}` is neither a class nor a function")
        model = getattr(target, "config_model", None)
        schema = model.model_json_schema() if model is not None and hasattr(model, "model_json_schema") else None
        return Code(fingerprint(target), schema, getattr(target, "side_effects", "none"))

    def state_class(self, path: str) -> StateClass:
        target = self.find(path)
        if not hasattr(target, "model_json_schema"):
            raise Invalid(f"`{path}` is no Pydantic model", hint="derive it from pydantic.BaseModel")
        defaults: dict[str, Any] = {}
        for name, field in target.model_fields.items():
            if field.default_factory is not None:
                made = field.default_factory()
                defaults[name] = made.model_dump(mode="json") if hasattr(made, "model_dump") else msgspec.to_builtins(made)
        return StateClass(target.model_json_schema(mode="validation"), mirrors_of(target), defaults, fingerprint(target))


def mirrors_of(model: Any) -> dict[str, Mirror]:
    """Fields with a `Mirror` among their annotations, whoever's class of that name it is."""
    found: dict[str, Mirror] = {}
    for name, hint in typing.get_type_hints(model, include_extras=True).items():
        for mark in getattr(hint, "__metadata__", ()):
            if type(mark).__name__ == "Mirror":
                found[name] = Mirror(getattr(mark, "template", None) or "", getattr(mark, "lifecycle", "run"))
    return found


def fingerprint(target: Any) -> str:
    """A hash of the source of what a path names, and of all it is derived from beside it."""
    digest = hashlib.sha256()
    for one in inspect.getmro(target) if isinstance(target, type) else (target,):
        if one is not target and one.__module__ != target.__module__:
            continue
        try:
            digest.update(inspect.getsource(one).encode())
        except (OSError, TypeError):
            digest.update(f"{one.__module__}:{one.__qualname__}".encode())
    return digest.hexdigest()


class Children:
    """Reads the documents nodes of kind `subgraph` run; none outside the folder of the graph."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def read(self, path: str, parent_file: str) -> Child:
        """`path` is relative to the file that names it. Raises `NotFound`, `Invalid`."""
        if "\0" in path:
            raise Invalid("the path of a child graph holds a NUL character")
        found = (self._folder / Path(parent_file).parent / path).resolve()
        if not found.is_relative_to(self._folder):
            raise Invalid(f"`{path}` lies outside the folder of the graph", hint=f"keep it below {self._folder}")
        try:
            data = found.read_bytes()
        except OSError as error:
            raise NotFound(f"the child graph `{path}` cannot be read: {error.strerror or error}") from error
        if len(data) > MAX_CHILD_BYTES:
            raise Invalid(f"the child graph `{path}` is larger than {MAX_CHILD_BYTES:,} bytes")
        return Child(data.decode("utf-8-sig", "replace"), str(found.relative_to(self._folder)), str(found))


class Packs:
    """Packs as folders `<folder>/<id>` with a `manifest.yaml`, or `<folder>/<id>/<version>` where there are several versions."""

    def __init__(self, folders: Sequence[Path], trusted: Path | None, *, first_use: bool) -> None:
        self._folders = folders
        self._trusted = trusted
        self._first_use = first_use

    def load(self, id_: str, version: str) -> Pack:
        """One that lies in a folder, else one that is built in. Raises `NotFound`, `Invalid` with what is wrong with its manifest."""
        place = self._find(id_, version)
        if place is None:
            own = built_in(id_)
            if own is not None:
                return own
            where = ", ".join(str(folder) for folder in self._folders)
            raise NotFound(f"there is no pack `{id_}`{f' of version {version}' if version else ''}", hint=f"packs lie in {where}")
        files = {
            str(path.relative_to(place).as_posix()): path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()
        }
        if sum(map(len, files.values())) > MAX_PACK_BYTES:
            raise Invalid(f"the pack `{id_}` is larger than {MAX_PACK_BYTES:,} bytes")
        manifest = read_manifest(files[MANIFEST].decode("utf-8", "replace"), f"{id_}/{MANIFEST}")
        judged = judge_pack(files, self._trust())
        if judged.first_met is not None and self._trusted is not None:
            self._keep(*judged.first_met)
        return Pack(manifest.id, manifest.version, judged.tree_hash or tree_hash(files), judged.reason, manifest.requires)

    def _trust(self) -> Trust:
        records = {path.stem: path.read_bytes() for path in self._trusted.glob("*.json")} if self._trusted is not None else {}
        return Trust(records=records, first_use=self._first_use and self._trusted is not None)

    def _keep(self, key_id: str, print_: str) -> None:
        """A key that was met first is known from now on; another one of its name is not believed."""
        assert self._trusted is not None
        self._trusted.mkdir(mode=0o700, parents=True, exist_ok=True)
        record = Trusted(key_id, print_, datetime.now(UTC).isoformat(timespec="seconds"))
        (self._trusted / f"{safe_name(key_id)}.json").write_bytes(msgspec.json.encode(record))

    def _find(self, id_: str, version: str) -> Path | None:
        for folder in self._folders:
            places = [folder / id_ / version, folder / id_] if version else [folder / id_]
            for place in places:
                if (place / MANIFEST).is_file():
                    return place
        return None
