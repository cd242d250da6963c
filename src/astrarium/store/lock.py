"""The folder of an embedded database: made, checked, and locked against a second writer.

The lock is `flock` on a file beside the database, so it ends with the process however the process ends. The file's text says who
holds it. It is never deleted: a deleted lock file could be locked twice.
"""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

from ..errors import Unavailable

NETWORK_FILE_SYSTEMS = frozenset(
    "9p afs beegfs ceph cifs coda davfs glusterfs gpfs lustre ncpfs nfs nfs4 ocfs2 orangefs smb smb2 smb3 smbfs sshfs".split()
)
"""File systems whose locks and shared memory do not hold between machines. Their FUSE forms (`fuse.sshfs`) count too."""
FUSE_NETWORK = frozenset("ceph-fuse gcsfuse rclone s3fs goofys juicefs mount-s3 blobfuse blobfuse2".split())


def make_folder(folder: Path) -> None:
    """Make the data folder (mode 0700) if it is missing. Raises `Unavailable` when it cannot be made, or lies on a network
    file system."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            f"the data folder {folder} cannot be made: {error.strerror}",
            code="data_folder",
            hint="choose a folder you may write to with --data-dir",
        ) from error
    kind = network_file_system(folder, _mounts())
    if kind:
        raise Unavailable(
            f"the data folder {folder} lies on a network file system ({kind}), where an embedded database can be damaged",
            code="network_file_system",
            hint="choose a folder on a local disk with --data-dir, or use PostgreSQL with --database-url",
        )


def network_file_system(folder: Path, mounts: str) -> str:
    """The type of the network file system `folder` lies on, empty if it is local. `mounts` has the form of /proc/mounts."""
    path = os.path.realpath(folder)
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    plain = kind.removeprefix("fuse.")
    return kind if plain in NETWORK_FILE_SYSTEMS or (kind != plain and plain in FUSE_NETWORK) else ""


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # not Linux: nothing to ask


class WriterLock:
    """The right to write to one database file. `take` raises `Unavailable` when another process has it."""

    def __init__(self, database: Path) -> None:
        self.database = database
        self.path = database.with_name(database.name + ".lock")
        self._fd = -1

    def take(self) -> None:
        try:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable(
                f"{self.path} cannot be written: {error.strerror}",
                code="data_folder",
                hint="make the folder writable for this user, or choose another one with --data-dir",
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(fd, 200, 0).decode("utf-8", "replace").split()
            os.close(fd)
            pid, host = holder if len(holder) == 2 else ("unknown", "an unknown host")
            raise Unavailable(
                f"{self.database} is being written by process {pid} on {host}",
                code="second_writer",
                hint="stop that process first, or send the work to it",
                details={"pid": pid, "host": host},
            ) from error
        self._fd = fd
        self._sign()

    def _sign(self) -> None:
        try:
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        except OSError:
            pass  # a full disk: the lock itself holds, only its text is missing

    def release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
