"""Invocations and dead letters: listing, showing, replaying, cancelling, redriving, dropping."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from faasd.api.call import Call
from faasd.api.handlers.queues import consumer_of
from faasd.api.replies import json_reply
from faasd.api.views import acceptance_view, invocation_details, invocation_view, running_view
from faasd.errors import Conflict, InvalidSetting, NotFound
from faasd.interfaces import InvocationFilter
from faasd.model.invocation import STATE_MEANINGS, Invocation, NewEvent
from faasd.model.outcome import OUTCOME_MEANINGS, REASON_MEANINGS
from faasd.model.suggest import did_you_mean

__all__ = [
    "cancel_invocation",
    "drop_dead_letters",
    "list_attempts",
    "list_dead_letters",
    "list_invocations",
    "redrive_dead_letters",
    "replay_invocation",
    "show_invocation",
]

_ROWS_MAX = 10_000
_ID_LENGTH = 36
_OUTCOMES = {*OUTCOME_MEANINGS, *REASON_MEANINGS}


async def list_invocations(call: Call) -> Response:
    """List invocations, newest first."""
    states = _words(call.queries("state"), STATE_MEANINGS, "state")
    return json_reply({"invocations": await _rows(call, states)})


async def list_attempts(call: Call) -> Response:
    """List the attempts that run now, oldest first, with their age, memory and progress."""
    services = call.services
    attempts = services.invoker.running()
    memory_bytes = await services.memory_now() if attempts else {}
    now = services.clock.now()
    progress_of = services.invoker.progress_of
    rows = [running_view(one, now, memory_bytes.get(one.id), progress_of(one)) for one in attempts]
    return json_reply({"attempts": sorted(rows, key=lambda row: -row["age_s"])})


async def list_dead_letters(call: Call) -> Response:
    """List dead letters, newest first."""
    return json_reply({"dead_letters": await _rows(call, ("dead",))})


async def show_invocation(call: Call) -> Response:
    """Show one invocation with its event, result and attempts; a prefix of the id is enough for an administrator."""
    found = await _find(call)
    attempts = await call.services.history.attempts(found.id)
    return json_reply(invocation_details(found, attempts))


async def replay_invocation(call: Call) -> Response:
    """Accept the event of an invocation once more, as a new invocation."""
    found = await _find(call)
    consumer = consumer_of(call, found.queue)
    on_its_queue = consumer is not None and consumer.name == found.function
    event = NewEvent(
        function=call.function(found.function).name,
        queue=found.queue if on_its_queue else found.function,
        trigger="replay",
        source=call.who,
        body=json.loads(found.event_json),
        group_key=found.group_key,
        priority=found.priority,
        parent_id=found.id,
    )
    acceptance = await call.services.accept.accept(event)
    return json_reply(acceptance_view(acceptance), 202)


async def cancel_invocation(call: Call) -> Response:
    """Cancel an invocation that waits or runs."""
    found = await _find(call)
    changed = await call.services.invoker.cancel([found.id], f"cancelled by {call.who}")
    if not changed:
        found = await call.services.history.invocation(found.id) or found
        raise Conflict(f"cannot cancel invocation {found.id}: it is {found.state}, which is final")
    return json_reply({"cancelled": changed})


async def redrive_dead_letters(call: Call) -> Response:
    """Send dead letters back to waiting with fresh attempts.

    The body names them: `{"ids": […]}`, or `{"all": true}` with `function`, `queue`, `outcome` to narrow it.
    """
    which = await _which_dead(call)
    ids = await call.services.store.redrive(which)
    await _refuse_none(call, which, ids, "redrive")
    call.services.wake()
    return json_reply({"redriven": ids})


async def drop_dead_letters(call: Call) -> Response:
    """Drop dead letters; they stay in history until retention removes them. The body is as for redrive."""
    which = await _which_dead(call)
    ids = await call.services.store.drop(which)
    await _refuse_none(call, which, ids, "drop")
    return json_reply({"dropped": ids})


async def _find(call: Call) -> Invocation:
    wanted = call.segment("id")
    # A prefix could be guessed, a whole id cannot: it is what lets the sender of an event, who may
    # be no administrator, ask what became of it.
    found = None
    if len(wanted) == _ID_LENGTH or call.is_admin():
        found = await call.services.history.invocation(wanted)
    if found is None:
        raise NotFound(
            f"no invocation has the id {wanted!r}; it may have been removed by retention; "
            f"see `faasd invocations list`"
        )
    return found


async def _rows(call: Call, states: tuple[str, ...] | None) -> list[dict[str, Any]]:
    which = InvocationFilter(
        function=call.query("function"),
        queue=call.query("queue"),
        trigger=call.query("trigger"),
        source=call.query("source"),
        states=states,
        outcomes=_words(call.queries("outcome"), _OUTCOMES, "outcome"),
        since=call.moment("since"),
        until=call.moment("until"),
        limit=call.integer("limit", 100, _ROWS_MAX),
    )
    found = await call.services.history.invocations(which)
    last = await call.services.history.last_attempts([one.id for one in found if one.attempts])
    return [invocation_view(one, last.get(one.id)) for one in found]


def _words(
    given: tuple[str, ...] | None, known: set[str] | dict[str, str], what: str
) -> tuple[str, ...] | None:
    for word in given or ():
        if word not in known:
            raise InvalidSetting(
                f"there is no {what} {word!r}{did_you_mean(word, known, or_list=True)}"
            )
    return given


async def _which_dead(call: Call) -> InvocationFilter:
    body = await call.object()
    unknown = sorted(set(body) - {"ids", "all", "function", "queue", "outcome"})
    if unknown:
        raise InvalidSetting(f"the body has {unknown[0]!r}, which means nothing here")
    for name in ("function", "queue", "outcome"):
        if body.get(name) is not None and not isinstance(body[name], str):
            raise InvalidSetting(f"{name} must be a text")
    outcomes = _words((body["outcome"],) if body.get("outcome") else None, _OUTCOMES, "outcome")
    ids = body.get("ids")
    if ids is None and body.get("all") is not True:
        raise InvalidSetting('name dead letters with "ids", or say "all": true')
    which = InvocationFilter(
        function=body.get("function"),
        queue=body.get("queue"),
        outcomes=outcomes,
        states=("dead",),
        limit=None,
    )
    if ids is None:
        return which
    if not isinstance(ids, list) or not ids or not all(isinstance(one, str) for one in ids):
        raise InvalidSetting('"ids" must be a list of ids')
    return dataclasses.replace(which, ids=tuple([await _whole_id(call, one) for one in ids]))


async def _whole_id(call: Call, id_or_prefix: str) -> str:
    found = await call.services.history.invocation(id_or_prefix)
    if found is None:
        raise NotFound(f"no invocation has the id {id_or_prefix!r}; see `faasd dead-letters list`")
    return found.id


async def _refuse_none(
    call: Call, which: InvocationFilter, changed: Sequence[str], verb: str
) -> None:
    """Raise Conflict when single dead letters were named and none of them was one."""
    if changed or which.ids is None:
        return
    found = await call.services.history.invocation(which.ids[0])
    state = found.state if found else "gone"
    raise Conflict(f"cannot {verb} invocation {which.ids[0]}: it is {state}, not dead")
