"""Enqueueing without a daemon: the one place where the command line writes to the store."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from faasd.clock import Clock
from faasd.model.event import encode_json, event_body
from faasd.model.invocation import NewInvocation
from faasd.model.units import parse_duration_s

__all__ = ["store_offline"]


def store_offline(state_dir: str, queue: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Commit events to the store and return `id`, `state` and `reason` of each.

    Raises StateDirectoryInUse while a daemon holds the store, and UnknownQueue for a queue that no
    daemon has published there.
    """
    now = Clock().now()
    news = [_new_invocation(queue, event, now) for event in events]
    enqueue_offline = importlib.import_module("faasd.store.offline_enqueue").enqueue_offline
    return [
        {"id": one.id, "state": one.state, "reason": one.reason}
        for one in enqueue_offline(Path(state_dir), news)
    ]


def _new_invocation(queue: str, event: dict[str, Any], now: float) -> NewInvocation:
    delay, expires = event.get("delay"), event.get("expires")
    return NewInvocation(
        id=event["id"],
        function="",  # The store knows which function consumes the queue; see known_queues.
        queue=queue,
        trigger="queue",
        source=queue,
        event_json=encode_json(
            event_body("queue", queue, event["id"], now, queue=queue, body=event["body"])
        ),
        created_at=now,
        due_at=now if delay is None else now + parse_duration_s(delay),
        expires_at=None if expires is None else now + parse_duration_s(expires),
        priority=event.get("priority", 0),
        group_key=event.get("key"),
        dedup_key=event.get("dedup"),
    )
