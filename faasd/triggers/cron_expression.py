"""Cron expressions: read, checked, and matched against local times.

The text is read the way Debian's cron reads it and handed to cronsim in a form that both understand
alike. Everything here is local time without a zone; fire_times.py lays a zone over it.
"""

from __future__ import annotations

from bisect import bisect_left
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from faasd.errors import InvalidSetting
from faasd.model.suggest import did_you_mean

__all__ = ["CronExpression", "parse", "zone_of"]

_REBOOT = "@reboot"
_NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()  # For the numbers from `low` on.


_WEEKDAY = _Field("day-of-week", 0, 7, _DAYS)
_FIELDS = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day-of-month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _WEEKDAY,
)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local times carry no zone here
_SHAPE = 'five fields, "minute hour day-of-month month day-of-week", or six with seconds first'


class CronExpression:
    """A cron expression that fires some day. Local times are seconds since 1970-01-01 00:00 local.

    `follows_real_time` is Debian's rule for daylight saving: true when the second, minute or hour field
    starts with `*`. `fires_at_start` is true for `@reboot` alone, which matches no time at all.
    """

    def __init__(self, text: str, canonical: str) -> None:
        self.text = text
        self.canonical = canonical
        self.fires_at_start = canonical == _REBOOT
        self.follows_real_time = False
        if self.fires_at_start:
            return
        self._forward = CronSim(canonical, _EPOCH)
        self._backward = CronSim(canonical, _EPOCH, reverse=True)
        seconds, minutes, hours = canonical.split()[:3]
        self.follows_real_time = any(part.startswith("*") for part in (seconds, minutes, hours))
        self._seconds = sorted(self._forward.seconds)
        self._minutes = sorted(self._forward.minutes)
        self._hours = sorted(self._forward.hours)
        self._matches_day = lru_cache(maxsize=1024)(self._match_day)

    def next_local(self, after_s: int) -> int | None:
        """Return the first match later than a local time; None when there is none for 50 years."""
        return self._step(self._forward, after_s)

    def previous_local(self, before_s: int) -> int | None:
        """Return the last match earlier than a local time; None when there is none for 50 years."""
        return self._step(self._backward, before_s)

    def count_local(self, from_s: int, until_s: int) -> int:
        """Return how many matches lie in [from, until). The work grows with the days, not the matches."""
        if from_s >= until_s:
            return 0
        first_day, from_s = divmod(from_s, 86400)
        last_day, until_s = divmod(until_s, 86400)
        full_day = len(self._seconds) * len(self._minutes) * len(self._hours)
        count = full_day * sum(map(self._matches_day, range(first_day, last_day)))
        if self._matches_day(first_day):
            count -= self._count_in_day(from_s)
        if self._matches_day(last_day):
            count += self._count_in_day(until_s)
        return count

    def fires_some_day(self) -> bool:
        """Whether any day matches, over the 28 years in which weekdays and leap years repeat."""
        first_day = (date(2000, 1, 1) - _EPOCH.date()).days
        return any(self._match_day(day) for day in range(first_day, first_day + 28 * 366))

    def _step(self, template: CronSim, from_s: int) -> int | None:
        walker = CronSim.__new__(CronSim)  # Parsing anew would cost more than the step itself.
        walker.__dict__.update(template.__dict__)
        walker.dt = _EPOCH + timedelta(seconds=from_s)
        try:
            found = next(walker) - _EPOCH
        except (StopIteration, OverflowError):
            return None
        return found.days * 86400 + found.seconds

    def _match_day(self, day: int) -> bool:
        moment = (_EPOCH + timedelta(days=day)).date()
        return moment.month in self._forward.months and self._forward.match_day(moment)

    def _count_in_day(self, before_s: int) -> int:
        """Return how many times of day that match lie before this second of the day."""
        hour, rest = divmod(before_s, 3600)
        minute, second = divmod(rest, 60)
        per_minute = len(self._seconds)
        count = bisect_left(self._hours, hour) * len(self._minutes) * per_minute
        if hour in self._forward.hours:
            count += bisect_left(self._minutes, minute) * per_minute
            if minute in self._forward.minutes:
                count += bisect_left(self._seconds, second)
        return count


@lru_cache(maxsize=4096)
def parse(text: str) -> CronExpression:
    """Read a cron expression. Raises InvalidSetting that says what was expected."""
    words = text.split()
    if len(words) == 1 and words[0].startswith("@"):
        if words[0].lower() == _REBOOT:
            return CronExpression(text, _REBOOT)
        canonical = _canonical(_expand_nickname(words[0]).split())
    else:
        _refuse_other_dialects(text, words)
        canonical = _canonical(words)
    never = InvalidSetting(
        f"cron expression {text!r} never fires: no date has that day, month and weekday"
    )
    try:
        expression = CronExpression(text, canonical)
    except CronSimError as error:  # Every field has been checked, so only the date is left.
        raise never from error
    if not expression.fires_some_day():
        raise never
    return expression


def zone_of(name: str) -> ZoneInfo:
    """Return a time zone by its IANA name. Raises InvalidSetting for one that does not exist."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        hint = did_you_mean(name, available_timezones())
        raise InvalidSetting(
            f'expected a time zone such as "UTC" or "Europe/Berlin", not {name!r}{hint}'
        ) from error


def _expand_nickname(word: str) -> str:
    expanded = _NICKNAMES.get(word.lower())
    if expanded is None:
        known = {name: name for name in (*_NICKNAMES, _REBOOT)}
        raise InvalidSetting(
            f"expected one of {', '.join(known)}, not {word!r}{did_you_mean(word, known)}"
        )
    return expanded


def _refuse_other_dialects(text: str, words: list[str]) -> None:
    if text.strip().lower().startswith(("cron(", "rate(")):
        raise InvalidSetting(
            f"expected {_SHAPE}, not {text!r}, which is how AWS writes schedules; leave out the "
            'parentheses and the year, write "*" for "?", and name weekdays (AWS counts Sunday as 1); '
            "rate(…) is `every`"
        )
    if len(words) == 7:
        raise InvalidSetting(
            f"expected {_SHAPE}, not 7 in {text!r}; a year cannot be given, use `start` and `end`"
        )
    if len(words) not in (5, 6):
        raise InvalidSetting(f"expected {_SHAPE}, not {len(words)} in {text!r}")


def _canonical(words: list[str], *, hinting: bool = True) -> str:
    """Write every field so that cronsim cannot read it differently from Debian's cron."""
    has_seconds = len(words) == 6
    fields = _FIELDS if has_seconds else _FIELDS[1:]
    parts: list[str] = [] if has_seconds else ["0"]
    for word, field in zip(words, fields, strict=True):
        try:
            parts.append(_canonical_field(word, field))
        except InvalidSetting as error:
            hint = _field_count_hint(words) if hinting else ""
            raise InvalidSetting(f"{error}{hint}") from error
    return " ".join(parts)


def _field_count_hint(words: list[str]) -> str:
    """Say so when the same fields would fit the other form, with seconds or without."""
    other = words[1:] if len(words) == 6 else [*words, "*"]
    try:
        _canonical(other, hinting=False)
    except InvalidSetting:
        return ""
    first = "seconds" if len(words) == 6 else "minutes"
    return f"; of {len(words)} fields the first is {first}; did you mean {' '.join(other)!r}?"


def _canonical_field(word: str, field: _Field) -> str:
    terms: list[str] = []
    numbers: set[int] = set()
    for index, term in enumerate(word.lower().split(",")):
        if index == 0 and term.startswith("*"):
            # The star itself must stay in front: it decides whether day and weekday mean AND or OR.
            terms.append(_starred(word, term, field))
            continue
        special = _special(word, term, field)
        if special is not None:
            terms.append(special)
        else:
            numbers.update(_numbers(word, term, field))
    if "*" in terms:
        return "*"
    return ",".join([*terms, *(str(number) for number in sorted(numbers))])


def _starred(word: str, term: str, field: _Field) -> str:
    if term == "*":
        return term
    star, slash, step = term.partition("/")
    if star != "*" or not slash:
        raise InvalidSetting(f"{field.name} {word!r}: only a step such as */5 may follow a star")
    return f"*/{_step_of(word, step, field)}"


def _special(word: str, term: str, field: _Field) -> str | None:
    """Return the forms that Debian's cron does not have: L, LW, 5L, friL, mon#2."""
    if term == "?":
        raise InvalidSetting(f"{field.name} {word!r}: write * for any, not ?")
    if field.name == "day-of-month" and term in ("l", "lw"):
        return term.upper()
    if field is not _WEEKDAY or not ("#" in term or term.endswith("l")):
        return None
    day, hash_sign, nth = term.partition("#")
    if not hash_sign:
        return f"{_number(word, day[:-1], field)}L"
    if nth not in ("1", "2", "3", "4", "5"):
        raise InvalidSetting(f"{field.name} {word!r}: expected #1 to #5, not #{nth}")
    return f"{_number(word, day, field)}#{nth}"


def _numbers(word: str, term: str, field: _Field) -> range:
    span, slash, step = term.partition("/")
    if span == "*":
        return range(field.low, field.high + 1, _step_of(word, step, field) if slash else 1)
    first_text, dash, last_text = span.partition("-")
    first = _number(word, first_text, field)
    if not dash:
        if slash:  # Debian's cron refuses it too; others read it as a range up to the highest.
            raise InvalidSetting(
                f"{field.name} {word!r}: a step needs a range; "
                f"did you mean {first}-{field.high}/{step}?"
            )
        return range(first, first + 1)
    last = _number(word, last_text, field)
    if last < first:
        raise InvalidSetting(
            f"{field.name} {word!r}: the range {span} runs backwards; "
            f"write {_around(first, last, field)}"
        )
    return range(first, last + 1, _step_of(word, step, field) if slash else 1)


def _around(first: int, last: int, field: _Field) -> str:
    if field is not _WEEKDAY:
        return f"{first}-{field.high},{field.low}-{last}"
    return f"{first}-7 (Sunday is 0 and 7)" if last == 0 else f"{first}-6,0-{last}"


def _step_of(word: str, text: str, field: _Field) -> int:
    if not _is_number(text) or int(text) == 0:
        raise InvalidSetting(
            f"{field.name} {word!r}: expected a step of 1 or more after the /, not {text!r}"
        )
    return int(text)


def _number(word: str, text: str, field: _Field) -> int:
    if text in field.names:
        return field.names.index(text) + field.low
    if _is_number(text) and field.low <= int(text) <= field.high:
        return int(text)
    names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
    hint = did_you_mean(text.lower(), field.names)
    raise InvalidSetting(
        f"{field.name} {word!r}: expected {field.low} to {field.high}{names}, not {text!r}{hint}"
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6
