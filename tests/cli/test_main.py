"""The table of commands, their help, and what an error looks like from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from astrarium.cli.main import COMMANDS, overview, start
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "cli"


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = start(words)
    out, err = capsys.readouterr()
    return code, out, err


def test_every_command_has_its_module() -> None:
    rooms = {path.stem for path in (ROOT / "src" / "astrarium" / "cli").glob("*.py")}
    assert {module.removeprefix(".") for module, _ in COMMANDS.values()} <= rooms


@pytest.mark.parametrize("name", ["astrarium", *COMMANDS])
def test_help_is_as_it_was(name: str) -> None:
    assert help_text(name) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8"), (
        "python -m tests.cli.test_main writes them anew"
    )


def help_text(name: str) -> str:
    words = ["--help"] if name == "astrarium" else [name, "--help"]
    env = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run([sys.executable, "-m", "astrarium", *words], capture_output=True, text=True, env=env, check=True)
    return done.stdout


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_help_has_examples(name: str) -> None:
    assert "Examples:\n    " in (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_without_a_command_the_overview_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys) == (2, "", overview())


def test_help_of_a_command_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = shown(capsys, "help", "version")
    assert code == 0
    assert "astrarium version" in out


def test_an_unknown_command_is_told_what_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = shown(capsys, "rnu")
    assert (code, out) == (2, "")
    assert "no command `rnu`" in err
    assert "did you mean `run`?" in err


@pytest.mark.parametrize(
    "words", [("runs", "--limit", "many"), ("run",), ("logs",), ("status", "a", "b"), ("runs", "--lmit", "3")]
)
def test_what_cannot_be_read_is_usage(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = shown(capsys, *words)
    assert code == 2
    assert err.startswith("astrarium: ")
    assert f"`astrarium {words[0]} --help` has examples" in err


def test_a_wrong_setting_is_usage_and_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASTRARIUM_PROT", "1")
    code, _, err = shown(capsys, "config")
    assert code == 2
    assert "ASTRARIUM_PROT" in err
    assert "ASTRARIUM_PORT" in err


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = shown(capsys, "status", "x", "--debug", "--data-dir", str(tmp_path))
    assert code == 1
    assert "Traceback" in err
    assert "no database" in err


def test_debug_after_two_dashes_is_a_parameter(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = shown(capsys, "run", "nothing.yaml", "--", "--debug")
    assert code == 1
    assert "Traceback" not in err


def test_a_fault_of_ours_is_told_as_one(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.python_version", lambda: 1 / 0)
    code, _, err = shown(capsys, "version", "--json")
    assert code == 1
    assert "internal error: ZeroDivisionError" in err
    assert "--debug" in err


def test_config_shows_value_and_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ASTRARIUM_CONFIG", "")
    monkeypatch.setenv("ASTRARIUM_PORT", "9000")
    code, out, _ = shown(capsys, "config", "show", "port")
    assert (code, out) == (0, "port\t9000\tASTRARIUM_PORT\n")


if __name__ == "__main__":
    GOLDEN.mkdir(parents=True, exist_ok=True)
    for each in ("astrarium", *COMMANDS):
        (GOLDEN / f"{each}.txt").write_text(help_text(each), encoding="utf-8")
