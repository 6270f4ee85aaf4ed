"""Values as the JSON objects that the API and the command line show.

Keys are the glossary's words. Times are ISO 8601 in UTC, lengths of time carry their unit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from faasd.api.policy_words import policy_words
from faasd.clock import to_iso
from faasd.interfaces import (
    BreakerStatus,
    FileRow,
    LogLine,
    QueueCounts,
    ScheduleStatus,
    WatchStatus,
)
from faasd.model.attempt import Attempt, AttemptRecord, OutputLine
from faasd.model.function import Function
from faasd.model.invocation import Acceptance, Invocation
from faasd.model.outcome import ErrorRecord, Outcome
from faasd.model.permissions import Ports
from faasd.model.usage import Prices, Usage, cost
from faasd.model.walls import WALLS, MissingWall

__all__ = [
    "acceptance_view",
    "attempt_view",
    "file_view",
    "function_details",
    "function_view",
    "invocation_details",
    "invocation_view",
    "log_view",
    "missing_wall_view",
    "outcome_view",
    "output_view",
    "queue_view",
    "running_view",
    "schedule_view",
    "usage_view",
    "watch_view",
]


def invocation_view(invocation: Invocation, last: AttemptRecord | None) -> dict[str, Any]:
    """Return one row of a listing. Duration and memory are those of `last`, its last finished attempt."""
    return {
        "id": invocation.id,
        "function": invocation.function,
        "queue": invocation.queue,
        "trigger": invocation.trigger,
        "source": invocation.source,
        "state": invocation.state,
        "outcome": invocation.outcome,
        "attempts": invocation.attempts,
        "priority": invocation.priority,
        "group_key": invocation.group_key,
        "created_at": to_iso(invocation.created_at),
        "due_at": to_iso(invocation.due_at),
        "expires_at": to_iso(invocation.expires_at),
        "scheduled_for": to_iso(invocation.scheduled_for),
        "started_at": to_iso(invocation.started_at),
        "ended_at": to_iso(invocation.ended_at),
        "duration_ms": _duration_ms(invocation, last),
        "memory_peak_bytes": last.memory_peak_bytes if last else None,
        "error": _error(invocation.error),
        "reason": invocation.reason,
        "quarantined": invocation.is_quarantined,
        "parent_id": invocation.parent_id,
    }


def invocation_details(invocation: Invocation, attempts: Sequence[AttemptRecord]) -> dict[str, Any]:
    """Return everything about one invocation: the row, its event, its result and its attempts."""
    return {
        **invocation_view(invocation, attempts[-1] if attempts else None),
        "event": json.loads(invocation.event_json),
        "result": _json(invocation.result_json),
        "attempt_records": [attempt_view(record) for record in attempts],
    }


def attempt_view(record: AttemptRecord) -> dict[str, Any]:
    """Return one finished attempt."""
    return {
        "number": record.number,
        "attempt_id": record.attempt_id,
        "outcome": record.outcome,
        "code_version": record.code_version,
        "started_at": to_iso(record.started_at),
        "ended_at": to_iso(record.ended_at),
        "queue_wait_ms": _ms(record.queue_wait_s),
        "duration_ms": _ms(record.wall_s),
        "cpu_ms": _ms(record.cpu_s),
        "memory_peak_bytes": record.memory_peak_bytes,
        "init_ms": _ms(record.init_s),
        "error": _json(record.error_json),
        "log_tail": record.log_tail,
        "batch_size": record.batch_size,
        "output_truncated": record.output_truncated,
        "degraded": list(record.degraded),
    }


def running_view(
    attempt: Attempt, now: float, memory_bytes: int | None, progress: Any
) -> dict[str, Any]:
    """Return one attempt that runs now; of a batch, its first invocation."""
    claim = attempt.claims[0]
    return {
        "attempt_id": attempt.id,
        "function": attempt.function.name,
        "invocation_id": claim.invocation.id,
        "number": claim.number,
        "batch_size": len(attempt.claims),
        "trigger": claim.invocation.trigger,
        "source": claim.invocation.source,
        "started_at": to_iso(attempt.started_at),
        "age_s": round(max(0.0, now - attempt.started_at), 3),
        "timeout_s": attempt.function.limits.timeout_s,
        "memory_bytes": memory_bytes,
        "memory_limit_bytes": attempt.function.limits.memory_bytes,
        "progress": progress,
    }


def outcome_view(invocation_id: str, function: str, outcome: Outcome) -> dict[str, Any]:
    """Return what a direct invoke came to."""
    usage = outcome.usage
    return {
        "id": invocation_id,
        "function": function,
        "outcome": outcome.word,
        "result": _json(outcome.result_json),
        "error": _error(outcome.error),
        "duration_ms": _ms(usage.wall_s),
        "cpu_ms": _ms(usage.cpu_s),
        "memory_peak_bytes": usage.memory_peak_bytes,
        "init_ms": _ms(usage.init_s),
        "output_truncated": outcome.output_truncated,
        "degraded": list(outcome.degraded),
    }


def acceptance_view(acceptance: Acceptance) -> dict[str, Any]:
    """Return what became of an event at the door."""
    return {"id": acceptance.id, "state": acceptance.state, "reason": acceptance.reason}


def queue_view(
    counts: QueueCounts, function: str | None, paused_since: float | None
) -> dict[str, Any]:
    """Return how full a queue is, and who consumes it."""
    return {
        "queue": counts.queue,
        "function": function,
        "waiting": counts.waiting,
        "delayed": counts.delayed,
        "in_flight": counts.in_flight,
        "dead": counts.dead,
        "oldest_waiting_at": to_iso(counts.oldest_waiting_at),
        "paused_since": to_iso(paused_since),
    }


def function_view(
    function: Function,
    outcomes: dict[str, int],
    running: int,
    paused_since: float | None,
    breaker: BreakerStatus,
    refused: str | None = None,
    kept_because: str | None = None,
    pinned_to: str | None = None,
) -> dict[str, Any]:
    """Return one row of the functions. `outcomes` counts the attempts of the last 24 hours."""
    return {
        "name": function.name,
        "handler": function.handler or _command(function),
        "triggers": _triggers(function),
        "timeout_s": function.limits.timeout_s,
        "memory_bytes": function.limits.memory_bytes,
        "running": running,
        "outcomes_24h": outcomes,
        "paused_since": to_iso(paused_since),
        "breaker": {
            **vars(breaker),
            "opened_at": to_iso(breaker.opened_at),
            "retry_at": to_iso(breaker.retry_at),
        },
        "refused": refused,
        "kept_because": kept_because,
        "pinned_to": pinned_to,
        "code_version": function.code_version,
        "layers": [layer.name for layer in function.layers],
        "origin": function.origin,
    }


def _command(function: Function) -> str:
    """Return a command as it was written, not as it runs from a kept version."""
    command = " ".join(function.command or ())
    return command.replace(function.copy_dir, function.source_dir) if function.copy_dir else command


def function_details(function: Function, missing: Sequence[MissingWall] = ()) -> dict[str, Any]:
    """Return what a function may use and touch. Values of its environment stay out: they may be secrets."""
    limits, permissions, retry = function.limits, function.permissions, function.retry
    return {
        "python": function.python,
        "code_dir": function.code_dir,
        "source_dir": function.source_dir or function.code_dir,
        "in_place_because": function.in_place_because or None,
        "limits": dict(vars(limits)),
        "permissions": {
            "read": list(permissions.read),
            "write": list(permissions.write),
            "network": _network(permissions.network),
            "secrets": list(permissions.secrets),
            "user": permissions.user,
            "env": sorted(permissions.env),
            "pass_env": list(permissions.pass_env),
            "containment": permissions.containment,
        },
        "retry": dict(vars(retry)),
        "expires_s": function.expires_s,
        "dead_letter": function.dead_letter,
        "concurrency": function.concurrency,
        "reuse": function.reuse,
        "recycle_memory_bytes": function.recycle_memory_bytes,
        "spares": "auto" if function.spares is None else function.spares,
        "keep_warm": function.keep_warm,
        "on_success": [f"{to.kind}:{to.name}" for to in function.on_success],
        "on_failure": [f"{to.kind}:{to.name}" for to in function.on_failure],
        "queues": [lane.queue for lane in function.lanes()],
        "policy": policy_words(function, missing),
        "missing_walls": [missing_wall_view(one) for one in missing],
    }


def missing_wall_view(missing: MissingWall) -> dict[str, Any]:
    """Return a wall that a function lacks on this host."""
    return {**vars(missing), "refuses": missing.refuses, "meaning": WALLS[missing.wall].meaning}


def schedule_view(status: ScheduleStatus) -> dict[str, Any]:
    """Return where a schedule stands."""
    return {**vars(status), "next_at": to_iso(status.next_at), "last_at": to_iso(status.last_at)}


def usage_view(usage: Usage, prices: Prices) -> dict[str, Any]:
    """Return what a function used in a month; `cost` is null without a price."""
    paid = cost(usage, prices)
    return {
        "month": usage.month,
        "function": usage.function,
        "requests": usage.requests,
        "errors": usage.errors,
        "duration_s": round(usage.duration_s, 3),
        "gb_seconds": round(usage.gb_s, 6),
        "cpu_s": round(usage.cpu_s, 3),
        "cost": None if paid is None else round(paid, 9),
    }


def watch_view(status: WatchStatus) -> dict[str, Any]:
    """Return how a watched directory does."""
    return {**vars(status), "last_scan_at": to_iso(status.last_scan_at)}


def file_view(row: FileRow) -> dict[str, Any]:
    """Return one file that a files trigger has seen complete."""
    return {
        "path": os.fsdecode(row.path),
        "trigger": row.trigger,
        "state": row.state,
        "size": row.size,
        "modified_at": to_iso(row.mtime_ns / 1e9),
        "seen_at": to_iso(row.seen_at),
        "invocation_id": row.invocation_id,
        "detail": row.detail,
    }


def log_view(line: LogLine) -> dict[str, Any]:
    """Return one captured line with its place."""
    return {**vars(line), "at": to_iso(line.at)}


def output_view(line: OutputLine) -> dict[str, Any]:
    """Return one captured line of the attempt that is being waited for."""
    return {**vars(line), "at": to_iso(line.at)}


def _network(network: bool | Ports) -> bool | dict[str, list[int]]:
    if isinstance(network, Ports):
        return {"connect": list(network.connect), "bind": list(network.bind)}
    return network


def _triggers(function: Function) -> list[dict[str, Any]]:
    schedules = [
        {"trigger": one.kind, "name": one.name, "expression": one.expression, "at": to_iso(one.at)}
        | ({"interval_s": one.interval_s} if one.interval_s is not None else {})
        for one in function.schedules
    ]
    files = [
        {"trigger": "files", "name": one.name, "path": one.path, "pattern": list(one.pattern)}
        for one in function.files
    ]
    queues = [
        {"trigger": "queue", "name": one.name, "batch_size": one.batch_size}
        for one in function.queues
    ]
    return [*schedules, *files, *queues]


def _duration_ms(invocation: Invocation, last: AttemptRecord | None) -> float | None:
    if last is not None:
        return _ms(last.wall_s)
    if invocation.started_at is None or invocation.ended_at is None:
        return None
    return _ms(invocation.ended_at - invocation.started_at)


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)


def _error(error: ErrorRecord | None) -> dict[str, Any] | None:
    return None if error is None else error.to_json()


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)
