"""Changing `config.toml`: only what is meant changes, and comments stay."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from astrarium.config.home import Home
from astrarium.config.profile import check_name, drop_entry, is_address, put_entry, read_all
from astrarium.errors import Invalid

BEFORE = """\
# mine
[registry.a]
url = "https://a.example"   # the old one

# where we work
["profile"."p"]
registry = "a"
[ default ]  # usual
profile = "p"
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def test_an_entry_is_replaced_where_it_stands(home: Home) -> None:
    home.write_config(BEFORE)
    put_entry(home, "registry", "a", {"url": "https://b.example"})
    put_entry(home, "registry", "c", {"url": 'https://c.example/"x"'})
    put_entry(home, "profile", "p", {"registry": "c", "user": "", "workspace": "Größe"})
    put_entry(home, "default", "", {"profile": "q"})
    text = home.config_file.read_text()
    assert tomllib.loads(text) == {
        "registry": {"a": {"url": "https://b.example"}, "c": {"url": 'https://c.example/"x"'}},
        "profile": {"p": {"registry": "c", "workspace": "Größe"}},
        "default": {"profile": "q"},
    }
    assert text.startswith('# mine\n[registry.a]\nurl = "https://b.example"\n\n# where we work\n[profile.p]\n')
    drop_entry(home, "profile", "p")
    drop_entry(home, "registry", "c")
    drop_entry(home, "registry", "nothing")
    assert tomllib.loads(home.config_file.read_text()) == {
        "registry": {"a": {"url": "https://b.example"}}, "default": {"profile": "q"}
    }  # fmt: skip
    assert "# where we work" in home.config_file.read_text()


@pytest.mark.parametrize("before", [
    'registry = {a = {url = "https://a.example"}}\n',
    'registry.a.url = "https://a.example"\n',
    "[registry\n",
    'x = """\n[registry.a]\n"""\n',
])  # fmt: skip
def test_what_cannot_be_changed_safely_is_left_alone(home: Home, before: str) -> None:
    home.write_config(before)
    with pytest.raises(Invalid, match="cannot be changed by a command") as caught:
        put_entry(home, "registry", "a", {"url": "https://b.example"})
    assert "by hand" in caught.value.hint
    assert home.config_file.read_text() == before


def test_a_file_without_a_last_line_end(home: Home) -> None:
    home.write_config('[registry.a]\nurl = "https://a.example"')
    put_entry(home, "registry", "b", {"url": "https://b.example"})
    assert list(read_all(home, home.folder).registries) == ["a", "b"]


@pytest.mark.parametrize("name", ["", "a b", "a.b", "-a", "a__b", "x" * 65, "a/b", "é"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(Invalid, match="cannot be the name of a profile"):
        check_name(name, "profile")


@pytest.mark.parametrize(("url", "good"), [
    ("http://127.0.0.1:8080", True), ("https://[::1]/sub", True), ("ftp://a", False), ("https://", False), ("a.example", False),
    ("https://me:pw@a.example", False), ("http://a:99999", False), ("http://[", False),
])  # fmt: skip
def test_addresses(url: str, good: bool) -> None:
    assert is_address(url) is good
