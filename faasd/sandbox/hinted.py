"""The error of an attempt with the hint at the wall behind it, from all that the attempt has said."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from faasd.model.outcome import ErrorRecord
from faasd.sandbox.failures import failures_in_lines, failures_in_report
from faasd.sandbox.file_rules import Premises
from faasd.sandbox.hints import with_hint
from faasd.sandbox.sandbox import Sandbox

__all__ = ["hinted"]


async def hinted(
    error: ErrorRecord,
    report: dict[str, Any] | None,
    error_lines: Iterable[str],
    sandbox: Sandbox,
    premises: Premises,
) -> ErrorRecord:
    """Return the error with a hint, if what the kernel refused in this sandbox explains it."""
    function = sandbox.function
    failures = failures_in_report(report.get("error") if report is not None else None)
    failures += failures_in_lines(error_lines, function.code_dir)
    return await with_hint(error, failures, function, sandbox.walls, premises, sandbox.tmp_dir)
