"""The boundary of a request: whatever becomes of it, whoever asked gets an answer, and the daemon lives on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from faasd.api.call import Call
from faasd.api.replies import ClientGone, error_reply, no_method, no_route, refused
from faasd.api.routes import ApiRoute
from faasd.errors import FaasdError, NotAccepting

__all__ = ["answer", "application"]

_log = logging.getLogger("faasd.api")


def application(routes: Sequence[Route]) -> Starlette:
    """Return what answers at these routes, and says of all others that they are none."""
    return Starlette(routes=routes, exception_handlers={404: no_route, 405: no_method})


async def answer(route: ApiRoute, call: Call) -> Response:
    """Answer one request; errors become answers in the status that their class means."""
    try:
        return await route.handler(call)
    except FaasdError as error:
        return error_reply(error)
    except ClientGone:
        return Response(status_code=499)  # Nobody reads it.
    except asyncio.CancelledError:
        # Only a server's `stop` cancels requests, when the drain time is over; the client is told so.
        return error_reply(NotAccepting("the daemon is stopping; try again in a moment"))
    except Exception:  # noqa: BLE001 - the HTTP request boundary: the daemon outlives a request.
        _log.exception("request_failed", extra={"method": route.method, "path": route.path})
        return refused(
            500, "internal", "the daemon failed to answer this; its log has the traceback"
        )
