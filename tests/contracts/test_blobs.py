"""Every place for blobs keeps the contract."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import LocalStore, MemoryStore

from astrarium.errors import Unavailable
from astrarium.store.blob.bucket import RENEW_US, BlobBucket, open_bucket
from astrarium.store.blob.folder import BlobFolder
from astrarium.store.blob.port import Blobs
from tests import s3

from .blob import BlobContract, Cut, read


class TestFolder(BlobContract):
    @pytest.fixture
    def blobs(self, tmp_path: Path) -> Blobs:
        return BlobFolder(tmp_path / "blobs")

    @pytest.fixture
    def cut(self, tmp_path: Path) -> Cut:
        async def cut(hash_: str) -> None:
            path = BlobFolder(tmp_path / "blobs").path(hash_)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

        return cut


class TestMemoryBucket(BlobContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> MemoryStore | LocalStore:
        return MemoryStore()

    @pytest.fixture
    def blobs(self, store: MemoryStore | LocalStore, tmp_path: Path) -> Blobs:
        return BlobBucket(store, "memory://", tmp_path / "spool")

    @pytest.fixture
    def cut(self, store: MemoryStore | LocalStore) -> Cut:
        async def cut(hash_: str) -> None:
            key = f"{hash_[:2]}/{hash_}"
            whole = bytes(await (await obstore.get_async(store, key)).bytes_async())
            await obstore.put_async(store, key, whole[: len(whole) // 2])

        return cut

    async def test_nothing_stays_on_this_machine(self, blobs: Blobs, tmp_path: Path) -> None:
        await blobs.put(b"content")
        assert list((tmp_path / "spool").iterdir()) == []


class TestLocalBucket(TestMemoryBucket):
    @pytest.fixture
    def store(self, tmp_path: Path) -> MemoryStore | LocalStore:
        return LocalStore(tmp_path / "bucket", mkdir=True)


@pytest.mark.net
class TestS3Bucket(BlobContract):
    @pytest.fixture
    def server(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.S3]:
        with s3.serving() as server:
            server.now = time.time()
            for name, value in server.environment().items():
                monkeypatch.setenv(name, value)
            yield server

    @pytest.fixture
    def blobs(self, server: s3.S3, tmp_path: Path) -> Blobs:
        return open_bucket("s3://bucket/some/prefix", tmp_path / "spool")

    @pytest.fixture
    def cut(self, server: s3.S3) -> Cut:
        async def cut(hash_: str) -> None:
            key = f"bucket/some/prefix/{hash_[:2]}/{hash_}"
            kept = server.objects[key]
            server.objects[key] = kept._replace(data=kept.data[: len(kept.data) // 2])

        return cut

    async def test_it_is_uploaded_once_and_again_when_it_is_old(self, blobs: Blobs, server: s3.S3) -> None:
        for _ in range(2):
            hash_ = (await blobs.put(b"content")).sha256
        key = f"/bucket/some/prefix/{hash_[:2]}/{hash_}"
        assert [asked for asked in server.asked if asked.startswith("PUT")] == [f"PUT {key}"]
        kept = server.objects[key[1:]]
        server.objects[key[1:]] = kept._replace(at=kept.at - RENEW_US / 1e6 - 60)
        await blobs.put(b"content")
        assert server.objects[key[1:]].at == kept.at

    async def test_a_large_one_is_uploaded_in_parts(self, blobs: Blobs, server: s3.S3) -> None:
        content = b"0123456789abcdef" * 700_000
        hash_ = (await blobs.put(content)).sha256
        assert sum("partNumber" in asked for asked in server.asked) > 1
        assert await read(blobs, hash_) == content

    async def test_a_store_that_is_down(self, blobs: Blobs, server: s3.S3) -> None:
        server.down = True
        with pytest.raises(Unavailable, match="s3://bucket/some/prefix failed"):
            await blobs.put(b"content")
        server.down = False
        assert (await blobs.put(b"content")).size == 7

    async def test_a_wrong_credential(self, server: s3.S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "other")
        other = open_bucket("s3://bucket/some/prefix", tmp_path / "spool")
        with pytest.raises(Unavailable, match="s3://bucket/some/prefix failed"):
            await other.put(b"content")
        with pytest.raises(Unavailable):
            await other.size("0" * 64)
        assert server.objects == {} and list((tmp_path / "spool").iterdir()) == []
