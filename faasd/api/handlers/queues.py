"""Queues: how full they are, and putting events on them."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from faasd.api.call import Call, did_you_mean
from faasd.api.replies import json_reply
from faasd.api.views import acceptance_view, queue_view
from faasd.errors import InvalidSetting, UnknownQueue
from faasd.interfaces import QueueCounts
from faasd.model.event import event_body
from faasd.model.function import Function
from faasd.model.ids import new_id
from faasd.model.invocation import NewEvent
from faasd.model.units import parse_duration_s

__all__ = ["consumer_of", "counts_by_queue", "enqueue", "list_queues", "wake"]

_EVENTS_MAX = 10_000
_KEYS = {"body", "id", "delay", "expires", "key", "dedup", "dedup_window", "priority"}
_PRIORITY_MAX = 2**31 - 1


async def list_queues(call: Call) -> Response:
    """List every queue with its counts, those that hold nothing included."""
    paused = await call.services.pauses.load()
    rows = []
    for name, counts in sorted((await counts_by_queue(call)).items()):
        consumer = consumer_of(call, name)
        since = paused.get(("queue", name))
        if since is None and consumer is not None:
            since = paused.get(("function", consumer.name))
        rows.append(queue_view(counts, consumer.name if consumer else None, since))
    return json_reply({"queues": rows})


async def enqueue(call: Call) -> Response:
    """Put events on a queue, all or none; they are on disk when this answers.

    The body is `{"events": [{"body": …, "id", "delay", "expires", "key", "dedup", "dedup_window",
    "priority"}]}`; only `body` is needed. An event whose `id` was seen before is not stored again and
    its state is `duplicate`, so repeating a request whose answer got lost is safe.
    """
    queue = call.segment("queue")
    function = consumer_of(call, queue)
    if function is None:
        names = [lane.queue for lane in call.services.catalog.lanes()]
        raise UnknownQueue(f"no function consumes queue {queue!r}{did_you_mean(queue, names)}")
    events = (await call.object()).get("events")
    if not isinstance(events, list) or not 1 <= len(events) <= _EVENTS_MAX:
        raise InvalidSetting(
            f"the body must hold `events`, a list of 1 to {_EVENTS_MAX} objects with a `body` each"
        )
    now = call.services.clock.now()
    news = [
        _new_event(function, queue, now, event, f"events[{index}]")
        for index, event in enumerate(events)
    ]
    acceptances = await call.services.accept.accept_many(news)
    return json_reply({"accepted": [acceptance_view(one) for one in acceptances]}, 202)


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


def _new_event(function: Function, queue: str, now: float, event: Any, where: str) -> NewEvent:
    if not isinstance(event, dict) or "body" not in event:
        raise InvalidSetting(f"{where} must be an object with a `body`")
    unknown = sorted(set(event) - _KEYS)
    if unknown:
        raise InvalidSetting(f"{where} has {unknown[0]!r}{did_you_mean(unknown[0], _KEYS)}")
    event_id = _text(event, "id", where) or new_id()
    delay_s = _duration_s(event, "delay", where)
    declared = [trigger for trigger in function.queues if trigger.name == queue]
    return NewEvent(
        function=function.name,
        queue=queue,
        trigger="queue",
        source=queue,
        body=event_body("queue", queue, event_id, now, queue=queue, body=event["body"]),
        id=event_id,
        due_at=None if delay_s is None else now + delay_s,
        expires_s=_duration_s(event, "expires", where),
        priority=_priority(event, where),
        group_key=_text(event, "key", where),
        dedup_key=_text(event, "dedup", where),
        dedup_window_s=_duration_s(event, "dedup_window", where) or 300.0,
        filter=declared[0].filter if declared else (),
    )


def _text(event: dict[str, Any], name: str, where: str) -> str | None:
    value = event.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= 256:
        raise InvalidSetting(f"{where}.{name} must be a text of 1 to 256 characters")
    return value


def _duration_s(event: dict[str, Any], name: str, where: str) -> float | None:
    value = event.get(name)
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9:
        return float(value)
    try:
        return parse_duration_s(value)
    except InvalidSetting as error:
        raise InvalidSetting(f"{where}.{name}: {error}, or a number of seconds") from error


def _priority(event: dict[str, Any], where: str) -> int:
    value = event.get("priority", 0)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _PRIORITY_MAX:
        raise InvalidSetting(f"{where}.priority must be a whole number; higher runs first")
    return value
