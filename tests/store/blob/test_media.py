"""Content types, and a look at the beginning of some bytes."""

from __future__ import annotations

import pytest

from astrarium.errors import Invalid
from astrarium.store.blob.media import Preview, check_type, preview_of, type_of


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("text/plain", "text/plain"),
        (" Text/HTML ", "text/html"),
        ("text/plain; charset=UTF-8", "text/plain; charset=UTF-8"),
        ('application/vnd.x+json;profile="a b"', 'application/vnd.x+json;profile="a b"'),
    ],
)
def test_content_types(given: str, told: str) -> None:
    assert check_type(given) == told


@pytest.mark.parametrize(
    "given",
    ["", "text", "text/", "/plain", "text/plain\r\nX-Evil: 1", "text/pl ain", "text/plain;", "text/plain; =x", "text/plain, text/html",
     "tëxt/plain", 'text/plain; a="\n"', 'text/plain; a="\\""', "a/" + "b" * 200, "x/y" + "; a=b" * 80],
)  # fmt: skip
def test_what_is_no_content_type(given: str) -> None:
    with pytest.raises(Invalid, match="no content type"):
        check_type(given)


def test_only_what_is_allowed() -> None:
    allowed = ("image/*", "text/csv")
    assert check_type("image/png", allowed) == "image/png"
    assert check_type("TEXT/CSV; charset=utf-8", allowed) == "text/csv; charset=utf-8"
    for refused in ("text/html", "imagex/png", "application/octet-stream"):
        with pytest.raises(Invalid, match="not taken"):
            check_type(refused, allowed)
    assert check_type("x/y", ("*/*",)) == "x/y"


def test_the_type_a_name_tells() -> None:
    assert type_of("report.json") == "application/json"
    assert type_of("page.html") == "text/html"
    assert type_of("rows.csv.gz") == "application/octet-stream"
    assert type_of("thing") == "application/octet-stream"


@pytest.mark.parametrize(
    ("data", "size", "told"),
    [
        (b"", 0, Preview("", "utf-8", False, False, 0)),
        ("grüße\n".encode(), 8, Preview("grüße\n", "utf-8", False, False, 8)),
        ("grü".encode()[:-1], 99, Preview("gr", "utf-8", False, True, 99)),
        ("grü".encode()[:-1], 3, Preview("grÃ", "windows-1252", False, False, 3)),
        (b"gr\xfc\xdfe", 5, Preview("grüße", "windows-1252", False, False, 5)),
        (b"\xef\xbb\xbfa", 4, Preview("a", "utf-8", False, False, 4)),
        ("\ufeffaö".encode("utf-16-le"), 6, Preview("aö", "utf-16-le", False, False, 6)),
        ("\ufeffaö".encode("utf-16-be"), 6, Preview("aö", "utf-16-be", False, False, 6)),
        ("\ufeffa".encode("utf-32-le"), 8, Preview("a", "utf-32-le", False, False, 8)),
        (b"\x1b[31mred\x1b[0m", 12, Preview("\x1b[31mred\x1b[0m", "utf-8", False, False, 12)),
        (b"\x89PNG\r\n\x1a\n\x00", 5000, Preview("", "", True, True, 5000)),
        (b"text\x00", 5, Preview("", "", True, False, 5)),
    ],
)
def test_previews(data: bytes, size: int, told: Preview) -> None:
    assert preview_of(data, size) == told
