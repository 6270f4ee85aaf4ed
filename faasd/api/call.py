"""One request as the handlers see it: bounded, typed, with the services and the peer at hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from faasd.api.access import Peer
from faasd.api.replies import ClientGone
from faasd.api.services import ApiServices
from faasd.clock import from_iso
from faasd.errors import InvalidSetting, NotFound, PayloadTooLarge, UnknownFunction
from faasd.interfaces import Catalog
from faasd.model.event import decode_json
from faasd.model.function import Function
from faasd.model.suggest import did_you_mean
from faasd.model.units import format_size, parse_duration_s

__all__ = [
    "Call",
    "Handler",
    "function_named",
    "json_object",
    "json_value",
]


@dataclass(frozen=True)
class Call:
    """One request. Whatever it says is hostile until it has passed through one of these methods."""

    request: Request
    services: ApiServices
    peer: Peer | None
    #: Whether an admin asks. A function, because the answer means a walk through /proc, and few routes ask.
    is_admin: Callable[[], bool]
    stopping: asyncio.Event
    body_limit_bytes: int

    @property
    def who(self) -> str:
        """Who asks, for records."""
        return self.peer.who if self.peer else "http"

    def segment(self, name: str) -> str:
        """Return a named part of the path."""
        return str(self.request.path_params[name])

    def query(self, name: str) -> str | None:
        """Return a query parameter; empty counts as absent."""
        return self.request.query_params.get(name) or None

    def queries(self, name: str) -> tuple[str, ...] | None:
        """Return every value of a query parameter, repeated or separated by commas; None when absent."""
        values = [
            part
            for text in self.request.query_params.getlist(name)
            for part in text.split(",")
            if part
        ]
        return tuple(values) or None

    def flag(self, name: str) -> bool:
        """Whether a query parameter is set to 1, true or yes."""
        return (self.query(name) or "").lower() in ("1", "true", "yes")

    def integer(self, name: str, default: int, most: int) -> int:
        """Return a count from the query, from 1 to `most`."""
        text = self.query(name)
        if text is None:
            return default
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:20]) <= most:
            raise InvalidSetting(f"{name} must be a number from 1 to {most}, not {text!r}")
        return int(text)

    def moment(self, name: str) -> float | None:
        """Return a time from the query: ISO 8601, or a duration that means so long ago."""
        text = self.query(name)
        if text is None:
            return None
        try:
            # A plus sign that was not escaped arrives as a space.
            return from_iso(text.replace(" ", "+"))
        except ValueError:
            pass
        try:
            return self.services.clock.now() - parse_duration_s(text)
        except InvalidSetting:
            raise InvalidSetting(
                f"{name} must be a time such as 2026-01-31T12:00:00Z or a duration such as 90s or 1h, "
                f"not {text!r}"
            ) from None

    async def json(self, default: Any = None) -> Any:
        """Read the body as JSON; an empty one is `default`.

        Raises PayloadTooLarge as soon as the limit is passed, without having kept more than that.
        """
        return json_value(await self._body(), default)

    async def object(self) -> dict[str, Any]:
        """Read the body as a JSON object."""
        return json_object(await self._body())

    def function(self, name: str) -> Function:
        """Return a function, or raise UnknownFunction with the nearest name."""
        return function_named(self.services.catalog, name)

    def schedule(self, name: str) -> str:
        """Return a schedule's name, or raise NotFound with the nearest one."""
        names = [status.name for status in self.services.schedules.statuses()]
        if name not in names:
            raise NotFound(
                f"no schedule is named {name!r}{did_you_mean(name, names, or_list=True)}"
            )
        return name

    async def _body(self) -> bytes:
        limit = self.body_limit_bytes
        said = self.request.headers.get("content-length", "0")
        if said.isdigit() and int(said[:20]) > limit:
            raise _too_large(limit)
        body = bytearray()
        try:
            async for chunk in self.request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
        except ClientDisconnect as error:
            raise ClientGone from error
        return bytes(body)


def function_named(catalog: Catalog, name: str) -> Function:
    """Return a function, or raise UnknownFunction with the nearest name."""
    found = catalog.get(name)
    if found is None:
        names = [function.name for function in catalog.all()]
        raise UnknownFunction(
            f"no function is named {name!r}{did_you_mean(name, names, or_list=True)}"
        )
    return found


def json_object(body: bytes) -> dict[str, Any]:
    """Return a body that is a JSON object; an empty one has nothing in it. Raises InvalidSetting."""
    value = json_value(body, {})
    if not isinstance(value, dict):
        raise InvalidSetting(f"the body must be a JSON object, not {type(value).__name__}")
    return value


def json_value(body: bytes, default: Any) -> Any:
    """Return a body as JSON; an empty one is `default`. Raises InvalidSetting."""
    if not body.strip():
        return default
    try:
        return decode_json(body)
    except (ValueError, RecursionError) as error:
        raise InvalidSetting(f"the body is not JSON: {error}") from error


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the request's body is larger than {format_size(limit)}, which is the most that the API takes; "
        f"send fewer events at a time, or a path instead of its content"
    )


Handler = Callable[[Call], Awaitable[Response]]
