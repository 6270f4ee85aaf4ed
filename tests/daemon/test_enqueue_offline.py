"""An event enqueued without a daemon ends up exactly as one enqueued through it, or is refused in its words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.harness import DaemonProcess, write_project

FUNCTIONS = """
    from faasd import function, queue

    @function(triggers=[queue("strict", filter={"body": {"kind": ["a"]}})], expires="1h", payload_limit="2KiB")
    def judge(event, context):
        return event["body"]["kind"]
"""
BUDGET = 'state_bytes_max = "32MiB"\n'


@pytest.fixture
def daemon(tmp_path: Path) -> DaemonProcess:
    """One that has run and runs no more."""
    daemon = DaemonProcess(write_project(tmp_path, FUNCTIONS, BUDGET))
    with daemon.running():
        daemon.client.request("POST", "/api/v1/functions/judge/pause")
    return daemon


def enqueue(daemon: DaemonProcess, *arguments: str) -> list[dict[str, Any]]:
    done = daemon.cli("enqueue", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def ends_up(daemon: DaemonProcess, id_: str) -> dict[str, Any]:
    """Return what does not depend on when it was enqueued."""
    row = daemon.invocation(id_)
    times = {name: row.pop(name) for name in ("created_at", "due_at", "expires_at", "ended_at")}
    known = {name: value is not None for name, value in times.items()}
    row["event"] = row["event"]["body"]
    return {**row, "id": "", **known}


@pytest.mark.parametrize(
    "arguments",
    [
        ('{"kind": "a"}',),
        ('{"kind": "b"}',),
        ('{"kind": "a"}', "--expires", "5m", "--delay", "1m", "--priority", "3", "--key", "k"),
    ],
    ids=["passes", "filtered", "options"],
)
def test_both_ways_come_to_the_same(daemon: DaemonProcess, arguments: Sequence[str]) -> None:
    """A script does not know whether a daemon runs, and must not have to."""
    [offline] = enqueue(daemon, "strict", *arguments)
    with daemon.running():
        [online] = enqueue(daemon, "strict", *arguments)
        assert ends_up(daemon, offline["id"]) == ends_up(daemon, online["id"])
        assert ends_up(daemon, offline["id"])["expires_at"], "judge has `expires`"
    assert offline | {"id": ""} == online | {"id": ""}


def test_what_came_without_a_daemon_is_in_the_metrics_of_the_next(daemon: DaemonProcess) -> None:
    """Else more would end than was accepted. Each is counted once, however often it starts."""
    for kind in "aab":
        enqueue(daemon, "strict", json.dumps({"kind": kind}))
    accepted = 'faasd_invocations_accepted_total{function="judge",trigger="queue"} '
    skipped = 'faasd_invocations_skipped_total{function="judge",trigger="queue",reason="filtered"} '
    with daemon.running():
        enqueue(daemon, "strict", '{"kind": "a"}')
        told = daemon.client.text("/metrics").splitlines()
        assert {accepted + "3", skipped + "1"} <= set(told)
    with daemon.running():
        assert accepted not in daemon.client.text("/metrics")


def test_a_tally_that_is_not_whole_costs_no_event(daemon: DaemonProcess) -> None:
    """It is for the metrics alone."""
    (daemon.state_dir / "enqueued.json").write_text('[["strict"')
    assert enqueue(daemon, "strict", '{"kind": "a"}')[0]["state"] == "waiting"
    with daemon.running():
        assert 'function="judge",trigger="queue"} 1' in daemon.client.text("/metrics")


def test_both_ways_refuse_in_the_same_words(daemon: DaemonProcess) -> None:
    """What is too large, and a queue that nobody consumes."""
    told = []
    large = json.dumps({"kind": "a", "text": "x" * 3000})
    commands = [("enqueue", "strict", large), ("enqueue", "strcit", "1")]
    told.append([daemon.cli(*one) for one in commands])
    with daemon.running():
        told.append([daemon.cli(*one) for one in commands])
    for offline, online in zip(*told, strict=True):
        assert (offline.returncode, offline.stderr) == (online.returncode, online.stderr)
        assert (offline.returncode, offline.stdout) == (2, "")
    assert "payload_limit is 2KiB" in told[0][0].stderr


def test_both_ways_refuse_when_there_is_no_room(daemon: DaemonProcess) -> None:
    """What is kept for the outcomes of earlier events is not for scripts either."""
    filler = daemon.state_dir / "filler"
    filler.write_bytes(b"x" * 40 * 2**20)
    offline = daemon.cli("enqueue", "strict", '{"kind": "a"}')
    with daemon.running():
        online = daemon.cli("enqueue", "strict", '{"kind": "a"}')
    for done in (offline, online):
        assert (done.returncode, done.stdout) == (1, "")
        assert "no space is left for new events" in done.stderr
        assert "`state_bytes_max` is 32MiB" in done.stderr
    filler.unlink()
    assert len(enqueue(daemon, "strict", '{"kind": "a"}')) == 1


def test_what_counts_is_what_was_in_force_last(daemon: DaemonProcess) -> None:
    """A reload changes the rules, also for those who come after the daemon has ended."""
    module = daemon.config.parent / "functions" / "app.py"
    with daemon.running():
        module.write_text(module.read_text().replace('["a"]', '["b"]'))
        daemon.client.request("POST", "/api/v1/reload")
        daemon.kill9()
    assert enqueue(daemon, "strict", '{"kind": "b"}')[0]["state"] == "waiting"
    assert enqueue(daemon, "strict", '{"kind": "a"}')[0]["state"] == "skipped"


def test_rules_that_are_not_whole_are_none(daemon: DaemonProcess) -> None:
    """A power cut may leave half of the file; the event is worth more than the filter."""
    rules = daemon.state_dir / "intake.json"
    rules.write_bytes(rules.read_bytes()[:40])
    assert enqueue(daemon, "strict", '{"kind": "b"}')[0]["state"] == "waiting"
    assert daemon.cli("enqueue", "strcit", "1").returncode == 2, "the store knows the queues"
    with daemon.running():
        pass
    assert enqueue(daemon, "strict", '{"kind": "b"}')[0]["state"] == "skipped"


def test_what_came_before_the_first_daemon_is_made_good_when_it_starts(tmp_path: Path) -> None:
    """A machine is set up in any order. Nothing that was acknowledged is refused afterwards."""
    daemon = DaemonProcess(write_project(tmp_path, FUNCTIONS, BUDGET))
    large = json.dumps({"kind": "a", "text": "x" * 3000})
    bodies = ['{"kind": "a"}', '{"kind": "b"}', large]
    early = [enqueue(daemon, "strict", body)[0]["id"] for body in bodies]
    delayed = enqueue(daemon, "strict", bodies[0], "--delay", "1h", "--expires", "1m")[0]["id"]
    other = enqueue(daemon, "nobody", "1")[0]["id"]
    with daemon.running():
        for id_, body in zip(early[:2], bodies, strict=False):
            daemon.wait_for_state(id_, "done", "skipped")
            [online] = enqueue(daemon, "strict", body)
            daemon.wait_for_state(online["id"], "done", "skipped")
            rows = [daemon.invocation(one) for one in (id_, online["id"])]
            told = [(row["function"], row["state"], row["outcome"], row["reason"]) for row in rows]
            assert told[0] == told[1]
            ages = [_s(row["expires_at"]) - _s(row["created_at"]) for row in rows]
            assert ages == [pytest.approx(3600), pytest.approx(3600)]
        assert daemon.wait_for_state(early[2], "done")["function"] == "judge"
        row = daemon.invocation(delayed)
        assert (row["function"], row["state"]) == ("judge", "waiting")
        assert _s(row["expires_at"]) - _s(row["due_at"]) == pytest.approx(60)
        assert daemon.invocation(other)["state"] == "waiting"


def _s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
