"""Where the last lines of a log begin, and how lines of several steps are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.cli import logs
from astrarium.cli.follow import last_lines
from astrarium.cli.view import RunView, StepView


@given(st.binary(max_size=300).map(lambda data: data.replace(b"\r", b"\n")), st.integers(1, 20), st.integers(1, 64))
def test_the_tail_is_that_of_the_whole_text(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, lines: int, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("log") / "a.out"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "CHUNK_BYTES", chunk)
        offset = logs.tail_offset(path, lines)
    whole = data.split(b"\n")
    if data.endswith(b"\n"):
        whole.pop()
        assert data[offset:] == b"".join(line + b"\n" for line in whole[-lines:])
    else:
        assert data[offset:] == b"\n".join(whole[-lines:])


def test_a_missing_log_has_no_tail(tmp_path: Path) -> None:
    assert logs.tail_offset(tmp_path / "none", 3) == 0


def test_lines_carry_the_name_of_their_step(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    run = RunView("i", "n", "running", steps=[StepView("a", tries=1), StepView("long", tries=1)])
    printer = logs.Printer(False, run)
    printer.feed("a", b"one\ntw")
    printer.feed("long", b"\xff\n")
    printer.feed("a", b"o\nrest")
    printer.end_line("a")
    printer.flush()
    assert capfdbinary.readouterr().out == b"a    | one\nlong | \xff\na    | two\na    | rest\n"


def test_the_preview_is_short_and_harmless(tmp_path: Path) -> None:
    path = tmp_path / "a.out"
    path.write_text("".join(f"line {number}\n" for number in range(10)) + "\x1b[2Jbell\x07\n")
    assert last_lines([path]) == ["…", "line 6", "line 7", "line 8", "line 9", " [2Jbell "]
    assert last_lines([]) == []
