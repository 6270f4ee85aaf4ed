"""Turns the settings of one function's triggers into the values of model/trigger.py, or problems."""

from __future__ import annotations

import os
import zoneinfo
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from faasd.config.trigger_settings import (
    AtSettings,
    CronSettings,
    EverySettings,
    FilesSettings,
    QueueSettings,
)
from faasd.config.validate import Report
from faasd.model.declaration import Problem
from faasd.model.suggest import did_you_mean
from faasd.model.trigger import FilesTrigger, QueueTrigger, ScheduleTrigger
from faasd.model.units import format_duration

__all__ = ["CheckPattern", "CheckSchedule", "Triggers", "read_triggers"]

#: Say what is wrong with a schedule or with one filter pattern, or None.
CheckSchedule = Callable[[ScheduleTrigger], str | None]
CheckPattern = Callable[[Any], str | None]

_EXPRESSIONS = {"cron": "expression", "every": "interval", "at": "time"}


@dataclass
class Triggers:
    """A function's triggers, and which of its declarations each came from, by kind and name."""

    schedules: list[ScheduleTrigger] = field(default_factory=list)
    files: list[FilesTrigger] = field(default_factory=list)
    queues: list[QueueTrigger] = field(default_factory=list)
    indexes: dict[tuple[str, str], int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def read_triggers(
    function: str,
    settings: Sequence[Any],
    *,
    timeout_s: float,
    base_dir: Path,
    report: Report,
    check_schedule: CheckSchedule,
    check_pattern: CheckPattern,
) -> Triggers:
    """Return the triggers of one function; those with problems are left out of the lists."""
    triggers = Triggers()
    taken = {
        one.name for one in settings if isinstance(one, CronSettings | EverySettings | AtSettings)
    }
    for index, one in enumerate(settings):
        at = _At(triggers, index, report, base_dir)
        filters = _filters(one.filter, at, check_pattern)
        if isinstance(one, QueueSettings):
            queue = _queue(one, timeout_s, filters, at)
            triggers.queues.append(queue)
            triggers.indexes["queue", queue.name] = index
        elif isinstance(one, FilesSettings):
            watch = _files(one, function, filters, at)
            triggers.files.append(watch)
            triggers.indexes["files", watch.name] = index
        else:
            name = one.name or _free_name(function, taken)
            taken.add(name)
            schedule = _schedule(one, name, filters, at)
            fault = None if at.has_failed else check_schedule(schedule)
            if fault is not None:
                at.fail(_EXPRESSIONS[schedule.kind], fault)
            triggers.schedules.append(schedule)
            triggers.indexes["schedule", name] = index
    return triggers


class _At:
    """One trigger's place, where its problems are put."""

    def __init__(self, triggers: Triggers, index: int, report: Report, base_dir: Path) -> None:
        self.base_dir = base_dir
        self._triggers = triggers
        self._index = index
        self._report = report
        self.has_failed = False

    def fail(self, key: str, message: str) -> None:
        self.has_failed = True
        problem = self._report(("triggers", self._index, key), message)
        self._triggers.problems.append(problem)


def _free_name(function: str, taken: set[str | None]) -> str:
    name, number = function, 1
    while name in taken:
        number += 1
        name = f"{function}-{number}"
    return name


def _filters(written: Any, at: _At, check_pattern: CheckPattern) -> tuple[Any, ...]:
    if written is None:
        return ()
    patterns = written if isinstance(written, list) else [written]
    for pattern in patterns:
        fault = "expected a table, or a list of tables" if not isinstance(pattern, dict) else None
        fault = fault or check_pattern(pattern)
        if fault is not None:
            at.fail("filter", fault)
    return tuple(patterns)


def _schedule(
    one: CronSettings | EverySettings | AtSettings, name: str, filters: tuple[Any, ...], at: _At
) -> ScheduleTrigger:
    # One that repeats at a fixed interval has no zone of its own, so its times need an offset.
    zone_name = "UTC" if isinstance(one, EverySettings) else one.timezone
    zone = _zone(zone_name, at)
    default_zone = zone if "timezone" in one.model_fields_set else None
    repeating = None if isinstance(one, AtSettings) else one
    start = _moment(repeating.start, "start", default_zone, at) if repeating else None
    end = _moment(repeating.end, "end", default_zone, at) if repeating else None
    if start is not None and end is not None and end <= start:
        at.fail("end", "is not after `start`, so the schedule would never fire")
    return ScheduleTrigger(
        name=name,
        kind=one.type,
        expression=one.expression if isinstance(one, CronSettings) else None,
        interval_s=one.interval_s if isinstance(one, EverySettings) else None,
        at=_moment(one.time, "time", default_zone, at) if isinstance(one, AtSettings) else None,
        timezone=zone_name,
        catch_up=one.catch_up,
        catch_up_window_s=one.catch_up_window_s,
        overlap=one.overlap,
        start_deadline_s=one.start_deadline_s,
        jitter_s=repeating.jitter_s if repeating else 0.0,
        start=start,
        end=end,
        filter=filters,
    )


def _zone(name: str, at: _At) -> zoneinfo.ZoneInfo | None:
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        # The names are looked up only now: reading them takes a while.
        hint = did_you_mean(name, zoneinfo.available_timezones())
        at.fail("timezone", f'expected a time zone such as "Europe/Berlin", not {name!r}{hint}')
        return None


def _moment(
    moment: datetime | None, key: str, zone: zoneinfo.ZoneInfo | None, at: _At
) -> float | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        if zone is None:
            text = moment.isoformat()
            at.fail(key, f'has no time zone; write for example "{text}Z", or "{text}+02:00"')
            return None
        moment = moment.replace(tzinfo=zone)
    return moment.timestamp()


def _files(one: FilesSettings, function: str, filters: tuple[Any, ...], at: _At) -> FilesTrigger:
    path = os.path.normpath(at.base_dir / Path(one.path).expanduser())
    if one.marker is not None and (not one.marker or "/" in one.marker):
        at.fail("marker", f'expected the end of a file name, such as ".ready", not {one.marker!r}')
    for key, globs in (("pattern", one.pattern), ("exclude", one.exclude)):
        for glob in globs:
            if glob.startswith("/"):
                at.fail(key, f"{glob!r} can never match: globs are relative to `path`")
    return FilesTrigger(
        name=one.name or f"{function}:{path}",
        path=path,
        pattern=one.pattern,
        exclude=one.exclude,
        recursive=one.recursive,
        settle_s=one.settle_s,
        marker=one.marker,
        order=one.order,
        polling=one.polling,
        poll_interval_s=one.poll_interval_s,
        batch_size=one.batch_size,
        batch_window_s=one.batch_window_s,
        on_success=_afterwards(one.on_success, "on_success", one, path, at),
        on_failure=_afterwards(one.on_failure, "on_failure", one, path, at),
        filter=filters,
    )


def _afterwards(written: str, key: str, one: FilesSettings, path: str, at: _At) -> str:
    """Return what becomes of a file, with the directory absolute and never seen as new files again."""
    verb, _, where = written.partition(":")
    if written in ("keep", "delete"):
        return written
    if verb != "move" or not where:
        hint = did_you_mean(written, ("keep", "delete"))
        at.fail(key, f'expected "keep", "delete" or "move:DIR", not {written!r}{hint}')
        return written
    directory = os.path.normpath(at.base_dir / Path(where).expanduser())
    if directory == path:
        at.fail(key, f"{directory} is the watched directory itself; a moved file would come back")
    elif one.recursive and directory.startswith(path + os.sep):
        inside = os.path.relpath(os.path.join(directory, "file"), path)
        if not any(fnmatch(inside, glob) for glob in one.exclude):
            glob = os.path.join(os.path.dirname(inside), "*")
            at.fail(
                key,
                f"{directory} is inside the watched directory, which is recursive, so a moved file "
                f'would come back; add exclude = ["{glob}"] or move it elsewhere',
            )
    return f"move:{directory}"


def _queue(one: QueueSettings, timeout_s: float, filters: tuple[Any, ...], at: _At) -> QueueTrigger:
    visibility_s = one.visibility_timeout_s
    if visibility_s is None:
        visibility_s = max(QueueTrigger(name="").visibility_timeout_s, timeout_s)
    elif visibility_s < timeout_s:
        at.fail(
            "visibility_timeout",
            f"{format_duration(visibility_s)} is shorter than the function's timeout of "
            f"{format_duration(timeout_s)}, so an event could be handed out twice while it runs; "
            f"expected at least {format_duration(timeout_s)}",
        )
    return QueueTrigger(
        name=one.name,
        batch_size=one.batch_size,
        batch_window_s=one.batch_window_s,
        concurrency=one.concurrency,
        key_concurrency=one.key_concurrency,
        rate=one.rate,
        visibility_timeout_s=visibility_s,
        filter=filters,
    )
