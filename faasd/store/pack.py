"""Packing a backup: a tar archive that carries the checksums of all its files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faasd.store.database import DATABASE_NAME

__all__ = ["FORMAT", "MANIFEST", "SUMS", "TEMPORARY", "files_below", "write_archive"]

MANIFEST, SUMS = "faasd-backup.json", "SHA256SUMS"
FORMAT = 1
#: How the directories begin in which backups are made; none of them belongs into one.
TEMPORARY = ".faasd-backup-"


def write_archive(
    archive: Path,
    manifest: dict[str, Any],
    copy: Path,
    directories: list[Path],
    compression: str,
    target: Path,
) -> None:
    """Write an archive and bring it to the disk: the manifest, the database, the directories, the checksums.

    `target`, under which it will be known, may lie in one of the directories and is left out.
    """
    descriptor = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        how: Any = f"w:{compression}"
        with tarfile.open(fileobj=file, mode=how, format=tarfile.PAX_FORMAT) as tar:
            adding = _Adding(tar)
            adding.text(MANIFEST, json.dumps(manifest, indent=2).encode() + b"\n")
            adding.path(copy, DATABASE_NAME)
            for directory in directories:
                adding.path(directory, directory.name)
                for path in files_below(directory):
                    if path not in (target, archive) and TEMPORARY not in str(path):
                        adding.path(path, str(path.relative_to(directory.parent)))
            adding.text(SUMS, adding.sums())
        file.flush()
        os.fsync(file.fileno())


class _Adding:
    """Puts files into an archive and keeps their checksums."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._sums: list[bytes] = []

    def text(self, name: str, data: bytes) -> None:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        self._tar.addfile(member, io.BytesIO(data))
        self._sums.append(_sum_line(hashlib.sha256(data).hexdigest(), name))

    def path(self, path: Path, name: str) -> None:
        """Add one file, directory or link; what is none of these, or has gone since, is left out."""
        member = tarfile.TarInfo(name)
        try:
            found = path.lstat()
            member.mode, member.mtime = stat.S_IMODE(found.st_mode), found.st_mtime
            if stat.S_ISREG(found.st_mode):
                with path.open("rb") as file:
                    self._file(member, file)
                return
            if stat.S_ISLNK(found.st_mode):
                member.type, member.linkname = tarfile.SYMTYPE, str(path.readlink())
            elif stat.S_ISDIR(found.st_mode):
                member.type = tarfile.DIRTYPE
            else:
                return  # A socket or a pipe is nothing without who listens.
        except FileNotFoundError:
            return
        self._tar.addfile(member)

    def sums(self) -> bytes:
        """Return what `sha256sum --check` reads."""
        return b"".join(self._sums)

    def _file(self, member: tarfile.TarInfo, file: io.BufferedReader) -> None:
        # As long as it is now: a log may grow while it is read.
        member.size = os.fstat(file.fileno()).st_size
        summing = _Summing(file)
        self._tar.addfile(member, summing)  # type: ignore[arg-type]
        self._sums.append(_sum_line(summing.digest.hexdigest(), member.name))


class _Summing:
    """Reads a file and sums up what was read."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, count: int) -> bytes:
        data = self._file.read(count)
        self.digest.update(data)
        return data


def _sum_line(digest: str, name: str) -> bytes:
    # A backslash before a line says that its name is escaped, as coreutils has it.
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return f"{mark}{digest}  {escaped}\n".encode("utf-8", "surrogateescape")


def files_below(directory: Path) -> Iterator[Path]:
    """Yield everything below a directory, each directory before what it holds; links are not followed."""

    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # Removed while we looked: not ours to keep.
            raise error

    for root, names, files in os.walk(directory, onerror=unreadable):
        for name in sorted([*names, *files]):
            yield Path(root, name)
