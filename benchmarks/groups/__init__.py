"""Every group of rows by its name, with a sentence for `--list`."""

from __future__ import annotations

from benchmarks.groups.enqueue import enqueue_rows
from benchmarks.groups.fresh import fresh_rows
from benchmarks.groups.invoke import invoke_rows
from benchmarks.groups.throughput import throughput_rows
from benchmarks.model import Group

__all__ = ["GROUPS"]

GROUPS: dict[str, tuple[Group, str]] = {
    "enqueue": (enqueue_rows, "durable enqueue beside bare sqlite3 and queue systems"),
    "queue": (throughput_rows, "no-op jobs through a queue beside Huey, RQ, Celery and Dramatiq"),
    "fresh": (fresh_rows, "a fresh process for each job beside RQ, fork, bwrap, pebble …"),
    "invoke": (invoke_rows, "a synchronous invoke, fresh, warm and cold, beside subprocess"),
}
