"""Search in DAG texts: what matches, what is shown, and that no expression can hold the server up."""

from __future__ import annotations

from pathlib import Path

import pytest

from astrarium.errors import Invalid
from astrarium.surfaces.dags.catalog import Catalog
from astrarium.surfaces.dags.views import catalog as search
from astrarium.surfaces.dags.views.catalog import search_dags, tags_of

TEXT = "# one\ntags: [Prod, db]\nsteps:\n  - name: first\n    command: psql DATABASE\n  - name: second\n    command: echo done\n"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "a.yaml").write_text(TEXT)
    (tmp_path / "b.yml").write_text("name: bee\ntags: db\nsteps: [echo b]\n")
    (tmp_path / "broken.yaml").write_text("steps:\n  - database: x\n")
    (tmp_path / "bytes.yaml").write_bytes(b"# database \xff\nsteps: []\n")
    return Catalog(tmp_path, max_bytes=1_000_000)


def test_a_match_shows_the_lines_around_it(catalog: Catalog) -> None:
    found = search_dags(catalog, "psql")
    assert [result.name for result in found.results] == ["a"]
    (match,) = found.results[0].matches
    assert (match.line_number, match.start_line) == (5, 3)
    assert match.line.split("\n") == TEXT.split("\n")[2:7]
    assert found.results[0].dag.tags == ["prod", "db"]


def test_case_is_ignored_and_broken_files_are_searched(catalog: Catalog) -> None:
    assert [result.name for result in search_dags(catalog, "database").results] == ["a", "broken", "bytes"]
    assert [result.name for result in search_dags(catalog, r"^\s+-\s+DATA\w+:").results] == ["broken"]


@pytest.mark.parametrize("nothing", ["", "nowhere to be found"])
def test_nothing_is_found(catalog: Catalog, nothing: str) -> None:
    found = search_dags(catalog, nothing)
    assert (found.results, found.errors) == ([], [])


@pytest.mark.parametrize("wrong", ["(", "[a", "a**", "(?=a)", r"\1", "a{99999}", "x" * 1001, "\ud800", "((a{100}){100}){100}"])
def test_what_is_no_expression_is_refused(catalog: Catalog, wrong: str) -> None:
    with pytest.raises(Invalid) as caught:
        search_dags(catalog, wrong)
    assert caught.value.problems[0].path == "q"
    caught.value.message.encode()


@pytest.mark.parametrize("hostile", ["(a+)+$", "(a|a)*b", "(a|aa)+$", "(.*)*x", "(.*){50}!", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_hostile_expressions_end(catalog: Catalog, hostile: str) -> None:
    """Each of them takes for ever where an engine goes back over what it has read."""
    (catalog.folder / "long.yaml").write_text("# " + "a" * 100_000 + "!\nsteps: [echo]\n")
    assert search_dags(catalog, hostile).errors == []


def test_a_search_that_takes_too_long_gives_what_it_has(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCH_S", -1.0)
    found = search_dags(catalog, "database")
    assert found.results == []
    assert "only the first 0 files" in found.errors[0]


def test_the_number_of_matches_is_bounded(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    (catalog.folder / "many.yaml").write_text("# needle\n" * 1000 + "steps: [echo]\n")
    (result,) = search_dags(catalog, "needle").results
    assert len(result.matches) == search.MAX_MATCHES
    monkeypatch.setattr(search, "MAX_RESULTS", 1)
    found = search_dags(catalog, ".")
    assert len(found.results) == 1
    assert len(found.errors) == 1


def test_a_file_that_cannot_be_read_is_told(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = catalog.entries()
    (catalog.folder / "a.yaml").unlink()
    monkeypatch.setattr(catalog, "entries", lambda: entries)
    found = search_dags(catalog, "database")
    assert [result.name for result in found.results] == ["broken", "bytes"]
    assert found.errors == ["a.yaml: a.yaml was just removed"]


def test_tags_are_sorted_and_told_once(catalog: Catalog) -> None:
    assert tags_of(catalog) == ["db", "prod"]
