from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.store.log import (
    LINE_MAX_BYTES,
    PAGE_MAX_BYTES,
    read_from,
    read_lines,
    run_folder,
    safe_name,
    try_file,
    try_files,
)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    """Lines 1 to 15000."""
    return written(tmp_path / "log", b"".join(b"%d\n" % n for n in range(1, 15_001)))


def test_layout(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "0192-ab", 1_763_784_791_000_001)
    assert folder == tmp_path / "2025" / "11" / "22" / "0192-ab"
    assert try_file(folder, "build it/now", 2, "err") == folder / "build%20it%2fnow.2.err"


def test_tries_come_in_their_order(tmp_path: Path) -> None:
    for name in ("step.10.out", "step.2.out", "step.1.out", "step.1.err", "step%2e1.1.out", "step2.1.out", "step.x.out"):
        written(tmp_path / name, b"")
    assert [path.name for path in try_files(tmp_path, "step", "out")] == ["step.1.out", "step.2.out", "step.10.out"]
    assert [path.name for path in try_files(tmp_path, "step.1", "out")] == ["step%2e1.1.out"]
    assert try_files(tmp_path / "none", "step", "out") == []


@given(st.text(max_size=300), st.text(max_size=300))
def test_safe_names_are_safe_and_differ(one: str, other: str) -> None:
    name = safe_name(one)
    assert 0 < len(name) <= 101
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-%")
    assert (name == safe_name(other)) == (one == other)


def test_the_first_thousand_lines_by_default(numbers: Path) -> None:
    page = read_lines([numbers])
    assert (page.line_count, page.total_lines, page.has_more, page.is_estimate) == (1000, 15_000, True, False)
    assert page.content == "\n".join(str(n) for n in range(1, 1001))


@pytest.mark.parametrize(
    ("asked", "first", "last", "more"),
    [
        ({"tail": 3}, 14_998, 15_000, True),
        ({"tail": 3, "head": 5, "offset": 7, "limit": 9}, 14_998, 15_000, True),
        ({"head": 5, "offset": 7, "limit": 9}, 1, 5, True),
        ({"offset": 7, "limit": 9}, 7, 15, True),
        ({"offset": 14_999, "limit": 9}, 14_999, 15_000, False),
        ({"offset": 14_500}, 14_500, 15_000, False),
        ({"limit": 99_999}, 1, 10_000, True),
        ({"tail": 99_999}, 5_001, 15_000, True),
        ({"offset": 0, "limit": 2}, 1, 2, True),
        ({"tail": 0, "head": -1}, 1, 1000, True),
    ],
)
def test_selection(numbers: Path, asked: dict[str, int], first: int, last: int, more: bool) -> None:
    page = read_lines([numbers], **asked)
    assert page.content.split("\n") == [str(n) for n in range(first, last + 1)]
    assert (page.line_count, page.total_lines, page.has_more) == (last - first + 1, 15_000, more)


@pytest.mark.parametrize(
    ("content", "lines"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"one", ["one"]),
        (b"one\n\nthree", ["one", "", "three"]),
        (b"dos\r\nlines\r\n", ["dos", "lines"]),
        (b"\xff\xfe\x00bin\n\xc3\xa4", ["\ufffd\ufffd\x00bin", "ä"]),
    ],
)
def test_small_files(tmp_path: Path, content: bytes, lines: list[str]) -> None:
    page = read_lines([written(tmp_path / "log", content)])
    assert page.content == "\n".join(lines)
    assert (page.line_count, page.total_lines, page.has_more) == (len(lines), len(lines), False)


def test_past_the_end_and_not_there(numbers: Path, tmp_path: Path) -> None:
    past = read_lines([numbers], offset=20_000)
    assert (past.content, past.line_count, past.total_lines, past.has_more) == ("", 0, 15_000, False)
    none = read_lines([tmp_path / "none"])
    assert (none.content, none.line_count, none.total_lines, none.has_more) == ("", 0, 0, False)


def test_several_tries_are_one_log(tmp_path: Path) -> None:
    files = [written(tmp_path / "a", b"1\n2"), written(tmp_path / "b", b""), written(tmp_path / "c", b"3\n")]
    assert read_lines(files).content == "1\n2\n3"
    assert read_lines(files, tail=2).content == "2\n3"
    assert read_lines(files, offset=2, limit=1).content == "2"


@given(
    st.lists(st.binary(max_size=12).map(lambda part: part.replace(b"\r", b"")), max_size=30),
    st.integers(1, 40),
    st.integers(1, 9),
)
def test_any_page_is_a_cut_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], offset: int, limit: int
) -> None:
    path = written(tmp_path_factory.mktemp("log") / "log", b"\n".join(parts))
    whole = path.read_bytes().removesuffix(b"\n").split(b"\n") if path.stat().st_size else []
    lines = [line.decode("utf-8", "replace") for line in whole]
    assert read_lines([path], offset=offset, limit=limit).content == "\n".join(lines[offset - 1 : offset - 1 + limit])
    assert read_lines([path], tail=limit).content == "\n".join(lines[-limit:])


@pytest.mark.slow
def test_memory_stays_flat(tmp_path: Path) -> None:
    lines = written(tmp_path / "lines", b"x" * 99 + b"\n")
    with open(lines, "ab") as file:
        for _ in range(100):
            file.write((b"y" * 99 + b"\n") * 10_000)
    one = tmp_path / "one"
    with open(one, "wb") as file:
        for _ in range(100):
            file.write(b"z" * 1_000_000)
    tracemalloc.start()
    page = read_lines([lines], offset=900_000, limit=10)
    long = read_lines([one], tail=5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (page.total_lines, page.line_count) == (1_000_001, 10)
    assert (long.total_lines, long.line_count) == (1, 1)
    assert LINE_MAX_BYTES < len(long.content) < LINE_MAX_BYTES + 100
    assert peak < 4_000_000


def test_a_page_is_cut_between_lines(tmp_path: Path) -> None:
    path = written(tmp_path / "log", (b"x" * (LINE_MAX_BYTES - 1) + b"\n") * 200)
    page = read_lines([path])
    assert len(page.content) <= PAGE_MAX_BYTES
    assert (page.line_count, page.total_lines, page.has_more) == (128, 200, True)


def test_reading_on_by_offset(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert read_from(path, 0, 10) == (b"", 0)
    path.write_bytes(b"0123456789abc")
    assert read_from(path, 0, 10) == (b"0123456789", 10)
    assert read_from(path, 10, 10) == (b"abc", 13)
    assert read_from(path, 13, 10) == (b"", 13)
    assert read_from(path, 99, 10) == (b"", 99)
