"""Entries: versions, unique names, the audit act of each change, and the contract of every machine."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from astrarium.errors import AstrariumError, Conflict, NotFound, Refused
from astrarium.kernel.audit import act, verify_chain
from astrarium.kernel.engine import Engine
from astrarium.kernel.record.entry import (
    ENTRIES,
    DropEntry,
    Entry,
    EntryMachine,
    PutEntry,
    TouchEntry,
    drop_entry,
    entry_row,
    entry_stream,
    find_entry,
    find_handle,
    list_entries,
    put_entry,
    read_entry,
    remove_entries,
)
from astrarium.kernel.types import Actor, Command, Scope, Table
from astrarium.store.postgres import PostgresStore
from astrarium.store.sqlite import SqliteStore
from tests.contracts.machine import Life, MachineContract
from tests.kernel.book import make_registry, open_engine

WS = Scope("ws", "local")
ANNA = Actor("user", "anna")


class TestEntryMachine(MachineContract):
    machine = EntryMachine()

    def born(self, data: st.DataObject) -> Life:
        return Life(self.machine, "entry:user/1", {})

    def order(self, data: st.DataObject, life: Life) -> Any:
        expect = data.draw(st.none() | st.integers(0, 4))
        match data.draw(st.sampled_from(("put", "put", "put", "touch", "drop"))):
            case "put":
                name = data.draw(st.sampled_from(("", "a", "b")))
                verifier = data.draw(st.none() | st.text(max_size=3))
                return PutEntry(name, {"n": data.draw(st.integers())}, "user:anna", None, verifier, expect)
            case "touch":
                return TouchEntry()
            case _:
                return DropEntry("user:anna", expect)

    def rows_of(self, state: Any) -> list[tuple[Table, tuple[Any, ...]]]:
        return [(ENTRIES, entry_row(state.entry))] if state.entry.version else []


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    registry = make_registry()
    async with open_engine(SqliteStore(tmp_path / "kernel.db", tables=registry.tables, synchronous="normal"), registry) as engine:
        yield engine


async def put(engine: Engine, id_: str, name: str, expect: int | None = None, **more: Any) -> Entry:
    order = PutEntry(name, {"role": "viewer"}, str(ANNA), expect=expect, **more)
    return await put_entry(engine, WS, ANNA, "user", id_, order, "user.put", name=name)


async def acts(engine: Engine) -> list[tuple[Any, ...]]:
    rows = await engine.store.read("SELECT * FROM audit ORDER BY number")
    return [(*row[:6], json.loads(row[6]), *row[7:]) for row in rows]


async def test_each_change_is_a_version_and_an_act(engine: Engine) -> None:
    made = await put(engine, "1", "bob", 0, handle="h", verifier="v")
    assert (made.version, made.name, made.handle, made.verifier, made.created_by) == (1, "bob", "h", "v", "user:anna")
    changed = await put(engine, "1", "rob", made.version)
    assert (changed.version, changed.handle, changed.verifier) == (2, "h", "v")
    assert await read_entry(engine.store, "ws", "user", "1") == changed
    assert await find_entry(engine.store, "ws", "user", "rob") == changed
    assert await find_entry(engine.store, "ws", "user", "bob") is None
    assert await find_handle(engine.store, "user", "h") == [changed]
    await drop_entry(engine, WS, ANNA, "user", "1", DropEntry(str(ANNA), 2), "user.dropped")
    assert await read_entry(engine.store, "ws", "user", "1") is None
    assert await find_handle(engine.store, "user", "h") == await list_entries(engine.store, "ws", "user") == []
    records = await acts(engine)
    assert [(row[4], row[5]) for row in records] == [("user.put", "user:1")] * 2 + [("user.dropped", "user:1")]
    assert verify_chain(records) is None


async def test_a_change_that_rests_on_an_old_version_is_refused(engine: Engine) -> None:
    await put(engine, "1", "bob")
    await put(engine, "1", "bob", 1)
    with pytest.raises(Conflict, match="version 2"):
        await put(engine, "1", "bob", 1)
    with pytest.raises(Refused):
        await put(engine, "1", "bob", 0)
    with pytest.raises(NotFound):
        await put(engine, "2", "eve", 1)
    with pytest.raises(Conflict):
        await drop_entry(engine, WS, ANNA, "user", "1", DropEntry("x", 1), "user.dropped")
    assert len(await acts(engine)) == 2, "a refusal leaves no act"


async def test_a_dropped_entry_is_gone_and_its_name_free(engine: Engine) -> None:
    await put(engine, "1", "bob")
    await drop_entry(engine, WS, ANNA, "user", "1", DropEntry("x"), "user.dropped")
    for order in (DropEntry("x"), PutEntry("bob", {}, "x"), TouchEntry()):
        with pytest.raises(NotFound):
            await engine.submit(Command(entry_stream("user", "1"), order, WS, ANNA))
    assert (await put(engine, "2", "bob", 0)).version == 1


async def test_names_are_unique_within_a_kind(engine: Engine) -> None:
    await put(engine, "1", "bob")
    with pytest.raises(Refused, match="named 'bob' already") as caught:
        await put(engine, "2", "bob", 0)
    assert caught.value.code == "already_exists"
    await put(engine, "3", "eve")
    with pytest.raises(Refused):
        await put(engine, "3", "bob")
    await put(engine, "1", "rob")
    assert (await put(engine, "3", "bob")).name == "bob"
    order = PutEntry("bob", {}, "x")
    assert (await put_entry(engine, WS, ANNA, "key", "1", order, "key.put")).name == "bob", "another kind"


async def test_of_many_at_once_one_gets_the_name_and_no_act_is_lost(engine: Engine) -> None:
    """Refused units in between must not take the audit rows of others in the same batch with them."""
    told = [engine.submit(act(WS, ANNA, "noise", str(number))) for number in range(5)]
    made = [put(engine, str(number), "bob", 0) for number in range(8)]
    noise = [engine.submit(act(WS, ANNA, "noise", str(number))) for number in range(5, 10)]
    results = await asyncio.gather(*told, *made, *noise, return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert len(refused) == 7 and all(isinstance(error, Refused) for error in refused)
    records = await acts(engine)
    assert len(records) == 11
    assert verify_chain(records) is None
    assert len(await list_entries(engine.store, "ws", "user")) == 1


async def test_use_is_noted_without_a_version_or_an_act(engine: Engine) -> None:
    await put(engine, "1", "bob")
    await engine.submit(Command(entry_stream("user", "1"), TouchEntry(), WS, ANNA))
    entry = await read_entry(engine.store, "ws", "user", "1")
    assert entry is not None and entry.used_at > 0 and entry.version == 1
    assert len(await acts(engine)) == 1


async def test_workspaces_are_apart(engine: Engine) -> None:
    await put(engine, "1", "bob")
    other = Scope("other", "local")
    with pytest.raises(NotFound):
        await put_entry(engine, other, ANNA, "user", "1", PutEntry("bob", {}, "x"), "user.put")
    assert (await put_entry(engine, other, ANNA, "user", "2", PutEntry("bob", {}, "x"), "user.put")).name == "bob"


async def test_a_restart_keeps_them(tmp_path: Path) -> None:
    for turn in (1, 2):
        registry = make_registry()
        store = SqliteStore(tmp_path / "kernel.db", tables=registry.tables, synchronous="normal")
        async with open_engine(store, registry, f"w{turn}") as engine:
            if turn == 1:
                await put(engine, "1", "bob")
                continue
            with pytest.raises(Refused):
                await put(engine, "2", "bob", 0)
            assert (await put(engine, "1", "rob", 1)).version == 2


@pytest.mark.postgres
async def test_two_servers_make_one_name(postgres_database: str) -> None:
    one, two = make_registry(), make_registry()
    async with (
        open_engine(PostgresStore(postgres_database, tables=one.tables), one, "w1") as first,
        open_engine(PostgresStore(postgres_database, tables=two.tables), two, "w2") as second,
    ):
        made = [put(engine, f"{number}-{engine.worker}", "bob", 0) for number in range(4) for engine in (first, second)]
        results = await asyncio.gather(*made, return_exceptions=True)
        refused = [result for result in results if isinstance(result, AstrariumError)]
        assert len(refused) == 7 and {error.code for error in refused} == {"already_exists"}
        (entry,) = await list_entries(second.store, "ws", "user")
        assert (await put(second, entry.id, "rob", 1)).version == 2
        assert (await put(first, entry.id, "bob", 2)).version == 3
        with pytest.raises(Conflict):
            await put(second, entry.id, "tom", 2)
        await put(first, entry.id, "tim", 3)
        assert (await put(second, "new", "bob", 0)).version == 1, "a name another server gave up"
        records = await acts(first)
        assert len(records) == 5 and verify_chain(records) is None


async def test_entries_that_are_over_leave_the_store(engine: Engine) -> None:
    for number in range(450):
        await engine.submit(Command(entry_stream("mark", f"{number:03}"), PutEntry("", {"until": number}, "me", "h"), WS))
    await engine.submit(Command(entry_stream("mark", "007"), DropEntry("me"), WS))
    await engine.submit(Command(entry_stream("mark", "440"), DropEntry("me"), WS))
    await engine.submit(Command(entry_stream("other", "1"), PutEntry("", {"until": 1}, "me"), WS))
    assert await remove_entries(engine, WS, "mark", lambda entry: entry.body["until"] < 420) == 421
    left = [entry.id for entry in await list_entries(engine.store, "ws", "mark", dropped=True)]
    assert left == [f"{number:03}" for number in range(420, 450) if number != 440]
    assert await read_entry(engine.store, "ws", "other", "1") is not None
    rows = await engine.store.read("SELECT DISTINCT type FROM events WHERE stream IN ('entry:mark/000', 'entry:mark/440')")
    assert rows == [("Tombstone",)]
    for order in (PutEntry("", {}, "me"), TouchEntry()):
        with pytest.raises(NotFound):
            await engine.submit(Command(entry_stream("mark", "000"), order, WS))
    assert await remove_entries(engine, WS, "mark", lambda entry: entry.body["until"] < 420) == 0


async def test_an_entry_that_moves_while_it_is_removed_stays(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    await engine.submit(Command(entry_stream("mark", "1"), PutEntry("", {"until": 1}, "me"), WS))
    remove = engine.remove

    async def moved_before(*args: Any) -> None:
        raise Conflict("moved")

    def changed_meanwhile(entry: Entry) -> bool:
        engine.post(Command(entry_stream("mark", "1"), PutEntry("", {"until": 9}, "me"), WS))
        return True

    assert await remove_entries(engine, WS, "mark", changed_meanwhile) == 0
    await engine.settle()
    found = await read_entry(engine.store, "ws", "mark", "1")
    assert found is not None and found.body == {"until": 9}
    monkeypatch.setattr(engine, "remove", moved_before)
    assert await remove_entries(engine, WS, "mark", lambda _: True) == 0, "a crash between its end and its removal leaves the row"
    monkeypatch.setattr(engine, "remove", remove)
    assert await remove_entries(engine, WS, "mark", lambda _: False) == 1, "the next sweep removes what was dropped"
