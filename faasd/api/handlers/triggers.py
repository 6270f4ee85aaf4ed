"""Schedules and watched directories."""

from __future__ import annotations

from starlette.responses import Response

from faasd.api.call import Call
from faasd.api.replies import json_reply
from faasd.api.views import acceptance_view, file_view, schedule_view, watch_view
from faasd.clock import to_iso
from faasd.errors import InvalidSetting, NotFound
from faasd.model.suggest import did_you_mean

__all__ = [
    "list_files",
    "list_schedules",
    "list_watches",
    "next_of_schedule",
    "pause_schedule",
    "resume_schedule",
    "retry_files",
    "run_schedule",
]

_TIMES_MAX = 1000
_FILE_STATES = ("accepted", "done", "failed")


async def list_schedules(call: Call) -> Response:
    """List the schedules with their next and last fire times."""
    return json_reply(
        {"schedules": [schedule_view(one) for one in call.services.schedules.statuses()]}
    )


async def next_of_schedule(call: Call) -> Response:
    """Tell the next fire times of a schedule, jitter included."""
    name = call.schedule(call.segment("name"))
    count = call.integer("n", 5, _TIMES_MAX)
    times = call.services.schedules.next_times(name, count, call.moment("after"))
    return json_reply({"name": name, "times": [to_iso(at) for at in times]})


async def pause_schedule(call: Call) -> Response:
    """Stop a schedule from firing; ticks that pass are recorded as missed when it resumes."""
    name = call.schedule(call.segment("name"))
    changed = await call.services.schedules.pause(name)
    return json_reply({"name": name, "paused": True, "changed": changed})


async def resume_schedule(call: Call) -> Response:
    """Let a schedule fire again from now on."""
    name = call.schedule(call.segment("name"))
    changed = await call.services.schedules.resume(name)
    return json_reply({"name": name, "paused": False, "changed": changed})


async def run_schedule(call: Call) -> Response:
    """Fire a schedule once now, beside its times, which stay as they are."""
    name = call.schedule(call.segment("name"))
    acceptance = await call.services.schedules.run(name)
    return json_reply(acceptance_view(acceptance), 202)


async def list_watches(call: Call) -> Response:
    """List the watched directories and how they do."""
    return json_reply({"watches": [watch_view(one) for one in call.services.files.statuses()]})


async def list_files(call: Call) -> Response:
    """List the files that have been seen complete, newest first."""
    trigger, state = call.query("trigger"), call.query("state")
    names = [one.trigger for one in call.services.files.statuses()]
    if trigger is not None and trigger not in names:
        raise NotFound(
            f"no files trigger is named {trigger!r}{did_you_mean(trigger, names, or_list=True)}"
        )
    if state is not None and state not in _FILE_STATES:
        raise InvalidSetting(
            f"there is no state {state!r}{did_you_mean(state, _FILE_STATES, or_list=True)}"
        )
    rows = await call.services.files.files(trigger, state)
    limit = call.integer("limit", 1000, 100_000)
    return json_reply({"files": [file_view(row) for row in rows[:limit]], "total": len(rows)})


async def retry_files(call: Call) -> Response:
    """Take a file, or every failed file below a directory, as new: the body is `{"path": …}`, absolute."""
    path = (await call.object()).get("path")
    if not isinstance(path, str) or not path.startswith("/"):
        raise InvalidSetting('the body must be {"path": …} with an absolute path')
    acceptances = await call.services.files.retry(path)
    return json_reply({"accepted": [acceptance_view(one) for one in acceptances]}, 202)
