"""What other programs read over TCP: metrics and health, and nothing else.

A peer on TCP is nobody that the kernel could name, so nothing is served here that a stranger might not read, and nothing
can be changed. Everything else is on the Unix socket.
"""

from __future__ import annotations

import asyncio
import functools
import socket

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from faasd.api.answering import answer, application
from faasd.api.call import Call
from faasd.api.routes import ROUTES, ApiRoute
from faasd.api.services import ApiServices
from faasd.api.uvicorn_server import UvicornServer, uvicorn_config
from faasd.errors import FaasdError
from faasd.model.address import TcpAddress

__all__ = ["HttpListener"]

_PATHS = ("/healthz", "/readyz", "/metrics")
#: Connections at once; one more is told to come again.
_CONNECTIONS_MAX = 100


class HttpListener:
    """Answers on one TCP address, from `start` until `stop`; without an address it does nothing."""

    def __init__(self, services: ApiServices, address: TcpAddress | None) -> None:
        self._services = services
        self._address = address
        self._stopping = asyncio.Event()
        self._server: UvicornServer | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bind and begin to answer. Raises FaasdError when the address cannot be had."""
        if self._address is None:
            return
        listener = _bind(self._address)
        config = uvicorn_config(self._app(), http="httptools", limit_concurrency=_CONNECTIONS_MAX)
        self._server = UvicornServer(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        await self._server.answering.wait()

    async def stop(self) -> None:
        """Stop answering; what is being answered has a second to finish."""
        if self._server is None or self._serving is None:
            return
        self._stopping.set()
        self._server.drain_s = 1.0
        self._server.leave.set()
        await self._serving
        self._server = self._serving = None

    def told(self) -> dict[str, str]:
        """Return what the status says of it: where it listens, if it does."""
        return {} if self._server is None else {"http": str(self._address)}

    def _app(self) -> Starlette:
        routes = [
            Route(one.path, functools.partial(self._answer, one), methods=[one.method])
            for one in ROUTES
            if one.path in _PATHS
        ]
        return application(routes)

    async def _answer(self, route: ApiRoute, request: Request) -> Response:
        call = Call(request, self._services, None, lambda: False, self._stopping, 0)
        return await answer(route, call)


def _bind(address: TcpAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen()
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise FaasdError(
            f"cannot listen on {address}: {error.strerror}; change or remove `listen` in [http]"
        ) from error
    return listener
