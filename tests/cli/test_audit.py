"""`astrarium audit`: lists, exports, and a chain that shows every change."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from astrarium.cli.main import start
from astrarium.errors import Invalid
from astrarium.kernel.audit import act
from astrarium.kernel.clock import HandClock
from astrarium.kernel.types import Actor, Scope
from astrarium.store.postgres import PostgresStore
from astrarium.store.sqlite import SqliteStore
from astrarium.surfaces.tenancy.audit.record import check_lines, check_store, parse_moment, shown_at
from tests.kernel.book import make_registry, open_engine

Shown = tuple[int, str, str]
Call = Callable[..., Shown]


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """A data folder with ten acts, a minute apart, in one workspace and two in another."""
    registry, clock = make_registry(), HandClock()
    store = SqliteStore(tmp_path / "astrarium.db", tables=registry.tables, synchronous="normal")
    async with open_engine(store, registry, clock=clock) as engine:
        for number in range(10):
            who = Actor("user", "anna" if number % 2 else "bob")
            what, subject = ("user.created", f"user:{number}") if number % 3 else ("auth.denied", "operation:listUsers")
            await engine.submit(act(Scope("personal", "local"), who, what, subject, n=number, text="é\n\t\"'"))
            clock.turn(60)
        for number in range(2):
            await engine.submit(act(Scope("other", "local"), Actor("key", "k"), "auth.signed_in", f"user:{number}"))
    return tmp_path


@pytest.fixture
def call(folder: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Call:
    def called(what: str, *words: str) -> Shown:
        code = start(["audit", what, *words, "--data-dir", str(folder)])
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    return called


def numbers(shown: Shown) -> list[int]:
    assert shown[0] == 0, shown[2]
    return [item["number"] for item in json.loads(shown[1])["items"]]


def change(folder: Path, *statements: str) -> None:
    db = sqlite3.connect(folder / "astrarium.db")
    for statement in statements:
        assert db.execute(statement).rowcount
    db.commit()
    db.close()


@pytest.mark.parametrize(("words", "found"), [
    ((), [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
    (("--actor", "user:anna"), [10, 8, 6, 4, 2]),
    (("--actor", "user", "--limit", "2"), [10, 9]),
    (("--actor", "use"), []),
    (("--act", "auth"), [10, 7, 4, 1]),
    (("--act", "auth.denied", "--before", "7"), [4, 1]),
    (("--subject", "user:1"), [2]),
    (("--subject", "operation"), [10, 7, 4, 1]),
    (("--workspace", "other"), [2, 1]),
    (("--workspace", "none"), []),
])  # fmt: skip
def test_filters(call: Call, words: tuple[str, ...], found: list[int]) -> None:
    assert numbers(call("list", "--json", *words)) == found


def test_times_bound_a_list(call: Call) -> None:
    items = json.loads(call("list", "--json")[1])["items"]
    at = {item["number"]: item["at"] for item in items}
    assert numbers(call("list", "--json", "--since", at[8])) == [10, 9, 8]
    assert numbers(call("list", "--json", "--since", at[4], "--until", at[6])) == [5, 4]


def test_pages_follow_each_other(call: Call) -> None:
    first = json.loads(call("list", "--json", "--limit", "4")[1])
    assert first["next"] == 7
    second = json.loads(call("list", "--json", "--limit", "4", "--before", "7")[1])
    last = json.loads(call("list", "--json", "--limit", "4", "--before", str(second["next"]))[1])
    assert [item["number"] for item in second["items"] + last["items"]] == [6, 5, 4, 3, 2, 1]
    assert last["next"] is None


def test_to_a_pipe_it_is_tabs(call: Call) -> None:
    code, out, _ = call("list", "--limit", "1")
    fields = out.rstrip("\n").split("\t")
    assert code == 0 and len(fields) == 6
    assert (fields[0], fields[2:5]) == ("10", ["user:anna", "auth.denied", "operation:listUsers"])
    assert json.loads(fields[5])["n"] == 9


@pytest.mark.parametrize("words", [("--since", "yesterday"), ("--until", "2030-13-01")])
def test_a_time_that_is_none(call: Call, words: tuple[str, str]) -> None:
    code, _, err = call("list", *words)
    assert code == 1 and "RFC 3339" in err and words[1] in err


def test_an_export_goes_on_where_it_ended(call: Call, folder: Path) -> None:
    whole = call("export")[1]
    lines = whole.splitlines()
    assert [json.loads(line)["number"] for line in lines] == list(range(1, 11))
    assert call("export", "--after", "7")[1].splitlines() == lines[7:]
    assert call("export", "--after", "10") == (0, "", "")
    path = folder / "audit.jsonl"
    path.write_text(whole)
    code, out, _ = call("verify", str(path))
    assert code == 0 and out.startswith("personal: intact, 10 records, head 10:")
    path.write_text(whole + call("export", "--workspace", "other")[1])
    assert call("verify", str(path))[1].count("intact") == 2
    path.write_text("".join(line + "\n" for line in lines[7:]))
    assert call("verify", str(path), "--after", "7")[0] == 0
    assert "record 1 is missing" in call("verify", str(path))[1]


def test_an_intact_log(call: Call) -> None:
    code, out, _ = call("verify")
    assert code == 0
    assert [line.rpartition(":")[0] for line in out.splitlines()] == [
        "other: intact, 2 records, head 2",
        "personal: intact, 10 records, head 10",
    ]
    assert json.loads(call("verify", "--workspace", "other", "--json")[1])[0]["head"]["number"] == 2


@pytest.mark.parametrize(("statements", "told"), [
    (["UPDATE audit SET subject = 'user:x' WHERE number = 5"], "record 5 was altered"),
    (["UPDATE audit SET actor = 'user:annb' WHERE number = 10"], "record 10 was altered"),
    (["UPDATE audit SET at = at + 1 WHERE number = 1"], "record 1 was altered"),
    (["UPDATE audit SET detail = replace(detail, '4', '5') WHERE number = 5"], "record 5 was altered"),
    (["UPDATE audit SET detail = '{' WHERE number = 5"], "record 5 was altered"),
    (["UPDATE audit SET detail = NULL, at = 'x' WHERE number = 5"], "record 5 was altered"),
    (["UPDATE audit SET hash = replace(hash, substr(hash, 1, 1), 'z') WHERE number = 5"], "record 5 was altered"),
    (["UPDATE audit SET previous = 'x' WHERE number = 5"], "record 5 does not follow record 4"),
    (["DELETE FROM audit WHERE number = 5"], "record 5 is missing: record 6 stands in its place"),
    (["DELETE FROM audit WHERE number = 1"], "record 1 is missing"),
    (["DELETE FROM audit WHERE number = 10"], "record 10 is missing: there were 10 records"),
    (["DELETE FROM audit"], "record 1 is missing: there were 10 records"),
    (["UPDATE audit SET number = 99 WHERE number = 5", "UPDATE audit SET number = 5 WHERE number = 6",
      "UPDATE audit SET number = 6 WHERE number = 99"], "record 5 does not follow record 4"),
    (["UPDATE audit SET workspace = 'other' WHERE number = 5"], "record 5 is missing"),
])  # fmt: skip
def test_what_was_done_to_the_store_is_found(call: Call, folder: Path, statements: list[str], told: str) -> None:
    change(folder, *(statement + (" AND workspace = 'personal'" if "WHERE" in statement else "") for statement in statements))
    code, out, _ = call("verify", "--workspace", "personal")
    assert code == 1
    assert out.startswith(f"personal: broken: {told}"), out
    assert call("verify")[0] == 1


def test_a_log_written_anew_is_found_by_a_head_that_was_noted(call: Call, folder: Path) -> None:
    head = call("verify", "--workspace", "personal")[1].split()[-1]
    assert call("verify", "--head", head)[0] == 0
    number, _, digest = head.partition(":")
    other = f"{number}:{digest[::-1]}"
    assert "another hash than was noted" in call("verify", "--head", other)[1]
    assert "record 11 is missing" in call("verify", "--head", f"11:{digest}")[1]
    path = folder / "a.jsonl"
    path.write_text(call("export")[1])
    assert call("verify", str(path), "--head", head)[0] == 0
    assert call("verify", str(path), "--head", other)[0] == 1
    code, _, err = call("verify", "--head", "ten")
    assert code == 2 and "NUMBER:HASH" in err


def test_every_changed_byte_of_an_export_is_found(call: Call) -> None:
    """Each byte of a record in the middle, by one bit."""
    lines = [line + b"\n" for line in call("export")[1].encode().splitlines()]
    for place in range(len(lines[4]) - 1):
        altered = bytearray(lines[4])
        altered[place] ^= 1
        try:
            verdicts = check_lines([*lines[:4], bytes(altered), *lines[5:]])
        except Invalid as error:
            assert error.message.startswith("line 5: ")
        else:
            assert any(verdict.flaw.startswith(("line 5: ", "line 6: ")) for verdict in verdicts), bytes(altered)


@pytest.mark.parametrize(("order", "told"), [
    ([0, 1, 3], "line 3: record 3 is missing: record 4"), ([0, 2, 1, 3], "line 2: record 2 is missing: record 3"),
    ([0, 1, 1, 2], "line 3: record 3 is missing: record 2"), ([1, 2], "line 1: record 1 is missing: record 2"),
])  # fmt: skip
def test_a_removed_or_moved_line_is_found(call: Call, order: list[int], told: str) -> None:
    lines = [line + b"\n" for line in call("export")[1].encode().splitlines()]
    (verdict,) = check_lines([lines[place] for place in order])
    assert verdict.flaw.startswith(told)


@pytest.mark.parametrize("line", [b"", b"\n", b"{}", b"no json\n", b'{"number": "x"}\n', b"[" * 100_000, b"\xff\n"])
def test_a_line_that_is_no_record(line: bytes) -> None:
    with pytest.raises(Invalid, match="line 1: "):
        check_lines([line])


def test_a_file_that_is_not_there(call: Call, folder: Path) -> None:
    code, _, err = call("verify", str(folder / "none.jsonl"))
    assert code == 1 and "No such file" in err


def test_standard_input(folder: Path) -> None:
    command = f"astrarium audit export --data-dir {folder} | sed 5d | astrarium audit verify -"
    done = subprocess.run(["bash", "-c", _with_python(command)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "line 5: record 5 is missing" in done.stdout, done.stderr


def _with_python(command: str) -> str:
    import sys

    return command.replace("astrarium audit", f"{sys.executable} -m astrarium audit")


def test_help_of_each_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    for what in ("list", "export", "verify"):
        assert start(["audit", what, "--help"]) == 0
        assert "Examples:\n    " in capsys.readouterr().out


@pytest.mark.parametrize("at", [0, 1, 1_000_000, 1_893_456_000_123_456])
def test_a_time_is_told_in_full(at: int) -> None:
    assert parse_moment(shown_at(at), "at") == max(1, at)


@pytest.mark.postgres
async def test_on_postgres_it_is_the_same(postgres_database: str, call: Call, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    registry = make_registry()
    scope = Scope("personal", "local")
    store = PostgresStore(postgres_database, tables=registry.tables)
    async with open_engine(store, registry) as engine:
        for number in range(3):
            await engine.submit(act(scope, Actor("user", "a\0b"), "auth.denied", f"user:{number}\0", path="\0é", n=number))
        assert (await check_store(store.read, "personal")).flaw == ""
    import asyncio

    def said(*words: str) -> Any:
        code = start(["audit", *words, "--database-url", postgres_database])
        return code, capfdbinary.readouterr()[0].decode()

    code, out = await asyncio.to_thread(said, "verify")
    assert code == 0 and out.startswith("personal: intact, 3 records")
    code, out = await asyncio.to_thread(said, "list", "--act", "auth", "--actor", "user", "--limit", "2", "--json")
    assert [item["number"] for item in json.loads(out)["items"]] == [3, 2]
