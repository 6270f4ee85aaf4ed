"""The table of daylight saving in docs/triggers/schedules.md, executed line by line."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from faasd.model.trigger import ScheduleTrigger
from faasd.triggers.fire_times import fire_times_of

PAGE = Path(__file__).parents[3] / "docs" / "triggers" / "schedules.md"


def rows() -> list[tuple[str, str, str, str]]:
    """Return (expression, zone, on, fires at) of each line of the table."""
    found = []
    for line in PAGE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[0].startswith("`") and re.match(r"\d{4}-", cells[2]):
            found.append((cells[0].strip("`"), cells[1], cells[2], cells[3]))
    return found


def test_the_table_is_found() -> None:
    """A page that was rewritten must not leave this test with nothing to do."""
    assert len(rows()) >= 19


@pytest.mark.parametrize(("expression", "zone", "on", "fires_at"), rows())
def test_each_line_of_the_table_is_true(expression: str, zone: str, on: str, fires_at: str) -> None:
    """The promise about daylight saving is the one in the documentation."""
    day, _, hours = on.partition(" ")
    first, last = hours.split(" to ") if hours else ("00:00", "23:59")
    begin = datetime.fromisoformat(f"{day}T{first}").replace(tzinfo=ZoneInfo(zone))
    end = datetime.fromisoformat(f"{day}T{last}").replace(tzinfo=ZoneInfo(zone), fold=1)
    times = fire_times_of(ScheduleTrigger("s", "cron", expression=expression, timezone=zone))
    found = times.newest((begin - timedelta(seconds=1)).timestamp(), end.timestamp(), count_max=100)
    local = [datetime.fromtimestamp(at, ZoneInfo(zone)) for at in found]
    assert [f"{at:%H:%M}{at.isoformat()[-6:]}" for at in local] == re.findall(
        r"[\d:]+[+-][\d:]+", fires_at
    )
