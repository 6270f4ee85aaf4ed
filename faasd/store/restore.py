"""`faasd restore`: puts a backup in the place of a state directory, all of it or nothing.

Everything is first unpacked and verified in `.restore/` inside the state directory. Then one small file
there says what is to be moved, and whoever opens the state directory next finishes the moves: this
process, or, if it was killed, the next one. At no moment can a daemon start on half of a state.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from faasd.errors import Conflict, SchemaTooNew, StoreError, StoreFull
from faasd.linux.held_directory import held_directory, remove_left
from faasd.linux.sync import sync, write_synced
from faasd.linux.trees import remove_tree
from faasd.store.backup import (
    RESTORE_ORDERS,
    Contents,
    database_contents,
    state_directories,
)
from faasd.store.database import DATABASE_NAME, explain, prepare_state_dir
from faasd.store.migrations import SCHEMA_VERSION
from faasd.store.state_lock import LOCK_NAME, StateLock
from faasd.store.unpack import unpack
from faasd.store.upgrade_copy import unused_name

__all__ = ["Restored", "finish_interrupted_restore", "rehearse", "restore"]

_STAGING, _ORDERS = RESTORE_ORDERS.parts
_CHECKED = ".restore-check-"
_DATABASE_FILES = tuple(DATABASE_NAME + end for end in ("", "-wal", "-shm"))


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did, or would do. `kept` is where the earlier state is, if there was one."""

    manifest: dict[str, Any]
    contents: Contents
    kept: Path | None
    old: list[str]  # What of the earlier state is moved there.
    new: list[str]
    is_done: bool = False


def restore(state_dir: Path, backup: Path, *, now: datetime, force: bool = False) -> Restored:
    """Verify a backup and make it the state of a directory that no daemon uses.

    A state that is there is refused without `force`, and moved into `replaced-…/` with it. The backup is
    one of `write_backup`, or a database file, such as the copy that an upgrade has kept. Blocks.
    Raises StateDirectoryInUse, Conflict, SchemaTooNew, StoreFull or StoreError; then all is as before.
    """
    prepare_state_dir(state_dir)
    with StateLock.acquire(state_dir):
        _adopt(state_dir / LOCK_NAME, state_dir)
        finish_interrupted_restore(state_dir)
        staging = state_dir / _STAGING
        with _explained(backup, state_dir):
            staging.mkdir(mode=0o700)
            try:
                planned = _plan(state_dir, backup, staging, now)
                if planned.kept is not None and not force:
                    raise Conflict(
                        f"cannot restore into {state_dir}: it holds a state already "
                        f"({', '.join(planned.old)}); `--force` moves that aside, or name another `state_dir`"
                    )
                _commit(state_dir, staging, planned)
            except BaseException:
                if not (staging / _ORDERS).exists():
                    remove_tree(staging, ignores_errors=True)
                raise
    return replace(planned, is_done=True)


def rehearse(state_dir: Path, backup: Path, *, now: datetime) -> Restored:
    """Verify a backup and say what `restore` would do with it, also while a daemon runs. Changes nothing.

    Needs as much room as the restore. Raises SchemaTooNew, StoreFull or StoreError.
    """
    parent = next(one for one in (state_dir, *state_dir.parents) if one.is_dir())
    remove_left(parent, _CHECKED)
    with _explained(backup, parent), held_directory(parent, _CHECKED) as staging:
        return _plan(state_dir, backup, Path(staging), now)


def finish_interrupted_restore(state_dir: Path) -> None:
    """Finish the moves of a restore that was killed between them. The caller holds the directory's lock."""
    orders_file = state_dir / _STAGING / _ORDERS
    try:
        orders = json.loads(orders_file.read_bytes())
    except FileNotFoundError:
        # None was begun, or it got no further than unpacking; the state is as it was.
        remove_tree(state_dir / _STAGING, ignores_errors=True)
        return
    except (OSError, ValueError) as error:
        raise StoreError(
            f"cannot finish the restore that was begun in {state_dir}: {orders_file}: {error}; "
            f"restore again with `faasd restore --force FILE`"
        ) from error
    try:
        _move(state_dir, orders)
    except OSError as error:
        raise StoreError(
            f"cannot finish the restore that was begun in {state_dir}: {error.filename}: "
            f"{error.strerror}; mend that and start again"
        ) from error


def _plan(state_dir: Path, backup: Path, staging: Path, now: datetime) -> Restored:
    """Unpack a backup, verify it, and look at what is in its way."""
    manifest = unpack(backup, staging)
    contents = _check(staging / DATABASE_NAME, backup)
    new = [one.name for one in state_directories(staging, logs=True)]
    old: list[str] = []
    if state_dir.is_dir():
        found = state_directories(state_dir, logs="logs" in new)
        old = [one.name for one in found if any(one.iterdir())]
        old += [name for name in _DATABASE_FILES if (state_dir / name).exists()]
    kept = unused_name(state_dir / f"replaced-{now:%Y%m%dT%H%M%SZ}") if old else None
    return Restored(manifest, contents, kept, sorted(old), [*new, DATABASE_NAME])


def _commit(state_dir: Path, staging: Path, planned: Restored) -> None:
    """From here on, a restore that is killed is finished by whoever comes next."""
    _adopt(staging, state_dir)
    # One call instead of one for each of what may be thousands of files: they must be on disk before
    # the file that says that they may be used.
    os.sync()
    kept = planned.kept.name if planned.kept else None
    orders = {"kept": kept, "old": planned.old, "new": planned.new}
    _write_orders(staging / _ORDERS, orders, state_dir)
    _move(state_dir, orders)


@contextlib.contextmanager
def _explained(backup: Path, state_dir: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise _explain(error, backup, state_dir) from error


def _check(database: Path, backup: Path) -> Contents:
    try:
        contents = database_contents(database)
    except StoreError as error:
        raise StoreError(str(error).replace(str(database), str(backup))) from error
    if contents.schema_version > SCHEMA_VERSION:
        raise SchemaTooNew(
            f"cannot restore {backup}: its schema is version {contents.schema_version} and this faasd "
            f"knows {SCHEMA_VERSION}; upgrade faasd first"
        )
    return replace(contents, size_bytes=database.stat().st_size)


def _move(state_dir: Path, orders: dict[str, Any]) -> None:
    """Move the old state aside and the new one in. Each move that was made before is seen as such."""
    staging = state_dir / _STAGING
    if orders["kept"]:
        kept = state_dir / orders["kept"]
        kept.mkdir(mode=0o700, exist_ok=True)
        _adopt(kept, state_dir)
        for name in orders["old"]:
            if os.path.lexists(state_dir / name) and not os.path.lexists(kept / name):
                (state_dir / name).rename(kept / name)
    for name in orders["new"]:
        if os.path.lexists(staging / name):
            with contextlib.suppress(OSError):
                (state_dir / name).rmdir()  # An empty one, which was not worth keeping.
            (staging / name).rename(state_dir / name)
    sync(state_dir)
    (staging / _ORDERS).unlink()
    sync(staging)
    remove_tree(staging, ignores_errors=True)


def _write_orders(path: Path, orders: dict[str, Any], state_dir: Path) -> None:
    written = path.with_suffix(".part")
    write_synced(written, json.dumps(orders).encode())
    _adopt(written, state_dir)
    written.rename(path)
    sync(path.parent)


def _adopt(path: Path, state_dir: Path) -> None:
    """Give a path, and all below it, to the state directory's owner: root may restore for a service."""
    if os.geteuid() != 0:
        return
    owner = state_dir.stat()
    os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
    for root, names, files in os.walk(path):
        for name in [*names, *files]:
            os.chown(Path(root, name), owner.st_uid, owner.st_gid, follow_symlinks=False)


def _explain(error: Exception, backup: Path, state_dir: Path) -> StoreError:
    explained = explain(error, state_dir)
    if isinstance(explained, StoreFull):
        return StoreFull(
            f"cannot restore {backup} into {state_dir}: no space is left there; nothing has changed"
        )
    if not isinstance(error, OSError):
        return explained
    about = f" ({error.filename})" if error.filename else ""
    reason = error.strerror or str(error)
    return StoreError(f"cannot restore {backup} into {state_dir}: {reason}{about}")
