"""What a task may attach to itself in the registry, for people to look at."""

from __future__ import annotations

import io
import mimetypes
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from ...errors import Invalid


class MarkdownArtifact(BaseModel):
    """A text in Markdown."""

    type: Literal["markdown"] = "markdown"
    name: str
    body: str

    def told(self) -> dict[str, Any]:
        """As the registry takes it."""
        return {"type": self.type, "name": self.name, "body": {"content": self.body}}


class JSONArtifact(BaseModel):
    """A JSON object."""

    type: Literal["json"] = "json"
    name: str
    body: dict[str, Any]

    def told(self) -> dict[str, Any]:
        """As the registry takes it."""
        return {"type": self.type, "name": self.name, "body": self.model_dump(mode="json")["body"]}


class FileArtifact(BaseModel):
    """Bytes, or the file at a path. `content_type` is told by the ending of the name, unless it is given. (An addition: Stardag's
    registry keeps no files and is told none.)"""

    type: Literal["file", "image"] = "file"
    name: str
    body: Any
    content_type: str = ""
    usual_type: ClassVar[str] = "application/octet-stream"

    def told(self) -> dict[str, Any]:
        """As the registry takes it: `content` are the bytes. Raises `Invalid` for what is neither bytes nor a path."""
        guessed = mimetypes.guess_type(self.name)[0] or self.usual_type
        return {"type": "file", "name": self.name, "content": self._content(), "content_type": self.content_type or guessed}

    def _content(self) -> bytes:
        if isinstance(self.body, bytes | bytearray | memoryview):
            return bytes(self.body)
        if isinstance(self.body, str | Path):
            return Path(self.body).read_bytes()
        raise Invalid(f"artifact {self.name!r} is {type(self.body).__name__}", hint="give bytes, or the path of a file")


class ImageArtifact(FileArtifact):
    """A picture: bytes, a path, or a figure of matplotlib or an image of Pillow, which become a PNG."""

    type: Literal["file", "image"] = "image"
    usual_type: ClassVar[str] = "image/png"

    def _content(self) -> bytes:
        for name, more in (("savefig", {"format": "png"}), ("save", {"format": "PNG"})):
            save = getattr(self.body, name, None)
            if callable(save):
                content = io.BytesIO()
                save(content, **more)
                return content.getvalue()
        return super()._content()


Artifact = MarkdownArtifact | JSONArtifact | FileArtifact
