"""Settings: precedence, sources, conversions, and every problem named at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from astrarium.config import Settings, describe, is_loopback, load_settings
from astrarium.errors import Invalid


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The user's file (to be named by ASTRARIUM_CONFIG) and a project folder."""
    project = tmp_path / "project"
    project.mkdir()
    user = tmp_path / "user.toml"
    user.write_text("")
    return user, project


def test_the_first_source_wins(places: tuple[Path, Path]) -> None:
    user, project = places
    user.write_text("port = 1\nhot_runs = 1\nlease_s = 1\nmax_children = 1\n")
    (project / "astrarium.toml").write_text("port = 2\nhot_runs = 2\nlease_s = 2.5\n")
    env = {"ASTRARIUM_CONFIG": str(user), "ASTRARIUM_PORT": "3", "ASTRARIUM_HOT_RUNS": "30_000", "OTHER": "x"}
    settings = load_settings({"port": 4, "host": None}, env, project)
    assert (settings.port, settings.hot_runs, settings.lease_s, settings.max_children) == (4, 30_000, 2.5, 1)
    assert [settings.source_of(name) for name in ("port", "hot_runs", "lease_s", "max_children", "host")] == [
        "--port", "ASTRARIUM_HOT_RUNS", str(project / "astrarium.toml"), str(user), "default",
    ]  # fmt: skip


def test_paths_count_from_where_they_are_written(places: tuple[Path, Path]) -> None:
    user, project = places
    user.write_text('data_dir = "kept"\n')
    settings = load_settings({"dags_dir": "flows"}, {"ASTRARIUM_CONFIG": str(user)}, project)
    assert settings.data_dir == user.parent / "kept"
    assert settings.dags_dir == project / "flows"
    assert Settings(data_dir=project).dags_dir == project / "dags"


def test_home_is_expanded(places: tuple[Path, Path]) -> None:
    settings = load_settings({"data_dir": "~/kept"}, {"ASTRARIUM_CONFIG": str(places[0])}, places[1])
    assert settings.data_dir == Path.home() / "kept"


def test_unknown_names_are_errors_with_a_hint(places: tuple[Path, Path]) -> None:
    user, project = places
    user.write_text("prot = 1\n")
    env = {"ASTRARIUM_CONFIG": str(user), "ASTRARIUM_DATADIR": "x", "ASTRARIUM_TRY": "not a setting"}
    with pytest.raises(Invalid) as caught:
        load_settings({"zzz": 1}, env, project)
    told = [str(problem) for problem in caught.value.problems]
    assert told[0] == f"{user}: unknown setting `prot` (did you mean `port`?)"
    assert "did you mean `ASTRARIUM_DATA_DIR`?" in told[1]
    assert told[2].startswith("--zzz: unknown setting")


@pytest.mark.parametrize(("name", "value", "reason"), [
    ("port", "http", "whole number"), ("port", 70000, "out of range: 0 to 65,535"), ("port", 1.5, "whole number"),
    ("port", True, "must be a number"), ("lease_s", "nan", "out of range"), ("lease_s", "inf", "out of range"),
    ("max_processes", 0, "out of range"), ("synchronous", "off", "full, normal"), ("host", 5, "must be a text"),
    ("data_dir", "", "must not be empty"), ("data_dir", 5, "must be a path"), ("page_max", [], "must be a number"),
    ("host", "0.0.0.0", "no authentication"), ("host", "example.org", "no authentication"), ("host", "", "no authentication"),
    ("database_url", "mysql://x", "postgresql://"), ("public_url", "dags.example", "http://"),
    ("queues", {"q": 1, "r": -1}, "queue 'r' cannot have the limit -1"),
])  # fmt: skip
def test_wrong_values_say_what_and_where(places: tuple[Path, Path], name: str, value: object, reason: str) -> None:
    with pytest.raises(Invalid) as caught:
        load_settings({name: value}, {"ASTRARIUM_CONFIG": str(places[0])}, places[1])
    (problem,) = caught.value.problems
    assert reason in problem.message
    assert (problem.path, problem.file) == (name, "--" + name.replace("_", "-"))


def test_broken_files_are_told(places: tuple[Path, Path]) -> None:
    user, project = places
    user.write_text("port = \n")
    (project / "astrarium.toml").write_bytes(b"\xff")
    with pytest.raises(Invalid) as caught:
        load_settings({}, {"ASTRARIUM_CONFIG": str(user)}, project)
    assert [problem.file for problem in caught.value.problems] == [str(user), str(project / "astrarium.toml")]
    with pytest.raises(Invalid, match="not a file"):
        load_settings({}, {"ASTRARIUM_CONFIG": str(user) + "x"}, project)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "[::1]", "127.9.9.9"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


def test_every_setting_is_described() -> None:
    described = {one.name: one for one in describe()}
    assert described["port"].default == "`8080`"
    assert described["database_url"].default == "empty"
    assert all(one.meaning.endswith(".") for one in described.values())


def test_settings_load_without_heavy_libraries() -> None:
    import subprocess

    code = "import sys, astrarium.config; print({'pydantic', 'fastapi', 'sqlalchemy', 'asyncio'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(("url", "shown"), [
    ("postgresql://me:s3c:r/e@t@db:5432/runs", "postgresql://me:…@db:5432/runs"),
    ("postgresql://me@db/runs?password=s3cret&sslmode=require", "postgresql://me@db/runs?password=…&sslmode=require"),
    ("postgresql://me@db:5432/runs", "postgresql://me@db:5432/runs"),
])  # fmt: skip
def test_a_password_in_a_database_url_is_not_shown(tmp_path: Path, url: str, shown: str) -> None:
    assert Settings(data_dir=tmp_path, database_url=url).shown("database_url") == shown
