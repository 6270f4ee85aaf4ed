"""Enqueueing without a daemon: the one place where the command line writes to the store."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from faasd.clock import Clock
from faasd.functions.registry import Registry
from faasd.intake import Intake
from faasd.model.function import Function
from faasd.model.invocation import NewInvocation
from faasd.model.limits import Limits
from faasd.model.queue_event import read_queue_event
from faasd.store.intake_rules import IntakeRules

__all__ = ["store_offline"]


def store_offline(state_dir: str, queue: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Commit events to the store and return `id`, `state` and `reason` of each.

    They are treated as the daemon would have treated them when it last ran: filtered, given their expiry, and
    refused as it does. Raises StateDirectoryInUse while a daemon holds the store, UnknownQueue for a queue that
    no daemon has published there, PayloadTooLarge, and StoreFull when there is no room.
    """
    clock = Clock()
    now = clock.now()
    news = [read_queue_event(queue, event, now) for event in events]

    def prepared(rules: IntakeRules | None) -> list[NewInvocation]:
        if rules is not None:
            intake = _intake(rules.functions, clock)
            return [intake.prepare(new) for new in news]
        # Nothing is known of the queue but its name; the store may know who consumes it.
        unlimited = Function(queue, limits=Limits(payload_limit_bytes=sys.maxsize))
        intake = _intake([unlimited], clock)
        return [replace(intake.prepare(new), function="") for new in news]

    enqueue_offline = importlib.import_module("faasd.store.offline_enqueue").enqueue_offline
    return [
        {"id": one.id, "state": one.state, "reason": one.reason}
        for one in enqueue_offline(Path(state_dir), prepared)
    ]


def _intake(functions: Iterable[Function], clock: Clock) -> Intake:
    """Return an intake that only prepares, so that no second place decides what is accepted."""
    nothing: Any = None
    return Intake(Registry(functions), nothing, clock, nothing)
