"""What a complete file becomes: its event, the key that bridges a crash, and its ledger row. Pure."""

from __future__ import annotations

import hashlib
import json
import os

from faasd.clock import to_iso
from faasd.interfaces import FileRow
from faasd.model.event import encode_json, event_body
from faasd.model.function import Function
from faasd.model.invocation import NewEvent
from faasd.model.trigger import FilesTrigger
from faasd.triggers.file_settle import Identity, Seen

__all__ = [
    "file_event",
    "file_row",
    "identity_of_row",
    "moved_detail",
    "origin_key",
    "original_path",
]

_MOVED_PREFIX = "moved here from "


def origin_key(trigger: str, seen: Seen, *, retry: str = "") -> str:
    """Return the key under which the store accepts this file once.

    The time of the last change of the inode is part of it, so that a file that was moved away and
    comes back the very same is a new drop, while a crash between accepting a file and writing its
    ledger row leads to the same key again.
    """
    device, inode, mtime_ns, size = seen.identity
    path_hash = hashlib.blake2b(seen.path, digest_size=12).hexdigest()
    return f"file:{trigger}:{path_hash}:{device}:{inode}:{mtime_ns}:{size}:{seen.ctime_ns}{retry}"


def file_event(
    function: Function,
    trigger: FilesTrigger,
    root: bytes,
    seen: Seen,
    *,
    event_id: str,
    at: float,
    retry: str = "",
) -> NewEvent:
    """Return the event that tells a function of a complete file."""
    relative = seen.path[len(root.rstrip(b"/")) + 1 :]
    body = event_body(
        "files",
        trigger.name,
        event_id,
        at,
        path=os.fsdecode(seen.path),
        name=os.fsdecode(os.path.basename(seen.path)),
        size=seen.identity.size,
        modified_at=_modified_at(seen.identity.mtime_ns),
        relative_path=os.fsdecode(relative),
    )
    return NewEvent(
        function=function.name,
        queue=function.queue_of_files(trigger),
        trigger="files",
        source=trigger.name,
        body=body,
        id=event_id,
        origin_key=origin_key(trigger.name, seen, retry=retry),
        filter=trigger.filter,
    )


def file_row(
    trigger: str, seen: Seen, invocation_id: str, at: float, *, state: str = "accepted"
) -> FileRow:
    """Return the ledger row of a file that has been accepted."""
    return FileRow(trigger, seen.path, *seen.identity, state, invocation_id, at)


def identity_of_row(row: FileRow) -> Identity:
    """Return the identity of the file that a row tells of."""
    return Identity(row.device, row.inode, row.mtime_ns, row.size)


def moved_detail(original: bytes) -> str:
    """Return the detail of a row whose file was moved: for people, and for `original_path`."""
    return _MOVED_PREFIX + encode_json(os.fsdecode(original))


def original_path(row: FileRow) -> bytes | None:
    """Return where a moved file was dropped; None for a file that has not been moved."""
    if row.detail is None or not row.detail.startswith(_MOVED_PREFIX):
        return None
    return os.fsencode(json.loads(row.detail[len(_MOVED_PREFIX) :]))


def _modified_at(mtime_ns: int) -> str | None:
    try:
        return to_iso(mtime_ns / 1e9)
    except (OverflowError, ValueError, OSError):  # Anybody can set a time in the year 300000.
        return None
