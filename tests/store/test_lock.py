from __future__ import annotations

from pathlib import Path

import pytest

from astrarium.errors import Unavailable
from astrarium.store import lock
from astrarium.store.lock import make_folder, network_file_system

MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/export /net nfs4 rw 0 0
user@host: /mnt/my\\040files fuse.sshfs rw 0 0
//server/share /mnt/share cifs rw 0 0
share /mnt/share/deep ext4 rw 0 0
none /mnt/vm 9p rw 0 0
bucket /mnt/bucket fuse.rclone rw 0 0
/dev/sdb /mnt/usb fuse.ntfs-3g rw 0 0
odd
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/anna/data", ""),
        ("/net/data", "nfs4"),
        ("/net", "nfs4"),
        ("/network", ""),
        ("/mnt/my files/x", "fuse.sshfs"),
        ("/mnt/share/x", "cifs"),
        ("/mnt/share/deep/x", ""),
        ("/mnt/vm/x", "9p"),
        ("/mnt/bucket", "fuse.rclone"),
        ("/mnt/usb", ""),
    ],
)
def test_network_file_systems_are_told_by_the_nearest_mount(folder: str, kind: str) -> None:
    assert network_file_system(Path(folder), MOUNTS) == kind


def test_network_file_systems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_mounts", lambda: f"server:/x {tmp_path.resolve()} nfs rw 0 0\n")
    with pytest.raises(Unavailable, match=r"network file system \(nfs\)"):
        make_folder(tmp_path / "data")
