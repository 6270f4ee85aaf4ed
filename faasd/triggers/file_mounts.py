"""Which file system a directory is on, and what can be expected of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FileSystem", "file_system_of", "parse_mounts"]

#: Other hosts, or a process behind FUSE, change these without the kernel's inotify being told.
_REMOTE = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "orangefs",
        "prl_fs",
        "smb3",
        "smbfs",
        "vboxsf",
        "virtiofs",
        "vmhgfs",
    }
)
#: Inode numbers are made up as files are met, so they differ after a remount.
_MADE_UP_INODES = frozenset({"9p", "cifs", "smb3", "smbfs", "vboxsf", "vmhgfs", "davfs"})


@dataclass(frozen=True)
class FileSystem:
    """What a file system's type says about watching it."""

    kind: str

    @property
    def needs_polling(self) -> bool:
        """Whether changes can happen that inotify does not tell of."""
        return self.kind in _REMOTE or self.is_fuse

    @property
    def stable_inodes(self) -> bool:
        """Whether an inode number names the same file after a remount."""
        return self.kind not in _MADE_UP_INODES and not self.is_fuse

    @property
    def is_fuse(self) -> bool:
        """Whether a process serves it; `fuseblk` is a local disk and counts as one."""
        return self.kind == "fuse" or self.kind.startswith("fuse.")


def parse_mounts(text: str) -> list[tuple[bytes, str]]:
    """Read /proc/self/mountinfo as (mount point, type), in the order of mounting."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and len(fields) >= 5:
            mounts.append((_unescape(fields[4]), after.split(" ", 1)[0]))
    return mounts


def file_system_of(
    path: bytes, mountinfo: Path = Path("/proc/self/mountinfo")
) -> FileSystem | None:
    """Return the file system that holds a path; None where the kernel does not say."""
    try:
        text = mountinfo.read_text("utf-8", "surrogateescape")
    except OSError:
        return None
    real = os.path.realpath(path)
    best: tuple[int, str] | None = None
    for point, kind in parse_mounts(text):
        inside = real == point or real.startswith(point.rstrip(b"/") + b"/")
        if inside and (best is None or len(point) >= best[0]):  # The last mount covers the others.
            best = (len(point), kind)
    return FileSystem(best[1]) if best else None


def _unescape(text: str) -> bytes:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    return re.sub(
        rb"\\([0-7]{3})",
        lambda match: bytes([int(match[1], 8)]),
        text.encode("utf-8", "surrogateescape"),
    )
