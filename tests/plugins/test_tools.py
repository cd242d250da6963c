"""The tools `std.*`, and what comes from other packages."""

from __future__ import annotations

import json
import logging
import math
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from astrarium.errors import Forbidden, Invalid, NotFound
from astrarium.plugins.tools.calculator import calculate
from astrarium.runs.ports import StepFailed, ToolSpec
from astrarium.runs.work.tool import means
from astrarium.runs.work.tool.means import Means, load_tools, read_grants
from astrarium.surfaces.graphs import installed, registry
from astrarium.surfaces.graphs.registry import read_skills, skill_folders
from astrarium.web.egress import Egress
from tests.contracts.step import FakeTry

TOOLS = load_tools()


async def call(ctx: FakeTry, name: str, **args: Any) -> Any:
    tool = TOOLS[f"std.{name}@1"]
    assert not list(jsonschema_rs.validator_for(tool.spec.input_schema).iter_errors(args))
    return await tool.call(args, ctx)  # type: ignore[arg-type]


@pytest.fixture
def folder(ctx: FakeTry, tmp_path: Path) -> Path:
    place = tmp_path / "files"
    place.mkdir()
    ctx.files = place  # type: ignore[attr-defined]
    return place


@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_every_tool_says_what_it_is(tool: Any) -> None:
    spec = tool.spec
    assert spec.description and spec.input_schema["additionalProperties"] is False
    jsonschema_rs.validator_for(spec.input_schema)
    jsonschema_rs.validator_for(spec.output_schema)
    assert spec.permissions or spec.side_effects == "none", "what reaches out needs a permission"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2*3", 6),
        ("7 // 2 + 7 % 2", 4),
        ("-2 ** 2", -4),
        ("2^10", 1024),
        ("sqrt(16) + pi", 4 + math.pi),
        ("max(1, 2.5)", 2.5),
        ("sum(1, 2)", 3),
        ("2 ** 64", 2.0**64),
    ],
)
def test_arithmetic(expression: str, value: float) -> None:
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')", "().__class__", "[1]", "'a' * 3", "x", "lambda: 1", "abs(x=1)", "1 if 1 else 2", "True + 1",
        "9 ** 9 ** 9 ** 9", "2 ** 100000", "10 ** 400 * 1.0 ** 1e9 ** 2", "(" * 200 + ")" * 200, "1e308 * 10", "0 / 0",
        "log(0)", "(-8) ** 0.5", "", "1 +", "open('/etc/passwd')", "round(1, 2, 3)", "1e999",
    ],
)  # fmt: skip
def test_what_is_no_arithmetic_or_too_large_is_refused(expression: str) -> None:
    with pytest.raises(StepFailed):
        calculate(expression)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../secret", "link", "link/../secret", "out/secret", "x\0y"])
async def test_paths_that_lead_out_are_refused(ctx: FakeTry, folder: Path, path: str) -> None:
    (folder.parent / "secret").write_text("secret")
    (folder / "link").symlink_to(folder.parent / "secret")
    (folder / "out").symlink_to(folder.parent)
    for name, more in (("file_read", {}), ("file_write", {"content": "x"}), ("file_list", {})):
        with pytest.raises(StepFailed) as caught:
            await call(ctx, name, path=path, **more)
        assert caught.value.code == "PathRefused"
    with pytest.raises(StepFailed, match=r"folder of files|relative"):
        await call(ctx, "sql_query", database=path, sql="SELECT 1")
    assert (folder.parent / "secret").read_text() == "secret"


async def test_files_that_cannot_be_read_or_written_say_why(ctx: FakeTry, folder: Path) -> None:
    (folder / "image").write_bytes(b"\xff\xfe\x00")
    for args, code in (
        ({"path": "none"}, "FileNotFoundError"),
        ({"path": "image"}, "UnicodeDecodeError"),
        ({"path": "."}, "FileNotFoundError"),
    ):
        with pytest.raises(StepFailed) as caught:
            await call(ctx, "file_read", **args)
        assert caught.value.code == code
    with pytest.raises(StepFailed, match="is a folder"):
        await call(ctx, "file_write", path=".", content="x")
    assert [one.name for one in folder.iterdir()] == ["image"]


@pytest.fixture
def database(folder: Path) -> Path:
    path = folder / "shop.db"
    with closing(sqlite3.connect(path)) as made:
        made.executescript("CREATE TABLE goods(name TEXT, price REAL); INSERT INTO goods VALUES ('tea', 2.5), ('salt', 1)")
    return path


async def test_sql_reads(ctx: FakeTry, database: Path) -> None:
    given = await call(
        ctx, "sql_query", database="shop.db", sql="SELECT name, price FROM goods WHERE price > ? ORDER BY 1", params=[2]
    )
    assert given == {"columns": ["name", "price"], "rows": [["tea", 2.5]], "cut": False}
    assert (await call(ctx, "sql_query", database="shop.db", sql="SELECT name FROM goods", limit=1))["cut"] is True


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM goods", "DROP TABLE goods", "ATTACH '/etc/passwd' AS x", "PRAGMA writable_schema = 1", "SELECT 1; SELECT 2",
        "CREATE TABLE x(y)", "VACUUM INTO 'copy.db'", "no sql", "SELECT load_extension('x')", "BEGIN",
    ],
)  # fmt: skip
async def test_sql_does_nothing_else(ctx: FakeTry, database: Path, sql: str) -> None:
    before = database.read_bytes()
    with pytest.raises(StepFailed) as caught:
        await call(ctx, "sql_query", database="shop.db", sql=sql)
    assert caught.value.code in ("SqlError",)
    assert database.read_bytes() == before
    assert [one.name for one in database.parent.iterdir()] == ["shop.db"]


async def test_a_query_without_end_is_ended(ctx: FakeTry, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("astrarium.plugins.tools.sql_query.MOST_S", 0.05)
    with pytest.raises(StepFailed, match="longer than"):
        await call(
            ctx,
            "sql_query",
            database="shop.db",
            sql="WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT max(x) FROM n",
        )


# -- the web -----------------------------------------------------------------------------------------------------------------

PAGE = (
    b"<html><head><title>A page</title><style>x{}</style></head>"
    b"<body><h1>Hello</h1><script>bad()</script><p>you &amp; me</p></body></html>"
)


@contextmanager
def site() -> Iterator[str]:
    class Answerer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("location", "/page")
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(PAGE if self.path == "/page" else b"x" * 3_000_000)

        def do_POST(self) -> None:
            self.send_response(201)
            self.end_headers()
            self.wfile.write(self.rfile.read(int(self.headers["content-length"])) + self.headers["x-mark"].encode())

        def log_message(self, *about: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Answerer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def test_pages_and_requests(ctx: FakeTry) -> None:
    with site() as url:
        page = await call(ctx, "fetch_page", url=f"{url}/moved")
        assert (page["title"], page["text"], page["url"]) == ("A page", "Hello\nyou & me", f"{url}/page")
        given = await call(ctx, "http_request", url=url, method="POST", body="yes", headers={"x-mark": "!"})
        assert (given["status"], given["body"], given["cut"]) == (201, "yes!", False)
        assert (await call(ctx, "http_request", url=f"{url}/long"))["cut"] is True
        ctx.egress = Egress("")
        for name in ("fetch_page", "http_request"):
            with pytest.raises(Forbidden):
                await call(ctx, name, url=url)
    for bad in ("file:///etc/passwd", "gopher://x", "nothing"):
        with pytest.raises(StepFailed):
            await call(ctx, "http_request", url=bad)


# -- permissions, other packages, the registry ---------------------------------------------------------------------------------


def test_grants_are_patterns() -> None:
    allowed = Means(grants=read_grants("tools:std:file_*, db.*:read,,"))
    asked = ["tools:std:file_read", "db.shop:read", "db.shop:write", "tools:std:exec", "tools"]
    assert [allowed.granted(one) for one in asked] == [True, True, False, False, False]


class Weather:
    spec = ToolSpec("weather", "acme", "2", "Tells the weather.", side_effects="external", permissions=("tools:acme:read",))

    async def call(self, args: Mapping[str, Any], ctx: Any) -> Any:
        return {"sky": "blue"}


class Clash:
    spec = ToolSpec("calculator", "std")

    async def call(self, args: Mapping[str, Any], ctx: Any) -> Any:
        return 1


WEATHER, CLASH = Weather(), Clash()
SKILL = {"name": "triage", "namespace": "acme", "description": "Sorts."}
STORE = {"name": "notes", "provider": "acme", "protocol": "doc"}


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[str]]]:
    """More entry points, as of another package: group → objects of this file."""
    more: dict[str, list[str]] = {}
    real = means.plugins

    def plugins(group: str) -> EntryPoints:
        added = [EntryPoint(name.lower(), f"{__name__}:{name}", group) for name in more.get(group, [])]
        return EntryPoints([*real(group), *added])

    monkeypatch.setattr(means, "plugins", plugins)
    monkeypatch.setattr(registry, "plugins", plugins)
    installed.installed_specs.cache_clear()
    yield more
    installed.installed_specs.cache_clear()


def test_what_other_packages_bring_is_in_the_registry(plugged: dict[str, list[str]]) -> None:
    plugged.update({"astrarium.tools": ["WEATHER"], "astrarium.skills": ["SKILL"], "astrarium.stores": ["STORE"]})
    tools = {f"{one['namespace']}.{one['name']}@{one['version']}": one for one in registry.registry("tools")}
    told = tools["acme.weather@2"]
    assert list(told) == [
        "name", "namespace", "version", "description", "input_schema", "output_schema", "side_effects", "replay_policy", "permissions",
        "idempotency_key", "cost_estimate", "examples", "tags", "deprecated",
    ]  # fmt: skip
    assert (told["replay_policy"], tools["std.calculator@1"]["replay_policy"]) == ("must-stub", "recorded-result")
    assert json.loads(json.dumps(told)) == told
    (skill,) = registry.registry("skills")
    assert (skill["namespace"], skill["kind"], skill["system_prompt"]) == ("acme", "agent", None)
    (store,) = registry.registry("stores")
    assert store["capabilities"] == ["db.notes:read", "db.notes:write"]
    assert installed.installed_tools()["acme.weather@2"].permissions == ("tools:acme:read",)
    assert (registry.skill_ids(), registry.store_providers()) == ({"acme/triage"}, {"acme"})


def test_two_tools_of_one_name_are_refused(plugged: dict[str, list[str]]) -> None:
    plugged["astrarium.tools"] = ["CLASH"]
    with pytest.raises(Invalid, match=r"two tools are called std\.calculator@1"):
        load_tools()


def test_an_unknown_registry_is_not_found() -> None:
    with pytest.raises(NotFound, match="unknown registry kind: 'plugs'"):
        registry.registry("plugs")


def test_skills_are_found_in_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    named, home = tmp_path / "named", tmp_path / "home"
    for folder, text in (
        (
            named / "a",
            "---\nname: a\ndescription: first\nversion: 2\nmodel: foreign\nallowed-tools: [x]\n---\nBe kind.\n---\nreally",
        ),
        (tmp_path / "skills" / "b", "---\nname: b\nnamespace: team\ndescription: second\ntools: [std.calculator@1]\n---\n"),
        (home / ".stargraph" / "skills" / "broken", "no front matter"),
        (home / ".stargraph" / "skills" / "nameless", "---\ndescription: x\n---\n"),
    ):
        folder.mkdir(parents=True)
        (folder / "SKILL.md").write_text(text)
    folders = skill_folders({"STARGRAPH_SKILLS_DIR": str(named)}, tmp_path, home)
    with caplog.at_level(logging.WARNING):
        first, second = read_skills(folders)
    assert (first.id, first.version, first.system_prompt) == ("local/a", "2", "Be kind.\n---\nreally")
    assert (second.id, second.tools, second.system_prompt) == ("team/b", ("std.calculator@1",), None)
    assert len(caplog.records) == 2
    assert [one["name"] for one in registry.registry("skills", [first, second])] == ["a", "b"]
    with pytest.raises(Invalid, match="two skills are called local/a"):
        read_skills([named, named])
