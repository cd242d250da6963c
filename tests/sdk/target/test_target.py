"""Targets and serializers: what a value becomes, that a write is whole or absent, and object stores."""

from __future__ import annotations

import dataclasses
import enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

import astrarium as ar
from astrarium.errors import Invalid, NotFound
from astrarium.sdk.target import store
from astrarium.sdk.target.serializer import serializer_for
from astrarium.sdk.target.target import DirectoryTarget, Target, target_of


class Point(BaseModel):
    x: int


@dataclasses.dataclass
class Pair:
    a: int


class Kind(enum.Enum):
    ONE = "one"


class Opaque:
    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.value == self.value


class Sheet:
    """Writes and reads itself."""

    default_serialized_extension = "sheet"

    def __init__(self, text: str) -> None:
        self.text = text

    def dump(self, target: Target) -> None:
        with target.open("w") as file:
            file.write(self.text)

    @classmethod
    def load(cls, target: Target) -> Sheet:
        return cls(target.read().decode())


class Book:
    def __init__(self, pages: list[str]) -> None:
        self.pages = pages

    def dump(self, target: DirectoryTarget) -> None:
        for number, page in enumerate(self.pages):
            (target / f"{number}.txt").write(page.encode())

    @classmethod
    def load(cls, target: DirectoryTarget) -> Book:
        return cls([(target / name).read().decode() for name in target.names()])


class Upper:
    extension = "upper"

    def dump(self, value: str, target: Target) -> None:
        target.write(value.upper().encode())

    def load(self, target: Target) -> str:
        return target.read().decode()


@pytest.mark.parametrize(
    ("kind", "value", "extension", "data"),
    [
        (str, "aé\n", "txt", "aé\n".encode()),
        (dict[str, Any], {"ü": 1, "f": 1.0}, "json", '{"ü":1,"f":1.0}'.encode()),
        (list[Point], [Point(x=1)], "json", b'[{"x":1}]'),
        (Pair, Pair(1), "json", b'{"a":1}'),
        (Kind, Kind.ONE, "json", b'"one"'),
        (tuple[int, str], (1, "a"), "json", b'[1,"a"]'),
        (None, None, "json", b"null"),
        (Any, [1, None], "json", b"[1,null]"),
        (Annotated[str, Upper()], "ABC", "upper", b"ABC"),
        (Opaque, Opaque(3), "pkl", None),
    ],
)
def test_the_type_chooses_the_file(tmp_path: Path, kind: Any, value: Any, extension: str, data: bytes | None) -> None:
    """Extensions and bytes are Stardag 0.28's."""
    serializer = serializer_for(kind)
    target = target_of(str(tmp_path / "x"), serializer)
    assert serializer.extension == extension
    target.save(value)
    assert target.load() == value
    if data is not None:
        assert (tmp_path / "x").read_bytes() == data


def test_a_data_frame_is_kept_as_csv(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [0, 1]})
    target = target_of(str(tmp_path / "x.csv"), serializer_for(pandas.DataFrame))
    target.save(frame)
    assert (tmp_path / "x.csv").read_bytes() == b",a\n0,0\n1,1\n"
    assert target.load().equals(frame)
    target.save(None)
    assert target.load() is None
    assert serializer_for(pandas.Series).extension == "pkl"


def test_a_class_may_write_itself_as_a_file_or_a_folder(tmp_path: Path) -> None:
    sheet = target_of(str(tmp_path / "a"), serializer_for(Sheet))
    sheet.save(Sheet("text"))
    assert (sheet.load().text, serializer_for(Sheet).extension) == ("text", "sheet")
    book = target_of(str(tmp_path / "b"), serializer_for(Book))
    assert isinstance(book, DirectoryTarget) and not book.exists()
    with pytest.raises(NotFound):
        book.load()
    book.save(Book(["x", "y"]))
    assert book.load().pages == ["x", "y"]
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "b._DONE", "b._SUB_KEYS"}
    with pytest.raises(Invalid, match="outside of the folder"):
        book / "../x"


def test_a_write_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    target = Target(str(tmp_path / "deep" / "x.txt"))
    with pytest.raises(RuntimeError), target.open("w") as file:
        file.write("half")
        raise RuntimeError
    assert not target.exists() and list((tmp_path / "deep").iterdir()) == []
    target.write(b"whole")
    with pytest.raises(RuntimeError), target.local("w") as path:
        path.write_text("half")
        raise RuntimeError
    assert target.read() == b"whole"
    assert (tmp_path / "deep" / "x.txt").stat().st_mode & 0o777 == 0o666 & ~store._umask()


@pytest.mark.parametrize("root", ["in-memory://bucket/a", "s3://bucket/a", "file://{tmp}/a", "{tmp}/a"])
def test_every_store_does_the_same(root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if root.startswith("s3://"):
        pytest.importorskip("obstore")
        from obstore.store import MemoryStore

        bucket = store.CloudStore(MemoryStore(), "s3://bucket")
        monkeypatch.setattr(store, "_cloud", {"s3://bucket": bucket}.__getitem__)
    target = Target(root.format(tmp=tmp_path) + "/x.txt")
    assert not target.exists()
    for ask in (target.read, lambda: target.local("r").__enter__()):
        with pytest.raises(NotFound, match="there is nothing at"):
            ask()
    target.write(b"one")
    assert target.exists() and target.read() == b"one"
    with target.open("w") as file:
        file.write("two\n")
    with target.open("r") as file:
        assert file.read() == "two\n"
    with target.open("rb") as file:
        assert file.read() == b"two\n"
    with target.local("w") as path:
        path.write_bytes(b"three")
    with target.local("r") as path:
        assert path.read_bytes() == b"three"
    target.delete()
    target.delete()
    assert not target.exists()


def test_places_and_modes_nobody_knows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no store for 'ftp://"):
        Target("ftp://x/y")
    with pytest.raises(Invalid, match="opened with r, rb, w or wb"), Target(str(tmp_path / "x")).open("a"):
        pass
    with pytest.raises(Invalid, match="plain file"):
        Target(str(tmp_path / "x")).load()


def test_an_object_store_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing:
        def __getattr__(self, name: str) -> Any:
            raise ImportError("No module named 'obstore'")

    monkeypatch.setattr(store, "obstore_store", Missing())
    store._cloud.cache_clear()
    with pytest.raises(Invalid, match="obstore is not installed") as told:
        Target("gs://nowhere/x")
    assert "object-store" in told.value.hint


def test_an_object_store_that_lacks_settings_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(Invalid, match=r"az://container cannot be reached: .*Account must be specified"):
        Target("az://container/x")


def test_roots_come_from_the_environment_and_an_unknown_one_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARDAG_TARGET_ROOTS__DEFAULT", "/theirs")
    assert ar.target_root() == "/theirs"
    monkeypatch.setenv("ASTRARIUM_TARGET_ROOTS", '{"default": "/ours", "big": "s3://bucket/x"}')
    assert (ar.target_root(), ar.target_root("big")) == ("/ours", "s3://bucket/x")
    with pytest.raises(NotFound, match="no target root named 'small'; known are big, default"):
        ar.target_root("small")
    with ar.use_target_roots({"default": "/chosen"}):
        assert ar.target_root() == "/chosen"
