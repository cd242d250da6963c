from __future__ import annotations

import hashlib
import io
import stat
from pathlib import Path

import pytest

from astrarium.errors import Invalid, NotFound, Unavailable
from astrarium.store.blob import BlobFolder


def test_the_same_content_is_kept_once(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path / "blobs")
    hash_ = blobs.put(b"content")
    assert hash_ == hashlib.sha256(b"content").hexdigest()
    assert blobs.put(io.BytesIO(b"content")) == hash_
    assert [path for path in blobs.folder.rglob("*") if path.is_file()] == [blobs.path(hash_)]
    assert blobs.get(hash_) == b"content"
    assert hash_ in blobs
    assert stat.S_IMODE(blobs.folder.stat().st_mode) == 0o700


def test_a_file_larger_than_a_chunk(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path)
    content = b"0123456789" * 300_000
    hash_ = blobs.put(io.BytesIO(content))
    assert blobs.get(hash_) == content
    with blobs.open(hash_) as file:
        assert file.read(10) == b"0123456789"


def test_nothing_is_left_of_a_failed_put(tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(28, "No space left on device")

    blobs = BlobFolder(tmp_path)
    with pytest.raises(Unavailable, match="No space left"):
        blobs.put(Failing())
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        BlobFolder(tmp_path).get("0" * 64)


def test_damage_is_seen(tmp_path: Path) -> None:
    blobs = BlobFolder(tmp_path)
    hash_ = blobs.put(b"content")
    blobs.path(hash_).write_bytes(b"c0ntent")
    with pytest.raises(Unavailable, match="damaged"):
        blobs.get(hash_)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "/" * 64])
def test_only_hashes_are_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        BlobFolder(tmp_path).path(name)
