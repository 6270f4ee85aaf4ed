"""A script that starts, enqueues one Huey task, and ends."""

from __future__ import annotations

from benchmarks.peers.huey_queue import noop

noop()
