"""The two generators of clients that Stargraph 0.8 names make clients of our document, without a warning, and these clients work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Require
from tests.specs.generated.conftest import PASSWORD
from tests.specs.graphs.conftest import Server

pytestmark = [pytest.mark.all, pytest.mark.slow, pytest.mark.net]

HERE = Path(__file__).parent
DOCUMENT = ROOT / "docs" / "reference" / "openapi.json"
PYTHON_GENERATOR = ("openapi-python-client>=0.28,<0.30", "websockets>=15,<18")
"""The generator, and what the story uses beside it. They are kept apart from our own libraries: it wants an older typer."""
NODE_PACKAGES = ("openapi-typescript@^7.10", "openapi-fetch@^0.17", "typescript@^5.9")
COMPILED = ("--strict", "--target", "es2022", "--lib", "es2022,dom", "--module", "nodenext", "--skipLibCheck")


def done(folder: Path, *command: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=100, check=False,
    )  # fmt: skip


def must(folder: Path, *command: str, env: dict[str, str] | None = None) -> str:
    told = done(folder, *command, env=env)
    assert told.returncode == 0, f"{' '.join(command)}\n{told.stdout[-6000:]}"
    return told.stdout


def test_the_python_client(signed_server: Server, tmp_path: Path, require: Require) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    must(tmp_path, sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, "venv")
    installed = done(
        tmp_path, sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), *PYTHON_GENERATOR
    )
    require("clients", installed.returncode == 0, f"the generator cannot be installed: {installed.stdout.strip()[-200:]}")
    path = {"PATH": f"{python.parent}:{os.environ['PATH']}"}  # it formats what it made with a program from there
    told = must(tmp_path, str(python.with_name("openapi-python-client")), "generate", "--path", str(DOCUMENT),
                "--output-path", "client", env=path)  # fmt: skip
    assert told.split() == ["Generating", "client"], f"the generator complains:\n{told}"
    story = must(tmp_path, str(python), str(HERE / "story.py"), signed_server.said, PASSWORD,
                 env={"PYTHONPATH": str(tmp_path / "client")})  # fmt: skip
    assert story.split() == ["a_person_answers", "another_past", "things", "what_is_refused"]


def test_the_typescript_client(signed_server: Server, tmp_path: Path, require: Require) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    require("clients", bool(npm and node), "node or npm is not installed")
    (tmp_path / "package.json").write_text('{"private": true, "type": "module"}')
    shutil.copy(HERE / "story.ts", tmp_path)
    installed = done(
        tmp_path, str(npm), "install", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1", *NODE_PACKAGES
    )
    require("clients", installed.returncode == 0, f"npm cannot install the generator: {installed.stdout.strip()[-200:]}")
    programs = tmp_path / "node_modules" / ".bin"
    told = must(tmp_path, str(programs / "openapi-typescript"), str(DOCUMENT), "-o", "client.ts")
    assert "⚠" not in told and "Warning" not in told, told
    must(tmp_path, str(programs / "tsc"), *COMPILED, "story.ts")
    must(tmp_path, str(node), "story.js", signed_server.said, PASSWORD)
