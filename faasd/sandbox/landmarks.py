"""Files that are replaced while zygotes live, looked at again and again, at most once a second.

A wall knows files and directories, not names: when the network changes, /etc/resolv.conf becomes another file, and
a disk that is mounted makes another directory of its mount point, which the walls of a running zygote do not know.
Seeing that, the pool starts a new zygote for the next attempt. The same goes for what must be covered up.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
from collections.abc import Iterable

from faasd.clock import Clock
from faasd.sandbox.file_rules import WATCHED, Premises

__all__ = ["Landmarks"]

_LOOK_EVERY_S = 1.0
#: A network file system that does not answer must not keep attempts on other ones waiting.
_PATIENCE_S = 1.0
_Identities = dict[str, tuple[int, int]]


class Landmarks:
    """Keeps the premises: the same object for as long as nothing has changed. Used from one event loop."""

    def __init__(self, premises: Premises, clock: Clock) -> None:
        self._clock = clock
        self._paths = {*WATCHED, *premises.hidden}
        self._known: set[str] = set()  # Asked about, and answered or given up.
        self._looking: asyncio.Future[tuple[_Identities, str]] | None = None
        self._looked_at: float | None = None
        self.premises = premises

    def is_fresh(self) -> bool:
        """Whether the last look is less than a second old."""
        if self._looked_at is None:
            return False
        return self._clock.monotonic() - self._looked_at < _LOOK_EVERY_S

    async def look(self, paths: Iterable[str]) -> None:
        """Look, in a thread, at what is known and at these paths; not if that was done less than a second ago."""
        wanted = set(paths)
        # One that somebody else has just asked about is waited for too: a zygote that is started without
        # knowing its identity would be another one than the next look asks for.
        if self.is_fresh() and wanted <= self._known:
            return
        new = wanted - self._paths
        self._paths |= new
        if self._looking is None or new:
            self._looking = asyncio.ensure_future(asyncio.to_thread(_look, sorted(self._paths)))
        looking = self._looking
        done, _ = await asyncio.wait({looking}, timeout=_PATIENCE_S)
        self._looked_at = self._clock.monotonic()
        self._known |= wanted
        if done and self._looking is looking:
            self._looking = None
            identities, resolv_conf = looking.result()
            found = dataclasses.replace(
                self.premises, identities=identities, resolv_conf=resolv_conf
            )
            if found != self.premises:
                self.premises = found


def _look(paths: list[str]) -> tuple[_Identities, str]:
    identities: _Identities = {}
    for path in paths:
        try:
            found = os.stat(path)
        except OSError:
            continue  # Its coming is a change like any other.
        identities[path] = (found.st_dev, found.st_ino)
    return identities, os.path.realpath("/etc/resolv.conf")
