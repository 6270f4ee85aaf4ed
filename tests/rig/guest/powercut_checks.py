"""After ten power cuts: everything that was acknowledged is accounted for, and so is each time that it ran."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import Counter
from datetime import datetime
from functools import cache
from typing import Any

import pytest

from tests.rig.guest.installation import client, daemon_pid, run, show
from tests.rig.guest.power_cuts import (
    CUTS,
    DATABASE,
    DONE,
    INBOX,
    POISON_EVERY,
    ROOT,
    SCHEDULES,
    ledger,
)
from tests.rig.guest.service import wait_for

#: What an attempt may have come to that somebody else than the handler ended, and that is not charged.
UNCHARGED = {"lost", "drained", "sandbox-failed"}
LOST_MAX = 5
#: What was waiting after the last cut is a few hundred attempts, on a slow machine.
REST_S = 900.0


@cache
def rows(query: str) -> list[sqlite3.Row]:
    """Ask the database itself: the daemon's own word is not what is tested."""
    connection = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)
    try:
        connection.row_factory = sqlite3.Row
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def invocations() -> dict[str, sqlite3.Row]:
    return {row["id"]: row for row in rows("SELECT * FROM invocations")}


@cache
def attempts() -> dict[str, dict[int, str]]:
    """Each invocation's attempts: number and outcome."""
    found: dict[str, dict[int, str]] = {}
    query = "SELECT i.id, a.number, a.outcome FROM attempts a JOIN invocations i ON i.seq = a.invocation_seq"
    for id_, number, outcome in rows(query):
        found.setdefault(id_, {})[number] = outcome
    return found


@pytest.fixture(scope="module", autouse=True)
def at_rest() -> None:
    """Wait until the daemon has worked off everything but the ticks."""
    daemon_pid()

    def is_idle() -> bool:
        counts = [one for one in client().queues() if not one["queue"].startswith("tick")]
        busy = sum(one["waiting"] + one["delayed"] + one["in_flight"] for one in counts)
        return busy == 0 and not any(INBOX.iterdir())

    wait_for(is_idle, "everything to be processed", REST_S)
    run("systemctl", "stop", "faasd.socket", "faasd.service")  # So that ticks stand still too.


def test_the_cuts_came_while_work_was_under_way() -> None:
    """Else nothing is shown: each boot had its own, and attempts were lost to them."""
    cuts = ledger("cuts").read()
    for one in cuts:
        print(one)
    assert [one["kind"] for one in cuts] == list(CUTS)
    assert len({one["boot"] for one in cuts}) == len(CUTS)
    lost = sum(outcome == "lost" for each in attempts().values() for outcome in each.values())
    print(
        f"{len(invocations())} invocations, {sum(map(len, attempts().values()))} attempts, {lost} of them lost"
    )
    assert lost >= 3


def test_the_database_was_whole_after_each_cut() -> None:
    """As the cut left it, before the daemon touched it."""
    looks = ledger("looks").read()
    cut_boots = [one["boot"] for one in ledger("cuts").read()]
    assert set(cut_boots[1:]) <= {one["boot"] for one in looks}
    assert [one for one in looks if one["said"] != ["ok"]] == []
    assert [row[0] for row in rows("PRAGMA integrity_check")] == ["ok"]
    counts = [one["invocations"] for one in looks]
    assert counts == sorted(counts)  # type: ignore[type-var]


def test_nothing_acknowledged_is_lost() -> None:
    """Each has come to the end that its handler gives it, or to one that is explained."""
    acknowledged: list[str] = [id_ for one in ledger("acknowledged").read() for id_ in one["ids"]]  # type: ignore[attr-defined]
    n_of = {
        event["id"]: event["body"]["n"]
        for one in ledger("intents").read()
        for event in one["events"]
    }  # type: ignore[attr-defined]
    print(len(acknowledged), "acknowledged")
    assert len(acknowledged) > 100
    for id_ in acknowledged:
        row = invocations().get(id_)
        assert row is not None, f"{id_} is lost"
        outcomes = Counter(attempts()[id_].values())
        if outcomes["lost"] >= LOST_MAX:
            assert row["state"] == "dead", id_
        elif n_of.get(id_, 0) % POISON_EVERY == POISON_EVERY - 1:
            assert (row["state"], outcomes["error"]) == ("dead", 2), f"{id_}: {outcomes}"
        else:
            assert (row["state"], row["outcome"], outcomes["ok"]) == ("done", "ok", 1), id_


def test_what_handlers_enqueued_is_not_lost_either() -> None:
    """`context.enqueue` acknowledges as everybody else does."""
    children = [one["child"] for one in ledger("notes/runs").read() if "child" in one]
    assert len(children) > 10
    states = {child: invocations()[str(child)]["state"] for child in children}
    assert set(states.values()) <= {"done", "dead"}


def test_each_run_is_explained_by_a_record() -> None:
    """No attempt runs twice, and a second attempt has a first one whose record says why it was not enough."""
    ran = Counter((one["id"], one["attempt"]) for one in ledger("notes/runs").read() if "child" not in one)  # fmt: skip
    assert len(ran) > 200
    assert [key for key, count in ran.items() if count > 1] == []
    for id_, number in ran:
        assert number in attempts().get(str(id_), {}), f"attempt {number} of {id_} has no record"
    again = 0
    for id_, each in attempts().items():
        assert sorted(each) == list(range(1, len(each) + 1)), f"{id_}: {each}"
        before = [outcome for number, outcome in each.items() if number < len(each)]
        again += len(before)
        assert set(before) <= UNCHARGED | {"error"}, f"{id_}: {each}"
        row = invocations()[id_]
        assert row["spent_attempts"] == sum(one not in UNCHARGED for one in each.values()), id_
    print(f"{len(ran)} runs, {again} attempts that another one followed")


def test_each_file_is_handled_once_and_is_whole() -> None:
    """Files that were durable in the inbox; those that were not may be there or not, but never twice."""
    dropped = {str(one["name"]) for one in ledger("files").read()}
    print(len(dropped), "files")
    assert len(dropped) > 20
    done = {path.name for path in DONE.iterdir()}
    assert dropped <= done, f"lost: {dropped - done}"
    for name in done:
        digest, content = (DONE / name).read_bytes()[:64], (DONE / name).read_bytes()[64:]
        assert hashlib.sha256(content).hexdigest().encode() == digest, (
            f"{name} was taken half-written"
        )
    runs = Counter(json.loads(row["event_json"])["name"] for row in invocations().values() if row["trigger"] == "files")  # fmt: skip
    assert set(runs) == done
    assert [name for name, count in runs.items() if count > 1] == []
    assert {row["state"] for row in invocations().values() if row["trigger"] == "files"} == {"done"}
    assert not list((ROOT / "failed").iterdir() if (ROOT / "failed").exists() else [])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_each_tick_ran_or_is_recorded_with_its_reason(schedule: str) -> None:
    """From the first fire time that was seen to the last one, through ten times without power."""
    ran: Counter[int] = Counter()
    missed: Counter[int] = Counter()
    for row in invocations().values():
        if row["source"] != schedule:
            continue
        if row["state"] == "skipped":
            assert row["reason"], dict(row)
            first, last = _span(row)
            missed.update(range(first, last + 1, SCHEDULES[schedule]))
        else:
            ran[round(row["scheduled_for"])] += 1
    seen = ran + missed
    times = range(min(seen), max(seen) + 1, SCHEDULES[schedule])
    print(f"{schedule}: {len(times)} fire times, {ran.total()} ran, {missed.total()} recorded")
    assert [at for at in times if seen[at] != 1] == []
    assert set(seen) == set(times)
    if schedule == "tick-all":
        assert not missed
    else:
        assert missed.total() > 5
    cuts: list[Any] = [one["at"] for one in ledger("cuts").read()]
    assert min(seen) < cuts[0] < cuts[-1] < max(seen)


def _span(row: sqlite3.Row) -> tuple[int, int]:
    """Return the first and the last fire time that a record is about."""
    found = re.match(r"(\d+) fire times from (\S+) to (\S+): .", row["reason"])
    if found is None:
        return round(row["scheduled_for"]), round(row["scheduled_for"])
    first, last = (round(datetime.fromisoformat(found[group]).timestamp()) for group in (2, 3))
    return first, last


def test_no_daemon_broke_and_nothing_is_left() -> None:
    """The service ended well, by itself it never did, and nothing of a dead attempt lies about."""
    assert (show("Result"), show("ExecMainStatus")) == ("success", "0")
    log = run("journalctl", "-u", "faasd", "-o", "cat", "--no-pager")
    broken = [line for line in log.splitlines() if "daemon_broke" in line or "Traceback" in line]
    assert broken == []
    left = {path.name for path in DATABASE.parent.iterdir() if not path.name.startswith(".")}
    ours = {"faasd.db-shm", "faasd.db-wal"}  # Of who asks here.
    kept = {DATABASE.name, "faasd.lock", "intake.json", "logs", "versions"}
    assert left - ours <= kept, left
