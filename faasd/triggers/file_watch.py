"""The only door to watchdog: hints that something happened to a path.

It uses watchdog's inotify reader (`InotifyFD`) and not its Observer. The reader is one thread for
all directories and calls back with the raw event. The layers above it would bring back what a drop
box cannot have: moves held back for half a second to pair them, renames into the directory told
as creations, an overflow that no handler hears of, a thread per directory, and a thread that dies
of a handler's exception. The version is pinned to 7.x, and the scan is right without any hint.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from typing import Protocol

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchDescriptor,
)

from faasd.triggers.file_settle import Hint

__all__ = ["DirectoryWatches", "HintSink"]

_MASK = Mask(
    InotifyConstants.IN_CREATE
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_EXCL_UNLINK
)
#: Of no use to a drop box, where what is gone needs nothing; for whoever watches code.
_GONE = Mask(InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVED_FROM)
_SELF_CHANGED = (
    InotifyConstants.IN_DELETE_SELF
    | InotifyConstants.IN_MOVE_SELF
    | InotifyConstants.IN_UNMOUNT
    | InotifyConstants.IN_IGNORED
)


class HintSink(Protocol):
    """Who hears of hints. Called in the reader's thread; must not block."""

    def file_hint(self, path: bytes, hint: Hint) -> None:
        """Hear that something happened to the file at this path."""

    def directory_hint(self, path: bytes) -> None:
        """Hear that a directory appeared, or that a watched one was moved or removed."""

    def overflowed(self) -> None:
        """Hear that events were lost."""


class _Directory:
    """One watched directory of one sink; the callback object that watchdog calls."""

    def __init__(self, path: bytes, inode: tuple[int, int], sink: HintSink) -> None:
        self.path = path
        self.inode = inode
        self.descriptor = WatchDescriptor(-1)
        self._sink = sink

    def on_event(self, event: InotifyEvent) -> None:
        """Turn a kernel event into a hint. Nothing may escape: it would end the reader's thread."""
        if event.mask & _SELF_CHANGED or not event.name:
            self._sink.directory_hint(self.path)
            return
        path = os.path.join(self.path, event.name)
        if event.mask & InotifyConstants.IN_ISDIR:
            self._sink.directory_hint(path)
        elif event.mask & InotifyConstants.IN_MOVED_TO:
            self._sink.file_hint(path, Hint.RENAMED_IN)
        elif event.mask & InotifyConstants.IN_CLOSE_WRITE:
            self._sink.file_hint(path, Hint.CLOSED)
        elif event.mask & InotifyConstants.IN_CREATE:
            self._sink.file_hint(path, Hint.CREATED)
        elif event.mask & _GONE:
            self._sink.directory_hint(path)

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:  # noqa: ARG002 - watchdog's signature
        """Hear that the kernel let go of the directory."""
        self.inode = (-1, -1)  # So that a scan watches it anew.
        self._sink.directory_hint(self.path)

    def on_queue_overflow(self) -> None:
        """Hear that the kernel dropped events."""
        self._sink.overflowed()


class DirectoryWatches:
    """All inotify watches of one process. `watch` and `keep_only` are called from scan threads."""

    def __init__(
        self, make_reader: Callable[[], InotifyFD] = InotifyFD, *, hears_of_gone: bool = False
    ) -> None:
        """With `hears_of_gone`, what is removed or moved away is a hint too, as of a directory."""
        self._make_reader = make_reader
        self._mask = Mask(_MASK | _GONE) if hears_of_gone else _MASK
        self._lock = threading.Lock()
        self._reader: InotifyFD | None = None
        self._directories: dict[tuple[int, bytes], _Directory] = {}

    def watch(self, fd: int, path: bytes, sink: HintSink) -> None:
        """Watch the directory that is open at `fd`, known as `path`, unless it already is.

        Raises OSError: ENOSPC when the user's watches are used up, EMFILE for inotify instances.
        """
        status = os.fstat(fd)
        inode = (status.st_dev, status.st_ino)
        with self._lock:
            key = (id(sink), path)
            old = self._directories.get(key)
            if old is not None and old.inode == inode and self._is_alive():
                return
            self._remove(key)
            reader = self._running_reader()
            directory = _Directory(path, inode, sink)
            # By descriptor: the directory that is watched is then the very one that is read next.
            wd = reader.add_callback(
                b"/proc/self/fd/%d" % fd, self._mask, directory, CallbackId(id(directory))
            )
            if wd == -1:  # watchdog keeps EACCES to itself.
                reader.remove_callbacks([(wd, CallbackId(id(directory)))])
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            directory.descriptor = wd
            self._directories[key] = directory

    def keep_only(self, paths: set[bytes], sink: HintSink, below: bytes | None = None) -> None:
        """Let go of a sink's directories that are not in `paths` (and, if given, at or below one)."""
        with self._lock:
            for key in list(self._directories):
                if key[0] != id(sink) or key[1] in paths:
                    continue
                if below is None or key[1] == below or key[1].startswith(below + b"/"):
                    self._remove(key)

    def is_alive(self) -> bool:
        """Whether hints still arrive; a dead reader is replaced by the next `watch`."""
        with self._lock:
            return self._is_alive()

    @property
    def count(self) -> int:
        """How many directories are watched."""
        return len(self._directories)

    def close(self) -> None:
        """Stop the reader's thread and close its descriptor."""
        with self._lock:
            reader, self._reader = self._reader, None
            self._directories.clear()
        if reader is not None:
            reader.stop()
            reader.join()

    def _is_alive(self) -> bool:
        return self._reader is not None and self._reader.is_alive()

    def _running_reader(self) -> InotifyFD:
        if self._reader is None or not self._is_alive():
            self._directories.clear()
            self._reader = self._make_reader()
            # watchdog opens it without IN_CLOEXEC, so it would live on in every sandbox.
            os.set_inheritable(self._reader._inotify_fd, False)  # noqa: SLF001
            self._reader.start()
        return self._reader

    def _remove(self, key: tuple[int, bytes]) -> None:
        directory = self._directories.pop(key, None)
        if directory is not None and directory.inode != (-1, -1) and self._reader is not None:
            self._reader.remove_callbacks([(directory.descriptor, CallbackId(id(directory)))])
