"""The promises of the queue, kept by a real daemon."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import pytest

from faasd.errors import PayloadTooLarge, UnknownQueue
from tests.daemon.harness import REPOSITORY, DaemonProcess, wait_for, write_project

FUNCTIONS = """
    import os, time
    from faasd import function, queue

    NOTES = os.environ["NOTES"]

    def note(text):
        fd = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, (text + "\\n").encode())
        os.close(fd)

    @function(triggers=[queue("plain")], concurrency=1)
    def plain(event, context):
        note(str(event["body"]))

    @function(triggers=[queue("grouped")])
    def grouped(event, context):
        note(f"begin {context.invocation_id[-6:]} {event['body']}")
        time.sleep(0.02)
        note(f"end {context.invocation_id[-6:]} {event['body']}")

    @function(triggers=[queue("batched", batch_size=4, batch_window="200ms")],
              retry={"attempts": 2, "first": "50ms"})
    def batched(event, context):
        note(f"batch {len(event['records'])}")
        bad = [one["id"] for one in event["records"] if one["body"] == "bad"]
        return {"batchItemFailures": [{"itemIdentifier": id_} for id_ in bad]}

    @function(triggers=[queue("poison")], retry={"attempts": 3, "first": "50ms", "jitter": 0},
              on_failure=["queue:mourning"])
    def poison(event, context):
        print("attempt", context.attempt)
        raise ValueError("no " + str(event["body"]))

    @function(triggers=[queue("stubborn")], retry={"attempts": 50, "first": "300ms", "jitter": 0},
              expires="1s")
    def stubborn(event, context):
        raise ValueError("no")

    @function(triggers=[queue("mourning")])
    def mourner(event, context):
        note(f"mourn {event['body']['error']['message']} {event['body']['attempts']}")

    @function(triggers=[queue("limited", rate="5/s")])
    def limited(event, context):
        note(f"{time.time()}")

    @function(triggers=[queue("chosen", filter={"body": {"kind": [{"prefix": "a"}]}})])
    def chosen(event, context):
        return event["body"]["kind"]

    @function(triggers=[queue("small")], payload_limit="1KiB")
    def small(event, context):
        pass

    @function
    def parent(event, context):
        first = context.enqueue("plain", "from parent")
        return {"enqueued": first, "result": context.invoke("child", {"n": 20})}

    @function
    def child(event, context):
        return event["n"] + 1
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes"
    path.touch()
    return path


@pytest.fixture
def daemon(tmp_path: Path, notes: Path):  # type: ignore[no-untyped-def]
    config = write_project(tmp_path, FUNCTIONS, f'[defaults]\nenv = {{ NOTES = "{notes}" }}\n')
    with DaemonProcess(config).running() as running:
        yield running


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_higher_priority_goes_first_and_equals_go_in_order(
    daemon: DaemonProcess, notes: Path
) -> None:
    """Priority acts on what waits in the store, not on a prefetched few."""
    daemon.cli("functions", "pause", "plain")
    for body, priority in (("a", 0), ("b", 0), ("c", 5), ("d", 1)):
        daemon.client.enqueue("plain", body, priority=priority)
    daemon.cli("functions", "resume", "plain")
    wait_for(lambda: len(lines(notes)) == 4, "all four to run")
    assert lines(notes) == ["c", "d", "a", "b"]


def test_a_group_runs_in_order_one_at_a_time_while_groups_run_side_by_side(
    daemon: DaemonProcess, notes: Path
) -> None:
    """The order of one key, without making other keys wait."""
    for n in range(8):
        for key in "xyz":
            daemon.client.enqueue("grouped", f"{key}{n}", key=key)
    wait_for(lambda: len(lines(notes)) == 48, "all to run")
    order: dict[str, list[str]] = defaultdict(list)
    for line in lines(notes):
        word, _, body = line.split()
        order[body[0]].append(f"{word} {body[1:]}")
    for key in "xyz":
        assert order[key] == [f"{w} {n}" for n in range(8) for w in ("begin", "end")]
    open_groups, most = set(), 0
    for line in lines(notes):
        word, _, body = line.split()
        (open_groups.add if word == "begin" else open_groups.discard)(body[0])
        most = max(most, len(open_groups))
    assert most > 1


def test_a_batch_is_filled_and_only_its_failed_items_run_again(
    daemon: DaemonProcess, notes: Path
) -> None:
    """Size or window; the good ones are done after one attempt, the bad one is a dead letter after two."""
    ids = [
        row["id"]
        for row in daemon.client.enqueue_many(
            "batched", [{"body": body} for body in ("1", "2", "bad", "4", "5")]
        )
    ]
    last = daemon.wait_for_state(ids[4], "done")
    dead = daemon.wait_for_state(ids[2], "dead")
    assert lines(notes)[0] == "batch 4"
    assert [daemon.invocation(id_)["attempts"] for id_ in ids] == [1, 1, 2, 1, 1]
    assert last["outcome"] == "ok"
    assert dead["error"]["type"] == "BatchItemFailure"


def test_attempts_used_up_end_in_a_dead_letter_with_its_history(
    daemon: DaemonProcess, notes: Path
) -> None:
    """Origin, every attempt's outcome and error, the tail of the log; and the destination hears of it."""
    id_ = daemon.client.enqueue("poison", "thing")
    dead = daemon.wait_for_state(id_, "dead")
    assert (dead["source"], dead["trigger"], dead["outcome"]) == ("poison", "queue", "error")
    records = dead["attempt_records"]
    assert [record["outcome"] for record in records] == ["error"] * 3
    assert all("no thing" in record["error"]["message"] for record in records)
    shown = daemon.cli("dead-letters", "show", id_, "--json")
    assert "attempt 3" in shown.stdout
    wait_for(lambda: lines(notes) == ["mourn no thing 3"], "the destination to hear of it")

    redriven = daemon.cli("dead-letters", "redrive", id_)
    assert redriven.returncode == 0, redriven.stderr
    wait_for(lambda: daemon.invocation(id_)["attempts"] == 6, "three more attempts")
    daemon.wait_for_state(id_, "dead")
    assert daemon.cli("dead-letters", "drop", "--queue", "poison").stdout.strip() == id_
    assert json.loads(daemon.cli("dead-letters", "list", "--json").stdout) == []
    assert daemon.invocation(id_)["state"] == "dropped"


def test_delay_expiry_and_dedup(daemon: DaemonProcess) -> None:
    """Not before its time, not after its end, and once per key and window."""
    asked = time.time()
    delayed = daemon.client.enqueue("plain", "later", delay="700ms")
    assert daemon.wait_for_state(delayed, "done")["outcome"] == "ok"
    assert time.time() - asked >= 0.7

    daemon.cli("functions", "pause", "plain")
    expiring = daemon.client.enqueue("plain", "late", expires="100ms")
    first = daemon.client.enqueue("plain", "once", dedup="k")
    assert daemon.client.enqueue("plain", "twice", dedup="k") == first
    wait_for(lambda: time.time() > asked + 1.2, "the expiry to pass")
    daemon.cli("functions", "resume", "plain")
    assert daemon.wait_for_state(expiring, "skipped")["outcome"] == "expired"
    daemon.wait_for_state(first, "done")


def test_a_rate_is_never_exceeded_in_any_second(daemon: DaemonProcess) -> None:
    """Five in any one second, however many wait."""
    rows = daemon.client.enqueue_many("limited", [{"body": n} for n in range(12)])
    done = [daemon.wait_for_state(row["id"], "done") for row in rows]
    # Where attempts start, and not in the handler: the first ones wait there for their import.
    times = sorted(datetime.fromisoformat(one["started_at"]).timestamp() for one in done)
    assert all(late - early > 0.99 for early, late in zip(times, times[5:], strict=False))


def test_cancelling_what_holds_a_group_back_lets_the_next_one_go_at_once(
    daemon: DaemonProcess,
) -> None:
    """Nothing else may be needed to wake it: on a quiet box nothing else comes."""
    delayed = daemon.client.enqueue("grouped", "never", key="k", delay="1h")
    behind = daemon.client.enqueue("grouped", "behind", key="k")
    other = daemon.client.enqueue("grouped", "other", key="z")
    daemon.wait_for_state(other, "done")
    assert daemon.invocation(behind)["state"] == "waiting"
    assert delayed in daemon.cli("why", behind).stdout
    assert daemon.cli("invocations", "cancel", delayed).returncode == 0
    daemon.wait_for_state(behind, "done", timeout_s=5.0)
    again = daemon.cli("invocations", "cancel", delayed)
    assert (again.returncode, "final" in again.stderr) == (1, True)


def test_a_failed_event_is_not_tried_again_after_it_has_expired(daemon: DaemonProcess) -> None:
    """It is a dead letter then, and a redrive gives it a fresh life."""
    id_ = daemon.client.enqueue("stubborn", 1)
    dead = daemon.wait_for_state(id_, "dead")
    assert 1 < dead["attempts"] < 10
    assert "expired" in daemon.cli("why", id_).stdout
    assert daemon.cli("dead-letters", "redrive", id_).returncode == 0
    wait_for(lambda: daemon.invocation(id_)["attempts"] > dead["attempts"], "it to run again")
    twice = daemon.cli("dead-letters", "redrive", id_)
    assert (twice.returncode, "not dead" in twice.stderr) == (1, True)
    assert daemon.cli("invocations", "cancel", id_).returncode == 0


def test_an_event_that_the_filter_leaves_out_is_a_record_and_not_a_run(
    daemon: DaemonProcess,
) -> None:
    """`why` must be able to say what happened to it."""
    wanted = daemon.client.enqueue("chosen", {"kind": "alpha"})
    unwanted = daemon.client.enqueue("chosen", {"kind": "beta"})
    assert daemon.wait_for_state(wanted, "done")["result"] == "alpha"
    assert daemon.wait_for_state(unwanted, "skipped")["outcome"] == "filtered"
    assert "filter" in daemon.cli("why", unwanted).stdout


def test_what_cannot_be_accepted_is_refused_by_name_and_nothing_is_stored(
    daemon: DaemonProcess,
) -> None:
    """The sender still owns the event and is told what to do."""
    with pytest.raises(PayloadTooLarge, match="payload_limit is 1KiB"):
        daemon.client.enqueue("small", "x" * 2000)
    with pytest.raises(UnknownQueue, match="plain"):
        daemon.client.enqueue("plaim", 1)
    assert json.loads(daemon.cli("invocations", "list", "--json").stdout) == []


def test_a_sandbox_enqueues_and_invokes_through_its_context(daemon: DaemonProcess) -> None:
    """Children are invocations like others, with their parent's id."""
    done = daemon.client.invoke("parent")
    assert done["result"]["result"] == 21
    enqueued = daemon.wait_for_state(done["result"]["enqueued"], "done")
    assert enqueued["parent_id"] == done["id"]


def test_events_enqueued_while_the_daemon_is_down_or_restarts_are_not_lost(
    tmp_path: Path, notes: Path
) -> None:
    """A script does not care; it gets an id, and the event runs when a daemon does."""
    config = write_project(tmp_path, FUNCTIONS, f'[defaults]\nenv = {{ NOTES = "{notes}" }}\n')
    daemon = DaemonProcess(config)
    with daemon.running():
        pass
    done = daemon.cli("enqueue", "plain", '"offline"')
    assert done.returncode == 0, done.stderr
    refused = daemon.cli("enqueue", "plaim", '"typo"')
    assert refused.returncode == 2
    assert "plain" in refused.stderr
    daemon.start(wait=False)
    sender = subprocess.run(
        [sys.executable, "-m", "faasd", "enqueue", "plain", '"while starting"', "--config", config],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    daemon.wait_until_ready()
    for id_ in (done.stdout.strip(), sender.stdout.strip()):
        assert daemon.wait_for_state(id_, "done")["function"] == "plain"
    assert daemon.stop() == 0
    assert sorted(lines(notes)) == ["offline", "while starting"]
