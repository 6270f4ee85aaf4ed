"""The jobs that RQ's workers import."""

from __future__ import annotations

from benchmarks.peers.marks import write_mark

__all__ = ["mark", "noop"]


def noop() -> None:
    pass


def mark() -> None:
    write_mark()
