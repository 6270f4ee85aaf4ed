"""The blocking half of a watched directory: look, compare, and say what it comes to.

These run in the directory's own thread while its task waits for them, so they may read what the
task owns.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from faasd.interfaces import FileRow
from faasd.model.trigger import FilesTrigger
from faasd.triggers.file_events import original_path
from faasd.triggers.file_mounts import FileSystem, file_system_of
from faasd.triggers.file_names import shown
from faasd.triggers.file_scan import RootState, Scan, look, look_at_root, scan
from faasd.triggers.file_settle import Hint, Seen, SettleRules, Sifted, gone, sift
from faasd.triggers.file_state import TriggerState
from faasd.triggers.file_watch import DirectoryWatches, HintSink

__all__ = ["DirectoryLook", "Looked", "Scanned", "say_root_error"]

_LOCAL = FileSystem("local")


@dataclass(frozen=True)
class Looked:
    """What a look at single files came to."""

    sifted: Sifted
    absent: list[bytes]


@dataclass(frozen=True)
class Scanned:
    """What a scan came to."""

    sifted: Sifted
    found: Scan
    gone: list[bytes]  # Ledger rows whose file is verifiably no longer there.
    problem: str | None


class DirectoryLook:
    """Looks at one trigger's directory."""

    def __init__(self, state: TriggerState, watches: DirectoryWatches, sink: HintSink) -> None:
        self.root_state: RootState | None = None
        self._trigger = state.trigger
        self._names = state.names
        self._rows = state.rows
        self._pending = state.backlog.pending
        self._clock = state.services.clock
        self._watches = watches
        self._sink = sink
        self._file_system = _LOCAL
        self._was_mount_point = False
        self._watch_problem: str | None = None

    @property
    def is_polling(self) -> bool:
        """Whether hints are not to be had, by choice, by file system or because of a limit."""
        if self._watch_problem is not None:
            return True
        if self._trigger.polling is not None:
            return self._trigger.polling
        return self._file_system.needs_polling

    @property
    def has_stable_inodes(self) -> bool:
        """Whether an inode number proves which file it is."""
        return self._file_system.stable_inodes

    @property
    def epoch_s(self) -> float | None:
        """The wall clock's zero on the monotonic clock; None where files are stamped by another clock."""
        if self._file_system.needs_polling:
            return None
        return self._clock.monotonic() - self._clock.now()

    def is_root_changed(self) -> bool:
        """Whether something else is at the trigger's path than at the last scan, or hints have died."""
        try:
            state: RootState | None = look_at_root(self._names.root)
        except OSError:
            state = None
        return state != self.root_state or not (self.is_polling or self._watches.is_alive())

    def look(self, paths: Iterable[bytes], hints: Mapping[bytes, Hint]) -> Looked:
        """Look at single files."""
        found = look(self._names, paths)
        present = [seen for seen in found.values() if seen is not None]
        absent = [path for path, seen in found.items() if seen is None]
        return Looked(self._sift(present, hints), absent)

    def peek(self, paths: Iterable[bytes]) -> dict[bytes, Seen]:
        """Return the files that are at these paths now."""
        found = look(self._names, paths).items()
        return {path: seen for path, seen in found if seen is not None}

    def scan(self, start: bytes) -> Scanned:
        """Scan the whole tree, or from a directory in it downwards. Raises OSError about the root."""
        try:
            state = look_at_root(self._names.root)
            if state != self.root_state:
                self._file_system = file_system_of(self._names.root) or _LOCAL
            self.root_state = state
            self._watch_problem = None  # Perhaps there is room for watches again.
            rules = self._rules()
            found = scan(
                self._names,
                self._rows.by_path,
                self._watch,
                start=start,
                stable_inodes=rules.stable_inodes,
            )
        except OSError:
            self.root_state = None
            raise
        kept = {*found.directories, *found.unread}
        below = os.path.join(self._names.root, start) if start else None
        self._watches.keep_only(set() if self.is_polling else kept, self._sink, below)
        lost: list[bytes] = []
        if not start:
            lost = self._gone(found)
        return Scanned(self._sift(found.files, {}), found, lost, self._problem(state, found))

    def forget(self) -> None:
        """Let go of all watches."""
        self._watches.keep_only(set(), self._sink)

    def _watch(self, fd: int, path: bytes) -> None:
        if self.is_polling:
            return
        try:
            self._watches.watch(fd, path, self._sink)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                self._watch_problem = _limit_sentence("max_user_watches", self._trigger)
            elif error.errno in {errno.EMFILE, errno.ENFILE}:
                self._watch_problem = _limit_sentence("max_user_instances", self._trigger)
            elif error.errno != errno.ENOENT:  # Removed meanwhile: nothing left to watch.
                raise

    def _sift(self, files: Iterable[Seen], hints: Mapping[bytes, Hint]) -> Sifted:
        wanted = [
            seen
            for seen in files
            if self._names.why_ignored(seen.path[len(self._names.root.rstrip(b"/")) + 1 :]) is None
        ]
        return sift(
            wanted,
            self._rows.by_path,
            self._pending,
            hints,
            self._rules(),
            order=self._trigger.order,
            now=self._clock.now(),
            monotonic_s=self._clock.monotonic(),
        )

    def _rules(self) -> SettleRules:
        return SettleRules(
            settle_s=self._trigger.settle_s,
            needs_marker=self._names.marker is not None,
            # A server stamps files by its own clock, which may be an hour off.
            trusts_times=not self._file_system.needs_polling,
            stable_inodes=self._file_system.stable_inodes,
        )

    def _gone(self, found: Scan) -> list[bytes]:
        # What is accepted and gone is found by whoever carries out its on_success.
        rows = [row for row in self._rows.by_path.values() if row.state != "accepted"]
        lost = gone(
            (row for row in rows if original_path(row) is None),
            present=found.present,
            directories=found.directories,
            unread=found.unread.keys(),
            devices=found.devices,
            root=self._names.root,
        )
        moved = (row for row in rows if original_path(row) is not None)
        return lost + [row.path for row in moved if _is_gone_elsewhere(row)]

    def _problem(self, state: RootState, found: Scan) -> str | None:
        if found.unread:
            path, error = next(iter(found.unread.items()))
            more = f" (and {len(found.unread) - 1} more)" if len(found.unread) > 1 else ""
            return f"cannot read {shown(path)}{more}: {error.strerror}; files in it are not seen"
        self._was_mount_point = self._was_mount_point or state.is_mount_point
        if not state.is_mount_point:
            live = {*found.directories.values(), *found.devices}
            stale = sum(
                row.device not in live
                for row in self._rows.by_path.values()
                if row.path not in found.present and original_path(row) is None
            )
            if stale or self._was_mount_point:
                return (
                    f"the file system that was mounted at {self._trigger.path} is gone; the"
                    f" {stale} files known from it are remembered until it returns"
                )
        return self._watch_problem


def _is_gone_elsewhere(row: FileRow) -> bool:
    """Whether a failed file is verifiably no longer where it was moved."""
    try:
        return not stat.S_ISREG(os.lstat(row.path).st_mode)
    except FileNotFoundError:
        directory = Path(os.fsdecode(os.path.dirname(row.path)))
        try:
            return directory.stat().st_dev == row.device
        except OSError:
            return False
    except OSError:
        return False


def say_root_error(path: str, error: OSError) -> str:
    """Say what is wrong with a trigger's directory, and what happens next."""
    if error.errno == errno.ENOENT:
        return f"the directory {path} does not exist; it is watched from the moment it appears"
    if error.errno == errno.ENOTDIR:
        return f"{path} is not a directory; make it one, and it is watched"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return (
            f"the directory {path} cannot be read ({error.strerror}); give the user that faasd"
            " runs as permission to read and enter it"
        )
    return f"the directory {path} cannot be read: {error.strerror}; it is tried again"


def _limit_sentence(sysctl: str, trigger: FilesTrigger) -> str:
    path = Path("/proc/sys/fs/inotify") / sysctl
    try:
        now = f" ({path.read_text().strip()})"
    except OSError:
        now = ""
    return (
        f"the inotify limit fs.inotify.{sysctl}{now} is reached, so {trigger.path} is polled every"
        f" {trigger.poll_interval_s:g}s; raise it with: sysctl fs.inotify.{sysctl}=524288"
    )
