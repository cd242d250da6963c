"""The class all tasks derive from: fields that say what is to be made, a body that makes it, a target where the result lies."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, Self, TypeAlias, TypeVar, cast
from uuid import UUID

from pydantic import GetCoreSchemaHandler, SerializationInfo, ValidationInfo
from pydantic_core import core_schema

from ...errors import Invalid, NotFound
from ..registry.entry import default_registry
from ..registry.port import Registry
from ..target.root import target_root
from ..target.serializer import Serializer, serializer_for
from ..target.target import DirectoryTarget, Target, target_of
from . import identity, kind
from .artifact import Artifact
from .model import Model

T = TypeVar("T")

TaskStruct: TypeAlias = "Task[Any] | Sequence[TaskStruct] | Mapping[str, TaskStruct] | None"
"""How `requires` and `yield` name tasks: one, a list, a dict, nested."""


class Task(Model, Generic[T]):
    """Something to be made once: `class Total(ar.Task[int])` with annotated fields, and `run` that ends in `self._save(value)`.

    Two tasks with the same class and the same fields have the same `id` and so the same target: what is made is found again, by whoever
    shares the target root. `run` (or `run_aio`) may be a generator that yields tasks; it goes on when they are made."""

    version: str = ""
    """The version of the body: raise it (or `__version__`) when the same fields shall give another result."""

    __namespace__: ClassVar[str | None] = None
    """Set by a class, it is that of derived classes too; without it the module's counts, of each class its own."""
    __module_namespace__: ClassVar[str] = ""
    __version__: ClassVar[str] = ""
    __task_name__: ClassVar[str] = ""
    __loads__: ClassVar[Any] = None
    """Overrides what `Task[…]` says about the type of the result."""
    target_root_key: ClassVar[str] = "default"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__module_namespace__ = kind.namespace_of(cls.__module__)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if cls.__pydantic_generic_metadata__["origin"] is None:
            kind.remember(cls, cls.get_namespace(), cls.get_name())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """A field of a task class takes a task, or a stored body of one; it is dumped by what it is, not by how the field is annotated."""

        def validate(value: Any, inner: Callable[[Any], Any], info: ValidationInfo) -> Any:
            return _validate(cls, value, inner, info)

        def dump(value: Any, inner: Callable[[Any], Any], info: SerializationInfo) -> Any:
            return value._dump(inner if type(value) is cls else None, info) if isinstance(value, Task) else inner(value)

        return core_schema.with_info_wrap_validator_function(
            validate,
            handler(source),
            serialization=core_schema.wrap_serializer_function_ser_schema(dump, info_arg=True),
        )

    def _dump(self, inner: Callable[[Any], dict[str, Any]] | None, info: SerializationInfo) -> dict[str, Any]:
        context = info.context or {}
        if context.get(identity.MODE) == identity.ID and context.get(identity.ROOT) is not self:
            return {"id": str(self.id)}
        if inner is None:
            return cast(dict[str, Any], type(self).__pydantic_serializer__.to_python(self, mode=info.mode, context=info.context))
        return self._named(inner(self))

    def _named(self, fields: dict[str, Any]) -> dict[str, Any]:
        """A dump with the names by which its class is found again."""
        return {"__namespace": self.get_namespace(), "__name": self.get_name(), **fields}

    @classmethod
    def get_namespace(cls) -> str:
        return cls.__module_namespace__ if cls.__namespace__ is None else cls.__namespace__

    @classmethod
    def get_name(cls) -> str:
        origin = cls.__pydantic_generic_metadata__["origin"]
        return cls.__task_name__ or (origin or cls).__name__

    @functools.cached_property
    def id(self) -> UUID:
        """What is made: a hash of the class's name, the version and all fields that are significant."""
        context = {identity.MODE: identity.ID, identity.ROOT: self}
        return identity.task_id(self.model_dump(mode="json", context=context))

    @functools.cached_property
    def body(self) -> dict[str, Any]:
        """All fields as JSON, nested tasks too: what a registry keeps, and what `Task.from_body` reads."""
        return self.model_dump(mode="json", context={identity.MODE: identity.BODY})

    @functools.cached_property
    def instance_hash(self) -> UUID:
        """A hash of `body`. Raises ValueError when a field is NaN or infinite, which no JSON can say."""
        return identity.instance_hash(self.body)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's; the copy finds out anew what it is known by."""
        copied = super().model_copy(update=update, deep=deep)
        for name in set(copied.__dict__) - set(type(self).model_fields):
            del copied.__dict__[name]
        return copied

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Task) and (other is self or other.body == self.body)

    def __lt__(self, other: Task[Any]) -> bool:
        return self.id < other.id

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """The task of a stored body. Raises `NotFound` when its class is not defined here, `Invalid` when its fields no longer fit."""
        return cast(Self, _from_body(cls, body))

    @classmethod
    def from_registry(cls, id: UUID | str, registry: Registry | None = None) -> Self:
        """The task with this id as a registry knows it. Raises `NotFound`, also when the class as it is now would give it another id."""
        stored = (registry or default_registry()).read_task(str(id))
        if not stored.bodies:
            raise NotFound(
                f"the registry knows task {id}, but not its fields", hint="ar.AliasTask[T].from_registry reads its result"
            )
        task = cls.from_body(stored.bodies[0])
        if str(task.id) != str(id):
            raise NotFound(
                f"the class {type(task).__qualname__} gives the stored fields of task {id} the id {task.id}",
                hint="it has changed since; ar.AliasTask[T].from_registry still reads the result",
            )
        return task

    @classmethod
    def loads_type(cls) -> Any:
        """The T of `Task[T]`: what `load` gives. Any when nobody said."""
        if cls.__loads__ is not None:
            return cls.__loads__
        for one in cls.__mro__:
            metadata = getattr(one, "__pydantic_generic_metadata__", None)
            if metadata and metadata["origin"] and len(metadata["args"]) == 1 and not isinstance(metadata["args"][0], TypeVar):
                return metadata["args"][0]
        return Any

    def requires(self) -> TaskStruct:
        """The tasks that must be made before `run`. Nothing by default: a class says it, a function's come from its parameters."""
        return None

    def run(self) -> Any:
        """Make the result and keep it with `self._save`. Either this or `run_aio` is to be written."""
        raise Invalid(f"task class {type(self).__qualname__} has no body", hint="write run(self) or async run_aio(self)")

    async def run_aio(self) -> Any:
        """`run` for bodies that wait for something: they share one thread."""
        raise Invalid(f"task class {type(self).__qualname__} has no body", hint="write run(self) or async run_aio(self)")

    def artifacts(self) -> Iterable[Artifact]:
        """What to show in the registry once the task is made."""
        return ()

    @property
    def _relpath_root(self) -> str:
        """Folders before the namespace."""
        return ""

    @property
    def _relpath_extra(self) -> str:
        """Folders between name (and version) and id."""
        return ""

    @property
    def _relpath_filename(self) -> str:
        """With one, the id is a folder and this the file in it."""
        return ""

    @property
    def _relpath_extension(self) -> str | None:
        """None is the serializer's own."""
        return None

    @property
    def _relpath(self) -> str:
        """Where the result lies below the target root. Stardag:
        `[root/]namespace/name/[v<version>/][extra/]ab/cd/<id>[/filename][.ext]`."""
        text = str(self.id)
        extension = self._serializer.extension if self._relpath_extension is None else self._relpath_extension
        parts = [
            self._relpath_root, self.get_namespace().replace(".", "/"), self.get_name(), f"v{self.version}" if self.version else "",
            self._relpath_extra, text[:2], text[2:4], text, self._relpath_filename,
        ]  # fmt: skip
        path = "/".join(part.strip("/") for part in parts if part)
        return f"{path}.{extension}" if extension else path

    @functools.cached_property
    def _serializer(self) -> Serializer:
        return serializer_for(self.loads_type())

    @functools.cached_property
    def _target(self) -> Target | DirectoryTarget:
        uri = f"{target_root(self.target_root_key).rstrip('/')}/{self._relpath}"
        return target_of(uri, self._serializer)

    def target(self) -> Target | DirectoryTarget:
        """Where the result lies, or will. Override it to keep a result where something else expects it."""
        return self._target

    def complete(self) -> bool:
        """Whether the task is made: its target is there."""
        return self.target().exists()

    async def complete_aio(self) -> bool:
        return await asyncio.to_thread(self.complete)

    def load(self) -> T:
        """The result. Raises `NotFound` when the task is not made."""
        return cast(T, self.target().load())

    async def load_aio(self) -> T:
        return await asyncio.to_thread(self.load)

    def _save(self, value: T) -> None:
        """Keep the result; whoever reads sees all of it or nothing."""
        self.target().save(value)

    async def _save_aio(self, value: T) -> None:
        await asyncio.to_thread(self._save, value)

    def _finish(self) -> None:
        """After a body that ended by itself: a task that loads nothing needs not save it; any other must have."""
        if self.complete():
            return
        if self.loads_type() in (None, type(None)):
            self._save(cast(T, None))
        else:
            raise Invalid(
                f"the body of {type(self).__qualname__} ended, but {self.target().uri} is not there",
                hint="end it with self._save(value)",
            )


def has_async_body(task: Task[Any]) -> bool:
    """Whether `run_aio` is to be used: it is written, and `run` is not (or further up)."""
    mro = type(task).__mro__
    own = next(one for one in mro if "run" in one.__dict__)
    aio = next(one for one in mro if "run_aio" in one.__dict__)
    return aio is not Task and (own is Task or mro.index(aio) < mro.index(own))


def tasks_in(struct: TaskStruct) -> Iterator[Task[Any]]:
    """The tasks of a struct, as they stand. Raises `Invalid` for anything else in it."""
    if struct is None:
        return
    if isinstance(struct, Task):
        yield struct
    elif isinstance(struct, Mapping):
        for one in struct.values():
            yield from tasks_in(one)
    elif isinstance(struct, Iterable) and not isinstance(struct, str | bytes):
        for one in struct:
            yield from tasks_in(one)
    else:
        raise Invalid(f"expected a task, or a list or dict of tasks, found {struct!r:.80}", hint="see `requires` in the guide")


def _validate(cls: type[Task[Any]], value: Any, inner: Callable[[Any], Any], info: ValidationInfo) -> Any:
    wanted = cls.__pydantic_generic_metadata__["origin"] or cls
    if isinstance(value, Task):
        if not isinstance(value, wanted):
            raise ValueError(f"expected a task of class {wanted.__qualname__}, found {type(value).__qualname__}")
        return value
    if not isinstance(value, dict):
        return inner(value)
    if "__name" in value or "__aliased" in value:
        found = _kind_of(value)
        if found is not wanted:
            if not issubclass(found, wanted):
                raise ValueError(f"expected a task of class {wanted.__qualname__}, found {found.__qualname__}")
            return found.model_validate(value, context=info.context)
        named = {key: part for key, part in value.items() if key not in ("__name", "__namespace", "__aliased")}
        value = {"aliased": value["__aliased"]} if "__aliased" in value else named
    elif wanted is Task:
        raise ValueError("expected a task, found a dict without the names of one (`__name`, `__namespace`)")
    if cls.__version__ and "version" not in value:
        value = {**value, "version": cls.__version__}
    return inner(value)


ALIAS_NAME = ("", "AliasTask")


def _kind_of(body: Mapping[str, Any]) -> type[Task[Any]]:
    """The class of a stored body; a reference to another task (`__aliased`) has no names of its own."""
    if "__aliased" in body:
        return cast(type[Task[Any]], kind.find(*ALIAS_NAME))
    try:
        return cast(type[Task[Any]], kind.find(str(body.get("__namespace", "")), str(body["__name"])))
    except NotFound as error:
        raise ValueError(f"{error.message} ({error.hint})") from error


def _from_body(cls: type[Task[Any]], body: Mapping[str, Any]) -> Task[Any]:
    kind.find(*(ALIAS_NAME if "__aliased" in body else (str(body.get("__namespace", "")), str(body.get("__name", "")))))
    try:
        return cls.model_validate(dict(body), context={identity.MODE: identity.STORED})
    except ValueError as error:
        raise Invalid(
            f"the stored fields no longer make a {body.get('__name', 'task')}: {error}", hint="its class has changed"
        ) from error
