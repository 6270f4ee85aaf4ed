"""Enqueueing without a daemon: the one place where the command line writes to the store."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from faasd.clock import Clock
from faasd.model.event import encode_json
from faasd.model.invocation import NewInvocation
from faasd.model.queue_event import read_queue_event

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
    new = read_queue_event(queue, event, now)
    assert new.id is not None, "a queue event has an id"
    return NewInvocation(
        id=new.id,
        function="",  # The store knows which function consumes the queue; see known_queues.
        queue=queue,
        trigger=new.trigger,
        source=new.source,
        event_json=encode_json(new.body),
        created_at=now,
        due_at=now if new.due_at is None else new.due_at,
        expires_at=None if new.expires_s is None else (new.due_at or now) + new.expires_s,
        priority=new.priority,
        group_key=new.group_key,
        dedup_key=new.dedup_key,
        dedup_window_s=new.dedup_window_s,
    )
