"""Files of a task, and a look at its output, over HTTP."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from astrarium.surfaces.builds.machines import file
from tests.specs.builds.test_builds import Registry
from tests.specs.tenancy.conftest import Server, serve  # noqa: F401  (a fixture)

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40


def opened(server: Server) -> Registry:
    registry = Registry(server)
    registry.register("t")
    return registry


@pytest.fixture
def registry(serve: Callable[..., Server]) -> Registry:  # noqa: F811
    return opened(serve())


@pytest.fixture
def on_postgres(tmp_path: Path, postgres_database: str) -> Iterator[Registry]:
    server = Server(tmp_path, database_url=postgres_database)
    with server.client:
        yield opened(server)


def put(registry: Registry, name: str, content: Any, kind: str = "", status: int = 201, task: str = "t") -> Any:
    headers = {"content-type": kind} if kind else {}
    path = f"/api/v1{registry.build}/tasks/{task}/files/{quote(name, safe='')}"
    answer = registry.server.client.put(path, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    return answer


def fetch(registry: Registry, name: str, status: int = 200, **headers: str) -> Any:
    path, _, query = name.partition("?")
    answer = registry.server.client.get(f"/api/v1/tasks/t/files/{quote(path, safe='')}?{query}", headers=headers)
    assert answer.status_code == status, answer.text
    return answer


def names(registry: Registry) -> list[str]:
    return [one["name"] for one in registry.get("/tasks/t/files")["files"]]


# -- files ---------------------------------------------------------------------------------------------------------------


def check_a_file_from_put_to_delete(registry: Registry) -> None:
    first = put(registry, "plot.png", PNG, "image/png")
    told = first.json()
    assert told == {"id": told["id"], "name": "plot.png", "content_type": "image/png", "size": len(PNG),
                    "sha256": hashlib.sha256(PNG).hexdigest()}  # fmt: skip
    again = put(registry, "plot.png", PNG, "image/png", 200)
    assert again.json() == told and again.headers["etag"] == first.headers["etag"]
    replaced = put(registry, "plot.png", b"smaller", "image/png", 200)
    assert replaced.json()["id"] == told["id"] and replaced.headers["etag"] != first.headers["etag"]
    put(registry, "data.csv", b"a,b\n1,2\n")
    files = registry.get("/tasks/t/files")["files"]
    assert [(one["name"], one["content_type"], one["size"]) for one in files] == [
        ("data.csv", "text/csv", 8),
        ("plot.png", "image/png", 7),
    ]
    assert files[1]["id"] == told["id"] and files[1]["created_at"] > ""
    registry.call("DELETE", "/tasks/t/files/plot.png", status=204)
    assert names(registry) == ["data.csv"]
    registry.refused(404, "File not found", "DELETE", "/tasks/t/files/plot.png")
    registry.refused(404, "File not found", "GET", "/tasks/t/files/plot.png")
    put(registry, "plot.png", PNG, "image/png")  # its name is free again
    assert names(registry) == ["data.csv", "plot.png"]


def test_a_file_from_put_to_delete(registry: Registry) -> None:
    check_a_file_from_put_to_delete(registry)
    events = [row[0] for row in registry.server.sql("SELECT type FROM events WHERE stream LIKE 'task:%' ORDER BY seq")]
    assert events == ["TaskRegistered", "FilePut", "FilePut", "FilePut", "FileDropped", "FilePut"]
    assert registry.server.sql("SELECT count(*) FROM artifacts WHERE owner_kind = 'task'") == [(2,)]


@pytest.mark.postgres
def test_a_file_from_put_to_delete_on_postgres(on_postgres: Registry) -> None:
    check_a_file_from_put_to_delete(on_postgres)


def test_files_survive_a_restart_and_are_no_assets(serve: Callable[..., Server]) -> None:  # noqa: F811
    registry = opened(serve())
    put(registry, "plot.png", PNG, "image/png")
    assert registry.task("t")["asset_count"] == 0 and registry.get("/tasks/t/assets") == {"assets": []}
    build = registry.build
    registry = Registry(serve())
    registry.build = build
    assert names(registry) == ["plot.png"] and fetch(registry, "plot.png").content == PNG
    put(registry, "plot.png", PNG, "image/png", 200)


def test_a_page_of_events_counts_what_it_shows(registry: Registry) -> None:
    registry.report("t", "start")
    put(registry, "a.bin", PNG)
    put(registry, "b.bin", PNG)
    shown = registry.get("/tasks/t/events?page_size=2")
    assert [one["event_type"] for one in shown] == ["task_started", "task_pending"]


def test_the_same_bytes_are_kept_once(registry: Registry) -> None:
    registry.register("other")
    for task, name in (("t", "a.bin"), ("t", "b.bin"), ("other", "a.bin")):
        put(registry, name, PNG, task=task)
    blobs = [path for path in (registry.server.folder / "blobs").rglob("*") if path.is_file()]
    assert len(blobs) == 1
    registry.call("DELETE", "/tasks/t/files/a.bin", status=204)
    assert fetch(registry, "b.bin").content == PNG


def test_bytes_come_in_ranges_and_run_nothing(registry: Registry) -> None:
    tag = put(registry, "page.html", b"<script>alert(1)</script>", "text/html").headers["etag"]
    whole = fetch(registry, "page.html?inline=true")
    assert whole.headers["content-disposition"].startswith("attachment") and "sandbox" in whole.headers["content-security-policy"]
    assert whole.headers["etag"] == tag and whole.headers["x-content-type-options"] == "nosniff"
    part = fetch(registry, "page.html", 206, range="bytes=1-6")
    assert part.content == b"script" and part.headers["content-range"] == "bytes 1-6/25"
    assert fetch(registry, "page.html", 416, range="bytes=99-").headers["content-range"] == "bytes */25"
    assert fetch(registry, "page.html", 304, **{"if-none-match": tag}).content == b""
    put(registry, "plot.png", PNG)
    assert fetch(registry, "plot.png?inline=true").headers["content-disposition"].startswith("inline")
    head = registry.server.client.head("/api/v1/tasks/t/files/plot.png")
    assert head.status_code == 200 and head.headers["content-length"] == str(len(PNG)) and head.content == b""


def test_previews(registry: Registry) -> None:
    put(registry, "notes.txt", "grüße\n".encode() * 100)
    shown = fetch(registry, "notes.txt?preview_bytes=6").json()
    assert shown == {"content_type": "text/plain", "size": 800, "text": "grüß"[:4], "charset": "utf-8", "binary": False,
                     "truncated": True}  # fmt: skip
    put(registry, "plot.png", PNG)
    shown = fetch(registry, "plot.png?preview_bytes=100").json()
    assert (shown["text"], shown["binary"], shown["size"]) == (None, True, len(PNG))
    for wrong in ("0", "x", "-1", "1048577", "99999999999999999999"):
        assert fetch(registry, f"notes.txt?preview_bytes={wrong}", 422).json()["detail"][0]["loc"] == ["query", "preview_bytes"]


def test_names_and_types_are_checked_before_anything_is_kept(registry: Registry) -> None:
    for name in ("a\\b", "a\x00b", "\u202egnp.exe", "x" * 256, " ", "..."):
        assert put(registry, name, b"1", status=422).json()["detail"][0]["loc"] == ["path", "name"]
    for name in ("a/b", "../x"):
        put(registry, name, b"1", status=404)
    assert put(registry, "a", b"1", "no type", 422).json()["detail"][0]["loc"] == ["header", "content-type"]
    assert names(registry) == []
    put(registry, "a", b"1", task="none", status=404)
    registry.refused(404, "Task not found", "GET", "/tasks/none/files")
    build, registry.build = registry.build, f"/builds/{'0' * 8}-0000-7000-8000-000000000000"
    put(registry, "a", b"1", status=404)
    registry.build = build


def test_a_form_is_what_clients_call_bytes_of_no_type(registry: Registry) -> None:
    assert put(registry, "a.json", b"{}", "application/x-www-form-urlencoded").json()["content_type"] == "application/json"


def test_files_may_be_larger_than_other_bodies_up_to_their_own_limit(serve: Callable[..., Server]) -> None:  # noqa: F811
    registry = opened(serve(body_max_bytes=2000, artifact_max_bytes=5000))
    put(registry, "large", b"x" * 5000)
    refused = put(registry, "large", b"x" * 5001, status=413).json()["detail"]
    assert "artifact_max_bytes" in refused and names(registry) == ["large"]

    def streamed() -> Iterator[bytes]:
        for _ in range(6):
            yield b"y" * 1000

    assert "artifact_max_bytes" in put(registry, "large", streamed(), status=413).json()["detail"]
    assert fetch(registry, "large").content == b"x" * 5000
    answer = registry.server.client.post("/api/v1/builds", content=b" " * 3000)
    assert answer.status_code == 413 and "body_max_bytes" in answer.json()["detail"]
    assert not list((registry.server.folder / "blobs").glob("part-*"))


def test_a_task_has_so_many_files(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "FILES_MAX", 3)
    for number in range(3):
        put(registry, f"{number}", b"")
    assert "at most 3" in put(registry, "more", b"", status=413).json()["detail"]
    put(registry, "2", b"new", status=200)


# -- outputs -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder the server's own does not lie in."""
    return tmp_path_factory.mktemp("places")


class Place:
    """A server with a target root, and files around it."""

    def __init__(self, serve: Callable[..., Server], places: Path, **more: Any) -> None:  # noqa: F811
        self.root, self.outside = places / "roots" / "default", places / "outside"
        for folder in (self.root, self.outside, places / "roots" / "default-not"):
            folder.mkdir(parents=True)
        (self.outside / "secret.txt").write_text("secret")
        (places / "roots" / "default-not" / "near.txt").write_text("secret")
        self.server = serve(**{"output_roots": f"{places / 'roots'}, s3://known/prefix"} | more)
        self.registry = Registry(self.server)
        workspace = self.server.call("GET", "/me")["workspaces"][0]["id"]
        environment = self.server.call("GET", f"/workspaces/{workspace}/environments")[0]["id"]
        for number, uri in enumerate((str(self.root), "s3://known/prefix/a", "s3://other", "modalvol://v")):
            path = f"/workspaces/{workspace}/environments/{environment}/target-roots"
            self.server.call("POST", path, {"name": f"r{number}", "uri_prefix": uri}, status=201)
        self._made = 0

    def look(self, uri: str | None, status: int = 200, query: str = "") -> Any:
        self._made += 1
        self.registry.register(f"t{self._made}", output_uri=uri)
        answer = self.registry.get(f"/tasks/t{self._made}/output{query}", status)
        return answer["preview"] if status == 200 else answer["detail"]


def test_what_is_text_is_shown(serve: Callable[..., Server], places: Path) -> None:  # noqa: F811
    place = Place(serve, places)
    (place.root / "a b").mkdir()
    for name, content in (("r.json", '{"a": 1}'), ("a b/d.csv", "a,b\n1,2\n"), ("empty.txt", "")):
        (place.root / name).write_text(content)
        for uri in (
            f"{place.root}/{name}",
            f"file://{quote(f'{place.root}/{name}')}",
            f"file://localhost{quote(f'{place.root}/{name}')}",
        ):
            shown = place.look(uri)
            assert (shown["text"], shown["size"], shown["truncated"]) == (content, len(content), False)
    assert place.look(f"{place.root}/r.json")["content_type"] == "application/json"
    (place.root / "big.txt").write_text("x" * 100_000)
    assert (len(place.look(f"{place.root}/big.txt")["text"]), place.look(f"{place.root}/big.txt")["size"]) == (65_536, 100_000)
    assert place.look(f"{place.root}/big.txt", query="?max_bytes=10")["text"] == "x" * 10
    (place.root / "m.pkl").write_bytes(PNG)
    shown = place.look(f"{place.root}/m.pkl")
    assert (shown["text"], shown["binary"], shown["size"]) == (None, True, len(PNG))
    for wrong in ("0", "1048577", "x", ""):
        if wrong:
            place.look(f"{place.root}/r.json", 422, f"?max_bytes={wrong}")


def test_hostile_addresses_are_refused(serve: Callable[..., Server], places: Path) -> None:  # noqa: F811
    place = Place(serve, places)
    root, secret = place.root, place.outside / "secret.txt"
    (root / "link").symlink_to(secret)
    (root / "folder-link").symlink_to(place.outside)
    (root / "sub").mkdir()
    (root / "good").symlink_to(root / "target.txt")
    (root / "target.txt").write_text("inside")
    wrong = [
        f"{root}/link", f"{root}/folder-link/secret.txt", f"{root}/sub/../../../outside/secret.txt", f"{root}/../default-not/near.txt",
        f"{root}-not/near.txt", str(secret), "/etc/passwd", f"file://{root}/sub/%2e%2e/%2e%2e/%2e%2e/outside/secret.txt",
        f"file://elsewhere{root}/target.txt", f"{root}/./target.txt", "roots/default/target.txt", "target.txt",
        f"{root}/a\x00b", "http://127.0.0.1/x", "https://x/y", "ftp://x/y", "modalvol://v/x", "memory://x", "//etc/passwd",
        "s3://other/x", "s3://known/x", "s3://known/prefix/ab", "s3://known/prefix/a/../../secret", "~/x", "~root/x", "javascript:alert(1)",
        f"file://{root}/target.txt?x=1", "/proc/self/environ", "gs://known/prefix/a/x", "S3A://known/prefix/a",
    ]  # fmt: skip
    for uri in wrong:
        assert "secret" not in place.look(uri, 403)
    place.look("", 404)
    place.look(f"{root}/" + "a/" * 5000, 404)
    assert place.look(f"{root}/good")["text"] == "inside"  # a link that stays inside


def test_what_cannot_be_read_is_said(serve: Callable[..., Server], places: Path) -> None:  # noqa: F811
    place = Place(serve, places)
    root = place.root
    (root / "folder").mkdir()
    os.mkfifo(root / "pipe")
    (root / "loop").symlink_to(root / "loop")
    assert place.look(None, 404) == "the task names no output"
    assert place.look(f"{root}/none.json", 404) == place.look(f"{root}/none/x.json", 404) == "the output is not there"
    (root / "file").write_text("")
    place.look(f"{root}/file/x", 404)
    for name in ("folder", "pipe", "loop", "n" * 300):
        place.look(f"{root}/{name}", 409)
    place.look(f"{root}/", 409)
    if os.geteuid():
        (root / "file").chmod(0)
        place.look(f"{root}/file", 409)


def test_the_operator_decides_which_places_are_shown(serve: Callable[..., Server], places: Path) -> None:  # noqa: F811
    place = Place(serve, places, output_roots="")
    (place.root / "r.json").write_text("{}")
    assert "output_roots is empty" in place.look(f"{place.root}/r.json", 403)


def test_the_server_never_shows_its_own_folder(serve: Callable[..., Server], tmp_path: Path) -> None:  # noqa: F811
    server = serve(output_roots=str(tmp_path))  # its data folder lies in it
    registry = Registry(server)
    workspace = server.call("GET", "/me")["workspaces"][0]["id"]
    environment = server.call("GET", f"/workspaces/{workspace}/environments")[0]["id"]
    body = {"name": "all", "uri_prefix": str(tmp_path.parent)}
    server.call("POST", f"/workspaces/{workspace}/environments/{environment}/target-roots", body, status=201)
    registry.register("t", output_uri=str(tmp_path / "keys" / "master.key"))
    assert "output_roots" in registry.get("/tasks/t/output", 403)["detail"]
