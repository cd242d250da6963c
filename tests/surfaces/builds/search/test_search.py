"""Search against a model: any filter finds what a plain look at every task finds, in the same order, with the same total."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from astrarium.errors import Invalid
from astrarium.kernel.clock import HandClock
from astrarium.kernel.engine import Engine
from astrarium.kernel.machine import Registry
from astrarium.kernel.types import Command, Scope
from astrarium.spec.ids import uuid7
from astrarium.store.postgres import PostgresStore
from astrarium.store.sqlite import SqliteStore
from astrarium.surfaces.builds import room, wire
from astrarium.surfaces.builds.machines.build import StartBuild, build_stream
from astrarium.surfaces.builds.machines.report import CompleteTask, FailTask, NewAsset, PutAssets, RegisterTask, StartTask
from astrarium.surfaces.builds.machines.task import task_stream
from astrarium.surfaces.builds.search.filter import parse_filter
from astrarium.surfaces.builds.search.query import Search, parse_cursor, search_tasks
from astrarium.surfaces.builds.search.suggest import suggest_columns, suggest_keys, suggest_values
from astrarium.web.paging import Page, write_cursor
from tests.kernel.book import open_engine

HERE, ELSEWHERE = Scope("personal", "here"), Scope("personal", "there")
Open = Callable[[], AbstractAsyncContextManager[Engine]]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    url = "" if request.param == "sqlite" else str(request.getfixturevalue("postgres_database"))

    @asynccontextmanager
    async def open_() -> AsyncIterator[Engine]:
        registry = Registry()
        room.register(registry)
        store: Any = (
            PostgresStore(url, tables=registry.tables)
            if url
            else SqliteStore(tmp_path / "kernel.db", tables=registry.tables, synchronous="normal")
        )
        async with open_engine(store, registry, "w1", HandClock()) as engine:
            yield engine

    return open_


async def order(engine: Engine, task_id: str, body: Any, *things: tuple[str, bytes], scope: Scope = HERE) -> None:
    engine.clock.turn(1)  # type: ignore[attr-defined]
    await engine.submit(Command(task_stream(scope.environment, task_id), body, scope), things)


async def register(
    engine: Engine, task_id: str, name: str, data: dict[str, Any], *, build: str = "b0", namespace: str = "", scope: Scope = HERE
) -> None:
    body = msgspec.json.encode(data)
    digest = hashlib.sha256(body).hexdigest()
    await order(engine, task_id, RegisterTask(build, uuid7(), name, digest, namespace, "1"), ("task", body), scope=scope)


async def attach(engine: Engine, task_id: str, name: str, data: dict[str, Any]) -> None:
    body = msgspec.json.encode(data)
    asset = NewAsset(uuid7(), "json", name, hashlib.sha256(body).hexdigest(), len(body))
    await order(engine, task_id, PutAssets("b0", (asset,)), ("asset", body))


async def start_build(engine: Engine, name: str) -> str:
    id_ = uuid7()
    await engine.submit(Command(build_stream(id_), StartBuild(name), HERE))
    return id_


async def find(engine: Engine, filter_: str = "", **more: Any) -> wire.FoundTasks:
    return await search_tasks(engine.store, HERE, Search(parse_filter(filter_), **more))


async def ids(engine: Engine, filter_: str = "", **more: Any) -> list[str]:
    return [task.task_id for task in (await find(engine, filter_, **more)).tasks]


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ("", ["t4", "t3", "t2", "t1"]),
        ("task_name:train", ["t3", "t1"]),
        ("task_name:!=:train", ["t4", "t2"]),
        ("task_name:~:RAI", ["t3", "t1"]),
        ("task_name:~:%", []),
        ("task_namespace:ml.vision", ["t3"]),
        ("task_id:>:t2", ["t4", "t3"]),
        ("status:completed", ["t1"]),
        ("status:!=:pending", ["t2", "t1"]),
        ("param.lr:0.1", ["t3", "t1"]),
        ("param.lr:>:0.05", ["t4", "t3", "t1"]),
        ("param.lr:>:0.05,param.lr:<:0.5", ["t3", "t1"]),
        ("param.lr:!=:0.1", ["t4", "t2"]),
        ("param.opt.name:~:AD", ["t2"]),
        ("param.tags[0].k:v", ["t2"]),
        ("param.deep'quote:1", ["t4"]),
        ("param.flag:true", ["t4"]),
        ("param.none:x", []),
        ("param.none:!=:x", []),
        ("task_name:train,param.lr:0.1,status:completed", ["t1"]),
        ("asset.metrics.acc:>=:0.9", ["t1"]),
        ("asset.metrics.acc:0.5", []),
        ("created_at:>:2020-01-01", ["t4", "t3", "t2", "t1"]),
        ("created_at:<:2020-01-01", []),
        ("completed_at:>:2020-01-01", ["t2", "t1"]),
        ("build_name:second", ["t4"]),
        ("build_name:~:FIR", ["t3", "t2", "t1"]),
        ("bogus:1", ["t4", "t3", "t2", "t1"]),
    ],
)
def test_what_a_filter_finds(opened: Open, filter_: str, expected: list[str]) -> None:
    asyncio.run(_filter(opened, filter_, expected))


async def _filter(opened: Open, filter_: str, expected: list[str]) -> None:
    async with opened() as engine:
        await _populate(engine)
        found = await find(engine, filter_)
        assert [task.task_id for task in found.tasks] == expected
        assert found.total == len(expected)
        assert found.ignored_conditions == (["bogus:1"] if filter_ == "bogus:1" else [])
        for sort in ("task_name", "task_namespace"):
            assert sorted(await ids(engine, filter_, sort=sort)) == sorted(expected)


async def _populate(engine: Engine) -> None:
    first, second = await start_build(engine, "first"), await start_build(engine, "second")
    await register(engine, "t1", "train", {"lr": 0.1}, build=first)
    await register(engine, "t2", "load", {"lr": 0.01, "opt": {"name": "adam"}, "tags": [{"k": "v"}]}, build=first)
    await register(engine, "t3", "train", {"lr": 0.1}, build=first, namespace="ml.vision")
    await register(engine, "t4", "test", {"lr": 1, "flag": True, "deep'quote": 1}, build=second)
    await register(engine, "t1", "train", {"lr": 0.1}, scope=ELSEWHERE)
    await attach(engine, "t1", "metrics", {"acc": 0.5})
    await attach(engine, "t1", "metrics", {"acc": 0.95})
    await order(engine, "t1", StartTask(first))
    await order(engine, "t1", CompleteTask(first))
    await order(engine, "t2", FailTask(first, error="boom"))


def test_what_is_told_of_a_task(opened: Open) -> None:
    async def scenario() -> None:
        async with opened() as engine:
            await _populate(engine)
            found = (await find(engine, "task_id:t1", assets=("metrics", "none"))).tasks[0]
            assert (found.status, found.build_name, found.asset_count, found.version) == ("completed", "first", 1, "1")
            assert {name: msgspec.json.decode(raw) for name, raw in found.asset_data.items()} == {"metrics": {"acc": 0.95}}
            assert msgspec.json.decode(found.task_data) == {"lr": 0.1}
            assert (await find(engine, "task_id:t2")).tasks[0].error_message == "boom"

    asyncio.run(scenario())


def test_pages_meet_every_task_once(opened: Open) -> None:
    async def scenario() -> None:
        async with opened() as engine:
            for number in range(23):
                await register(engine, f"t{number:02}", f"n{number % 3}", {"x": number % 2})
            for sort in ("created_at", "task_name", "task_namespace"):
                for filter_, many in (
                    ("", 23),
                    ("param.x:1", 11),
                    ("param.x:>=:0", 23),
                    ("task_name:n0", 8),
                    ("status:pending", 23),
                ):
                    await _walk(engine, filter_, sort, many)

    asyncio.run(scenario())


async def _walk(engine: Engine, filter_: str, sort: str, many: int) -> None:
    whole = await ids(engine, filter_, sort=sort, page=Page(1, 100))
    assert len(whole) == len(set(whole)) == many
    for descending in (True, False):
        met: list[str] = []
        after: tuple[Any, ...] = ()
        while True:
            page = await find(engine, filter_, sort=sort, descending=descending, page=Page(1, 4), after=after)
            assert page.total == many
            met += [task.task_id for task in page.tasks]
            if page.next_cursor is None or not page.tasks:
                break
            after = parse_cursor(page.next_cursor, sort)
        assert met == (whole if descending else whole[::-1])
    numbered = [await ids(engine, filter_, sort=sort, page=Page(number, 5)) for number in range(1, many // 5 + 2)]
    assert [one for page in numbered for one in page] == whole


def test_a_cursor_of_another_sort_is_refused() -> None:
    text = write_cursor("task_name", "train", 1, "id")
    assert parse_cursor(text, "task_name") == ("train", 1, "id")
    with pytest.raises(Invalid, match="of the same list"):
        parse_cursor(text, "task_namespace")


def test_suggestions(opened: Open) -> None:
    async def scenario() -> None:
        async with opened() as engine:
            await _populate(engine)
            store = engine.store
            keys = (await suggest_keys(store, HERE, "", 50)).keys
            assert [key.key for key in keys][:2] == ["task_name", "task_namespace"]
            assert {key.key: (key.type, key.count) for key in keys}["param.lr"] == ("number", 4)
            assert [key.key for key in (await suggest_keys(store, HERE, "param.o", 3)).keys] == ["param.opt.name"]
            assert [key.key for key in (await suggest_keys(store, HERE, "asset.", 9)).keys] == ["asset.metrics.acc"]
            assert [key.key for key in (await suggest_keys(store, HERE, "bu", 9)).keys] == ["build_id", "build_name"]
            values = await suggest_values(store, HERE, "param.lr", "", 9)
            assert [(one.value, one.count) for one in values.values] == [("0.1", 2), ("0.01", 1), ("1", 1)]
            assert [one.value for one in (await suggest_values(store, HERE, "param.lr", "0.0", 9)).values] == ["0.01"]
            assert [one.value for one in (await suggest_values(store, HERE, "asset.metrics.acc", "", 9)).values] == ["0.95"]
            names = await suggest_values(store, HERE, "task_name", "t", 9)
            assert [(one.value, one.count) for one in names.values] == [("train", 2), ("test", 1)]
            builds = await suggest_values(store, HERE, "build_name", "", 9)
            assert [(one.value, one.count) for one in builds.values] == [("first", 3), ("second", 1)]
            statuses = await suggest_values(store, HERE, "status", "", 9)
            assert [(one.value, one.count) for one in statuses.values][:3] == [("pending", 2), ("completed", 1), ("failed", 1)]
            assert (await suggest_values(store, HERE, "param.none", "", 9)).values == []
            columns = await suggest_columns(store, HERE)
            assert columns.params == ["param.deep'quote", "param.flag", "param.lr", "param.opt.name", "param.tags[0].k"]
            assert columns.assets == ["asset.metrics.acc"]

    asyncio.run(scenario())


SMALL = st.integers(0, 3)
TASKS = st.lists(st.tuples(st.sampled_from("ab"), SMALL, st.one_of(st.none(), SMALL)), min_size=1, max_size=12)
CONDITIONS = st.lists(
    st.one_of(
        st.tuples(st.just("task_name"), st.sampled_from(["=", "!=", "~", ">"]), st.sampled_from("ab")),
        st.tuples(st.sampled_from(["param.x", "param.y"]), st.sampled_from(["=", "!=", ">", "<", ">=", "<="]), SMALL.map(str)),
    ),
    max_size=3,
)


def _fits(task: tuple[str, int, int | None], condition: tuple[str, str, str]) -> bool:
    key, operator, value = condition
    have: Any = task[0] if key == "task_name" else task[1] if key == "param.x" else task[2]
    if have is None:
        return False
    if operator == "~":
        return value in have
    want: Any = value if key == "task_name" else int(value)
    return bool({"=": have == want, "!=": have != want, ">": have > want, "<": have < want}.get(operator)) or (
        operator in (">=", "<=") and (have == want or (have > want) == (operator == ">="))
    )


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(tasks=TASKS, conditions=CONDITIONS, sort=st.sampled_from(["created_at", "task_name"]))
def test_a_search_finds_what_a_look_at_every_task_finds(
    tmp_path_factory: pytest.TempPathFactory, tasks: list[Any], conditions: list[Any], sort: str
) -> None:
    async def scenario() -> None:
        registry = Registry()
        room.register(registry)
        store = SqliteStore(tmp_path_factory.mktemp("model") / "kernel.db", tables=registry.tables, synchronous="normal")
        async with open_engine(store, registry, "w1", HandClock()) as engine:
            for number, (name, x, y) in enumerate(tasks):
                await register(engine, f"t{number:02}", name, {"x": x} if y is None else {"x": x, "y": y})
            fitting = [
                (name, f"t{number:02}")
                for number, (name, x, y) in enumerate(tasks)
                if all(_fits((name, x, y), condition) for condition in conditions)
            ]
            expected = sorted(fitting, key=(lambda one: one[1]) if sort == "created_at" else None, reverse=True)
            found = await find(engine, ",".join(":".join(condition) for condition in conditions), sort=sort)
            assert ([task.task_id for task in found.tasks], found.total) == ([id_ for _, id_ in expected], len(expected))

    asyncio.run(scenario())
