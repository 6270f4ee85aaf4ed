"""The metrics, as Prometheus reads them: what was counted, and what is looked up now."""

from __future__ import annotations

import asyncio
import os
import platform
import resource
from collections.abc import Iterable
from pathlib import Path

from starlette.responses import Response

from faasd.api.call import Call
from faasd.api.handlers.queues import counts_by_queue
from faasd.api.handlers.system import problems_of
from faasd.api.services import ApiServices
from faasd.interfaces import QueueCounts
from faasd.metrics import CONTENT_TYPE, Registry, render

__all__ = ["show_metrics"]

_DATABASE = "faasd.db"


async def show_metrics(call: Call) -> Response:
    """Answer with every metric, in Prometheus' text format 0.0.4."""
    services = call.services
    metrics = Registry()
    queues = await counts_by_queue(call)
    paused = {name for kind, name in await services.pauses.load() if kind == "function"}
    services.measure(metrics)
    _daemon(metrics, services)
    _functions(metrics, services, paused)
    _queues(metrics, queues.values(), services.clock.now())
    _triggers(metrics, services)
    # A large daemon's page takes some milliseconds to write, in which attempts must go on.
    text = await asyncio.to_thread(_page, metrics, services)
    return Response(text, media_type=None, headers={"content-type": CONTENT_TYPE})


def _page(metrics: Registry, services: ApiServices) -> bytes:
    _store(metrics, Path(services.state_dir))
    _process(metrics, services)
    return render(services.metrics, metrics).encode()


def _daemon(metrics: Registry, services: ApiServices) -> None:
    told = services.status()
    metrics.set("faasd_slots", told.get("slots", 0))
    metrics.set("faasd_problems", len(problems_of(services)) + len(told.get("problems", ())))


def _functions(metrics: Registry, services: ApiServices, paused: set[str]) -> None:
    functions = services.catalog.all()
    metrics.set("faasd_functions", len(functions))
    for function in functions:
        metrics.set("faasd_memory_limit_bytes", function.limits.memory_bytes, function.name)
        metrics.set("faasd_function_paused", function.name in paused, function.name)
        metrics.set("faasd_attempts_running", 0, function.name)
        metrics.set("faasd_function_info", 1, function.name, function.version_with_layers)
    for attempt in services.invoker.running():
        metrics.add("faasd_attempts_running", attempt.function.name)


def _queues(metrics: Registry, queues: Iterable[QueueCounts], now: float) -> None:
    for counts in queues:
        for word in ("waiting", "delayed", "in_flight", "dead"):
            metrics.set(f"faasd_queue_{word}", getattr(counts, word), counts.queue)
        oldest_at = counts.oldest_waiting_at
        age_s = 0.0 if oldest_at is None else max(0.0, now - oldest_at)
        metrics.set("faasd_queue_oldest_waiting_seconds", age_s, counts.queue)


def _triggers(metrics: Registry, services: ApiServices) -> None:
    for schedule in services.schedules.statuses():
        metrics.set("faasd_schedule_paused", schedule.paused, schedule.name)
        for word, at in (("last", schedule.last_at), ("next", schedule.next_at)):
            if at is not None:
                metrics.set(f"faasd_schedule_{word}_timestamp_seconds", at, schedule.name)
    for watch in services.files.statuses():
        for word in ("seen", "pending", "in_flight", "failed"):
            metrics.set(f"faasd_files_{word}", getattr(watch, word), watch.trigger)
        metrics.set("faasd_watch_problem", watch.problem is not None, watch.trigger)


def _store(metrics: Registry, state_dir: Path) -> None:
    for name, suffix in (("database", ""), ("wal", "-wal")):
        try:
            size = (state_dir / f"{_DATABASE}{suffix}").stat().st_size
        except FileNotFoundError:
            continue
        metrics.set("faasd_store_bytes", size, name)
    try:
        room = os.statvfs(state_dir)
    except FileNotFoundError:
        return
    metrics.set("faasd_state_dir_free_bytes", room.f_bavail * room.f_frsize)


def _process(metrics: Registry, services: ApiServices) -> None:
    times = os.times()
    resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
    metrics.set("faasd_build_info", 1, services.version, platform.python_version())
    metrics.set("process_start_time_seconds", services.started_at)
    metrics.set("process_cpu_seconds_total", times.user + times.system)
    metrics.set("process_resident_memory_bytes", resident_pages * resource.getpagesize())
    metrics.set("process_open_fds", len(os.listdir("/proc/self/fd")))
    metrics.set("process_max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
