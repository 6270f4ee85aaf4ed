"""examples/nightly_report does what its README says."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

from tests.examples.running import Example, wait_for


def test_the_report_is_about_the_day_it_was_meant_for(started: Callable[[str], Example]) -> None:
    """Run by hand or late, a report names its own day and sums its own numbers."""
    example = started("nightly_report")
    example.faasd("schedules", "run", "nightly")
    done = wait_for(
        "the report is made",
        lambda: example.invocations("--function", "nightly_report", "--state", "done"),
    )
    assert [row["outcome"] for row in done] == ["ok"]
    reports = example.folder / "reports"
    [report] = [path for path in reports.glob("*.json") if path.name != "disk.json"]
    content = json.loads(report.read_text())
    assert content["day"] == report.stem
    assert content["pieces"] == 187
    assert content["by_article"]["apples"] == 136


def test_next_fire_times_are_read_in_the_schedules_time_zone(
    started: Callable[[str], Example],
) -> None:
    """Half past two in Berlin is half past two there, in summer and in winter."""
    example = started("nightly_report")
    times = example.json("schedules", "next", "nightly")
    assert len(times) >= 5
    berlin = ZoneInfo("Europe/Berlin")
    local = [datetime.fromisoformat(time).astimezone(berlin) for time in times]
    # On the night of the change to summer time there is no half past two.
    assert all((one.hour, one.minute) in {(2, 30), (3, 0)} for one in local)
    assert sum((one.hour, one.minute) == (2, 30) for one in local) >= len(local) - 1


def test_the_pulse_fires_by_itself_and_goes_on_after_a_restart(
    started: Callable[[str], Example],
) -> None:
    """Each fire time is accepted once, before and after; what passed unseen is told, not lost."""
    example = started("nightly_report")

    def pulses() -> list[dict[str, object]]:
        return example.invocations("--function", "disk_pulse", "--outcome", "ok")

    wait_for("two pulses", lambda: len(pulses()) >= 2)
    assert "free_percent" in json.loads((example.folder / "reports" / "disk.json").read_text())
    example.stop()
    example.start()
    before = len(pulses())
    wait_for("another pulse", lambda: len(pulses()) > before)
    times = [row["scheduled_for"] for row in pulses()]
    assert len(set(times)) == len(times)
