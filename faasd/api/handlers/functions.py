"""Functions: what there is, invoking, pausing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response

from faasd.api.call import Call
from faasd.api.handlers.code import control_of
from faasd.api.replies import LineStream, end, error_reply, json_reply, kind_of, unless_gone
from faasd.api.views import (
    acceptance_view,
    function_details,
    function_view,
    outcome_view,
    output_view,
)
from faasd.errors import FaasdError, InvalidSetting
from faasd.model.attempt import OutputLine
from faasd.model.function import Function
from faasd.model.invocation import NewEvent
from faasd.model.outcome import Outcome
from faasd.model.queue_event import checked_id

__all__ = [
    "invoke_function",
    "list_functions",
    "pause_function",
    "resume_function",
    "show_function",
]

_DAY_S = 86400.0


async def list_functions(call: Call) -> Response:
    """List the functions, with how the attempts of the last 24 hours ended."""
    return json_reply({"functions": await _rows(call)})


async def show_function(call: Call) -> Response:
    """Show one function with its limits and permissions.

    `policy` says in sentences what it may touch and use here; `missing_walls` what this host does not build for it;
    `left_open` what its import leaves behind that all attempts would share, such as a connection.
    """
    function = call.function(call.segment("name"))
    [row] = [row for row in await _rows(call) if row["name"] == function.name]
    missing = call.services.missing_walls.get(function.name, ())
    code = call.services.code
    left_open = [] if code is None else list(code.left_open(function))
    return json_reply({**row, **function_details(function, missing), "left_open": left_open})


async def invoke_function(call: Call) -> Response:
    """Run one event now and answer with its outcome; the body is the event.

    `mode=async` puts it on the function's queue instead and answers 202 at once. `logs=1` answers with
    JSON lines: each captured line as it comes (`type` is `log`), then the outcome (`result`).
    `version` runs a kept version of its code, or an alias, instead of the one in service; who is no
    administrator may name aliases only.
    A client that goes away cancels the invocation.
    """
    function = call.function(call.segment("name"))
    mode = call.query("mode") or "sync"
    if mode not in ("sync", "async"):
        raise InvalidSetting(f"mode must be sync or async, not {mode!r}")
    event = NewEvent(
        function=function.name,
        # With a caller that waits it is in no queue: after a crash nobody waits for it any more.
        queue=function.name if mode == "async" else "",
        trigger="invoke",
        source=call.who,
        body=await call.json(default={}),
        id=checked_id(call.query("id"), "id"),
    )
    wanted = call.query("version")
    if wanted is not None and mode == "async":
        raise InvalidSetting(
            "an event on a queue runs with the version in service, so `version` is for sync only"
        )
    if mode == "async":
        acceptance = await call.services.accept.accept(event)
        return json_reply(acceptance_view(acceptance), 202)
    other = None
    if wanted is not None:
        control, is_admin = control_of(call), call.is_admin()
        other = await control.function_at(function.name, wanted, only_aliases=not is_admin)
    if call.flag("logs"):
        return await _invoke_with_logs(call, event, other)
    invocation_id, outcome = await unless_gone(
        call.request.receive, call.services.invoker.invoke(event, function=other)
    )
    return _outcome_reply(function.name, invocation_id, outcome)


async def pause_function(call: Call) -> Response:
    """Hold a function's queues: what is accepted waits."""
    function = call.function(call.segment("name"))
    changed = await call.services.invoker.pause(function.name)
    return json_reply({"name": function.name, "paused": True, "changed": changed})


async def resume_function(call: Call) -> Response:
    """Let a function run again that is paused, or held back by its breaker, and start its stopped files triggers.

    `started_triggers` names those that were stopped because the function seemed to feed them.
    """
    function = call.function(call.segment("name"))
    changed = await call.services.invoker.resume(function.name)
    started = call.services.files.start_again(function.name)
    answer = {"name": function.name, "paused": False, "changed": changed or bool(started)}
    return json_reply({**answer, "started_triggers": started})


async def _rows(call: Call) -> list[dict[str, Any]]:
    services = call.services
    counts = await services.history.function_counts(services.clock.now() - _DAY_S)
    paused = await services.pauses.load()
    pinned = await services.code.pinned() if services.code is not None else {}
    running: dict[str, int] = {}
    for attempt in services.invoker.running():
        running[attempt.function.name] = running.get(attempt.function.name, 0) + 1
    return [
        function_view(
            function,
            counts.get(function.name, {}),
            running.get(function.name, 0),
            paused.get(("function", function.name)),
            services.invoker.breaker(function.name),
            services.refused.get(function.name),
            services.code.kept.get(function.name) if services.code is not None else None,
            pinned.get(function.name),
        )
        for function in services.catalog.all()
    ]


def _outcome_reply(function: str, invocation_id: str, outcome: Outcome) -> Response:
    # The API did what it was asked to, so the status is 200 whatever the handler did.
    headers = {"faasd-outcome": outcome.word, "faasd-invocation": invocation_id}
    return json_reply(outcome_view(invocation_id, function, outcome), headers=headers)


async def _invoke_with_logs(call: Call, event: NewEvent, other: Function | None) -> Response:
    lines: asyncio.Queue[OutputLine | None] = asyncio.Queue()
    task = asyncio.ensure_future(call.services.invoker.invoke(event, lines.put_nowait, other))
    task.add_done_callback(lambda _: lines.put_nowait(None))
    try:
        # Nothing is answered before the first line, so that a refusal still gets its own status.
        first = await unless_gone(call.request.receive, lines.get())
    except BaseException:
        await end(task)
        raise
    if first is None:
        try:
            task.result()
        except FaasdError as error:
            return error_reply(error)
    return LineStream(_output_then_outcome(event.function, task, first, lines), task)


async def _output_then_outcome(
    function: str,
    task: asyncio.Future[tuple[str, Outcome]],
    line: OutputLine | None,
    lines: asyncio.Queue[OutputLine | None],
) -> AsyncIterator[dict[str, Any]]:
    while line is not None:
        yield {"type": "log", **output_view(line)}
        line = await lines.get()
    try:
        invocation_id, outcome = task.result()
    except FaasdError as error:
        yield {"type": "error", "error": {"kind": kind_of(error), "message": str(error)}}
    else:
        yield {"type": "result", **outcome_view(invocation_id, function, outcome)}
