"""A private PostgreSQL for tests: found in PATH or where distributions put it, started in a temporary folder, gone afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

USER = "astrarium"


def find_programs() -> Path | None:
    """The folder with `initdb` and `postgres`, the newest version first."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: _version(folder.parent.name), reverse=True)
    folders += [Path("/opt/homebrew/bin"), Path("/usr/local/pgsql/bin")]
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "pg_isready", "createdb")):
            return folder
    return None


def _version(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _other_user() -> dict[str, Any]:
    """PostgreSQL refuses to run as root: then it runs as `postgres`, else as `nobody`."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise RuntimeError("no user `postgres` or `nobody` to run PostgreSQL as")


class PrivatePostgres:
    """One server process on a free loopback port. fsync stays on, as where it counts."""

    def __init__(self, programs: Path) -> None:
        self.programs = programs
        self.folder = Path(tempfile.mkdtemp(prefix="astrarium-pg-"))
        self.port = 0
        self._identity = _other_user()
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        if self._identity:
            os.chown(self.folder, self._identity["user"], self._identity["group"])
        self._call("initdb", "-D", "data", "-U", USER, "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync")
        for _ in range(5):
            self._launch()
            if self._ready(within_s=30):
                return
            self._kill()
        raise RuntimeError("PostgreSQL did not start:\n" + (self.folder / "log").read_text(errors="replace")[-2000:])

    def _launch(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        options = [
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "max_connections=200",
            "-c",
            f"unix_socket_directories={self.folder}",
        ]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [self.programs / "postgres", "-D", self.folder / "data", "-p", str(self.port), *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, start_new_session=True, **self._identity,
            )  # fmt: skip

    def _ready(self, within_s: float) -> bool:
        assert self._process
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and self._process.poll() is None:
            asked = [self.programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-t", "1"]
            if subprocess.run(asked, check=False, stdin=subprocess.DEVNULL).returncode == 0:
                return True
            time.sleep(0.05)
        return False

    def new_database(self) -> str:
        """Make an empty database and return its URL."""
        self._made += 1
        name = f"test_{self._made}"
        self._call("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, name)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        name = url.rpartition("/")[2]
        self._call("dropdb", "--force", "--if-exists", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, name)

    def stop(self) -> None:
        self._kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _kill(self) -> None:
        if not self._process:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGQUIT)  # immediate shutdown: nothing here is kept
            try:
                self._process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self._process = None

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self.programs / program, *arguments], check=False, cwd=self.folder, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self._identity,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} ended {done.returncode}: {done.stdout.decode(errors='replace')[-2000:]}")
