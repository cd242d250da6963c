"""What is committed names no machine's folders and no package host."""

from __future__ import annotations

from tests.house.source import texts

BANNED = tuple(
    "".join(parts)
    for parts in (
        ("/wo", "rk/"), ("/ro", "ot/"), ("/opt/", "wheels"),
        ("pypi.", "org"), ("python", "hosted"), ("registry.", "npmjs"), ("crates.", "io"), ("proxy.", "golang"),
        ("repo1.", "maven"), ("deb.", "debian"),
    )
)  # fmt: skip
"""Written in two halves, so that this file passes too."""


def test_no_machine_and_no_package_host_is_named() -> None:
    found = [
        f"{name}:{number}: {banned}"
        for name, text in texts().items()
        for banned in BANNED
        if banned in text
        for number, line in enumerate(text.splitlines(), 1)
        if banned in line
    ]
    assert found == []


def test_text_files_end_with_a_line_end() -> None:
    assert [
        name for name, text in texts().items() if text and not text.endswith("\n") and name.endswith((".py", ".md", ".toml"))
    ] == []
