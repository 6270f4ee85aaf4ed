"""One request to put an event on a queue, from a client, a sandbox or a script: checked in one place."""

from __future__ import annotations

import re
from typing import Any

from faasd.errors import InvalidSetting
from faasd.model.event import event_body
from faasd.model.ids import new_id
from faasd.model.invocation import NewEvent
from faasd.model.suggest import did_you_mean
from faasd.model.units import format_duration, parse_duration_s

__all__ = ["checked_id", "read_queue_event"]

_KEYS = ("body", "id", "delay", "expires", "key", "dedup", "dedup_window", "priority")
_PRIORITY_MAX = 2**31 - 1
_TEXT_LENGTH_MAX = 256
_DEDUP_WINDOW_S = 300.0
#: A hundred years. More is a slip of the unit, and would be a date that nothing can print.
_DURATION_MAX_S = 36_500 * 86_400.0
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


def checked_id(text: str | None, where: str) -> str | None:
    """Return an id that a sender gave: a UUID, so that it can stand in file names and be told from a prefix.

    Raises InvalidSetting.
    """
    if text is not None and not _UUID.fullmatch(text):
        raise InvalidSetting(f"{where} must be a UUID in lower case, not {text!r}")
    return text


def read_queue_event(
    queue: str, request: Any, now: float, *, where: str = "the event", parent_id: str | None = None
) -> NewEvent:
    """Return the event that a request asks for; which function it is for is intake's to find.

    A request is an object with a `body` and any of `id`, `delay`, `expires`, `key`, `dedup`,
    `dedup_window`, `priority`. Durations are texts such as `5m`, or seconds. Raises InvalidSetting
    that begins with `where` and names what is wrong.
    """
    if not isinstance(request, dict) or "body" not in request:
        raise InvalidSetting(f"{where} must be an object with a `body`")
    if len(request) == 1:  # Most have nothing but a body.
        event_id = new_id()
        body = event_body("queue", queue, event_id, now, queue=queue, body=request["body"])
        return NewEvent("", queue, "queue", queue, body, event_id, parent_id=parent_id)
    for name in request:
        if name not in _KEYS:
            raise InvalidSetting(f"{where} has no {name!r}{did_you_mean(str(name), _KEYS)}")
    event_id = checked_id(_text(request, "id", where), f"{where}.id") or new_id()
    delay_s = _duration_s(request, "delay", where)
    window_s = _duration_s(request, "dedup_window", where)
    return NewEvent(
        function="",
        queue=queue,
        trigger="queue",
        source=queue,
        body=event_body("queue", queue, event_id, now, queue=queue, body=request["body"]),
        id=event_id,
        due_at=None if delay_s is None else now + delay_s,
        expires_s=_duration_s(request, "expires", where),
        priority=_priority(request, where),
        group_key=_text(request, "key", where),
        dedup_key=_text(request, "dedup", where),
        dedup_window_s=_DEDUP_WINDOW_S if window_s is None else window_s,
        parent_id=parent_id,
    )


def _text(request: dict[str, Any], name: str, where: str) -> str | None:
    value = request.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= _TEXT_LENGTH_MAX:
        raise InvalidSetting(f"{where}.{name} must be a text of 1 to {_TEXT_LENGTH_MAX} characters")
    return value


def _duration_s(request: dict[str, Any], name: str, where: str) -> float | None:
    value = request.get(name)
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        seconds = min(value, 2 * _DURATION_MAX_S)  # A whole number may be too large for a float.
    else:
        try:
            seconds = parse_duration_s(value)
        except InvalidSetting as error:
            raise InvalidSetting(f"{where}.{name}: {error}, or a number of seconds") from error
    if not seconds <= _DURATION_MAX_S:
        longest = format_duration(_DURATION_MAX_S)
        raise InvalidSetting(f"{where}.{name}: expected at most {longest}, not {value!r}")
    return float(seconds)


def _priority(request: dict[str, Any], where: str) -> int:
    value = request.get("priority")
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _PRIORITY_MAX:
        raise InvalidSetting(f"{where}.priority must be a whole number; higher runs first")
    return value
