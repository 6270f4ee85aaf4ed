"""The daemon itself: health, status, backup."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from starlette.responses import Response

from faasd.api.call import Call
from faasd.api.handlers.queues import counts_by_queue
from faasd.api.replies import json_reply, refused
from faasd.api.services import ApiServices
from faasd.clock import to_iso
from faasd.errors import Conflict, InvalidSetting

__all__ = ["backup", "healthz", "problems_of", "readyz", "show_status"]


async def healthz(call: Call) -> Response:  # noqa: ARG001
    """Answer as long as the daemon's loop turns."""
    return json_reply({"healthy": True})


async def readyz(call: Call) -> Response:
    """Answer 200 when events are accepted and run, else 503."""
    state = str(call.services.status().get("state", "ready"))
    if state == "ready":
        return json_reply({"state": state})
    return refused(503, "not-ready", f"the daemon is {state}", {"retry-after": "2"})


async def show_status(call: Call) -> Response:
    """Tell how the daemon does: version, since when, what runs, what waits."""
    services = call.services
    now = services.clock.now()
    totals: Counter[str] = Counter()
    for counts in (await counts_by_queue(call)).values():
        for word in ("waiting", "delayed", "in_flight", "dead"):
            totals[word] += getattr(counts, word)
    problems = problems_of(services)
    value: dict[str, Any] = {
        "state": "ready",
        "version": services.version,
        "pid": os.getpid(),
        "started_at": to_iso(services.started_at),
        "uptime_s": round(now - services.started_at, 3),
        "config_path": services.config_path,
        "state_dir": services.state_dir,
        "last_reload": _last_reload(services),
        "functions": len(services.catalog.all()),
        "schedules": len(services.schedules.statuses()),
        "watches": len(services.files.statuses()),
        "running": len(services.invoker.running()),
        **totals,
        "paused": [
            {"kind": kind, "name": name, "since": to_iso(since)}
            for (kind, name), since in sorted((await services.pauses.load()).items())
        ],
        "problems": problems,
    }
    own = dict(services.status())
    problems += own.pop("problems", [])
    return json_reply({**value, **own})


def _last_reload(services: ApiServices) -> dict[str, Any] | None:
    last = None if services.code is None else services.code.last_reload
    return None if last is None else {**vars(last), "at": to_iso(last.at)}


def problems_of(services: ApiServices) -> list[str]:
    """Return what is wrong with watched directories and schedules, a sentence each."""
    problems = [one.problem for one in services.files.statuses() if one.problem]
    return problems + [one.note for one in services.schedules.statuses() if one.note]


async def backup(call: Call) -> Response:
    """Write a backup, as `faasd backup` does, to a new file: the body is `{"path": …}`, absolute."""
    path = (await call.object()).get("path")
    if not isinstance(path, str) or not os.path.isabs(path):  # noqa: PTH117 - bytes of any name.
        raise InvalidSetting('the body must be {"path": …} with an absolute path')
    if os.path.lexists(path):  # noqa: ASYNC240 - one stat, and the copy itself is the store's work.
        raise Conflict(f"cannot back up to {path}: it exists; name a file that does not")
    size = await call.services.history.backup(path)
    return json_reply({"path": path, "size_bytes": size})
