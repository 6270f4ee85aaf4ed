"""Trees that never change again: made beside their place, hashed, read-only, on disk, then renamed into it.

Who is killed in between leaves a directory that nobody reads, and the next one clears it away.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from faasd.errors import BundleRefused
from faasd.linux.held_directory import held_directory, remove_left
from faasd.linux.sync import sync_file_system

__all__ = [
    "Sealed",
    "digest_of",
    "make_directory",
    "seal",
    "staging",
]

_STAGED = ".new-"
_NOTES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})


@dataclass(frozen=True)
class Sealed:
    """What a tree holds."""

    digest: str
    files: int
    size_bytes: int


def make_directory(path: Path) -> None:
    """Make a directory of the daemon's below its state directory. Raises BundleRefused, saying who may."""
    try:
        path.mkdir(mode=0o751, parents=True, exist_ok=True)
        if not os.access(path, os.W_OK | os.X_OK):
            raise PermissionError(13, os.strerror(13), str(path))
    except OSError as error:
        raise BundleRefused(f"cannot write to {path}: {error.strerror}{_who_may(path)}") from error


def _who_may(path: Path) -> str:
    for one in (path, *path.parents):
        with contextlib.suppress(OSError, KeyError):
            owner = pwd.getpwuid(one.stat().st_uid).pw_name
            return f"; it belongs to {owner!r}, so run this with: sudo -u {owner}"
    return ""


@contextlib.contextmanager
def staging(parent: Path) -> Iterator[Path]:
    """Make a directory in which something is made; it is gone afterwards, unless it was renamed.

    What others left there when they were killed goes first.
    """
    make_directory(parent)
    remove_left(parent, _STAGED)
    with held_directory(parent, _STAGED) as stage:
        yield Path(stage)


def seal(tree: Path) -> Sealed:
    """Make a tree read-only, put it on disk and return what it holds. Its top stays writable, to be renamed.

    Raises OSError when the disk is full or broken.
    """
    sealed = digest_of(tree)
    for path in _below(tree):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(0o555 if stat.S_ISDIR(mode) or mode & 0o100 else 0o444)
    tree.chmod(0o755)
    sync_file_system(str(tree))
    return sealed


def digest_of(tree: Path) -> Sealed:
    """Hash names, contents and execute bits of all that is below a directory, in a stable order.

    What installers write differently each time does not count: compiled files, and their own notes.
    """
    digest = hashlib.sha256()
    files = size_bytes = 0
    for path in _below(tree):
        name = os.fsencode(path.relative_to(tree))
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            digest.update(b"link\0" + name + b"\0" + os.fsencode(path.readlink()) + b"\0")
        elif stat.S_ISREG(status.st_mode):
            kind = b"program\0" if status.st_mode & 0o100 else b"file\0"
            files += 1
            size_bytes += status.st_size
            if path.suffix == ".pyc" or (
                path.name in _NOTES and path.parent.suffix == ".dist-info"
            ):
                continue
            with path.open("rb") as file:
                digest.update(kind + name + b"\0" + hashlib.file_digest(file, "sha256").digest())
    return Sealed(digest.hexdigest(), files, size_bytes)


def _below(tree: Path) -> Iterator[Path]:
    for directory, names, files in os.walk(tree, onerror=_raise):
        names.sort()
        for name in sorted([*files, *names]):
            yield Path(directory, name)


def _raise(error: OSError) -> None:
    raise error
