"""Bare uvicorn with Starlette and httptools on a Unix socket: one route that answers with a small JSON object."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route


async def health(_: Request) -> JSONResponse:
    return JSONResponse({"status": "ok"})


if __name__ == "__main__":
    app = Starlette(routes=[Route("/healthz", health)])
    uvicorn.run(app, uds=sys.argv[1], http="httptools", loop="asyncio", access_log=False)
