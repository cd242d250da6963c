"""What drivers tell of tasks, checked and made into orders."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from ....errors import Invalid, Refused
from ....spec.ids import uuid7
from .. import field
from ..machines.plan.member import PlanState
from ..machines.plan.order import RegisterInstance
from .wire import PlanItem

CHUNK_MAX = 1000
HASH_MAX = 128
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Told(msgspec.Struct):
    """One item: its body in one writing, and the hash of that."""

    item: PlanItem
    data: bytes
    digest: str
    upstreams: tuple[str, ...] | None


def read_items(items: Sequence[PlanItem], path: str) -> list[Told]:
    """Items by hash, each once, in their order. Raises `Invalid` (`chunk_too_large`), `Refused` (`instance_body_conflict`)."""
    if len(items) > CHUNK_MAX:
        raise Invalid(f"at most {CHUNK_MAX} items at once, not {len(items)}", code="chunk_too_large", hint="send them in parts")
    known: dict[str, Told] = {}
    for place, item in enumerate(items):
        told = _read(item, f"{path}.{place}")
        before = known.setdefault(item.instance_hash, told)
        if (before.digest, before.item.task_id) != (told.digest, item.task_id):
            raise Refused(f"two bodies of instance {item.instance_hash}", code="instance_body_conflict")
    return list(known.values())


def _read(item: PlanItem, path: str) -> Told:
    field.check_id(item.task_id, f"{path}.task_id")
    field.check_id(item.instance_hash, f"{path}.instance_hash", HASH_MAX)
    field.check_text(item.task_name, f"{path}.task_name", field.NAME_MAX, 1)
    field.check_text(item.task_namespace, f"{path}.task_namespace", field.NAME_MAX)
    field.check_text(item.version, f"{path}.version", field.NAME_MAX)
    field.check_text(item.output_uri, f"{path}.output_uri")
    raw = field.check_object(item.body, f"{path}.body")
    data = msgspec.json.encode(msgspec.json.decode(raw), order="sorted")
    upstreams = None
    if item.declared_upstreams is not None:
        where = f"{path}.declared_upstreams"
        upstreams = tuple(dict.fromkeys(field.check_id(one, where, HASH_MAX) for one in item.declared_upstreams))
    return Told(item, data, hashlib.sha256(data).hexdigest(), upstreams)


def order_of(told: Told, plan: PlanState, tasks: dict[str, str]) -> RegisterInstance:
    """The order to the task of an item. `tasks`: hash of an instance in the plan's scope → its task."""
    item, kept = told.item, plan.kept
    upstreams = None if told.upstreams is None else tuple((hash_, tasks[hash_]) for hash_ in told.upstreams)
    return RegisterInstance(
        kept.build, plan.id, kept.deployment, kept.settings, item.instance_hash, uuid7(), item.task_name, told.digest,
        item.task_namespace, item.version, item.output_uri, upstreams, item.observed_complete, micros(item.observed_at),
    )  # fmt: skip


def micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)
