"""The limits of one attempt. config/settings.py takes its defaults from here."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """What one attempt may use before it is stopped."""

    timeout_s: float = 60.0
    grace_s: float = 0.5  # Between the soft signal, at the timeout, and the kill.
    memory_bytes: int = 256 * 2**20
    cpu: float | None = None  # Processors' worth of time per second; None for no cap.
    cpu_time_s: float | None = None  # Of all its processes together; None for no cap.
    processes: int = 64
    open_files: int = 1024
    file_size_bytes: int = 2**30  # The largest file that it may write.
    tmp_size_bytes: int = 512 * 2**20  # Of the private temporary directory.
    oom_score_adj: int = 500  # Over the daemon's, so that it goes first.
    output_limit_bytes: int = 2**20
    line_limit_bytes: int = 16 * 2**10
    payload_limit_bytes: int = 6 * 2**20  # Of the event, and of the result.
    init_timeout_s: float = 30.0
