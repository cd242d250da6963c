"""What is asked of another machine: where it is, and the command line its login shell gets."""

from __future__ import annotations

import shlex

import msgspec

_FROM_FILE = (
    'f=$(mktemp) || exit 126; trap \'rm -f "$f"\' EXIT; trap "exit 143" TERM INT HUP; '
    'cat >"$f" || exit 126; {runner} "$f" </dev/null'
)
"""A script is sent on stdin into a file of its own, so that no other user sees it among the processes, and so that its commands do
not read it as their input."""


class RemoteHost(msgspec.Struct, frozen=True):
    """A host and how to be let in; `key` and `known_hosts` are paths of this machine."""

    user: str
    host: str
    port: int = 22
    key: str = ""
    password: str = ""
    strict: bool = True
    known_hosts: str = ""
    timeout_s: float = 30.0

    @property
    def shown(self) -> str:
        return f"{self.user}@{self.host}" + (f":{self.port}" if self.port != 22 else "")


class RemoteCommand(msgspec.Struct, frozen=True):
    """`text` is for the remote login shell; `stdin` is sent and then closed."""

    text: str
    stdin: bytes = b""

    @classmethod
    def line(cls, shell: tuple[str, ...], text: str) -> RemoteCommand:
        """One command line, in `shell` when given, else in the login shell."""
        return cls(shlex.join((*shell, "-c", text)) if shell else text)


def remote_script(runner: str | tuple[str, ...], body: str) -> RemoteCommand:
    """Run `body` from a temporary file by `runner` (a command line or its words)."""
    told = runner if isinstance(runner, str) else shlex.join(runner)
    script = body if body.endswith("\n") else body + "\n"
    return RemoteCommand(shlex.join(("sh", "-c", _FROM_FILE.format(runner=told))), script.encode("utf-8", "surrogateescape"))
