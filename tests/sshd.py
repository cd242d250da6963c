"""A private OpenSSH server for tests: found in PATH or /usr/sbin, on a free loopback port, gone afterwards."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


def find_sshd() -> Path | None:
    """`sshd` with the `ssh-keygen` it needs."""
    found = shutil.which("sshd", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin")))
    return Path(found) if found and shutil.which("ssh-keygen") else None


class PrivateSshd:
    """One server that lets this user in with `key` (`stranger` is a key it does not know); `known_hosts` names it, `other_hosts`
    gives it a wrong key."""

    def __init__(self, program: Path) -> None:
        self.program = program
        self.folder = Path(tempfile.mkdtemp(prefix="astrarium-sshd-"))
        self.user = getpass.getuser()
        self.port = 0
        self.key = self.folder / "key"
        self.stranger = self.folder / "stranger"
        self.known_hosts = self.folder / "known_hosts"
        self.other_hosts = self.folder / "other_hosts"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        for name in ("host", "key", "stranger", "locked"):
            phrase = "secret" if name == "locked" else ""
            made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", phrase, "-f", str(self.folder / name)]
            subprocess.run(made, check=True, stdin=subprocess.DEVNULL)
        shutil.copy(self.key.with_suffix(".pub"), self.folder / "authorized_keys")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # OpenSSH as root wants its empty folder
        for _ in range(5):
            self._launch()
            if self._ready(within_s=15):
                return
            self.stop_process()
        raise RuntimeError("sshd did not start:\n" + (self.folder / "log").read_text(errors="replace")[-2000:])

    def _launch(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        for path, key in ((self.known_hosts, "host"), (self.other_hosts, "stranger")):
            path.write_text(f"[127.0.0.1]:{self.port} {(self.folder / key).with_suffix('.pub').read_text()}")
        settings = {
            "HostKey": self.folder / "host",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "PidFile": "none",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "MaxStartups": "100",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen(
                [self.program, "-D", "-e", "-f", "/dev/null", "-p", str(self.port), "-o", "ListenAddress=127.0.0.1", *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _ready(self, within_s: float) -> bool:
        assert self._process
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
            time.sleep(0.02)
        return False

    def stop_process(self) -> None:
        if self._process and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait(15)
        self._process = None

    def stop(self) -> None:
        self.stop_process()
        shutil.rmtree(self.folder, ignore_errors=True)
