"""What the documentation shows is what happens: every YAML file validates, every `console` block is typed and compared.

A YAML, Python or CLIPS block whose first line is `# name.yaml`, `# name.py` or `; name.clp` is that file; `...` in an output stands for
anything.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.specs.cli.room import Room

FIRST = (ROOT / "README.md", ROOT / "docs" / "first-run.md", ROOT / "docs" / "guide" / "language.md")
"""What a newcomer reads; the other pages are looked at with all tests."""
OTHERS = sorted({*(ROOT / "docs" / "guide").glob("*.md")} - {*FIRST})
PAGES = [*FIRST, *(pytest.param(page, marks=pytest.mark.all) for page in OTHERS)]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"[#;] ([\w./-]+\.(?:yaml|py|clp))\n")
USUAL = "http://127.0.0.1:8080"


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    yield from (match.groups() for match in BLOCK.finditer(page.read_text(encoding="utf-8")))  # type: ignore[misc]


def typed(block: str) -> Iterator[tuple[str, str]]:
    """(command, expected output) of a console block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def pattern(expected: str) -> re.Pattern[str]:
    """`...` alone on a line: any lines, also none; inside a line: anything in that line."""
    lines = [
        r"(?:[^\n]*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", r"[^\n]*") + "\n"
        for line in expected.splitlines()
    ]
    return re.compile("".join(lines))


@pytest.mark.net
@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in (*FIRST, *OTHERS)])
def test_a_page_tells_the_truth(page: Path, tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.env["HOME"] = str(tmp_path)
    room.env["PATH"] = f"{Path(sys.executable).parent}:{room.env['PATH']}"
    text = page.read_text(encoding="utf-8")
    needs_server = any(USUAL in block for kind, block in blocks(page) if kind == "console")
    if needs_server and shutil.which("curl") is None:
        pytest.skip("no curl")
    for kind, block in blocks(page):
        if kind in ("yaml", "python", "clips") and (name := FILE.match(block)):
            path = room.write(name[1], block)
            noun = ("graph",) if "\nir_version:" in block else ()
            assert kind != "yaml" or path.name == "manifest.yaml" or ": valid, " in room.ok(*noun, "validate", str(path))
    assert "```console" in text, "a page shows how it works"
    with room.server() if needs_server else nullcontext({"url": USUAL}) as server:
        for kind, block in blocks(page):
            if kind == "console":
                for command, expected in typed(block):
                    check(room, command.replace(USUAL, server["url"]), expected)


def check(room: Room, command: str, expected: str) -> None:
    done = subprocess.run(
        ["bash", "-c", command], cwd=room.folder, env=room.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
    )  # fmt: skip
    said = done.stdout if done.stdout.endswith("\n") or not done.stdout else done.stdout + "\n"
    assert pattern(expected).fullmatch(said), f"$ {command}\n{said}\n-- but the page says --\n{expected}"


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in (*FIRST, *OTHERS)
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []
