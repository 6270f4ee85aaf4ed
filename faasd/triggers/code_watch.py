"""Notices that the configuration or the functions' code has changed, once the changes have come to rest."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection

from faasd.logs import get_logger
from faasd.triggers.file_settle import Hint
from faasd.triggers.file_watch import DirectoryWatches

__all__ = ["CodeWatch"]

#: A save, or a checkout of many files, is over when nothing has changed for so long.
_REST_S = 0.5
#: But who never rests is not waited for.
_REST_S_MAX = 5.0

_log = get_logger("reload")


class CodeWatch:
    """Implements `HintSink`: calls `changed` in the event loop, at most once for a burst of changes.

    Network file systems tell nobody of changes made elsewhere: there nothing is noticed.
    """

    def __init__(self, changed: Callable[[], None], *, rest_s: float = _REST_S) -> None:
        self._is_wanted: Callable[[str], bool] = lambda _: False
        self._changed = changed
        self._rest_s = rest_s
        self._watches = DirectoryWatches(hears_of_gone=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._restless_since: float | None = None
        self._problem = ""
        self._watched: set[bytes] = set()

    @property
    def is_running(self) -> bool:
        """Whether it watches."""
        return self._loop is not None

    async def look(
        self, directories: Callable[[], Collection[str]], is_wanted: Callable[[str], bool]
    ) -> bool:
        """Begin to watch, or watch these directories from now on; `is_wanted` says which paths matter.

        Returns whether some were not watched before: what was read of them may have changed since.
        Both are called in other threads.
        """
        self._loop, self._is_wanted = asyncio.get_running_loop(), is_wanted
        return await asyncio.to_thread(self._watch_all, directories)

    async def stop(self) -> None:
        """Watch no more, until the next `look`."""
        self._loop = None
        self._watched = set()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await asyncio.to_thread(self._watches.close)

    def file_hint(self, path: bytes, hint: Hint) -> None:
        """Hear that something happened to a file. Its creation says nothing: its being written does."""
        if hint is not Hint.CREATED:
            self._hear(path)

    def directory_hint(self, path: bytes) -> None:
        """Hear that a directory appeared, or that something went."""
        self._hear(path)

    def overflowed(self) -> None:
        """Hear that events were lost."""
        self._hear(None)

    def _hear(self, path: bytes | None) -> None:
        """In the reader's thread."""
        loop = self._loop
        if loop is not None and (path is None or self._is_wanted(os.fsdecode(path))):
            loop.call_soon_threadsafe(self._wait_for_rest)

    def _wait_for_rest(self) -> None:
        if self._loop is None:
            return
        now = self._loop.time()
        if self._timer is not None:
            self._timer.cancel()
        if self._restless_since is None:
            self._restless_since = now
        at = min(now + self._rest_s, self._restless_since + _REST_S_MAX)
        self._timer = self._loop.call_at(at, self._tell)

    def _tell(self) -> None:
        self._timer, self._restless_since = None, None
        _log.info("change_noticed")
        self._changed()

    def _watch_all(self, directories: Callable[[], Collection[str]]) -> bool:
        wanted = {os.fsencode(path) for path in directories()}
        problem = ""
        for path in sorted(wanted):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue  # It comes with a change of something that is watched, or it is not needed.
            try:
                self._watches.watch(fd, path, self)
            except OSError as error:
                problem = f"{os.fsdecode(path)}: {error.strerror}"
            finally:
                os.close(fd)
        self._watches.keep_only(wanted, self)
        if problem and problem != self._problem:
            _log.warning("code_not_watched", problem=problem, remedy="use `faasd reload`")
        self._problem = problem
        before, self._watched = self._watched, wanted
        return not wanted <= before
