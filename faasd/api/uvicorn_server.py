"""uvicorn's server, fit to live in a daemon that has a loop, signals and a life of its own.

Left to itself it takes over SIGINT and SIGTERM and wakes ten times a second to renew a date header.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Generator
from typing import Any

import uvicorn
from starlette.applications import Starlette

__all__ = ["UvicornServer", "uvicorn_config"]

_KEEP_ALIVE_S = 75


def uvicorn_config(app: Starlette, **given: Any) -> uvicorn.Config:
    """Return settings with which uvicorn only serves: no log, no loop and no headers of its own."""
    return uvicorn.Config(
        app,
        ws="none",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        **given,
    )


class UvicornServer(uvicorn.Server):
    """uvicorn's server without its signal handlers and without its ten wake-ups a second.

    It answers until `leave` is set, then drains for `drain_s`.
    """

    def __init__(
        self, config: uvicorn.Config, tasks: set[asyncio.Task[None]] | None = None
    ) -> None:
        """`tasks` holds requests that are answered past uvicorn: one set, so that stopping sees both."""
        super().__init__(config)
        if tasks is not None:
            self.server_state.tasks = tasks
        self.answering = asyncio.Event()
        self.leave = asyncio.Event()
        self.drain_s = 0.0

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals alone: they are the daemon's."""
        yield

    async def main_loop(self) -> None:
        """Answer until `leave` is set."""
        self.answering.set()
        await self.leave.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let requests finish within the drain time, cancel the rest."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.drain_s
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        # What the loop has accepted becomes a connection a few turns later. One that were made after the
        # look below would be answered by a daemon that has gone further than it may.
        for _ in range(5):
            await asyncio.sleep(0)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while tasks := set(self.server_state.tasks):
            _, late = await asyncio.wait(tasks, timeout=max(0.0, deadline - loop.time()))
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)
        # What is answered may still have to be read by a slow client.
        while self.server_state.connections and loop.time() < deadline:  # noqa: ASYNC110 - no event tells.
            await asyncio.sleep(0.005)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
