"""Reading cron expressions: what is understood, and what is said about the rest."""

from __future__ import annotations

import pytest

from faasd.errors import InvalidSetting
from faasd.triggers.cron_expression import parse, zone_of

SAME = [
    ("20-20/2 * * * *", "20 * * * *"),  # cronsim alone reads 20/2: from 20 on, every second minute.
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * sun"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 jan *"),
    ("@Annually", "0 0 1 1 *"),
    ("0 0 * * 7", "0 0 * * 0"),
    ("0 0 * * 5-7", "0 0 * * fri,sat,sun"),
    ("0 0 * * SUN-TUE", "0 0 * * 0-2"),
    ("0 0 * * mon-fri/2", "0 0 * * 1,3,5"),
    ("0 0 1 jan-jun/2 *", "0 0 1 1,3,5 *"),
    ("0 0 * * friL", "0 0 * * 5L"),
    ("0 0 * * mon#2", "0 0 * * 1#2"),
    ("0 */5 * * * *", "*/5 * * * *"),
    (" 5   4 * * *\t", "5 4 * * *"),
    ("1,1,2 * * * *", "1-2 * * * *"),
]


@pytest.mark.parametrize(("text", "same_as"), SAME)
def test_two_ways_to_write_one_schedule_fire_alike(text: str, same_as: str) -> None:
    """Names, nicknames, ranges, steps and Sunday's two numbers are only ways to write."""
    first, second = parse(text), parse(same_as)
    at = other = 1_790_000_000
    for _ in range(30):
        found, wanted = first.next_local(at), second.next_local(other)
        assert found == wanted
        assert found is not None
        at = other = found


REFUSED = [
    ("", 'five fields, "minute hour day-of-month month day-of-week"'),
    ("* * * *", "not 4"),
    ("0 0 12 * * * 2026", "a year cannot be given"),
    ("60 * * * *", "minute '60': expected 0 to 59"),
    ("0 24 * * *", "hour '24': expected 0 to 23"),
    ("0 0 0 * *", "day-of-month '0': expected 1 to 31"),
    ("0 0 * 13 *", "month '13': expected 1 to 12 or jan to dec"),
    ("0 0 * * 8", "day-of-week '8': expected 0 to 7 or sun to sat"),
    ("0 0 * * mom", 'did you mean "mon"?'),
    ("0 0 * january *", 'did you mean "jan"?'),
    ("@dayly", 'did you mean "@daily"?'),
    ("5/10 * * * *", "did you mean 5-59/10?"),
    ("*/0 * * * *", "a step of 1 or more"),
    ("*/x * * * *", "a step of 1 or more"),
    ("*5 * * * *", "only a step such as */5 may follow a star"),
    ("30-10 * * * *", "runs backwards; write 30-59,0-10"),
    ("0 0 * * sat-sun", "write 6-7 (Sunday is 0 and 7)"),
    ("0 0 * * fri-tue", "write 5-6,0-2"),
    ("0 0 ? * mon", "write * for any, not ?"),
    ("0 0 * * mon#6", "expected #1 to #5"),
    ("1,,2 * * * *", "not ''"),
    ("-1 * * * *", "not ''"),
    ("cron(0 12 * * ? *)", "how AWS writes schedules"),
    ("rate(5 minutes)", "`every`"),
    ("0 30 12 * *", "of 5 fields the first is minutes; did you mean '0 30 12 * * *'?"),
    ("61 30 2 * * *", "of 6 fields the first is seconds; did you mean '30 2 * * *'?"),
    ("0 0 30 2 *", "never fires"),
    ("0 0 31 4,6,9,11 *", "never fires"),
    ("0 0 */16 2 mon#5", "never fires"),  # The 1st and 17th are never a fifth Monday.
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_what_cannot_be_meant_is_refused_with_what_was_expected(text: str, said: str) -> None:
    """A schedule that is silently read as another one is found out a month later."""
    with pytest.raises(InvalidSetting) as refusal:
        parse(text)
    assert said in str(refusal.value)


def test_a_day_that_only_leap_years_have_is_no_impossible_date() -> None:
    """The 29th of February fires, if rarely; so does a 30th of February or any Monday in it."""
    parse("0 0 29 2 *")
    parse("0 0 30 2 mon")


def test_a_time_zone_that_does_not_exist_is_refused_with_its_neighbour() -> None:
    """The zone is checked when the configuration is read, not at the first tick."""
    zone_of("America/Argentina/Buenos_Aires")
    for name in ("Europe/Belrin", "europe/berlin "):
        with pytest.raises(InvalidSetting, match='did you mean "Europe/Berlin"'):
            zone_of(name)
    for name in ("", "../etc/passwd", "/etc/localtime"):
        with pytest.raises(InvalidSetting, match="expected a time zone"):
            zone_of(name)
