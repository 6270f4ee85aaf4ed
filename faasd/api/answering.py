"""The boundary of a request: whatever becomes of it, whoever asked gets an answer, and the daemon lives on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from faasd.api.call import Call
from faasd.api.replies import ClientGone, failure_reply, no_method, no_route
from faasd.api.routes import ApiRoute

__all__ = ["answer", "application"]


def application(routes: Sequence[Route]) -> Starlette:
    """Return what answers at these routes, and says of all others that they are none."""
    return Starlette(routes=routes, exception_handlers={404: no_route, 405: no_method})


async def answer(route: ApiRoute, call: Call) -> Response:
    """Answer one request; errors become answers in the status that their class means."""
    try:
        return await route.handler(call)
    except ClientGone:
        return Response(status_code=499)  # Nobody reads it.
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - The boundary of the request.
        return failure_reply(error, route.method, route.path)
