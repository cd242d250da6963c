"""The folder of DAG files: what is found, what is kept parsed, how it is written, what cannot leave it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astrarium.errors import AstrariumError, Invalid, NotFound, Refused, Unavailable
from astrarium.surfaces.dags import catalog as module
from astrarium.surfaces.dags.catalog import Catalog, strip_suffix
from astrarium.surfaces.dags.work.file import write_file

GOOD = "steps: [echo a]\n"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    (tmp_path / "dags").mkdir()
    return Catalog(tmp_path / "dags", max_bytes=10_000)


def test_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "none", max_bytes=100)
    assert catalog.entries() == []
    with pytest.raises(NotFound):
        catalog.find("a")


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="file"):
        Catalog(tmp_path / "file", max_bytes=100).entries()


def test_broken_files_are_entries_with_problems(catalog: Catalog) -> None:
    (catalog.folder / "good.yaml").write_text(GOOD)
    (catalog.folder / "bytes.yaml").write_bytes(b"steps:\n  - echo \xff\n")
    (catalog.folder / "big.yaml").write_text("# " + "x" * 20_000)
    (catalog.folder / "wrong.yaml").write_text("stepz: []\n")
    (catalog.folder / "gone.yaml").symlink_to(catalog.folder / "nowhere")
    (catalog.folder / "folder.yaml").mkdir()
    (catalog.folder / "notes.txt").write_text("no DAG")
    (catalog.folder / ".hidden.yaml").write_text(GOOD)
    os.mkfifo(catalog.folder / "pipe.yaml")
    found = {entry.file_name: entry for entry in catalog.entries()}
    assert sorted(found) == ["big.yaml", "bytes.yaml", "good.yaml", "wrong.yaml"]
    assert found["good.yaml"].dag is not None
    assert found["bytes.yaml"].problems[0].line == 2
    assert "max_yaml_bytes" in str(found["big.yaml"].problems[0])
    assert "wrong.yaml:1:1" in found["wrong.yaml"].errors[0]


def test_a_changed_file_is_parsed_again_and_no_other(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    path = catalog.folder / "a.yaml"
    path.write_text(GOOD)
    (catalog.folder / "b.yaml").write_text(GOOD)
    assert catalog.at_hand("a") is None
    first = catalog.find("a")
    catalog.find("b")
    parsed: list[str] = []
    compile_dag = module.compile_dag
    monkeypatch.setattr(module, "compile_dag", lambda *args, **kw: parsed.append(kw["name"]) or compile_dag(*args, **kw))
    assert catalog.find("a.yaml") is first
    assert catalog.at_hand("a") is first
    write_file(path, "name: other\nsteps: [echo b]\n")
    assert catalog.at_hand("a") is None
    assert catalog.find("a").name == "other"
    catalog.entries()
    assert parsed == ["a"]


def test_two_files_of_one_name(catalog: Catalog) -> None:
    (catalog.folder / "sub").mkdir()
    (catalog.folder / "a.yaml").write_text(GOOD)
    (catalog.folder / "sub" / "a.yaml").write_text(GOOD)
    names = [(entry.file_name, bool(entry.problems)) for entry in catalog.entries()]
    assert names == [("a.yaml", False), ("sub/a.yaml", True)]
    assert catalog.find("sub/a").path == catalog.folder / "sub" / "a.yaml"


def test_folders_that_go_in_a_circle(catalog: Catalog) -> None:
    (catalog.folder / "a.yaml").write_text(GOOD)
    (catalog.folder / "loop").symlink_to(catalog.folder)
    assert [entry.file_name for entry in catalog.entries()] == ["a.yaml"]


@given(st.text(alphabet=st.sampled_from("./\\\0ab%~$\n"), max_size=12))
def test_no_name_leaves_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    outside = tmp_path_factory.getbasetemp() / "hostile"
    inside = outside / "dags"
    inside.mkdir(parents=True, exist_ok=True)
    (outside / "a.yaml").write_text(GOOD)
    catalog = Catalog(inside, max_bytes=1000)
    for ask in (catalog.find, lambda text: catalog.create(text, None)):
        try:
            entry = ask(name)
        except AstrariumError:
            continue
        assert entry.path.parent == inside
    assert sorted(path.name for path in outside.iterdir()) == ["a.yaml", "dags"]


def test_create_replace_delete(catalog: Catalog) -> None:
    entry = catalog.create("new", None)
    assert entry.dag is not None
    with pytest.raises(Refused, match="exists"):
        catalog.create("new.yml", GOOD)
    with pytest.raises(Invalid):
        catalog.replace(entry, "steps: 3")
    assert catalog.text(entry).startswith("#")
    entry.path.chmod(0o640)
    catalog.replace(entry, GOOD)
    assert catalog.text(entry) == GOOD
    assert stat.S_IMODE(entry.path.stat().st_mode) == 0o640
    catalog.delete(entry)
    with pytest.raises(NotFound):
        catalog.delete(entry)
    with pytest.raises(NotFound):
        catalog.text(entry)
    assert list(catalog.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("code", "word"), [(errno.ENOSPC, "full"), (errno.EROFS, "read-only"), (errno.EACCES, "read-only"), (errno.EIO, "disk")]
)
def test_a_disk_that_refuses_is_told_and_nothing_is_left(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, code: int, word: str
) -> None:
    entry = catalog.create("kept", GOOD)

    def refuse(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(Unavailable) as caught:
        catalog.replace(entry, "steps: [echo changed]\n")
    assert word in caught.value.message + caught.value.hint
    assert catalog.text(entry) == GOOD
    assert [path.name for path in catalog.folder.iterdir()] == ["kept.yaml"]


def test_a_graph_names_the_text_it_came_from(catalog: Catalog) -> None:
    first, second = catalog.compile(GOOD, "a"), catalog.compile(GOOD + "# more\n", "a")
    assert first.graph != second.graph
    assert [kind for kind, _ in first.things] == ["graph", "text"]
    assert first.things[1][1] == GOOD.encode()


@pytest.mark.parametrize(
    ("text", "limit"),
    [(GOOD, 0), ("maxActiveRuns: 1\n" + GOOD, 1), ("MAXACTIVERUNS: 3\n" + GOOD, 3), ("maxActiveRuns: -1\n" + GOOD, 0),
     ("# maxActiveRuns: 1\n" + GOOD, 0)],
)  # fmt: skip
def test_the_limit_a_file_sets_itself(catalog: Catalog, text: str, limit: int) -> None:
    made = catalog.compile(text, "a")
    assert made.active_limit == limit


def test_suffixes() -> None:
    assert [strip_suffix(name) for name in ("a.yaml", "a.yml", "a.b", "a")] == ["a", "a", "a.b", "a"]
