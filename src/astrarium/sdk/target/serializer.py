"""How a value becomes a file: chosen by the type a task loads.

`str` is text, a pandas DataFrame CSV, what pydantic can write as JSON is JSON, a class that can `dump` and `load` itself does so,
everything else is a pickle. `Annotated[T, serializer]` chooses another."""

from __future__ import annotations

import functools
import pickle
import typing
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter

from ...errors import Invalid
from ...lazy import library

if TYPE_CHECKING:
    import pandas
else:
    pandas = library("pandas")


@runtime_checkable
class Serializer(Protocol):
    """Writes a value to a target and reads it back."""

    @property
    def extension(self) -> str:
        """Of the file's name, without the dot; may be empty."""
        ...

    def dump(self, value: Any, target: Any) -> None: ...

    def load(self, target: Any) -> Any: ...


class TextSerializer:
    """`str` as UTF-8, as it is."""

    extension = "txt"

    def dump(self, value: str | None, target: Any) -> None:
        target.write((value or "").encode())

    def load(self, target: Any) -> str:
        return str(target.read().decode())


class JsonSerializer:
    """Whatever pydantic writes as JSON. `null` is read as None whatever the type: a function may return nothing."""

    extension = "json"

    def __init__(self, kind: Any) -> None:
        self._adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def dump(self, value: Any, target: Any) -> None:
        target.write(b"null" if value is None else self._adapter.dump_json(value))

    def load(self, target: Any) -> Any:
        data = target.read()
        return None if data == b"null" else self._adapter.validate_json(data)


class CsvSerializer:
    """A pandas DataFrame with its index as first column; an empty file is None."""

    extension = "csv"

    def dump(self, value: pandas.DataFrame | None, target: Any) -> None:
        target.write(b"" if value is None else value.to_csv().encode())

    def load(self, target: Any) -> pandas.DataFrame | None:
        with target.open("r") as file:
            return pandas.read_csv(file, index_col=0) if file.read(1) and not file.seek(0) else None


class PickleSerializer:
    """Everything else. A pickle runs code when it is read: read only from target roots you trust."""

    extension = "pkl"

    def dump(self, value: Any, target: Any) -> None:
        target.write(pickle.dumps(value))

    def load(self, target: Any) -> Any:
        return pickle.loads(target.read())


class SelfSerializer:
    """A class with `dump(self, target)` and a classmethod `load(cls, target)`. Its `default_serialized_extension` is the file's."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    @property
    def extension(self) -> str:
        return str(getattr(self._kind, "default_serialized_extension", None) or "")

    def dump(self, value: Any, target: Any) -> None:
        value.dump(target)

    def load(self, target: Any) -> Any:
        return self._kind.load(target)


class SelfDirectorySerializer(SelfSerializer):
    """The same with a folder of files: the class annotates the parameter `target` of its `dump` as a `DirectoryTarget`."""

    of_directory = True


def serializer_for(kind: Any) -> Serializer:
    """The serializer of results of type `kind`."""
    try:
        return _known(kind)
    except TypeError:  # an annotation that cannot be hashed, as Annotated[int, []]
        return _choose(kind)


def _choose(kind: Any) -> Serializer:
    if typing.get_origin(kind) is typing.Annotated:
        chosen = next((mark for mark in typing.get_args(kind)[1:] if isinstance(mark, Serializer)), None)
        return chosen or _of_plain(typing.get_args(kind)[0], kind)
    return _of_plain(kind, kind)


_known = functools.cache(_choose)


def _of_plain(plain: Any, kind: Any) -> Serializer:
    if isinstance(plain, type):
        if callable(getattr(plain, "dump", None)) and callable(getattr(plain, "load", None)):
            return SelfDirectorySerializer(plain) if _wants_directory(plain) else SelfSerializer(plain)
        if (plain.__module__.split(".")[0], plain.__name__) == ("pandas", "DataFrame"):
            return CsvSerializer()
    if plain is str:
        return TextSerializer()
    try:
        return JsonSerializer(kind)
    except PydanticSchemaGenerationError:
        return PickleSerializer()
    except PydanticUserError as error:
        raise Invalid(
            f"no serializer for {kind}: {error.message}", hint="choose one: Annotated[T, ar.PickleSerializer()]"
        ) from error


def _wants_directory(kind: type) -> bool:
    """Whether `dump` of a class asks for a folder. Told by the annotation's name: the class may be of another module."""
    wanted = getattr(kind.dump, "__annotations__", {}).get("target", "")  # type: ignore[attr-defined]
    name = wanted if isinstance(wanted, str) else getattr(wanted, "__name__", "")
    return name.strip("'\"").rpartition(".")[2] == "DirectoryTarget"
