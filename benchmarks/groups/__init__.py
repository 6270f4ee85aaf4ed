"""Every group of rows by its name, with a sentence for `--list`."""

from __future__ import annotations

from benchmarks.groups.api import api_rows
from benchmarks.groups.cron import cron_rows
from benchmarks.groups.enqueue import enqueue_rows
from benchmarks.groups.files import files_rows
from benchmarks.groups.fresh import fresh_rows
from benchmarks.groups.invoke import invoke_rows
from benchmarks.groups.life import cold_rows, idle_rows, recovery_rows, start_rows
from benchmarks.groups.throughput import throughput_rows
from benchmarks.groups.walls import walls_rows
from benchmarks.model import Group

__all__ = ["GROUPS"]

GROUPS: dict[str, tuple[Group, str]] = {
    "enqueue": (enqueue_rows, "durable enqueue beside bare sqlite3 and queue systems"),
    "queue": (throughput_rows, "no-op jobs through a queue beside Huey, RQ, Celery and Dramatiq"),
    "fresh": (fresh_rows, "a fresh process for each job beside RQ, fork, bwrap, pebble …"),
    "walls": (walls_rows, "what the walls cost a fresh attempt"),
    "invoke": (invoke_rows, "a synchronous invoke, fresh, warm and cold, beside subprocess"),
    "cron": (cron_rows, "lateness of 1,000 and 10,000 schedules beside APScheduler"),
    "files": (files_rows, "files renamed in beside bare watchdog"),
    "recovery": (recovery_rows, "work in flight running again after kill -9"),
    "start": (start_rows, "start to ready"),
    "idle": (idle_rows, "memory, processor time and wake-ups of an idle daemon"),
    "cold": (cold_rows, "a cold `faasd enqueue` beside other scripts"),
    "api": (api_rows, "a request on the Unix socket beside bare uvicorn"),
}
