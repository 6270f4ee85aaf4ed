"""Trigger declarations: what binds happenings to a function. Values only; triggers/ acts on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["FilesTrigger", "QueueTrigger", "ScheduleTrigger"]


@dataclass(frozen=True)
class ScheduleTrigger:
    """Cron, every or at.

    `name` is unique over all functions and is the key of the persisted cursor.
    """

    name: str
    kind: str  # cron, every, at
    expression: str | None = None  # cron only
    interval_s: float | None = None  # every only
    at: float | None = None  # at only
    timezone: str = "UTC"
    catch_up: str = "latest"  # latest, all, skip
    catch_up_window_s: float = 86400.0
    overlap: str = "skip"  # skip, queue, allow, replace
    start_deadline_s: float | None = None  # Later than this after its time, a tick is missed.
    jitter_s: float = 0.0  # A stable offset per schedule in [0, jitter_s).
    start: float | None = None
    end: float | None = None
    filter: tuple[Any, ...] = ()


@dataclass(frozen=True)
class FilesTrigger:
    """A watched directory: each complete file in it becomes one invocation."""

    name: str
    path: str
    pattern: tuple[str, ...] = ("*",)  # Globs on the path below `path`; a plain one matches names.
    exclude: tuple[str, ...] = ()
    recursive: bool = False
    settle_s: float = 1.0  # Size and mtime unchanged this long count as complete.
    marker: str | None = None  # As ".ready": data.csv is complete when data.csv.ready exists.
    order: str = "name"  # name, mtime: order of files found in one look.
    polling: bool | None = None  # None: chosen by the file system's type.
    poll_interval_s: float = 5.0
    rescan_interval_s: float = 60.0
    batch_size: int = 1
    batch_window_s: float = 0.0
    on_success: str = "keep"  # keep, delete, move:DIR
    on_failure: str = "keep"  # keep, delete, move:DIR (with a sidecar JSON)
    filter: tuple[Any, ...] = ()

    @property
    def moved_to(self) -> tuple[str, ...]:
        """The directories that files are moved to afterwards."""
        actions = (self.on_success, self.on_failure)
        return tuple(one[len("move:") :] for one in actions if one.startswith("move:"))


@dataclass(frozen=True)
class QueueTrigger:
    """A named queue that the function consumes."""

    name: str  # The queue's name.
    batch_size: int = 1
    batch_window_s: float = 0.0
    concurrency: int | None = None
    key_concurrency: int = 1  # Of one group key; above 1 its order is not kept.
    rate: tuple[int, float] | None = None  # (count, seconds)
    visibility_timeout_s: float = 30.0
    filter: tuple[Any, ...] = ()
