"""Files of graphs as the commands read them: compiled, given what a run starts with, told as text again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ..config import Settings
from ..errors import Invalid, Problem
from ..runs.work.workshop import check_graph
from ..spec.ir.document import Document
from ..spec.ir.flow import Field
from ..surfaces.graphs.catalog import Catalog, Entry
from ..surfaces.graphs.work.load import Belief, installation
from ..worker import load_steps
from .option import pair_of

IR_VERSION = "1.1.0"


def catalog_of(settings: Settings) -> Catalog:
    """The graphs of the settings; nothing is read yet."""
    steps = load_steps()
    named = [Path(one.strip()) for one in settings.graphs.split(",") if one.strip()]
    belief = Belief.of(settings)
    return Catalog(
        named, settings.graphs_dir, lambda folder: installation(steps, folder, belief=belief), lambda graph: check_graph(graph, steps),
        settings.max_yaml_bytes,
    )  # fmt: skip


def load_entry(path: Path, settings: Settings) -> Entry:
    """Compile a file. Raises `Invalid` with every defect, each with the file as it was named."""
    try:
        return catalog_of(settings).load(path.absolute())
    except Invalid as error:
        if not error.problems:
            raise
        told = tuple(placed(problem, path) for problem in error.problems)
        count = f"{len(told)} problems" if len(told) > 1 else "a problem"
        raise Invalid(f"{path} does not load: {count}", told, code="invalid_graph") from None


def placed(problem: Problem, path: Path) -> Problem:
    """The problem with the file as people named it."""
    return msgspec.structs.replace(problem, file=str(path)) if problem.file in ("", path.name) else problem


def read_state(entry: Entry, words: Sequence[str], files: Sequence[str]) -> dict[str, Any]:
    """What a run starts with, from files and `FIELD=VALUE` words, which win. A word among the files is taken for what it is, as
    Stargraph 0.8 has them. Raises `Invalid`."""
    state: dict[str, Any] = {}
    for file in files:
        if "=" in file and not Path(file).exists():
            words = [*words, file]
        else:
            state |= read_mapping(Path(file))
    fields = {field.name: field for field in entry.graph.flow.fields} if entry.graph.flow else {}
    problems = [Problem(f"the graph has no field `{name}`", path=name) for name in state if fields and name not in fields]
    for word in words:
        name, text = pair_of(word, "FIELD=VALUE", "write -i text=hello")
        if fields and name not in fields:
            problems.append(Problem(f"the graph has no field `{name}`", path=name, hint=f"fields are: {', '.join(fields)}"))
        else:
            state[name] = value_of(text, fields.get(name))
    missing = [field for field in fields.values() if field.required and field.name not in state]
    problems += [Problem(f"the field `{one.name}` ({one.type}) is required", hint=f"-i {one.name}=…") for one in missing]
    if problems:
        raise Invalid(f"{entry.id} cannot be started like that", problems, code="usage")
    return state


def value_of(text: str, field: Field | None) -> Any:
    """The value a word stands for: of a text field itself, of others JSON; where there is no type, JSON if it is some."""
    kind = field.type if field is not None else "any"
    if kind in ("str", "bytes"):
        return text
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        if kind != "any":
            raise Invalid(f"`{text}` is no {kind}", hint="values of fields that are no texts are JSON", code="usage") from None
        return text


def read_mapping(path: Path) -> dict[str, Any]:
    """A mapping from a YAML or JSON file. Raises `Invalid`."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror or error}", code="usage") from None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Invalid(f"{path} is neither YAML nor JSON: {error}", code="usage") from None
    if not isinstance(value, dict):
        raise Invalid(f"{path} holds no mapping", code="usage")
    return value


def as_yaml(document: Document) -> str:
    """A document in the long form."""
    plain: Mapping[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    told = {"ir_version": IR_VERSION, **plain}
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=120)
