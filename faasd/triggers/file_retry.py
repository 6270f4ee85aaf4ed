"""`faasd files retry`: takes a file as new."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

from faasd.errors import Conflict
from faasd.interfaces import FileRow
from faasd.model.invocation import Acceptance
from faasd.triggers import file_actions
from faasd.triggers.file_directory import WatchedDirectory
from faasd.triggers.file_events import original_path
from faasd.triggers.file_names import move_target, shown

__all__ = ["retry_in"]


async def retry_in(directory: WatchedDirectory, wanted: bytes) -> list[Acceptance]:
    """Retry what this trigger knows at or below a path; empty when it knows nothing there.

    Raises Conflict when it is one file and its invocation is not final, EventRefused or StoreError
    when it cannot be accepted; a moved file is back in the directory then, and is found by a scan.
    """
    async with directory.lock:
        exact = [row for row in directory.rows.by_path.values() if _is_at(row, wanted)]
        for row in exact:
            if row.state == "accepted":
                raise Conflict(
                    f"{shown(wanted)} is being processed by invocation {row.invocation_id};"
                    f" wait for its end or cancel it: faasd invocations cancel {row.invocation_id}"
                )
        rows = exact or [
            row
            for row in directory.rows.by_path.values()
            if row.state == "failed" and _is_below(row, wanted)
        ]
        accepted: list[Acceptance] = []
        for row in sorted(rows, key=lambda row: row.path):
            accepted += await _retry_row(directory, row)
        if not rows:
            accepted += await _retry_by_sidecar(directory, wanted)
        return accepted


async def _retry_row(directory: WatchedDirectory, row: FileRow) -> list[Acceptance]:
    original = original_path(row)
    if original is None:
        return await directory.accept_now(row.path)
    marker = directory.names.marker

    def bring_back() -> bytes | None:
        with suppress(file_actions.Replaced, FileNotFoundError):
            # Whatever lies there now: a failed file is often mended in place before it is retried.
            back = file_actions.move_back(row.path, None, original, marker)
            file_actions.remove_sidecar(row.path)
            return back
        return None

    back = await directory.call(bring_back)
    if back is None:
        return []
    accepted = await directory.accept_now(back)
    await directory.rows.forget([row.path])
    return accepted


async def _retry_by_sidecar(directory: WatchedDirectory, wanted: bytes) -> list[Acceptance]:
    """Retry a file in the failed directory that the ledger does not know, by what its sidecar says."""
    target = move_target(directory.names.root, directory.trigger.on_failure)
    if target is None or not wanted.startswith(target.rstrip(b"/") + b"/"):
        return []

    def bring_back() -> bytes | None:
        with suppress(OSError, ValueError, KeyError, TypeError, file_actions.Replaced):
            sidecar = Path(os.fsdecode(file_actions.sidecar_of(wanted)))
            with sidecar.open("rb") as file:
                said = json.loads(file.read(2**20))
            original = os.fsencode(said["path"])
            # Only back into the tree that it came from, whatever a sidecar may say.
            inside = os.path.normpath(original).startswith(directory.names.root.rstrip(b"/") + b"/")
            if said["trigger"] == directory.trigger.name and inside:
                back = file_actions.move_back(
                    wanted, None, os.path.normpath(original), directory.names.marker
                )
                file_actions.remove_sidecar(wanted)
                return back
        return None

    back = await directory.call(bring_back)
    return [] if back is None else await directory.accept_now(back)


def _is_at(row: FileRow, wanted: bytes) -> bool:
    return row.path == wanted or (original_path(row) == wanted and row.state == "failed")


def _is_below(row: FileRow, wanted: bytes) -> bool:
    prefix = wanted.rstrip(b"/") + b"/"
    return row.path.startswith(prefix) or (original_path(row) or b"").startswith(prefix)
