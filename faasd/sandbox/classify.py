"""From what was seen of an attempt to how it ended: pure."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any

from faasd.model.event import decode_json, encode_json
from faasd.model.limits import Limits
from faasd.model.outcome import ErrorRecord
from faasd.model.units import format_duration, format_size

__all__ = ["Facts", "Verdict", "classify", "describe_status", "error_from", "status_from"]

#: Why we end an attempt for what it did itself.
_LIMITS = ("timeout", "cpu-time", "oom", "output-limit", "crashed", "tmp-size")


@dataclass(frozen=True)
class Facts:
    """Everything that was seen of one attempt.

    `end_word` is why we ended it early, if we did. `status` is the wait status of the handler's
    process; None when nobody was left to tell it.
    """

    limits: Limits
    status: int | None = None
    report: dict[str, Any] | None = None  # The sandbox's last frame.
    result_json: str | None = None
    end_word: str | None = None
    cpu_s: float = 0.0  # Of all its processes, at the last look.
    oom_kills: int = 0
    memory_peak_bytes: int | None = None
    is_over_memory: bool = False  # As the memory watch, or the kernel's own peak, has it.
    has_data_limit: bool = False  # A MemoryError then means the cap.
    broken_protocol: str | None = None
    zygote_loss: str | None = None  # How the zygote ended under it.
    zygote_breach: str | None = None  # What it sent that broke the protocol, for which we ended it.
    is_command: bool = False
    command_output: bytes = b""
    command_output_is_cut: bool = False
    last_error_line: str = ""


@dataclass(frozen=True)
class Verdict:
    """How it ended: the outcome's word, with a result or an error."""

    word: str
    result_json: str | None = None
    error: ErrorRecord | None = None


def classify(facts: Facts) -> Verdict:
    """Say how an attempt ended. What we decided comes first, then the kernel's word, then the sandbox's own."""
    if facts.end_word not in (None, *_LIMITS):
        return _failed(str(facts.end_word), "Stopped", _stop_message(str(facts.end_word)))
    if (
        facts.oom_kills
        or facts.is_over_memory
        or facts.end_word == "oom"
        or _is_memory_error(facts)
    ):
        return _failed("oom", "OutOfMemory", _oom_message(facts))
    if facts.end_word == "timeout":
        limit = format_duration(facts.limits.timeout_s)
        return _failed("timeout", "Timeout", f"still running at its time limit of {limit}")
    if facts.end_word == "cpu-time" or _is_over_rlimit_cpu(facts):
        return _failed("timeout", "CpuTimeout", _cpu_time_message(facts))
    if facts.end_word == "output-limit":
        limit = format_size(facts.limits.output_limit_bytes)
        return _failed(
            "output-limit", "OutputLimit", f"printed far more than its output_limit of {limit}"
        )
    if facts.end_word == "tmp-size":
        return _failed("error", "TmpSizeExceeded", _tmp_size_message(facts))
    if facts.zygote_breach is not None and facts.status is None and facts.report is None:
        message = f"its zygote, which has run the function's module, broke the protocol: {facts.zygote_breach}"
        return _failed("crashed", "BrokenChannel", message)
    if facts.zygote_loss is not None and facts.status is None and facts.report is None:
        return _failed(
            "sandbox-failed", "ZygoteLost", f"its zygote ended under it: {facts.zygote_loss}"
        )
    if facts.broken_protocol is not None:
        message = f"sent what is no report on its channel: {facts.broken_protocol}"
        return _failed("crashed", "BrokenChannel", message)
    if facts.report is not None:
        return _reported(facts, facts.report)
    if facts.is_command:
        return _command(facts)
    return _failed("crashed", "Crashed", _crash_message(facts.status))


def describe_status(status: int) -> str:
    """Say a wait status: `killed by signal 11 (SIGSEGV)`, `exited with code 3`."""
    if not os.WIFSIGNALED(status):
        return f"exited with code {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    try:
        return f"killed by signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"killed by signal {number}"


def _failed(word: str, kind: str, message: str) -> Verdict:
    return Verdict(word, error=ErrorRecord(kind, message))


def _stop_message(word: str) -> str:
    return {
        "drained": "the daemon stopped before it could finish",
        "cancelled": "cancelled while it ran",
    }.get(word, f"ended early: {word}")


def _is_memory_error(facts: Facts) -> bool:
    if not facts.has_data_limit or facts.report is None or facts.report.get("op") != "error":
        return False
    error = facts.report.get("error")
    return isinstance(error, dict) and error.get("type") == "MemoryError"


def _is_over_rlimit_cpu(facts: Facts) -> bool:
    """Whether the kernel ended it behind the back of our watch, which is there for all its processes."""
    if facts.limits.cpu_time_s is None or facts.status is None:
        return False
    return os.WIFSIGNALED(facts.status) and os.WTERMSIG(facts.status) == signal.SIGXCPU


def _cpu_time_message(facts: Facts) -> str:
    limit_s = facts.limits.cpu_time_s or 0.0
    message = f"used more processor time than its cpu_time of {format_duration(limit_s)}"
    if facts.cpu_s > limit_s:
        message += f" ({facts.cpu_s:.2f} s, of all its processes)"
    return f"{message}; raise cpu_time if it needs more"


def _tmp_size_message(facts: Facts) -> str:
    size = format_size(facts.limits.tmp_size_bytes)
    return (
        f"its private temporary directory held more than its tmp_size of {size}, or more files than go with that; raise "
        "`tmp_size` if it needs more"
    )


def _oom_message(facts: Facts) -> str:
    message = f"went over its memory cap of {format_size(facts.limits.memory_bytes)}"
    if facts.memory_peak_bytes is not None:
        message += f" (peak {format_size(facts.memory_peak_bytes)})"
    return message


def _reported(facts: Facts, report: dict[str, Any]) -> Verdict:
    error = error_from(report.get("error"))
    if report.get("op") == "failed":
        return Verdict("sandbox-failed", error=error)
    if report.get("op") == "result":
        if facts.status != 0:
            how = "without a trace" if facts.status is None else describe_status(facts.status)
            return _failed(
                "crashed", "Crashed", f"its process ended after the handler had returned: {how}"
            )
        return Verdict("ok", result_json=facts.result_json)
    if report.get("op") == "exit":
        message = f"the handler called sys.exit({report.get('code')}) instead of returning"
        return Verdict("crashed", error=ErrorRecord("SystemExit", message[:1000], error.stack))
    return Verdict("init-error" if report.get("op") == "init-error" else "error", error=error)


def status_from(text: bytes) -> int | None:
    """Read a wait status, which anybody in the sandbox may have written; None for what is none."""
    # Through isdigit, because int() takes signs, blanks and underscores as well.
    status = int(text) if text.isdigit() else -1
    return (
        status
        if 0 <= status <= 0xFFFF and (os.WIFEXITED(status) or os.WIFSIGNALED(status))
        else None
    )


def error_from(value: Any) -> ErrorRecord:
    """Read the error of a report, which anybody in the sandbox may have written."""
    if not isinstance(value, dict):
        return ErrorRecord("Error", "the handler's report holds no error")
    stack = value.get("stack")
    frames = tuple(str(frame)[:2000] for frame in stack[:60]) if isinstance(stack, list) else ()
    return ErrorRecord(str(value.get("type"))[:200], str(value.get("message"))[:10_000], frames)


def _crash_message(status: int | None) -> str:
    if status is None:
        return "its processes were killed from outside, without a trace"
    how = describe_status(status)
    if os.WIFSIGNALED(status):
        return how
    if os.waitstatus_to_exitcode(status) == 70:
        return f"{how}: it could not report its end, for example because the handler closed its channel to faasd"
    return f"{how} without a report, as by os._exit"


def _command(facts: Facts) -> Verdict:
    """Judge a command by its exit code, and its standard output as the result."""
    status = facts.status
    if status is None or os.WIFSIGNALED(status):
        return _failed("crashed", "Crashed", _crash_message(status))
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        tail = f": {facts.last_error_line[:500]}" if facts.last_error_line else ""
        return _failed("error", "CommandFailed", f"the command exited with code {code}{tail}")
    if facts.command_output_is_cut:
        limit = format_size(facts.limits.payload_limit_bytes)
        return _failed(
            "error", "ResultTooLarge", f"the command printed more than the payload_limit of {limit}"
        )
    text = facts.command_output.decode("utf-8", "backslashreplace")
    if not text.strip():
        return Verdict("ok", result_json="null")
    try:
        value = decode_json(text)
    except (ValueError, RecursionError):
        value = text.removesuffix("\n")
    return Verdict("ok", result_json=encode_json(value))
