"""An artifact as a client gets it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.testclient import TestClient

from astrarium.kernel.record.artifact import RUN, OwnedArtifact
from astrarium.store.blob.artifact import Artifacts
from astrarium.store.blob.folder import BlobFolder
from astrarium.surfaces.artifact import artifact_answer
from astrarium.web.app import create_app
from astrarium.web.problems import Shapes


class Shelf:
    def __init__(self, artifacts: Artifacts) -> None:
        self.artifacts = artifacts
        self.kept: dict[str, OwnedArtifact] = {}
        app: FastAPI = create_app(version="1", shapes=Shapes(), body_max_bytes=1000, gzip_min_bytes=10)
        app.router.add_route("/{id}", self.get, methods=["GET", "HEAD"])
        self.client = TestClient(app)

    async def get(self, request: Request) -> Response:
        return artifact_answer(request, self.artifacts, self.kept[request.path_params["id"]], inline=True)

    async def put(self, content: bytes, name: str, kind: str = "") -> OwnedArtifact:
        made = await self.artifacts.put(content, name, kind)
        own = OwnedArtifact(
            "ws", RUN, "1", made.key, "env", made.id, made.name, made.content_type, made.size, made.sha256, made.blake3, 1, {}
        )
        self.kept[made.id] = own
        return own


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    yield Shelf(Artifacts(BlobFolder(tmp_path / "blobs")))


async def test_whole_and_in_part(shelf: Shelf) -> None:
    content = b"0123456789" * 300_000
    made = await shelf.put(content, "Zahlen ü.txt")
    answered = shelf.client.get(f"/{made.id}")
    assert answered.content == content
    assert answered.headers["content-type"] == "text/plain"
    assert answered.headers["etag"] == f'"{made.blake3}"'
    assert "filename*=UTF-8''Zahlen%20%C3%BC.txt" in answered.headers["content-disposition"]
    part = shelf.client.get(f"/{made.id}", headers={"range": "bytes=2999990-"})
    assert (part.status_code, part.content) == (206, b"0123456789")
    assert shelf.client.get(f"/{made.id}", headers={"if-none-match": answered.headers["etag"]}).status_code == 304
    assert shelf.client.head(f"/{made.id}").headers["content-length"] == "3000000"


async def test_a_page_runs_nothing(shelf: Shelf) -> None:
    made = await shelf.put(b"<script>alert(1)</script>", "page.html")
    headers = shelf.client.get(f"/{made.id}").headers
    assert headers["content-disposition"].startswith("attachment")
    assert "sandbox" in headers["content-security-policy"] and headers["x-content-type-options"] == "nosniff"


async def test_bytes_that_are_gone(shelf: Shelf) -> None:
    made = await shelf.put(b"content", "a.txt")
    await shelf.artifacts.blobs.delete(made.sha256)
    assert shelf.client.get(f"/{made.id}").status_code == 404
