"""Where a function runs from a kept version, people read of the directory that they know: pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from faasd.model.function import Function
from faasd.model.outcome import Outcome
from faasd.sandbox.failures import Failure

__all__ = ["failures_at_source", "outcome_at_source"]


def outcome_at_source(outcome: Outcome, function: Function) -> Outcome:
    """Return the outcome with places in the version named as places in its source."""
    if outcome.error is None or not function.copy_dir:
        return outcome
    error = dataclasses.replace(
        outcome.error,
        message=_at_source(outcome.error.message, function),
        stack=tuple(_at_source(frame, function) for frame in outcome.error.stack),
    )
    return dataclasses.replace(outcome, error=error)


def failures_at_source(failures: Iterable[Failure], function: Function) -> list[Failure]:
    """Return refused paths as paths in the source: only those can stand in a setting."""
    if not function.copy_dir:
        return list(failures)
    return [
        dataclasses.replace(
            one,
            path=one.path and _at_source(one.path, function),
            other_path=one.other_path and _at_source(one.other_path, function),
        )
        for one in failures
    ]


def _at_source(text: str, function: Function) -> str:
    return text.replace(function.copy_dir, function.source_dir)
