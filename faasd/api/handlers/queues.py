"""Queues: how full they are, and putting events on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from faasd.api.call import Call
from faasd.api.replies import json_reply
from faasd.api.views import acceptance_view, queue_view
from faasd.errors import InvalidSetting
from faasd.interfaces import QueueCounts
from faasd.model.function import Function
from faasd.model.invocation import Acceptance, NewEvent
from faasd.model.queue_event import read_queue_event

__all__ = [
    "accepted_view",
    "consumer_of",
    "counts_by_queue",
    "enqueue",
    "events_of",
    "list_queues",
    "wake",
]

_EVENTS_MAX = 10_000


async def list_queues(call: Call) -> Response:
    """List every queue with its counts, those that hold nothing included."""
    paused = await call.services.pauses.load()
    rows = []
    for name, counts in sorted((await counts_by_queue(call)).items()):
        consumer = consumer_of(call, name)
        since = None if consumer is None else paused.get(("function", consumer.name))
        rows.append(queue_view(counts, consumer.name if consumer else None, since))
    return json_reply({"queues": rows})


async def enqueue(call: Call) -> Response:
    """Put events on a queue, all or none; they are on disk when this answers.

    The body is `{"events": [{"body": …, "id", "delay", "expires", "key", "dedup", "dedup_window",
    "priority"}]}`; only `body` is needed. An event whose `id` was seen before is not stored again and
    its state is `duplicate`, so repeating a request whose answer got lost is safe.
    """
    events = events_of(call.segment("queue"), await call.object(), call.services.clock.now())
    return json_reply(accepted_view(await call.services.accept.accept_many(events)), 202)


def events_of(queue: str, asked: dict[str, Any], now: float) -> list[NewEvent]:
    """Return the events that a request for `enqueue` holds. Raises InvalidSetting."""
    events = asked.get("events")
    if not isinstance(events, list) or not 1 <= len(events) <= _EVENTS_MAX:
        raise InvalidSetting(
            f"the body must hold `events`, a list of 1 to {_EVENTS_MAX} objects with a `body` each"
        )
    return [
        read_queue_event(queue, event, now, where=f"events[{index}]")
        for index, event in enumerate(events)
    ]


def accepted_view(acceptances: Sequence[Acceptance]) -> dict[str, Any]:
    """Return the answer to an enqueue."""
    return {"accepted": [acceptance_view(one) for one in acceptances]}


async def wake(call: Call) -> Response:
    """Make the dispatcher look at the store now, after somebody has written to it without the daemon."""
    call.services.wake()
    return json_reply({"woken": True})


async def counts_by_queue(call: Call) -> dict[str, QueueCounts]:
    """Return the counts of every queue that is declared or holds anything."""
    found = {counts.queue: counts for counts in await call.services.history.queue_counts()}
    for lane in call.services.catalog.lanes():
        found.setdefault(lane.queue, QueueCounts(lane.queue))
    return found


def consumer_of(call: Call, queue: str) -> Function | None:
    """Return the function that a queue feeds: its consumer, or the function whose own queue it is."""
    catalog = call.services.catalog
    return catalog.consumer_of(queue) or catalog.get(queue)
