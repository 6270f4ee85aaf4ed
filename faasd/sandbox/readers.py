"""Who reads which descriptor of the sandboxes: one list of the kernel's for all of them.

A sandbox has five that are read, for a few milliseconds. The event loop's own list takes several times as long
for each: a handle, a key and four mappings, and as much again when the descriptor is let go of.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable

__all__ = ["Readers"]


class Readers:
    """Calls `call(fd)` in the event loop as long as `fd` is readable, or has hung up. For one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[int], None]] = {}
        self._loop.add_reader(self._epoll.fileno(), self._look)

    def add(self, fd: int, call: Callable[[int], None]) -> None:
        """Begin with a descriptor. Raises OSError."""
        self._epoll.register(fd, select.EPOLLIN)
        self._calls[fd] = call

    def remove(self, fd: int) -> None:
        """Be done with a descriptor, before it is closed; does nothing for one that is not in the list."""
        if self._calls.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Be done with all; again does nothing."""
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._calls.clear()

    def _look(self) -> None:
        readable = [(fd, self._calls.get(fd)) for fd, _ in self._epoll.poll(0)]
        for fd, call in readable:
            # One before it may have let go of it, and another descriptor may have its number by now.
            if call is None or self._calls.get(fd) is not call:
                continue
            try:
                call(fd)
            except Exception as error:  # noqa: BLE001 - as the loop has it: one's mistake is not the others'.
                told = {"message": f"reading descriptor {fd} failed", "exception": error}
                self._loop.call_exception_handler(told)
