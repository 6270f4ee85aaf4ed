"""Which file systems are polled."""

from __future__ import annotations

from pathlib import Path

import pytest

from faasd.triggers.file_mounts import FileSystem, file_system_of

MOUNTS = r"""22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
40 27 0:40 / /srv/scans rw,relatime shared:7 - nfs4 server:/scans rw,vers=4.2
41 27 0:41 / /srv/with\040space rw,relatime - fuse.sshfs host:/x rw
42 27 0:42 / /srv/twice rw - cifs //a/b rw
43 42 0:43 / /srv/twice rw - tmpfs tmpfs rw
"""


@pytest.fixture
def mountinfo(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/srv/scans/in", "nfs4"),
        (b"/srv/scans", "nfs4"),
        (b"/srv/scansion", "ext4"),
        (b"/srv/with space/a", "fuse.sshfs"),
        (b"/srv/twice/a", "tmpfs"),
    ],
)
def test_the_innermost_and_latest_mount_decides(path: bytes, kind: str, mountinfo: Path) -> None:
    """One tree can mix local and network mounts, and a later mount covers an earlier one."""
    found = file_system_of(path, mountinfo)
    assert found is not None
    assert found.kind == kind


@pytest.mark.parametrize(
    ("kind", "polls", "stable"),
    [
        ("ext4", False, True),
        ("btrfs", False, True),
        ("fuseblk", False, True),
        ("nfs", True, True),
        ("nfs4", True, True),
        ("cifs", True, False),
        ("9p", True, False),
        ("fuse.sshfs", True, False),
    ],
)
def test_file_systems_that_others_change_are_polled(kind: str, polls: bool, stable: bool) -> None:
    """Inotify sees nothing that another host writes."""
    system = FileSystem(kind)
    assert system.needs_polling is polls
    assert system.stable_inodes is stable


def test_where_the_kernel_does_not_say_nothing_is_assumed(tmp_path: Path) -> None:
    """A container without /proc still watches."""
    assert file_system_of(b"/", tmp_path / "missing") is None
    assert file_system_of(b"/") is not None
