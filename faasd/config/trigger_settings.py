"""The settings of triggers, each declared once; model/trigger.py has the values that come of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from faasd.config.values import Duration, Moment, Name, Names, Rate, setting
from faasd.model.trigger import FilesTrigger, QueueTrigger, ScheduleTrigger

__all__ = [
    "AtSettings",
    "CronSettings",
    "EverySettings",
    "FilesSettings",
    "QueueSettings",
    "Settings",
    "TriggerSettings",
]

_SCHEDULE = ScheduleTrigger(name="", kind="cron")
_FILES = FilesTrigger(name="", path="")
_QUEUE = QueueTrigger(name="")


class Settings(BaseModel):
    """What all settings have in common: nothing is converted silently, nothing unknown is let through."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Triggered(Settings):
    filter: Any = setting(
        None,
        "Only events that match this pattern, or one of a list of them, become invocations.",
        example={"path": [{"suffix": ".csv"}]},
        default_text="every event",
    )


class _Schedule(_Triggered):
    name: Annotated[str | None, Name()] = setting(
        None,
        "The schedule's name, unique over all functions; its place is remembered under it.",
        example="nightly",
        default_text="the function's name; with more than one schedule, `-2`, `-3` … added",
    )
    catch_up: Literal["latest", "all", "skip"] = setting(
        _SCHEDULE.catch_up,
        "Which fire times that passed while faasd was down still run: `latest`, `all` or `skip`.",
    )
    catch_up_window_s: Annotated[float, Duration()] = setting(
        _SCHEDULE.catch_up_window_s,
        "Fire times older than this are not caught up.",
        key="catch_up_window",
    )
    overlap: Literal["skip", "queue", "allow", "replace"] = setting(
        _SCHEDULE.overlap,
        "What a fire time does while the last one still waits or runs: `skip` it, `queue` it behind, "
        "`allow` both, or `replace` the old one.",
    )
    start_deadline_s: Annotated[float | None, Duration(at_least_s=1)] = setting(
        None,
        "A fire time that could not start within this is recorded as missed.",
        key="start_deadline",
        example="10m",
        default_text="none",
    )


class _Repeating(_Schedule):
    jitter_s: Annotated[float, Duration(at_most_s=86400)] = setting(
        _SCHEDULE.jitter_s,
        "Move the schedule by a fixed offset below this, which is always the same for its name.",
        key="jitter",
    )
    start: Annotated[Any, Moment()] = setting(
        None,
        "Do not fire before this time.",
        example="2030-01-01T00:00:00Z",
        default_text="none",
    )
    end: Annotated[Any, Moment()] = setting(
        None,
        "Do not fire after this time.",
        example="2031-01-01T00:00:00Z",
        default_text="none",
    )


class CronSettings(_Repeating):
    """Fires at the times that a cron expression names."""

    type: Literal["cron"]
    expression: str = Field(
        description="Five or six fields, or a word such as `@daily`.", examples=["0 3 * * *"]
    )
    timezone: str = setting(
        _SCHEDULE.timezone,
        "The time zone that the expression is read in, by its IANA name.",
        example="Europe/Berlin",
    )


class EverySettings(_Repeating):
    """Fires again and again, the same time apart."""

    type: Literal["every"]
    interval_s: Annotated[float, Duration(at_least_s=1)] = Field(
        alias="interval", description="The time between two fire times.", examples=["5m"]
    )


class AtSettings(_Schedule):
    """Fires once."""

    type: Literal["at"]
    time: Annotated[Any, Moment()] = Field(
        description="When to fire.", examples=["2030-01-01T00:00:00Z"]
    )
    timezone: str = setting(
        _SCHEDULE.timezone,
        "The time zone of a `time` that is written without an offset, by its IANA name.",
        example="Europe/Berlin",
    )


class FilesSettings(_Triggered):
    """Fires for each complete file in a directory."""

    type: Literal["files"]
    name: Annotated[str | None, Name()] = setting(
        None,
        "The trigger's name, unique over all functions; which files were seen is remembered under it.",
        example="inbox",
        default_text="`FUNCTION:PATH`",
    )
    path: str = Field(
        description="The directory, relative to the configuration file.", examples=["/srv/inbox"]
    )
    pattern: Annotated[tuple[str, ...], Names("a glob")] = setting(
        _FILES.pattern,
        "Only files that match one of these globs; one without `/` is matched with the name alone.",
    )
    exclude: Annotated[tuple[str, ...], Names("a glob")] = setting(
        _FILES.exclude, "Never files that match one of these globs.", example=["*.bak"]
    )
    recursive: bool = setting(_FILES.recursive, "Look into directories below it too.")
    settle_s: Annotated[float, Duration(at_most_s=86400)] = setting(
        _FILES.settle_s,
        "A file whose size and time of change stay the same this long is complete.",
        key="settle",
    )
    marker: str | None = setting(
        None,
        "A file is complete when another one of its name with this ending exists.",
        example=".ready",
        default_text="none",
    )
    order: Literal["name", "mtime"] = setting(
        _FILES.order, "The order of files that are found in one look: `name` or `mtime`."
    )
    polling: bool | None = setting(
        None,
        "Look at intervals instead of being told by the kernel, which network file systems need.",
        example=True,
        default_text="chosen by the kind of file system",
    )
    poll_interval_s: Annotated[float, Duration(at_least_s=0.1, at_most_s=86400)] = setting(
        _FILES.poll_interval_s, "The time between two looks when polling.", key="poll_interval"
    )
    batch_size: int = setting(
        _FILES.batch_size, "How many files one attempt gets at most.", at_least=1, at_most=10_000
    )
    batch_window_s: Annotated[float, Duration(at_most_s=3600)] = setting(
        _FILES.batch_window_s, "How long to wait for a batch to fill.", key="batch_window"
    )
    on_success: str = setting(
        _FILES.on_success,
        "What becomes of a file that was handled: `keep`, `delete` or `move:DIR`.",
    )
    on_failure: str = setting(
        _FILES.on_failure,
        "What becomes of a file whose attempts are used up: `keep`, `delete` or `move:DIR`, which "
        "adds a JSON file that says why.",
    )


class QueueSettings(_Triggered):
    """Fires for each event of a named queue."""

    type: Literal["queue"]
    name: Annotated[str, Name()] = Field(description="The queue's name.", examples=["emails"])
    batch_size: int = setting(
        _QUEUE.batch_size, "How many events one attempt gets at most.", at_least=1, at_most=10_000
    )
    batch_window_s: Annotated[float, Duration(at_most_s=3600)] = setting(
        _QUEUE.batch_window_s, "How long to wait for a batch to fill.", key="batch_window"
    )
    concurrency: int | None = setting(
        None,
        "How many attempts may work on this queue at once.",
        example=2,
        default_text="as many as the function",
        at_least=1,
        at_most=10_000,
    )
    key_concurrency: int = setting(
        _QUEUE.key_concurrency,
        "How many events of one key may run at once; above 1 their order is not kept.",
        at_least=1,
        at_most=10_000,
    )
    rate: Annotated[tuple[int, float] | None, Rate()] = setting(
        None, "How many events may start in a time.", example="10/s", default_text="no limit"
    )
    visibility_timeout_s: Annotated[float | None, Duration(at_least_s=1)] = setting(
        None,
        "How long a claimed event stays hidden unless its lease is renewed; at least `timeout`.",
        key="visibility_timeout",
        example="2m",
        default_text="the function's `timeout`, at least 30s",
    )


TriggerSettings = Annotated[
    CronSettings | EverySettings | AtSettings | FilesSettings | QueueSettings,
    Field(discriminator="type"),
]
