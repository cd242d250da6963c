"""What every DAG of a folder has in common: a YAML file whose fields are laid under those of each DAG (Dagu 1.30: `base.yaml`).

Lists are appended, those of the common file first; maps are laid over each other key by key, anything else the DAG gives
wins; `mailOn` and each handler are taken whole. Nodes keep the file they come from, so complaints name it.
"""

from __future__ import annotations

from ..source import YamlNode
from .fields import Known, known
from .root import ROOT
from .shape import SHAPES, keys_of
from .step import HANDLER_KEYS

LISTS = frozenset(("env", "tags", "dotenv", "secrets", "preconditions", "notify"))
"""Fields that are lists however they are written."""
WHOLE = frozenset(("mailOn", "shell", "type"))
_SCHEDULE = known("start", "stop", "restart")


def merge_root(under: YamlNode, over: YamlNode) -> YamlNode:
    """The fields of `over` upon those of `under`; both are documents. What is no map is left to the reader to complain about."""
    if under.kind != "map" or over.kind not in ("map", "scalar") or (over.kind == "scalar" and not over.is_null):
        return over
    made = over.beside("map")
    made.entries = dict(over.entries)
    for key, (key_node, value) in under.entries.items():
        name = ROOT.get(key.lower(), key)
        present = [given for given in over.entries if ROOT.get(given.lower(), given) == name]
        if not present:
            made.entries[key] = (key_node, value)
        elif len(present) == 1:
            mine, own = over.entries[present[0]]
            made.entries[present[0]] = (mine, _merged(name, value, own))
    return made


def without(document: YamlNode, name: str) -> YamlNode:
    """The document without one field of its root."""
    if document.kind != "map":
        return document
    made = document.beside("map")
    made.entries = {key: pair for key, pair in document.entries.items() if ROOT.get(key.lower()) != name}
    return made


def _merged(name: str, under: YamlNode, over: YamlNode) -> YamlNode:
    if over.is_null:
        return under
    if under.is_null or name in WHOLE:
        return over
    if name in LISTS:
        return _appended(under, over)
    if name == "schedule":
        return _laid_over(_as_schedule(under), _as_schedule(over), _SCHEDULE, appended=True)
    if under.kind == over.kind == "list":
        return _appended(under, over)
    if under.kind != "map" or over.kind != "map":
        return over
    if name == "handlerOn":
        return _laid_over(under, over, HANDLER_KEYS)
    keys = keys_of(SHAPES[name], name) if name in SHAPES else {}
    return _laid_over(under, over, keys)


def _appended(under: YamlNode, over: YamlNode) -> YamlNode:
    made = over.beside("list")
    made.items = [*_items(under), *_items(over)]
    return made


def _items(node: YamlNode) -> list[YamlNode]:
    if node.kind == "list":
        return node.items
    return [] if node.is_null else [node]


def _as_schedule(node: YamlNode) -> YamlNode:
    """A cron expression or a list of them as `{start: …}`."""
    if node.kind == "map":
        return node
    made = node.beside("map")
    made.entries = {"start": (node, node)}
    return made


def _laid_over(under: YamlNode, over: YamlNode, keys: Known, *, appended: bool = False) -> YamlNode:
    """Key by key; of a key in both, lists are appended and everything else is `over`'s."""
    made = over.beside("map")
    made.entries = dict(over.entries)
    for key, (key_node, value) in under.entries.items():
        name = keys.get(key.lower(), key)
        present = next((given for given in over.entries if keys.get(given.lower(), given) == name), None)
        if present is None:
            made.entries[key] = (key_node, value)
            continue
        mine, own = over.entries[present]
        if own.is_null:
            made.entries[present] = (mine, value)
        elif appended or (value.kind == own.kind == "list" and name not in ("command", "shell")):
            made.entries[present] = (mine, _appended(value, own))
        elif value.kind == own.kind == "map" and keys is not HANDLER_KEYS:
            made.entries[present] = (mine, _laid_over(value, own, {}))
    return made
