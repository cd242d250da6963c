"""Artifacts as a registry is told them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import astrarium as ar
from astrarium.errors import Invalid
from tests.sdk.plan_server import PlanServer

ar.auto_namespace(__name__)


class Figure:
    """As matplotlib's."""

    def savefig(self, file: Any, format: str) -> None:
        file.write(b"PNG:" + format.encode())


class Drawn(ar.Task[int]):
    folder: Path

    def run(self) -> None:
        (self.folder / "table.csv").write_text("a,b\n")
        self._save(1)

    def artifacts(self) -> list[Any]:
        return [
            ar.MarkdownArtifact(name="note", body="# n"),
            ar.ImageArtifact(name="plot.png", body=Figure()),
            ar.FileArtifact(name="table.csv", body=self.folder / "table.csv"),
            ar.FileArtifact(name="raw", body=b"\0" * 40_000),
        ]


def test_files_go_with_their_types(server: PlanServer, tmp_path: Path, roots: Path) -> None:
    task = Drawn(folder=tmp_path)
    ar.build(task, registry=server.registry(tmp_path))
    kept = server.tasks[str(task.id)]
    assert [one["name"] for one in kept["artifacts"]] == ["note"]
    assert kept["files"] == {
        "plot.png": (b"PNG:png", "image/png"),
        "table.csv": (b"a,b\n", "text/csv"),
        "raw": (b"\0" * 40_000, "application/octet-stream"),
    }


def test_a_registry_without_files_is_no_failure(
    server: PlanServer, tmp_path: Path, roots: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.keeps_files = False
    ar.build(Drawn(folder=tmp_path), registry=server.registry(tmp_path))
    assert caplog.text.count("keeps no files") == 3


def test_a_picture_may_be_bytes_and_anything_else_is_told() -> None:
    assert ar.ImageArtifact(name="p", body=b"x").told()["content_type"] == "image/png"
    assert ar.ImageArtifact(name="p.svg", body=b"x").told()["content_type"] == "image/svg+xml"
    with pytest.raises(Invalid, match="is int"):
        ar.FileArtifact(name="p", body=3).told()
