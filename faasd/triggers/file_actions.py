"""What happens to a file after its invocation: keep, delete, move. Blocks; runs in a thread.

Two promises: nothing is ever overwritten, and only the very file that was processed is touched. A
file that was replaced meanwhile is a new file and stays. Since looking and acting cannot be one
step, the name is first taken away by a rename, then the identity is checked, and a file taken by
mistake is put back.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from faasd.linux.rename import rename_noreplace
from faasd.triggers.file_names import SIDECAR_SUFFIX, numbered, with_suffix
from faasd.triggers.file_scan import identity_of, open_beneath
from faasd.triggers.file_settle import Identity

__all__ = [
    "ANY_INODE",
    "Replaced",
    "delete",
    "move",
    "move_back",
    "remove_sidecar",
    "sidecar_of",
    "write_sidecar",
]

#: In an identity: the file system makes inode numbers up, so they prove nothing.
ANY_INODE = 0

_NUMBER_MAX = 100_000
_NO_SUCH_RENAME = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS}


class Replaced(Exception):
    """Another file is at the path now, or none."""


def delete(root: bytes, path: bytes, identity: Identity, marker: bytes | None) -> None:
    """Remove the file with this identity, and its marker. Raises Replaced or OSError."""
    with _parent(root, path) as fd:
        name = os.path.basename(path)
        claimed = _scratch_name(identity)
        with suppress(Replaced):  # A crash in the middle of this has left it half done.
            _check(fd, claimed, identity)
            os.unlink(claimed, dir_fd=fd)
            _drop_marker(fd, name, marker)
            return
        _check(fd, name, identity)
        _rename(fd, name, fd, claimed)
        try:
            _check(fd, claimed, identity)
        except Replaced:
            _rename(fd, claimed, fd, name)
            raise
        os.unlink(claimed, dir_fd=fd)
        _drop_marker(fd, name, marker)


def move(
    root: bytes, path: bytes, identity: Identity, target_dir: bytes, marker: bytes | None
) -> bytes:
    """Move the file with this identity, and its marker, below `target_dir`; returns its new path.

    The directory is made when missing. The sub-directory of a recursive trigger is kept. A name
    that is taken becomes `name.1.ext`. Raises Replaced or OSError.
    """
    relative_dir = os.path.dirname(path[len(root.rstrip(b"/")) + 1 :])
    destination_dir = os.path.join(target_dir, relative_dir) if relative_dir else target_dir
    Path(os.fsdecode(destination_dir)).mkdir(parents=True, exist_ok=True)
    with _parent(root, path) as fd, open_beneath(destination_dir, b"") as to_fd:
        name = os.path.basename(path)
        _check(fd, name, identity)
        moved = _move_to_free_name(fd, name, to_fd, identity)
        if marker is not None:
            with suppress(OSError):  # The file counts; a marker that stays behind marks nothing.
                _move_to_free_name(fd, name + marker, to_fd, None, moved + marker)
        return os.path.join(destination_dir, moved)


def move_back(
    path: bytes, identity: Identity | None, original: bytes, marker: bytes | None
) -> bytes:
    """Move a failed file back to where it was dropped, or to a free name beside that."""
    directory = os.path.dirname(original)
    Path(os.fsdecode(directory)).mkdir(parents=True, exist_ok=True)
    with open_beneath(os.path.dirname(path), b"") as fd, open_beneath(directory, b"") as to_fd:
        name = os.path.basename(path)
        _check(fd, name, identity)
        moved = _move_to_free_name(fd, name, to_fd, identity, os.path.basename(original))
        if marker is not None:
            with suppress(OSError):
                _move_to_free_name(fd, name + marker, to_fd, None, moved + marker)
        return os.path.join(directory, moved)


def sidecar_of(path: bytes) -> bytes:
    """Return the path of the sidecar that tells of a failed file."""
    directory, name = os.path.split(path)
    return os.path.join(directory, with_suffix(name, SIDECAR_SUFFIX))


def write_sidecar(path: bytes, text: str) -> None:
    """Write the sidecar of a moved file; it appears whole or not at all."""
    sidecar = sidecar_of(path)
    scratch = os.path.join(os.path.dirname(path), b".faasd-sidecar-%d" % os.getpid())
    fd = os.open(
        scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
    )
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        # Over an older sidecar of the same name, which told of a file long gone.
        Path(os.fsdecode(scratch)).rename(os.fsdecode(sidecar))
    except BaseException:
        with suppress(OSError):
            Path(os.fsdecode(scratch)).unlink()
        raise


def remove_sidecar(path: bytes) -> None:
    """Remove the sidecar of a file that is no longer failed."""
    with suppress(OSError):
        Path(os.fsdecode(sidecar_of(path))).unlink()


@contextmanager
def _parent(root: bytes, path: bytes) -> Iterator[int]:
    """Open the directory of a file, below the root; Replaced when the way to it is gone."""
    relative_dir = os.path.dirname(path)[len(root.rstrip(b"/")) + 1 :]
    try:
        with open_beneath(root, relative_dir) as fd:
            yield fd
    except (FileNotFoundError, NotADirectoryError) as error:
        raise Replaced from error


def _check(fd: int, name: bytes, identity: Identity | None) -> None:
    """Raise Replaced unless the regular file of this identity (None: any) has this name."""
    try:
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError as error:
        raise Replaced from error
    if not stat.S_ISREG(status.st_mode):
        raise Replaced
    if identity is None:
        return
    # The device is left out here as in is_same_file: it may have been remounted since.
    now = identity_of(status)
    if identity.inode not in {now.inode, ANY_INODE} or identity[2:] != now[2:]:
        raise Replaced


def _move_to_free_name(
    fd: int, name: bytes, to_fd: int, identity: Identity | None, wanted: bytes | None = None
) -> bytes:
    """Move without overwriting; returns the name that was free."""
    wanted = name if wanted is None else wanted
    for number in range(_NUMBER_MAX):
        free = numbered(wanted, number) if number else wanted
        try:
            _rename(fd, name, to_fd, free)
        except FileExistsError:
            continue
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            if not _copy_across(fd, name, to_fd, free, identity):
                continue
            return free
        try:
            _check(to_fd, free, identity)
        except Replaced:
            _rename(to_fd, free, fd, name)
            raise
        return free
    raise FileExistsError(errno.EEXIST, f"{_NUMBER_MAX} numbered names are taken", name)


def _rename(fd: int, name: bytes, to_fd: int, new: bytes) -> None:
    """Rename; raises FileExistsError rather than overwrite, on every file system."""
    try:
        rename_noreplace(name, new, fd, to_fd)
        return
    except OSError as error:
        if error.errno not in _NO_SUCH_RENAME:
            raise
    try:
        os.link(name, new, src_dir_fd=fd, dst_dir_fd=to_fd, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No links either (FAT, some FUSE): hold the name with an empty file, and replace only that.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, dir_fd=to_fd))
        os.rename(name, new, src_dir_fd=fd, dst_dir_fd=to_fd)
    else:
        os.unlink(name, dir_fd=fd)


def _copy_across(fd: int, name: bytes, to_fd: int, new: bytes, identity: Identity | None) -> bool:
    """Copy to another file system, make it durable, then remove the original. False: name taken."""
    source_fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=fd)
    with os.fdopen(source_fd, "rb") as source:
        before = os.fstat(source_fd)
        scratch = _scratch_name(identity_of(before))
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            mode = stat.S_IMODE(before.st_mode)
            with os.fdopen(os.open(scratch, flags, mode, dir_fd=to_fd), "wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
                copy.flush()
                with suppress(OSError):  # Only the owner's own or root may give a file away.
                    os.fchown(copy.fileno(), before.st_uid, before.st_gid)
                os.fchmod(copy.fileno(), mode)
                os.utime(copy.fileno(), ns=(before.st_atime_ns, before.st_mtime_ns))
                os.fsync(copy.fileno())
            # Whoever wrote into it while it was copied has made a new file of it.
            _check(fd, name, identity or identity_of(before))
            _rename(to_fd, scratch, to_fd, new)
        except FileExistsError:
            os.unlink(scratch, dir_fd=to_fd)
            return False
        except BaseException:
            with suppress(OSError):
                os.unlink(scratch, dir_fd=to_fd)
            raise
    os.fsync(to_fd)
    _check(fd, name, identity or identity_of(before))
    os.unlink(name, dir_fd=fd)
    return True


def _drop_marker(fd: int, name: bytes, marker: bytes | None) -> None:
    if marker is not None:
        with suppress(OSError):
            os.unlink(name + marker, dir_fd=fd)


def _scratch_name(identity: Identity) -> bytes:
    """A temporary name that every watch ignores, the same again after a crash."""
    return b".faasd-%x-%x-%x" % (identity.device % 2**64, identity.inode % 2**64, identity.mtime_ns)
