"""Looking at watched directories: the truth that the watch only hints at.

Everything is opened component by component with O_NOFOLLOW, below a descriptor of the root, so
that a directory swapped for a symbolic link between two steps leads nowhere. Paths are bytes; the
names in a directory are whatever the kernel says. These functions block and run in a thread.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from faasd.interfaces import FileRow
from faasd.triggers.file_names import NameRules
from faasd.triggers.file_settle import Identity, Seen, is_same_file, signed_64

__all__ = ["RootState", "Scan", "identity_of", "look", "look_at_root", "open_beneath", "scan"]

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True)
class RootState:
    """What is at a trigger's path now."""

    device: int
    inode: int
    is_mount_point: bool


@dataclass
class Scan:
    """What one scan found. Files that the ledger knows unchanged are only counted as present."""

    files: list[Seen] = field(default_factory=list)
    present: set[bytes] = field(default_factory=set)
    directories: dict[bytes, int] = field(default_factory=dict)  # Read to the end, with device.
    unread: dict[bytes, OSError] = field(default_factory=dict)
    devices: dict[int, int] = field(default_factory=dict)  # Ledger's device number: today's.


def look_at_root(root: bytes) -> RootState:
    """Return what is at the root. Raises OSError: missing, not a directory, not readable."""
    fd = os.open(root, _DIRECTORY_FLAGS)
    try:
        at_root, above = os.fstat(fd), os.stat(b"..", dir_fd=fd)
    finally:
        os.close(fd)
    return RootState(at_root.st_dev, at_root.st_ino, at_root.st_dev != above.st_dev)


@contextmanager
def open_beneath(root: bytes, relative_dir: bytes) -> Iterator[int]:
    """Open a directory below the root without following a link on the way. Raises OSError."""
    # The root itself may be a link: whoever configured the trigger chose it.
    fd = os.open(root, _DIRECTORY_FLAGS)
    try:
        for part in relative_dir.split(b"/") if relative_dir else ():
            below = os.open(part, _DIRECTORY_FLAGS | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def identity_of(status: os.stat_result) -> Identity:
    """Return the identity of what a stat saw."""
    return Identity(
        signed_64(status.st_dev), signed_64(status.st_ino), status.st_mtime_ns, status.st_size
    )


def scan(
    names: NameRules,
    known: Mapping[bytes, FileRow],
    watch: Callable[[int, bytes], None],
    *,
    start: bytes = b"",
    stable_inodes: bool = True,
) -> Scan:
    """Read the tree from `start`, a directory relative to the root, downwards.

    `watch` is called with each directory, opened, before it is read: what appears after that is
    hinted at, and what appeared before is found. Raises OSError when the root cannot be read.
    """
    found = Scan()
    todo = [start]
    while todo:
        relative = todo.pop()
        absolute = os.path.join(names.root, relative) if relative else names.root
        try:
            with open_beneath(names.root, relative) as fd:
                device = signed_64(os.fstat(fd).st_dev)
                watch(fd, absolute)
                todo += _read_directory(
                    fd, relative, names, known, found, stable_inodes=stable_inodes
                )
                found.directories[absolute] = device
        except OSError as error:
            if not relative:
                raise
            # One that vanished or became a link meanwhile is simply not there any more.
            if error.errno not in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
                found.unread[absolute] = error
    return found


def look(names: NameRules, paths: Iterable[bytes]) -> dict[bytes, Seen | None]:
    """Look at single files, given by absolute paths; None for what is no regular file there."""
    by_dir: dict[bytes, list[bytes]] = {}
    for path in paths:
        by_dir.setdefault(path.rpartition(b"/")[0], []).append(path)
    found: dict[bytes, Seen | None] = {}
    for directory, files in by_dir.items():
        relative = directory[len(names.root.rstrip(b"/")) :].lstrip(b"/")
        try:
            with open_beneath(names.root, relative) as fd:
                for path in files:
                    found[path] = _look_in(fd, path, names)
        except OSError:  # Whatever is wrong with the directory, the next scan says it.
            found.update(dict.fromkeys(files))
    return found


def _look_in(fd: int, path: bytes, names: NameRules) -> Seen | None:
    name = path.rpartition(b"/")[2]
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    has_marker = names.marker is not None and _is_regular(fd, name + names.marker)
    return _seen(path, status, has_marker=has_marker)


def _read_directory(
    fd: int,
    relative: bytes,
    names: NameRules,
    known: Mapping[bytes, FileRow],
    found: Scan,
    *,
    stable_inodes: bool,
) -> list[bytes]:
    """Read one directory into `found`; returns the sub-directories to read next."""
    below: list[bytes] = []
    prefix = relative + b"/" if relative else b""
    root = names.root.rstrip(b"/") + b"/"
    markers: set[bytes] = set()
    first = len(found.files)
    with os.scandir(fd) as entries:
        for entry in entries:
            # A descriptor yields text; fsencode gives back the very bytes.
            name = prefix + os.fsencode(entry.name)
            if entry.is_dir(follow_symlinks=False):
                if names.descends(name):
                    below.append(name)
                continue
            if not entry.is_file(follow_symlinks=False):
                continue
            marked = names.marked_by(name)
            if marked is not None:
                markers.add(root + marked)
            if names.why_ignored(name) is not None:
                continue
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:  # Gone between the listing and now.
                continue
            if stat.S_ISREG(status.st_mode):
                _take(root + name, status, known, found, stable_inodes)
    if markers:
        found.files[first:] = [
            seen._replace(has_marker=seen.path in markers) for seen in found.files[first:]
        ]
    return below


def _take(
    path: bytes,
    status: os.stat_result,
    known: Mapping[bytes, FileRow],
    found: Scan,
    stable_inodes: bool,
) -> None:
    found.present.add(path)
    row = known.get(path)
    if row is None or not is_same_file(row, identity_of(status), stable_inodes=stable_inodes):
        found.files.append(_seen(path, status))
    elif row.device != signed_64(status.st_dev):
        found.devices[row.device] = signed_64(status.st_dev)


def _seen(path: bytes, status: os.stat_result, *, has_marker: bool = False) -> Seen:
    return Seen(path, identity_of(status), status.st_ctime_ns, status.st_nlink, has_marker)


def _is_regular(fd: int, name: bytes) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
    except OSError:
        return False
