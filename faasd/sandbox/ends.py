"""Outcomes that no sandbox told: of what was stopped before it began, and with what a cold start took."""

from __future__ import annotations

import asyncio

from faasd.model.outcome import ErrorRecord, Outcome, Usage

__all__ = ["init_record", "not_begun", "stopped", "with_init_s"]


def not_begun(stop: asyncio.Future[str], when: str) -> Outcome:
    """Return how an attempt ended that was stopped before its handler could begin."""
    word = "drained" if not stop.done() else "cancelled" if stop.cancelled() else stop.result()
    return stopped(word, when)


def stopped(word: str, when: str) -> Outcome:
    """Return the outcome of an attempt that was ended with this word before it began."""
    return Outcome(word, error=ErrorRecord("Stopped", f"{word} {when}"))


def with_init_s(outcome: Outcome, init_s: float) -> Outcome:
    """Return the outcome of an attempt that waited so long for its zygote."""
    used = outcome.usage
    usage = Usage(used.wall_s, used.cpu_s, used.memory_peak_bytes, init_s)
    return Outcome(
        outcome.word,
        outcome.result_json,
        outcome.error,
        usage,
        outcome.output_truncated,
        outcome.degraded,
    )


def init_record(error: dict[str, object]) -> dict[str, object]:
    """Return the error of an import, whatever its zygote left out of it."""
    return {"type": "InitError", "message": "", **error}
