"""What `faasd demo` expects, and the table at its end. Pure: from invocations to rows and sentences."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faasd.cli.demo_stage import BROKEN, ORDERS, PICTURES, POISON_ORDER, SLOW_ORDER, Stage
from faasd.model.invocation import FINAL_STATES

__all__ = ["EXPECTATIONS", "Row", "degraded", "rows", "unmet"]

Invocations = Sequence[Mapping[str, Any]]

TICKS = 3


@dataclass(frozen=True)
class Row:
    """One line of the table: attempts of one function that ended in the same way."""

    function: str
    trigger: str
    outcome: str
    count: int
    duration_p50_ms: float | None
    memory_peak_bytes: int | None


def rows(invocations: Invocations) -> list[Row]:
    """Count attempts, and invocations that never ran, by function, trigger and outcome."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for one in reversed(invocations):  # They come newest first.
        if one["state"] == "skipped":
            groups.setdefault((one["function"], one["trigger"], one["outcome"]), []).append({})
        for attempt in one["attempt_records"]:
            key = (one["function"], one["trigger"], attempt["outcome"])
            groups.setdefault(key, []).append(attempt)
    return [_row(*key, attempts) for key, attempts in groups.items()]


def degraded(invocations: Invocations) -> list[str]:
    """Return the walls that this host builds less well than asked for, or not at all."""
    names = {
        name
        for one in invocations
        for record in one["attempt_records"]
        for name in record["degraded"]
    }
    return sorted(names)


def unmet(stage: Stage, invocations: Invocations) -> list[str]:
    """Return the expectations that are not met, as sentences."""
    return [says for says, holds in EXPECTATIONS.items() if not holds(stage, invocations)]


def _row(function: str, trigger: str, outcome: str, attempts: Sequence[Mapping[str, Any]]) -> Row:
    durations = [one["duration_ms"] for one in attempts if one.get("duration_ms") is not None]
    peaks = [one["memory_peak_bytes"] for one in attempts if one.get("memory_peak_bytes")]
    return Row(
        function,
        trigger,
        outcome,
        len(attempts),
        statistics.median(durations) if durations else None,
        max(peaks, default=None),
    )


def _of(invocations: Invocations, function: str) -> Invocations:
    return [one for one in invocations if one["function"] == function]


def _outcomes(invocation: Mapping[str, Any]) -> list[str]:
    return [attempt["outcome"] for attempt in invocation["attempt_records"]]


def _pictures_are_small(stage: Stage, invocations: Invocations) -> bool:
    names = {f"picture-{number}{stage.suffix}" for number in range(1, PICTURES + 1)}
    ok = [one for one in _of(invocations, "thumbnail") if one["outcome"] == "ok"]
    return (
        len(ok) == PICTURES
        and stage.names_in("thumbnails") == names
        and stage.names_in("done") == names
        and not stage.names_in("inbox")
    )


def _broken_picture_failed(stage: Stage, invocations: Invocations) -> bool:
    dead = [one for one in _of(invocations, "thumbnail") if one["state"] == "dead"]
    name = f"{BROKEN}{stage.suffix}"
    failed = stage.names_in("failed")
    return len(dead) == 1 and name in failed and f"{name}.error.json" in failed


def _schedule_fired(stage: Stage, invocations: Invocations) -> bool:
    ok = [one for one in _of(invocations, "report") if one["outcome"] == "ok"]
    times = {one["scheduled_for"] for one in ok}
    return (
        len(times) >= TICKS and len(times) == len(ok) and stage.lines_in("reports.ndjson") >= TICKS
    )


def _orders_were_taken(stage: Stage, _: Invocations) -> bool:
    taken = {f"{number}.txt" for number in range(1, ORDERS + 1) if number != POISON_ORDER}
    return stage.names_in("orders") == taken and all(
        stage.lines_in(f"orders/{name}") == 1 for name in taken
    )


def _slow_order_was_retried(_: Stage, invocations: Invocations) -> bool:
    return any(
        one["event"]["body"]["number"] == SLOW_ORDER and _outcomes(one) == ["error", "ok"]
        for one in _of(invocations, "take_order")
    )


def _poison_is_a_dead_letter(_: Stage, invocations: Invocations) -> bool:
    dead = [one for one in _of(invocations, "take_order") if one["state"] == "dead"]
    return [(one["event"]["body"]["number"], _outcomes(one)) for one in dead] == [
        (POISON_ORDER, ["error"] * 3)
    ]


def _ends_as(function: str, outcome: str) -> Callable[[Stage, Invocations], bool]:
    def holds(_: Stage, invocations: Invocations) -> bool:
        return [_outcomes(one) for one in _of(invocations, function)] == [[outcome]]

    return holds


def _fork_bomb_was_capped(_: Stage, invocations: Invocations) -> bool:
    return any(
        "cannot fork" in attempt["log_tail"] or "process-cap" in attempt["degraded"]
        for one in _of(invocations, "fork_bomb")
        for attempt in one["attempt_records"]
    )


def _packed(stage: Stage, invocations: Invocations) -> bool:
    return (stage.root / "packed" / "thumbnails.tar.gz").exists() and _ends_as("pack", "ok")(
        stage, invocations
    )


def _all_ended(_: Stage, invocations: Invocations) -> bool:
    ticks_may_run = [one for one in invocations if one["function"] != "report"]
    return all(one["state"] in FINAL_STATES for one in ticks_may_run)


#: Every promise of the demo: a sentence, and whether it holds.
EXPECTATIONS: dict[str, Callable[[Stage, Invocations], bool]] = {
    f"{PICTURES} pictures became thumbnails and were moved to done/": _pictures_are_small,
    "the broken picture is in failed/ with a JSON file that says why": _broken_picture_failed,
    f"the schedule fired at least {TICKS} times, no fire time twice": _schedule_fired,
    f"{ORDERS - 1} orders were taken, each once": _orders_were_taken,
    f"order {SLOW_ORDER} failed once and succeeded when retried": _slow_order_was_retried,
    f"order {POISON_ORDER} is a dead letter after 3 attempts": _poison_is_a_dead_letter,
    "memory_hog ended as oom": _ends_as("memory_hog", "oom"),
    "endless_loop ended as timeout": _ends_as("endless_loop", "timeout"),
    "fork_bomb ended as timeout": _ends_as("fork_bomb", "timeout"),
    "fork_bomb was refused more processes, where this host can": _fork_bomb_was_capped,
    "the command packed the thumbnails": _packed,
    "nothing is left waiting or running": _all_ended,
}
