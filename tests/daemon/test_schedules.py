"""Schedules and a real daemon: each fire time runs once, or is a record that says why not."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.daemon.harness import DaemonProcess, wait_for, write_project
from tests.patience import patient

FUNCTIONS = """
    import time
    from faasd import at, cron, every, function

    @function(triggers=[every("10m", start="START", name="latest")])
    def latest(event, context):
        return event["missed"]

    @function(triggers=[every("10m", start="START", name="all", catch_up="all")])
    def all_of_them(event, context):
        return event["missed"]

    @function(triggers=[every("10m", start="START", name="skip", catch_up="skip")])
    def skip(event, context):
        return event["missed"]

    @function(triggers=[every("10m", start="START", name="strict", catch_up="all", start_deadline="25m")])
    def strict(event, context):
        return event["missed"]

    @function(triggers=[cron("0 3 * * *", name="night", timezone="Europe/Berlin"),
                        cron("30 12 1 1 *", name="new-year"),
                        every("1h", name="moved", jitter="10m")])
    def several(event, context):
        return event["source"]
"""
OVERLAPPING = """
    import time
    from faasd import every, function

    @function(triggers=[every("1s", name="skip", overlap="skip")])
    def skips(event, context):
        time.sleep(2.5)

    @function(triggers=[every("1s", name="queue", overlap="queue")])
    def queues(event, context):
        time.sleep(1.4)

    @function(triggers=[every("1s", name="allow", overlap="allow")])
    def allows(event, context):
        time.sleep(2.5)

    @function(triggers=[every("1s", name="replace", overlap="replace")])
    def replaces(event, context):
        time.sleep(2.5)
"""
TICKING = """
    from faasd import every, function

    @function(triggers=[every("1s", name="tick", overlap="allow")])
    def ticks(event, context):
        pass
"""


def invocations(daemon: DaemonProcess, source: str) -> list[dict[str, Any]]:
    """Return the invocations of one schedule, oldest fire time first, events included."""
    rows = daemon.client.request(
        "GET", "/api/v1/invocations", query={"source": source, "limit": "1000"}
    )["invocations"]
    full = [daemon.invocation(row["id"]) for row in rows]
    return sorted(full, key=lambda one: str(one["event"].get("scheduled_for")))


def move_back(daemon: DaemonProcess, **seconds_by_schedule: float) -> None:
    """Make the store believe that schedules were last seen so long ago."""
    connection = sqlite3.connect(daemon.state_dir / "faasd.db")
    with connection:
        for name, seconds in seconds_by_schedule.items():
            moved = "UPDATE cursors SET seen_until = seen_until - ? WHERE name = ?"
            assert connection.execute(moved, (seconds, name)).rowcount == 1
    connection.close()


def schedule(daemon: DaemonProcess, name: str) -> dict[str, Any]:
    """Return one schedule's status."""
    rows = json.loads(daemon.cli("schedules", "list", "--json").stdout)
    return next(row for row in rows if row["name"] == name)


def project(directory: Path, functions: str) -> DaemonProcess:
    """Write a project whose ten-minute schedules are five minutes from now, before and after."""
    start = datetime.now(UTC) - timedelta(days=1, minutes=5)
    return DaemonProcess(
        write_project(directory, functions.replace("START", start.isoformat()), "slots = 16\n")
    )


def test_what_an_hour_of_downtime_leaves_to_run_is_decided_by_catch_up(tmp_path: Path) -> None:
    """Six fire times passed; each is a run, or a record with its reason."""
    daemon = project(tmp_path, FUNCTIONS)
    with daemon.running():
        pass
    move_back(daemon, latest=3600, all=3600, skip=3600, strict=3600)
    with daemon.running():

        def states(source: str) -> list[str]:
            return [row["outcome"] or row["state"] for row in invocations(daemon, source)]

        missed = ["missed"]
        wait_for(lambda: states("latest") == missed * 5 + ["ok"], "latest")
        assert invocations(daemon, "latest")[-1]["result"] == 5
        wait_for(lambda: states("all") == ["ok"] * 6, "all")
        assert states("skip") == missed * 6
        wait_for(lambda: states("strict") == missed * 4 + ["ok"] * 2, "strict")
        ended = [row["ended_at"] for row in invocations(daemon, "all")]
        assert ended == sorted(ended)  # One after another, in order.
        left_out = invocations(daemon, "strict")[0]
        assert "start_deadline" in daemon.cli("why", left_out["id"]).stdout
    with daemon.running():  # And nothing of it comes again.
        assert Counter(states("latest") + states("all") + states("skip")) == {"ok": 7, "missed": 11}


def test_each_overlap_rule_does_what_it_says_to_handlers_that_take_longer(tmp_path: Path) -> None:
    """Skipped is a record; queued waits; allowed runs beside; replaced is stopped."""
    daemon = project(tmp_path, OVERLAPPING)
    with daemon.running():

        def outcomes(source: str) -> Counter[str]:
            return Counter(row["outcome"] or row["state"] for row in invocations(daemon, source))

        wait_for(lambda: outcomes("skip")["ok"] >= 2, "two runs of the slow one")
        for name in ("skip", "queue", "allow", "replace"):
            assert daemon.cli("schedules", "pause", name).returncode == 0
        wait_for(lambda: not daemon.client.request("GET", "/api/v1/status")["running"], "quiet")
        wait_for(lambda: not outcomes("queue")["waiting"], "the queued ones")
        assert outcomes("skip")["skipped-overlap"] >= 2
        assert set(outcomes("queue")) == {"ok"}
        assert set(outcomes("allow")) == {"ok"}
        assert set(outcomes("replace")) == {"cancelled", "ok"}
        assert outcomes("replace")["ok"] == 1  # The last one, which nothing replaced.

        def overlaps(source: str) -> int:
            spans = sorted(
                (row["started_at"], row["ended_at"]) for row in invocations(daemon, source)
                if row["started_at"]
            )  # fmt: skip
            return sum(later[0] < early[1] for early, later in itertools.pairwise(spans))

        assert overlaps("skip") == overlaps("queue") == overlaps("replace") == 0
        assert overlaps("allow") > 0
    assert not daemon.leftovers()


def test_kills_around_fire_times_lose_no_tick_and_repeat_none(tmp_path: Path) -> None:
    """Every second is accepted once, wherever in it the daemon died."""
    daemon = project(tmp_path, TICKING)
    daemon.start()
    wait_for(lambda: invocations(daemon, "tick"), "a tick")
    for offset_s in (-0.005, 0.001, 0.005, 0.02):
        at = float(int(time.time()) + 1) + offset_s
        wait_for(lambda at=at: time.time() >= at - 0.03, "the second to come")  # type: ignore[misc]
        while time.time() < at:
            pass
        daemon.kill9()
        daemon.start()
    with contextlib.ExitStack() as stack:
        stack.callback(daemon.stop)
        end = time.time()
        wait_for(lambda: fire_seconds(daemon) and max(fire_seconds(daemon)) > end, "ticks to come")
        seconds = fire_seconds(daemon)
        assert seconds == list(range(seconds[0], seconds[-1] + 1))
        daemon.cli("schedules", "pause", "tick")
        wait_for(
            lambda: {row["state"] for row in invocations(daemon, "tick")} == {"done"}, "all to run"
        )
        for row in invocations(daemon, "tick"):
            words = [one["outcome"] for one in row["attempt_records"]]
            assert words == ["lost"] * (len(words) - 1) + ["ok"]


def fire_seconds(daemon: DaemonProcess) -> list[int]:
    """Return the fire times of `tick` that were accepted, as seconds since 1970."""
    return [
        round(datetime.fromisoformat(row["event"]["scheduled_for"]).timestamp())
        for row in invocations(daemon, "tick")
    ]


def test_a_pause_holds_over_a_restart_and_run_now_does_not_care(tmp_path: Path) -> None:
    """What passes meanwhile is recorded at the resume; then it fires again."""
    daemon = project(tmp_path, TICKING)
    with daemon.running():
        wait_for(lambda: invocations(daemon, "tick"), "a tick")
        assert daemon.cli("schedules", "pause", "tick").returncode == 0
        wait_for(lambda: invocations(daemon, "tick")[-1]["state"] == "done", "it to run")
        count = len(invocations(daemon, "tick"))
    with daemon.running():
        assert schedule(daemon, "tick")["paused"]
        id_ = daemon.cli("schedules", "run", "tick").stdout.strip()
        assert daemon.wait_for_state(id_, "done")["outcome"] == "ok"
        assert len(invocations(daemon, "tick")) == count + 1
        assert "paused" in daemon.cli("why", "tick").stdout
        assert daemon.cli("schedules", "resume", "tick").returncode == 0
        resumed = time.time()
        wait_for(lambda: max(fire_seconds(daemon)) > resumed + 1, "it to fire again")
        rows = [row for row in invocations(daemon, "tick") if row["id"] != id_]
        words = Counter(row["outcome"] or row["state"] for row in rows)
        assert words["missed"] >= 1
        assert sorted({*fire_seconds(daemon)}) == list(
            range(fire_seconds(daemon)[0], fire_seconds(daemon)[-1] + 1)
        )


AT = """
    from faasd import at, function

    @function(triggers=[at("PAST", name="past"), at("SOON", name="soon")])
    def once(event, context):
        return event["source"]
"""


def test_at_runs_once_and_a_time_that_had_passed_when_it_was_declared_is_missed(
    tmp_path: Path,
) -> None:
    """Also not again after a restart."""
    now = datetime.now(UTC)
    functions = AT.replace("PAST", (now - timedelta(hours=1)).isoformat())
    daemon = project(tmp_path, functions.replace("SOON", (now + timedelta(seconds=5)).isoformat()))
    for _ in range(2):
        with daemon.running():
            wait_for(lambda: [r["state"] for r in invocations(daemon, "soon")] == ["done"], "soon")
            wait_for(lambda: [r["outcome"] for r in invocations(daemon, "past")] == ["missed"], "")


def test_the_import_of_a_schedules_function_is_done_before_it_fires(tmp_path: Path) -> None:
    """Nobody has used it yet, and its first attempt is not a cold one."""
    due = datetime.now(UTC) + timedelta(seconds=patient(6))
    functions = f"""
        from faasd import at, function

        @function(triggers=[at({due.isoformat()!r}, name="soon")])
        def once(event, context):
            pass
    """
    daemon = DaemonProcess(write_project(tmp_path, functions))
    with daemon.running():
        [tick] = wait_for(lambda: invocations(daemon, "soon"), "the schedule to fire")
        daemon.wait_for_state(tick["id"], "done")
        [attempt] = daemon.invocation(tick["id"])["attempt_records"]
        assert attempt["init_ms"] is None


def test_a_changed_expression_catches_up_nothing_from_before(tmp_path: Path) -> None:
    """It starts at the moment it is first seen; the other settings keep its place."""
    daemon = project(tmp_path, FUNCTIONS)
    with daemon.running():
        pass
    move_back(daemon, latest=3600, skip=3600)
    source = tmp_path / "functions" / "app.py"
    text = source.read_text()
    text = text.replace('every("10m", start=', 'every("11m", start=', 1)  # latest
    source.write_text(text.replace('catch_up="skip"', 'catch_up="all"'))
    with daemon.running():
        wait_for(lambda: len(invocations(daemon, "skip")) == 6, "the catch-up by the new rule")
        assert invocations(daemon, "latest") == []


def test_fire_times_are_told_with_and_without_a_daemon(tmp_path: Path) -> None:
    """Daylight saving as documented, jitter included."""
    daemon = project(tmp_path, FUNCTIONS)
    told = daemon.cli(
        "schedules", "next", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin",
        "--from", "2026-03-28T12:00:00Z", "-n", "2", "--json",
    )  # fmt: skip
    assert json.loads(told.stdout) == ["2026-03-29T01:00:00.000Z", "2026-03-30T00:30:00.000Z"]
    wrong = daemon.cli("schedules", "next", "--cron", "0 0 30 2 *")
    assert wrong.returncode == 2
    assert daemon.cli("schedules", "next", "night").returncode == 3
    with daemon.running():
        names = {
            row["name"] for row in json.loads(daemon.cli("schedules", "list", "--json").stdout)
        }
        assert names == {"latest", "all", "skip", "strict", "night", "new-year", "moved"}
        told = daemon.cli(
            "schedules", "next", "night", "--from", "2026-10-24T12:00:00Z", "-n", "2", "--json"
        )
        assert json.loads(told.stdout) == ["2026-10-25T02:00:00.000Z", "2026-10-26T02:00:00.000Z"]
        moved = json.loads(daemon.cli("schedules", "next", "moved", "-n", "2", "--json").stdout)
        offsets = {datetime.fromisoformat(one).timestamp() % 3600 for one in moved}
        assert len(offsets) == 1
        assert 0 < offsets.pop() < 600
