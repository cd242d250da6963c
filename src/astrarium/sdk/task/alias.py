"""A reference to a task that was made, but whose class is gone or has changed: same id, same target, no body."""

from __future__ import annotations

import base64
import functools
import pickle
from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar
from uuid import UUID

from pydantic import BaseModel

from ...errors import Invalid, NotFound
from ..registry.entry import default_registry
from ..registry.port import Registry
from ..target.target import DirectoryTarget, Target, target_of
from .task import Task

T = TypeVar("T")


class AliasedMetadata(BaseModel):
    """Which task is meant, where its result lies, and (for people) what its fields were."""

    id: UUID
    uri: str
    body: dict[str, Any] | None = None
    loads_type: str | None = None
    """Stardag 0.28 writes the type's pickle here. It is kept as it came, and never read: a pickle from a registry could run anything."""

    @classmethod
    def from_task(cls, task: Task[Any]) -> Self:
        return cls(id=task.id, uri=task.target().uri, body=dict(task.body))


class AliasTask(Task[T], Generic[T]):
    """`AliasTask[T].from_registry(id)`: stands where a task that loads T is asked for. Tasks that need it have the ids they would have
    with the original. It is complete when the result is there; it cannot be made."""

    aliased: AliasedMetadata

    @classmethod
    def from_registry(cls, id: UUID | str, registry: Registry | None = None) -> Self:
        """The reference to a task that a registry knows. Raises `NotFound` when it does not, or never heard where the result lies."""
        stored = (registry or default_registry()).read_task(str(id))
        if not stored.output_uri:
            raise NotFound(
                f"the registry does not know where the result of task {id} lies", hint="it was registered without a target"
            )
        return cls(aliased=AliasedMetadata(id=UUID(str(id)), uri=stored.output_uri, body=next(iter(stored.bodies), None)))

    @functools.cached_property
    def id(self) -> UUID:
        """The id of the task it stands for."""
        return self.aliased.id

    @functools.cached_property
    def _target(self) -> Target | DirectoryTarget:
        return target_of(self.aliased.uri, self._serializer)

    def run(self) -> None:
        raise Invalid(
            f"the result of task {self.id} is not at {self.aliased.uri}, and an alias cannot make it",
            hint="make it with its own class, or take the alias away",
        )

    def _named(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """As Stardag 0.28 stores it: `{"__aliased": {id, uri, loads_type}}`."""
        known = self.aliased
        loads = known.loads_type or _pickled(self.loads_type())
        return {"__aliased": {"id": str(known.id), "uri": known.uri, "loads_type": loads}}


def _pickled(kind: Any) -> str:
    """The type as Stardag writes it, so that both give the body the same hash; `""` for one that no other process could find."""
    try:
        return base64.b64encode(pickle.dumps(kind, protocol=4)).decode()
    except (pickle.PicklingError, AttributeError):
        return ""
