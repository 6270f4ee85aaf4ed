"""The HTTP server: its own Unix socket, its own signals left alone, its peers known.

uvicorn is embedded with care; see uvicorn_server. It would also make the socket 0666.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import grp
import os
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from faasd.api.access import Peer, descends_from_this_process, refusal
from faasd.api.adopted import adopt_listener
from faasd.api.answering import answer, application
from faasd.api.call import Call
from faasd.api.connection import PEER, Connection, Desks
from faasd.api.quick_enqueue import EnqueueDesk
from faasd.api.quick_invoke import InvokeDesk
from faasd.api.replies import json_reply, refused
from faasd.api.routes import ROUTES, ApiRoute, openapi_document
from faasd.api.services import ApiServices
from faasd.api.uvicorn_server import UvicornServer, uvicorn_config
from faasd.errors import StateDirectoryInUse, StoreError

__all__ = ["ApiServer"]

_BACKLOG = 1024


class ApiServer:
    """Answers the command line and other programs on a Unix socket, from `start` until `stop`.

    `is_sandboxed` tells whether a process id belongs to a function; by default everything below this
    process does. `handed_over` are listening sockets that a supervisor has opened for us and keeps.
    """

    def __init__(
        self,
        services: ApiServices,
        socket_path: Path,
        *,
        mode: int = 0o660,
        group: str | None = None,
        body_limit_bytes: int = 64 * 2**20,
        is_sandboxed: Callable[[int], bool] = descends_from_this_process,
        handed_over: Sequence[int] = (),
    ) -> None:
        self._services = services
        self._path = socket_path
        self._mode = mode
        self._group = group
        self._body_limit_bytes = body_limit_bytes
        self._is_sandboxed = is_sandboxed
        self._handed_over = handed_over
        self._stopping = asyncio.Event()
        self._server: UvicornServer | None = None
        self._serving: asyncio.Task[None] | None = None
        self._inode: int | None = None

    async def start(self) -> None:
        """Bind the socket, or take the one that was handed over, and begin to answer.

        Raises StateDirectoryInUse when somebody answers on the socket already, InvalidSetting when
        another one was handed over than the configuration names, and StoreError when it cannot be made.
        """
        if self._handed_over:
            listener = adopt_listener(self._handed_over, self._path)
        else:
            listener = await self._bind()
        desk = EnqueueDesk(self._services)
        desks = Desks(desk, InvokeDesk(self._services, desk.tasks), self._body_limit_bytes)
        config = uvicorn_config(self._app(), http=functools.partial(Connection, desks))
        self._server = UvicornServer(config, desk.tasks)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="api")
        await self._server.answering.wait()

    async def stop(self, drain_s: float = 5.0) -> None:
        """Stop accepting, let requests finish for `drain_s`, then cancel them. Streams end at once."""
        if self._server is None or self._serving is None:
            return
        self._stopping.set()
        self._unlink_own()
        self._server.drain_s = drain_s
        self._server.leave.set()
        await self._serving
        self._server = self._serving = None

    async def _bind(self) -> socket.socket:
        await self._remove_stale()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Bound under a closed mask and opened afterwards: never wider than meant, not for a moment.
            before = os.umask(0o177)
            try:
                listener.bind(os.fspath(self._path))
            finally:
                os.umask(before)
            self._inode = self._path.stat().st_ino
            if self._group is not None:
                os.chown(self._path, -1, grp.getgrnam(self._group).gr_gid)
            self._path.chmod(self._mode)
            listener.listen(_BACKLOG)
            listener.setblocking(False)
        except (OSError, KeyError) as error:
            listener.close()
            cause = (
                _cause(error) if isinstance(error, OSError) else f"no group {self._group!r} exists"
            )
            raise StoreError(f"cannot make the socket {self._path}: {cause}") from error
        return listener

    async def _remove_stale(self) -> None:
        """Remove a socket file that nobody answers on."""
        try:
            if not stat.S_ISSOCK(self._path.lstat().st_mode):
                raise StoreError(
                    f"cannot make the socket {self._path}: a file is in its place; remove that, or set "
                    f"another `socket`"
                )
        except FileNotFoundError:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)  # A full backlog is somebody too, and must not hold us up.
            result = probe.connect_ex(os.fspath(self._path))
        if result == errno.ECONNREFUSED:
            self._path.unlink(missing_ok=True)
        elif result != errno.ENOENT:
            raise StateDirectoryInUse(
                f"cannot make the socket {self._path}: another daemon answers on it; stop that one, or "
                f"give this one another state_dir"
            )

    def _unlink_own(self) -> None:
        # A successor may have bound its own there already; that one is not ours to remove.
        with contextlib.suppress(FileNotFoundError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _app(self) -> Starlette:
        routes = [
            Route(one.path, functools.partial(self._answer, one), methods=[one.method])
            for one in ROUTES
        ]
        document = openapi_document(self._services.version)

        async def openapi(request: Request) -> Response:  # noqa: ARG001
            return json_reply(document)

        routes.append(Route("/api/v1/openapi.json", openapi, methods=["GET"]))
        return application(routes)

    async def _answer(self, route: ApiRoute, request: Request) -> Response:
        peer: Peer | None = request.scope.get(PEER)
        refused_because = refusal(route.access, peer, self._is_sandboxed)
        if refused_because is not None:
            return refused(403, "forbidden", refused_because)

        def is_admin() -> bool:
            return refusal("admin", peer, self._is_sandboxed) is None

        if route.shows_records:
            await self._services.invoker.written()
        call = Call(request, self._services, peer, is_admin, self._stopping, self._body_limit_bytes)
        return await answer(route, call)


def _cause(error: OSError) -> str:
    if error.strerror is None:  # The kernel takes 107 bytes; Python refuses more by itself.
        return f"{error}; set a shorter [daemon] socket or state_dir"
    return error.strerror
