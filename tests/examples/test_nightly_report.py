"""examples/nightly_report does what its README says."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.examples.running import Example, wait_for


def test_the_report_is_about_the_day_it_was_meant_for(nightly_report: Example) -> None:
    """Run by hand or late, a report names its own day and sums its own numbers."""
    nightly_report.faasd("schedules", "run", "nightly")
    [done] = wait_for(
        "the report is made",
        lambda: nightly_report.invocations(function="nightly_report", state="done"),
    )
    assert (done["trigger"], done["outcome"]) == ("cron", "ok")
    reports = (nightly_report.folder / "reports").glob("*.json")
    [report] = [path for path in reports if path.name != "disk.json"]
    content = json.loads(report.read_text())
    assert content["day"] == report.stem
    assert content["pieces"] == 187
    assert content["by_article"]["apples"] == 136
    assert "187 pieces" in nightly_report.faasd("logs", "--function", "nightly_report")


def test_next_fire_times_are_read_in_the_schedules_time_zone(nightly_report: Example) -> None:
    """Half past two in Berlin is half past two there, in summer and in winter."""
    assert {row["name"] for row in nightly_report.json("schedules", "list")} == {"nightly", "pulse"}
    berlin = ZoneInfo("Europe/Berlin")
    times = _times(nightly_report.json("schedules", "next", "nightly", "-n", "366"))
    local = [datetime.fromisoformat(time).astimezone(berlin) for time in times]
    assert len(local) == 366
    # One night in the year has no half past two there.
    assert sum((one.hour, one.minute) == (2, 30) for one in local) >= 365
    assert len({one.utcoffset() for one in local}) == 2


def test_the_pulse_fires_by_itself_and_goes_on_after_a_restart(nightly_report: Example) -> None:
    """Each fire time is accepted once, before and after."""

    def pulses() -> list[dict[str, Any]]:
        return nightly_report.invocations(function="disk_pulse", outcome="ok")

    wait_for("two pulses", lambda: len(pulses()) >= 2)
    disk = nightly_report.folder / "reports" / "disk.json"
    assert "free_percent" in json.loads(disk.read_text())
    nightly_report.stop()
    nightly_report.start()
    before = len(pulses())
    wait_for("another pulse", lambda: len(pulses()) > before)
    times = [row["scheduled_for"] for row in pulses()]
    assert len(set(times)) == len(times)


def _times(found: Any) -> list[str]:
    return [row["at"] if isinstance(row, dict) else row for row in found]
