"""What attempts printed, as JSON lines: what there is, and what comes."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from starlette.responses import Response

from faasd.api.call import Call
from faasd.api.replies import LineStream
from faasd.api.views import log_view
from faasd.clock import to_iso
from faasd.errors import InvalidSetting
from faasd.interfaces import LogLine

__all__ = ["read_logs"]

_LINES_MAX = 100_000
#: A reader that falls this far behind loses lines, and is told how many, instead of filling memory.
_BACKLOG_LINES = 10_000
_PATTERN_MAX = 1000


async def read_logs(call: Call) -> Response:
    """Answer with captured lines in time order, as JSON lines; with `follow=1` go on with those that come.

    `function` (several by commas), `invocation` (an id), `since` (a time, or a duration such as `1h`), `grep` (a regular
    expression) and `limit` (the newest so many) narrow it.
    """
    functions = call.queries("function") or ()
    for name in functions:
        call.function(name)
    only = functions[0] if len(functions) == 1 else None
    invocation_id, its_function = await _invocation(call)
    only = only or its_function
    wanted = _matcher(call, functions, invocation_id)
    since, limit = call.moment("since"), call.integer("limit", 1000, _LINES_MAX)
    follow = call.flag("follow")
    # Where all that is read is wanted, the oldest of it need not be read.
    enough = limit if call.query("grep") is None and len(functions) <= 1 else None

    async def lines() -> AsyncIterator[dict[str, Any]]:
        # Subscribe before reading, so that nothing printed in between is missed.
        backlog: asyncio.Queue[LogLine] = asyncio.Queue(_BACKLOG_LINES)
        dropped = [0]
        unsubscribe = _subscribe(call, wanted, backlog, dropped) if follow else None
        try:
            known = await call.services.logs.read(only, invocation_id, since, enough)
            # In a thread, since the loop must turn while a pattern looks through many lines.
            known = (await asyncio.to_thread(lambda: list(filter(wanted, known))))[-limit:]
            for line in known:
                yield log_view(line)
            if follow:
                async for value in _following(call, backlog, set(known), dropped):
                    yield value
        finally:
            if unsubscribe is not None:
                unsubscribe()

    return LineStream(lines())


async def _invocation(call: Call) -> tuple[str | None, str | None]:
    """Return the id that is meant, and whose logs have its lines, where that is known."""
    given = call.query("invocation")
    if given is None:
        return None, None
    found = await call.services.history.invocation(given)
    # Logs may outlive the record, so an unknown id is no error.
    return (given, None) if found is None else (found.id, found.function)


def _matcher(
    call: Call, functions: tuple[str, ...], invocation_id: str | None
) -> Callable[[LogLine], bool]:
    text = call.query("grep")
    if text is not None and len(text) > _PATTERN_MAX:
        raise InvalidSetting(f"grep must be at most {_PATTERN_MAX} characters long")
    try:
        pattern = re.compile(text) if text else None
    except re.error as error:
        raise InvalidSetting(f"grep {text!r} is no regular expression: {error}") from error

    def wanted(line: LogLine) -> bool:
        return (
            (not functions or line.function in functions)
            and (invocation_id is None or line.invocation_id == invocation_id)
            and (pattern is None or pattern.search(line.text) is not None)
        )

    return wanted


def _subscribe(
    call: Call,
    wanted: Callable[[LogLine], bool],
    backlog: asyncio.Queue[LogLine],
    dropped: list[int],
) -> Callable[[], None]:
    loop = asyncio.get_running_loop()

    def take(line: LogLine) -> None:
        if not wanted(line):
            return
        try:
            backlog.put_nowait(line)
        except asyncio.QueueFull:
            dropped[0] += 1

    def sink(line: LogLine) -> None:
        # Lines may come from the thread that writes them; a queue belongs to its loop.
        with contextlib.suppress(RuntimeError):  # The loop is closed: the daemon has ended.
            loop.call_soon_threadsafe(take, line)

    return call.services.logs.subscribe(sink)


async def _following(
    call: Call, backlog: asyncio.Queue[LogLine], known: set[LogLine], dropped: list[int]
) -> AsyncIterator[dict[str, Any]]:
    stopping = asyncio.ensure_future(call.stopping.wait())
    try:
        while True:
            coming = asyncio.ensure_future(backlog.get())
            try:
                await asyncio.wait((coming, stopping), return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    return
                line = coming.result()
            finally:
                coming.cancel()
            if line in known:  # It was printed between subscribing and reading.
                known.discard(line)
                continue
            if dropped[0]:
                yield _note(call, f"{dropped[0]} lines left out: the reader is too slow")
                dropped[0] = 0
            yield log_view(line)
    finally:
        stopping.cancel()


def _note(call: Call, text: str) -> dict[str, Any]:
    at = to_iso(call.services.clock.now())
    return {"at": at, "function": "", "invocation_id": "", "attempt": 0, "stream": "faasd"} | {
        "text": text,
        "level": "warning",
    }
