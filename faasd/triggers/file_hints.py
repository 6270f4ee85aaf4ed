"""Where a watched directory's hints wait between the inotify thread and the directory's task."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from faasd.triggers.file_names import NameRules
from faasd.triggers.file_settle import Hint

__all__ = ["HintInbox", "Taken"]

_HINTS_MAX = 100_000  # More than that, and a scan is cheaper.


@dataclass(frozen=True)
class Taken:
    """Some of the hints, taken out of the inbox."""

    files: dict[bytes, Hint]
    directories: set[bytes]
    overflowed: bool
    has_more: bool


class HintInbox:
    """A HintSink that remembers the last hint of each path and wakes the task, once per batch."""

    def __init__(
        self, names: NameRules, wake: asyncio.Event, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._names = names
        self._wake = wake
        self._loop = loop
        self._lock = threading.Lock()
        self._files: dict[bytes, Hint] = {}
        self._directories: set[bytes] = set()
        self._overflowed = False
        self._is_waking = False

    def file_hint(self, path: bytes, hint: Hint) -> None:
        """Take a hint, unless the name alone says that the file does not count."""
        relative = path[len(self._names.root.rstrip(b"/")) + 1 :]
        marked = self._names.marked_by(relative)
        if marked is None and self._names.why_ignored(relative) is not None:
            return
        with self._lock:
            if len(self._files) >= _HINTS_MAX:
                self._overflowed = True
                self._files.clear()
            elif marked is not None:
                self._files.setdefault(path[: len(path) - len(relative)] + marked, Hint.NONE)
            else:
                self._files[path] = hint
        self._wake_task()

    def directory_hint(self, path: bytes) -> None:
        """Take a hint about a directory."""
        with self._lock:
            self._directories.add(path)
        self._wake_task()

    def overflowed(self) -> None:
        """Take the news that hints were lost."""
        with self._lock:
            self._overflowed = True
        self._wake_task()

    def look_at(self, path: bytes) -> None:
        """Ask for a look at a path, without saying why."""
        with self._lock:
            self._files.setdefault(path, Hint.NONE)
        self._wake_task()

    def take(self, files_max: int) -> Taken:
        """Take out the oldest hints."""
        with self._lock:
            self._is_waking = False
            paths = list(islice(self._files, files_max))
            files = {path: self._files.pop(path) for path in paths}
            taken = Taken(files, self._directories, self._overflowed, bool(self._files))
            self._directories, self._overflowed = set(), False
        return taken

    def _wake_task(self) -> None:
        with self._lock:
            if self._is_waking:
                return
            self._is_waking = True
        with suppress(RuntimeError):  # The loop is closed: nobody is left to be woken.
            self._loop.call_soon_threadsafe(self._wake.set)
