"""The copy of a database that is kept before an upgrade changes its schema, for whoever must go back."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

from sqlalchemy import Connection

from faasd.errors import StoreFull
from faasd.model.units import format_size
from faasd.store.database import driver_of, explain, size_of

__all__ = ["COPIES_KEPT", "copy_aside", "unused_name"]

COPIES_KEPT = 2
#: What the migration itself may write beside the copy.
_SPARE_BYTES = 16 * 2**20


def copy_aside(connection: Connection, path: Path, version: int) -> Path:
    """Copy the database beside itself, as `….before-vN`; the newest two such copies are kept.

    The copy is whole under its name, or not there. Raises StoreFull when it has no room.
    """
    _check_room(connection, path, version)
    unfinished = path.with_name(f"{path.name}.before-v{version}.part")
    unfinished.unlink(missing_ok=True)  # Of a process that was killed.
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            # Into an empty file that is there, which SQLite would have made readable by everybody.
            driver_of(connection).execute("VACUUM INTO ?", (str(unfinished),))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except (sqlite3.Error, OSError) as error:
        unfinished.unlink(missing_ok=True)
        raise explain(error, unfinished) from error
    kept = unused_name(path.with_name(f"{path.name}.before-v{version}"))
    unfinished.rename(kept)
    _remove_older(path)
    return kept


def _check_room(connection: Connection, path: Path, version: int) -> None:
    size_bytes, free_bytes = size_of(driver_of(connection))
    needed = size_bytes - free_bytes + _SPARE_BYTES
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise StoreFull(
            f"cannot upgrade {path} to schema {version}: the copy that is kept of it needs "
            f"{format_size(needed)} and {format_size(free)} is free; nothing has changed. Free some space; "
            f"or write a backup to another disk (`faasd backup FILE`) and start once with "
            f"`copy_before_upgrade = false` in [daemon]"
        )


def unused_name(path: Path) -> Path:
    """Return a path at which there is nothing: this one, or with a number behind it."""
    candidate, count = path, 1
    while os.path.lexists(candidate):
        count += 1
        candidate = path.with_name(f"{path.name}.{count}")
    return candidate


def _remove_older(path: Path) -> None:
    copies = [one for one in path.parent.glob(f"{path.name}.before-v*") if one.suffix != ".part"]
    copies.sort(key=lambda one: one.stat().st_mtime_ns, reverse=True)
    for one in copies[COPIES_KEPT:]:
        one.unlink()
