"""Opening the SQLite file, and saying what SQLite means when it refuses.

Exactly one connection writes (store/writer.py); readers have their own, which cannot write.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool

from faasd.errors import StoreError, StoreFull

__all__ = [
    "BUSY_TIMEOUT_S",
    "DATABASE_NAME",
    "WAL_KEPT_BYTES",
    "driver_of",
    "explain",
    "is_about_the_database",
    "open_readers",
    "open_writer",
    "prepare_state_dir",
    "size_of",
]

DATABASE_NAME = "faasd.db"
BUSY_TIMEOUT_S = 5.0
#: What SQLite takes at once for the index of its log.
_SHARED_MEMORY_BYTES = 32 * 1024
WAL_KEPT_BYTES = 4 * 2**20

#: After one of these, nothing in the same transaction can be trusted to succeed.
_DATABASE_WIDE = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


def prepare_state_dir(state_dir: Path) -> None:
    """Make the state directory, closed to strangers: events and results lie in it."""
    try:
        state_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the state directory {state_dir}: {error.strerror}; "
            f"make it by hand or set another `state_dir`"
        ) from error


def open_writer(path: Path) -> Connection:
    """Open the one connection that writes. Every transaction on it begins with BEGIN IMMEDIATE.

    It may be used by one thread at a time. Raises StoreError.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o600))
        engine = create_engine(
            "sqlite+pysqlite://", creator=lambda: _connect(str(path)), poolclass=NullPool
        )
        event.listen(engine, "begin", _begin_immediate)
        connection = engine.connect()
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            # store/writer.py does the checkpoints, after it has answered its callers.
            "wal_autocheckpoint = 0",
            f"journal_size_limit = {WAL_KEPT_BYTES}",
            "cache_size = -8192",
            "temp_store = MEMORY",
        ):
            driver_of(connection).execute(f"PRAGMA {pragma}")
    except (DBAPIError, sqlite3.Error, OSError) as error:
        raise explain(error, path) from error
    return connection


def open_readers(path: Path, count_max: int) -> Engine:
    """Return an engine whose connections only read and see every committed change."""

    def connect() -> sqlite3.Connection:
        connection = _connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        connection.execute("PRAGMA query_only = ON")
        return connection

    return create_engine(
        "sqlite+pysqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=count_max,
        max_overflow=0,
    )


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return the driver's connection, for what SQLite does only outside a transaction."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver


def size_of(driver: sqlite3.Connection) -> tuple[int, int]:
    """Return how many bytes a database has, its write-ahead log folded in, and how many of them are free."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free_pages, page_bytes = (
        driver.execute(f"PRAGMA {name}").fetchone()[0] for name in names
    )
    return pages * page_bytes, free_pages * page_bytes


def is_about_the_database(error: BaseException) -> bool:
    """Whether an error concerns the whole database, and so everything in its transaction."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, OSError):
        return True
    return isinstance(cause, sqlite3.Error) and _primary_code(cause) in _DATABASE_WIDE


def explain(error: BaseException, path: Path) -> StoreError:
    """Say what a failure of SQLite or the file system means for people."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    code = _primary_code(cause)
    is_full = code == sqlite3.SQLITE_FULL or getattr(cause, "errno", None) in (
        errno.ENOSPC,
        errno.EDQUOT,
    )
    # SQLite calls it an I/O error when its shared memory finds no room, as at the first start after a reboot.
    if is_full or (code == sqlite3.SQLITE_IOERR and _has_no_room(path.parent)):
        return StoreFull(
            f"cannot write to {path}: no space is left on its disk; nothing was written. "
            f"Free some space; faasd goes on by itself"
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(
            f"cannot write to {path}: another program has held it for {BUSY_TIMEOUT_S:.0f} seconds; "
            f"end the program that has the file open (`fuser {path}` names it)"
        )
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StoreError(
            f"cannot use {path}: it is damaged or no SQLite database ({cause}); restore a backup (`faasd restore`)"
        )
    is_refused = isinstance(cause, PermissionError) or code in (
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
    )
    if is_refused:
        return StoreError(
            f"cannot open {path} for writing ({cause}); "
            f"check the owner and mode of it, of its -wal and -shm files, and of its directory"
        )
    return StoreError(f"cannot use the database {path}: {cause}")


def _has_no_room(directory: Path) -> bool:
    try:
        found = os.statvfs(directory)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < _SHARED_MEMORY_BYTES


def _primary_code(error: BaseException) -> int | None:
    """Return SQLite's result code; the extended ones carry the primary in their low byte."""
    code = getattr(error, "sqlite_errorcode", None)
    return code & 0xFF if isinstance(code, int) else None


def _begin_immediate(connection: Connection) -> None:
    if driver_of(connection).in_transaction:
        return  # The writer has begun already, and this is the first statement through SQLAlchemy.
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _connect(name: str, uri: bool = False) -> sqlite3.Connection:
    return sqlite3.connect(
        name,
        timeout=BUSY_TIMEOUT_S,
        check_same_thread=False,
        uri=uri,
        # The driver must not open transactions of its own: a deferred one that reads and then
        # writes fails at once with "database is locked", whatever the timeout.
        isolation_level=None,
    )
