"""How surfaces answer with artifacts: what all of them tell alike. Which artifacts there are, and who may have them, is each surface's."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from ..kernel.record.artifact import OwnedArtifact
from ..store.blob.artifact import Artifacts
from ..web.stream.download import Content, download


def artifact_answer(request: Request, artifacts: Artifacts, artifact: OwnedArtifact, *, inline: bool = False) -> Response:
    """The bytes of an artifact, in the ranges the request asks for. The tag is the digest clients are told (`content_hash`)."""
    sha256 = artifact.sha256
    content = Content(
        lambda first, length: artifacts.open(sha256, first, length),
        artifact.size,
        artifact.blake3,
        artifact.content_type,
        artifact.name,
    )
    return download(request, content, inline=inline)
