"""Unpacking a backup: nothing in an archive is believed before it has been verified."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from faasd.errors import StoreError, StoreFull
from faasd.model.units import format_size
from faasd.store.backup import snapshot
from faasd.store.database import DATABASE_NAME
from faasd.store.pack import FORMAT, MANIFEST, SUMS

__all__ = ["unpack"]

_SQLITE_MAGIC = b"SQLite format 3\0"
_PIECE_BYTES = 2**20


def unpack(backup: Path, into: Path) -> dict[str, Any]:
    """Unpack a backup, or copy a database file, into an empty directory; returns the manifest.

    Every checksum is compared. Raises StoreFull before anything is written that has no room, and
    StoreError for what is no whole backup.
    """
    with backup.open("rb") as file:
        is_database = file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
    if is_database:
        wal = backup.with_name(backup.name + "-wal")
        has_wal = wal.exists() and wal.stat().st_size > 0
        wal_bytes = wal.stat().st_size if has_wal else 0
        _check_room(backup.stat().st_size + wal_bytes, backup, into)
        snapshot(backup, into / DATABASE_NAME, stands_still=not has_wal)
        return {"format": 0, "made_by": None, "made_at": None}
    try:
        with tarfile.open(backup) as tar:
            return _Unpacking(tar, backup, into).run()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise StoreError(
            f"cannot restore {backup}: it is no whole backup of faasd's ({error})"
        ) from error


class _Readable(Protocol):
    def read(self, count: int, /) -> bytes: ...


class _Unpacking:
    """One archive on its way into a directory."""

    def __init__(self, tar: tarfile.TarFile, backup: Path, into: Path) -> None:
        self._tar = tar
        self._backup = backup
        self._into = into
        self._sums: dict[str, str] = {}
        self._links: list[tuple[Path, str]] = []
        self._modes: list[tuple[Path, int]] = []

    def run(self) -> dict[str, Any]:
        """Unpack everything, then compare it with the list at the archive's end."""
        members = self._tar.getmembers()  # Walks to the end, so a cut archive is found here.
        names = {member.name for member in members}
        if not {MANIFEST, DATABASE_NAME, SUMS} <= names:
            raise self._error("it is no whole backup of faasd's: parts of it are missing")
        _check_room(sum(one.size for one in members if one.isreg()), self._backup, self._into)
        for member in members:
            self._unpack(member)
        self._compare((self._into / SUMS).read_bytes())
        # At the end, so that nothing can be written through a link, or into a closed directory.
        for path, target in self._links:
            path.symlink_to(target)
        for path, mode in reversed(self._modes):
            path.chmod(mode)
        manifest: dict[str, Any] = json.loads((self._into / MANIFEST).read_bytes())
        if manifest.get("format") != FORMAT:
            raise self._error(
                f"its format is {manifest.get('format')!r} and this faasd reads {FORMAT}; "
                "restore it with the faasd that made it, or a newer one"
            )
        for name in (MANIFEST, SUMS):
            (self._into / name).unlink()
        return manifest

    def _unpack(self, member: tarfile.TarInfo) -> None:
        parts = member.name.split("/")
        if member.name.startswith("/") or any(part in ("", ".", "..") for part in parts):
            raise self._error(f"it names a path outside of itself: {member.name!r}")
        path = self._into / member.name
        if member.isdir():
            path.mkdir(mode=0o700)
            self._modes.append((path, member.mode & 0o755))
        elif member.issym():
            self._links.append((path, member.linkname))
        elif member.isreg():
            source = self._tar.extractfile(member)
            assert source is not None, "a regular file has data"
            with closing(source):
                self._sums[member.name] = _write(source, path, member)
        else:
            raise self._error(f"it holds something that no backup has: {member.name!r}")

    def _compare(self, listed: bytes) -> None:
        expected = dict(_read_sums(listed))
        found = {name: digest for name, digest in self._sums.items() if name != SUMS}
        for name in sorted(expected.keys() | found.keys()):
            if expected.get(name) != found.get(name):
                raise self._error(f"{name!r} in it is damaged: its checksum is another one")

    def _error(self, reason: str) -> StoreError:
        return StoreError(f"cannot restore {self._backup}: {reason}")


def _write(source: _Readable, path: Path, member: tarfile.TarInfo) -> str:
    digest = hashlib.sha256()
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        while piece := source.read(_PIECE_BYTES):
            digest.update(piece)
            file.write(piece)
        os.fchmod(file.fileno(), member.mode & 0o755)
    os.utime(path, (member.mtime, member.mtime))
    return digest.hexdigest()


def _read_sums(listed: bytes) -> Iterator[tuple[str, str]]:
    for line in listed.decode("utf-8", "surrogateescape").split("\n")[:-1]:
        digest, _, name = line.partition("  ")
        if digest.startswith("\\"):
            digest = digest[1:]
            name = re.sub(
                r"\\(.)", lambda found: {"n": "\n", "r": "\r"}.get(found[1], found[1]), name
            )
        yield name, digest


def _check_room(needed: int, backup: Path, into: Path) -> None:
    free = shutil.disk_usage(into).free
    if needed > free:
        raise StoreFull(
            f"cannot restore {backup}: it needs {format_size(needed)} in {into.parent} and "
            f"{format_size(free)} is free; nothing has changed"
        )
