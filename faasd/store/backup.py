"""A backup: one file that holds everything a state directory needs to live on, here or elsewhere.

It is a tar archive, so that it can be looked into without faasd:

    faasd-backup.json      what made it, when, and which schema the database has
    faasd.db               the database as it was at one moment
    versions/ …            every other directory of the state directory, `logs/` only on request
    SHA256SUMS             the checksums of all files, last: an archive without it was cut short
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from faasd.errors import Conflict, StoreError, StoreFull
from faasd.linux.held_directory import held_directory, remove_left
from faasd.linux.rename import rename_noreplace
from faasd.linux.sync import sync
from faasd.model.units import format_size
from faasd.store.database import BUSY_TIMEOUT_S, DATABASE_NAME, explain
from faasd.store.migrations import APPLICATION_ID
from faasd.store.pack import FORMAT, TEMPORARY, files_below, write_archive

__all__ = [
    "LOGS",
    "RESTORE_ORDERS",
    "Contents",
    "database_contents",
    "snapshot",
    "state_directories",
    "write_backup",
]

LOGS = "logs"
#: Where a restore says what it will move, while it does.
RESTORE_ORDERS = Path(".restore", "move.json")
#: Of the state directory, what belongs to the daemon that runs and not to its state.
_PASSING = frozenset({"tmp", "lost+found"})
#: A mebibyte at a time, and to the disk every sixteen: a larger heap of unwritten pages would hold up
#: the daemon's commits, which wait behind it in the file system's journal.
_PORTION_PAGES = 256
_SYNC_EVERY_PORTIONS = 16

#: Hears how many bytes of how many are copied, several times a second.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a database holds, as far as it matters to whoever restores it."""

    schema_version: int
    size_bytes: int
    waiting: int
    running: int
    dead: int


def write_backup(
    state_dir: Path,
    target: Path,
    *,
    made_by: str,
    made_at: str | None,
    logs: bool = False,
    on_progress: Progress | None = None,
) -> dict[str, Any]:
    """Write a backup to a new file, whether a daemon runs or not; returns its manifest with `size_bytes`.

    The daemon is not held up. The file appears whole, verified and readable by its owner alone, or
    not at all. A name that ends in `.gz` or `.tgz` compresses it. Blocks, so it is not for an event loop.
    Raises Conflict if the file exists, StoreFull when there is no room for it, and StoreError.
    """
    source = state_dir / DATABASE_NAME
    if os.path.lexists(target):
        raise Conflict(f"cannot write a backup to {target}: it exists; name a new file")
    _check_source(state_dir)
    try:
        directories = state_directories(state_dir, logs=logs)
        _check_room(source, directories, target)
        remove_left(target.parent, TEMPORARY)
        with held_directory(target.parent, TEMPORARY) as made:
            temporary = Path(made)
            copy = temporary / DATABASE_NAME
            snapshot(source, copy, on_progress)
            manifest = {
                "format": FORMAT,
                "made_by": made_by,
                "made_at": made_at,
                "host": socket.gethostname(),
                "state_dir": str(state_dir),
                "database": asdict(database_contents(copy)),
                "directories": [one.name for one in directories],
            }
            archive = temporary / "archive"
            write_archive(archive, manifest, copy, directories, _compression(target), target)
            size = archive.stat().st_size
            _publish(archive, target)
    except (sqlite3.Error, OSError) as error:
        raise _explain(error, target) from error
    return {**manifest, "size_bytes": size}


def _check_source(state_dir: Path) -> None:
    """Raise StoreError where there is no whole state to be read."""
    try:
        (state_dir / DATABASE_NAME).open("rb").close()
        is_half_restored = (state_dir / RESTORE_ORDERS).exists()
    except FileNotFoundError:
        raise StoreError(
            f"cannot back up {state_dir}: it has no {DATABASE_NAME}; no daemon has run there, or "
            f"`state_dir` is another one"
        ) from None
    except PermissionError as error:
        raise StoreError(
            f"cannot back up {state_dir}: you may not read {error.filename}; do it as root, or as the user "
            f"that faasd runs as"
        ) from error
    if is_half_restored:
        raise StoreError(
            f"cannot back up {state_dir}: a restore was interrupted there; start faasd, which finishes it"
        )


def state_directories(state_dir: Path, *, logs: bool) -> list[Path]:
    """Return the directories that make up a state, whoever put them there; what functions print on request."""
    return sorted(
        one
        for one in state_dir.iterdir()
        if one.is_dir()
        and not one.is_symlink()
        and not one.name.startswith((".", "replaced-"))
        and one.name not in _PASSING
        and (logs or one.name != LOGS)
    )


def snapshot(
    source: Path, copy: Path, on_progress: Progress | None = None, *, stands_still: bool = False
) -> None:
    """Copy a database as it is at one moment, while others write to it, unless it `stands_still`.

    In portions under one read transaction: the writer appends to the WAL meanwhile and waits for nothing.
    Without that transaction each commit would make the copy begin again.
    """
    heard = on_progress or (lambda _done, _all: None)
    # What stands still is read without the files that SQLite would make beside it.
    how = "immutable=1" if stands_still else "mode=ro"
    name = f"file:{quote(str(source))}?{how}"
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(contextlib.closing(_connect(name)))
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(copy, flags, 0o600)
        stack.callback(os.close, descriptor)
        writer = stack.enter_context(contextlib.closing(_connect(f"file:{quote(str(copy))}")))
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        [page_bytes] = reader.execute("PRAGMA page_size").fetchone()
        portions = 0

        def portion_copied(_status: int, remaining: int, total: int) -> None:
            nonlocal portions
            portions += 1
            if portions % _SYNC_EVERY_PORTIONS == 0:
                os.fdatasync(descriptor)
            heard((total - remaining) * page_bytes, total * page_bytes)

        reader.backup(writer, pages=_PORTION_PAGES, progress=portion_copied)


def database_contents(path: Path) -> Contents:
    """Check a database that nobody else has open, every page of it, and say what it holds.

    Raises StoreError when it is damaged or not ours.
    """
    with contextlib.closing(_connect(f"file:{quote(str(path))}?immutable=1")) as connection:
        try:
            [ours] = connection.execute("PRAGMA application_id").fetchone()
            if ours != APPLICATION_ID:
                raise StoreError(f"cannot use {path}: it is no database of faasd's")
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(3)")]
            if problems != ["ok"]:
                raise StoreError(f"cannot use {path}: it is damaged: {'; '.join(problems)}")
            [version] = connection.execute("PRAGMA user_version").fetchone()
            counts = dict(
                connection.execute(
                    "SELECT state, count(*) FROM invocations"
                    " WHERE state IN ('waiting', 'running', 'dead') GROUP BY state"
                ).fetchall()
            )
        except sqlite3.Error as error:
            raise explain(error, path) from error
    return Contents(
        schema_version=version,
        size_bytes=path.stat().st_size,
        waiting=counts.get("waiting", 0),
        running=counts.get("running", 0),
        dead=counts.get("dead", 0),
    )


def _connect(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _compression(target: Path) -> str:
    return "gz" if target.suffix in (".gz", ".tgz") else ""


def _explain(error: Exception, target: Path) -> StoreError:
    full = explain(error, target)
    if isinstance(full, StoreFull):
        return StoreFull(f"cannot write a backup to {target}: no space is left there")
    if isinstance(error, OSError):
        about = f" ({error.filename})" if error.filename not in (None, str(target)) else ""
        return StoreError(f"cannot write a backup to {target}: {error.strerror or error}{about}")
    return full


def _check_room(source: Path, directories: list[Path], target: Path) -> None:
    """Raise StoreFull when the copy of the database and the archive with it cannot both fit."""
    wal = source.with_name(source.name + "-wal")
    database_bytes = source.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
    needed = 2 * database_bytes + sum(
        path.lstat().st_size for one in directories for path in files_below(one)
    )
    free = shutil.disk_usage(target.parent).free
    if needed > free:
        raise StoreFull(
            f"cannot write a backup to {target}: it may need {format_size(needed)} there and "
            f"{format_size(free)} is free; nothing was written"
        )


def _publish(archive: Path, target: Path) -> None:
    """Give the file its name, unless somebody has taken it meanwhile."""
    try:
        try:
            rename_noreplace(os.fsencode(archive), os.fsencode(target))
        except FileExistsError:
            raise
        except OSError:  # A file system that cannot do that; a link fails on what exists, too.
            os.link(archive, target)
    except FileExistsError:
        raise Conflict(f"cannot write a backup to {target}: it exists; name a new file") from None
    sync(target.parent)
