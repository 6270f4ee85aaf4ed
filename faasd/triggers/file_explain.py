"""`faasd why PATH`: what a watch thinks of a path, in sentences."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence

from faasd.clock import to_iso
from faasd.interfaces import FileRow
from faasd.model.units import format_duration
from faasd.triggers.file_directory import WatchedDirectory
from faasd.triggers.file_events import original_path
from faasd.triggers.file_names import shown
from faasd.triggers.file_scan import identity_of
from faasd.triggers.file_services import FileServices
from faasd.triggers.file_settle import is_same_file

__all__ = ["explain_in", "nearest"]


async def explain_in(directory: WatchedDirectory, path: bytes, services: FileServices) -> list[str]:
    """Return what this trigger thinks of a path; empty when it could not see it."""
    status = directory.status()
    problem = [f"the watch has a problem: {status.problem}"] if status.problem else []
    if path == directory.names.root:
        sentence = (
            f"watches this directory ({status.mode}) for {directory.function.name}: {status.seen}"
            f" files seen, {status.pending} waiting to be complete, {status.in_flight} in flight,"
            f" {status.failed} failed"
        )
        found = [sentence]
    elif (row := _row_at(directory, path)) is not None and original_path(row) is not None:
        found = [await _say_row(row, services)]
    elif path.startswith(directory.names.root.rstrip(b"/") + b"/"):
        found = await _explain_below(directory, path, services)
    else:
        return []
    return [f"{directory.trigger.name}: {sentence}" for sentence in found + problem]


def nearest(path: bytes, directories: Sequence[WatchedDirectory]) -> list[str]:
    """Return a sentence that names the watch that shares most of the way to a path, if any does."""
    best, best_depth = None, 1  # The root of all paths is no neighbourhood.
    for directory in directories:
        depth = len([*filter(None, os.path.commonpath([path, directory.names.root]).split(b"/"))])
        if depth >= best_depth:
            best, best_depth = directory, depth
    if best is None:
        return []
    return [f"no watch covers this path; the nearest is {best.trigger.path} ({best.trigger.name})"]


async def _explain_below(
    directory: WatchedDirectory, path: bytes, services: FileServices
) -> list[str]:
    relative = path[len(directory.names.root.rstrip(b"/")) + 1 :]
    why = directory.names.why_not_below(relative) or directory.names.why_ignored(relative)
    if why is not None:
        return [f"ignored, {why}"]
    row = directory.rows.by_path.get(path)
    said = [] if row is None else [await _say_row(row, services)]
    try:
        status = await directory.call(lambda: os.lstat(path))
    except FileNotFoundError:
        return said or ["there is no such file now"]
    except OSError as error:
        return said or [f"it cannot be looked at: {error.strerror}"]
    if not stat.S_ISREG(status.st_mode):
        return [f"ignored, it is {_kind(status.st_mode)}; only regular files count"]
    if row is not None and is_same_file(row, identity_of(status)):
        return said
    changed_s = services.clock.now() - status.st_mtime
    return [*said, _say_waiting(directory, path, changed_s)]


def _say_waiting(directory: WatchedDirectory, path: bytes, changed_s: float) -> str:
    trigger = directory.trigger
    if path in directory.backlog.refusals:
        return f"refused, and tried again: {directory.backlog.refusals[path]}"
    if path in directory.backlog.held and directory.guard.is_tripped:
        return "complete, and waits: the trigger is stopped, because its function seems to feed it"
    if path in directory.backlog.held:
        return (
            "complete, and held back until it is clear that the function does not feed its own"
            " trigger"
        )
    if path in directory.backlog.ready:
        return "complete, and accepted in a moment"
    pending = directory.backlog.pending.get(path)
    if pending is None:
        return "not looked at yet; the next scan finds it"
    if trigger.marker is not None:
        name = shown(os.path.basename(path)) + trigger.marker
        return f"waits for its marker: it is complete when {name} exists"
    ago = f"changed {format_duration(max(0.0, changed_s))} ago"
    settle = format_duration(trigger.settle_s)
    if pending.is_open:
        return f"still being written: {ago}, and its writer has not closed it yet"
    return f"still being written: {ago}, settle is {settle}"


async def _say_row(row: FileRow, services: FileServices) -> str:
    at = to_iso(row.seen_at)
    said = f"accepted at {at} as invocation {row.invocation_id}"
    invocation = await services.history.invocation(row.invocation_id) if row.invocation_id else None
    if invocation is None:
        said += ", which history no longer has"
    elif row.state == "accepted" and invocation.outcome is None:
        said += f", which is {invocation.state}"
    else:
        said += f", which ended {invocation.outcome or invocation.state}"
    original = original_path(row)
    if original is not None:
        return f"{said}; it was dropped as {shown(original)} and moved here"
    return f"{said}; {row.detail}" if row.detail else said


def _row_at(directory: WatchedDirectory, path: bytes) -> FileRow | None:
    row = directory.rows.by_path.get(path)
    if row is not None:
        return row
    for candidate in directory.rows.by_path.values():
        if original_path(candidate) == path and not os.path.lexists(path):
            return candidate
    return None


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "a symbolic link"
    if stat.S_ISDIR(mode):
        return "a directory"
    if stat.S_ISFIFO(mode):
        return "a FIFO"
    return "a socket" if stat.S_ISSOCK(mode) else "a device"
