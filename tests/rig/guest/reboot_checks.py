"""An orderly reboot: what is left behind at the one boot is done after the next, and what passed unseen is told."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.rig.guest.installation import (
    SOCKET,
    client,
    run,
    show,
    state_of,
    wait_until,
    write_configuration,
    write_unit,
)
from tests.rig.guest.service import FAASD, wait_for

ROOT = Path("/srv/rig")
INBOX, DONE = ROOT / "inbox", ROOT / "done"
#: What the first boot tells the second one.
LEFT = ROOT / "left.json"
ORDERS = 15
OWNER = "rig-owner"
FUNCTIONS = """
    import time
    from faasd import every, files, function, queue

    @function(triggers=[queue("naps")], timeout="600s")
    def nap(event, context):
        time.sleep(event["body"] if context.attempt == 1 else 0)
        return context.attempt

    @function(triggers=[queue("orders")], concurrency=1)
    def order(event, context):
        time.sleep(1)
        return event["body"]

    @function(triggers=[files("/srv/rig/inbox", settle="200ms", on_success="move:/srv/rig/done")])
    def picture(event, context):
        return event["name"]

    @function(triggers=[every("3s", catch_up="latest", name="latest"),
                        every("3s", catch_up="all", name="all"),
                        every("3s", catch_up="skip", name="skip"),
                        every("3s", name="paused")])
    def tick(event, context):
        return event["missed"]
"""
CONFIGURATION = """
    [daemon]
    drain_timeout = "5s"
"""
#: Runs between faasd's READY=1 and the end of the boot, as a service that needs faasd would.
AFTER = f"""
    [Unit]
    Requires=faasd.service
    After=faasd.service
    [Service]
    Type=oneshot
    WorkingDirectory=/opt/project
    ExecStart=/bin/sh -c '{FAASD} status --json >/srv/rig/status.json; echo $? >>/srv/rig/status.code'
    [Install]
    WantedBy=multi-user.target
"""
#: Something is dropped while nobody looks.
BEFORE = """
    [Unit]
    Before=faasd.service
    After=local-fs.target
    [Service]
    Type=oneshot
    ExecStart=/bin/sh -c 'echo early >/srv/rig/inbox/early.txt; chmod 666 /srv/rig/inbox/early.txt'
    [Install]
    WantedBy=multi-user.target
"""


def as_owner(*command: str) -> str:
    """Run a command as the user whose service lingers."""
    uid = pwd.getpwnam(OWNER).pw_uid
    environ = [f"XDG_RUNTIME_DIR=/run/user/{uid}", f"HOME=/home/{OWNER}"]
    return run("runuser", "-u", OWNER, "--", "env", "-C", "/", *environ, *command)


def ticks(schedule: str) -> list[dict[str, Any]]:
    """Return a schedule's invocations, oldest first."""
    found = json.loads(run(FAASD, "invocations", "list", "--function", "tick", "--limit", "1000", "--json"))  # fmt: skip
    return [one for one in reversed(found) if one["source"] == schedule]


def epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


class TestBeforeTheReboot:
    """The service is installed as anybody would, gets work, and the machine goes down."""

    def test_everything_is_installed(self) -> None:
        """One system service, and one of a user who is not logged in."""
        Path("/var/log/journal").mkdir(exist_ok=True)
        run("systemctl", "restart", "systemd-journald")
        for path in (ROOT, INBOX, DONE):
            path.mkdir()
            shutil.chown(path, "faasd", "faasd")
        write_configuration(FUNCTIONS, CONFIGURATION)
        write_unit("rig-after.service", AFTER)
        write_unit("rig-before.service", BEFORE)
        run("systemctl", "enable", "rig-after.service", "rig-before.service")
        run(FAASD, "service", "install")
        run("useradd", "--create-home", OWNER)
        run("loginctl", "enable-linger", OWNER)
        uid = pwd.getpwnam(OWNER).pw_uid
        wait_for(lambda: Path(f"/run/user/{uid}/systemd/private").exists(), "the user's manager")
        as_owner(FAASD, "service", "install", "--user")

    def test_work_is_left_behind(self) -> None:
        """What runs, what waits, what is due later, files, schedules, one of them paused."""
        run(FAASD, "schedules", "pause", "paused")
        wait_for(lambda: any(one["outcome"] == "ok" for one in ticks("all")), "a tick")
        left = {
            "later": client().enqueue("naps", 0, delay="45s"),
            "orders": [client().enqueue("orders", n) for n in range(ORDERS)],
            "long": client().enqueue("naps", 600),
            "short": client().enqueue("naps", 3),
        }
        wait_until(left["long"], "running")
        wait_until(left["short"], "running")
        (INBOX / "late.txt").write_text("late")
        os.chmod(INBOX / "late.txt", 0o666)
        LEFT.write_text(json.dumps({**left, "at": time.time()}))


@pytest.fixture(scope="module")
def left() -> dict[str, Any]:
    """What the first boot left."""
    found: dict[str, Any] = json.loads(LEFT.read_text())
    return found


class TestAfterTheReboot:
    """Nobody has started anything by hand."""

    def test_the_service_is_up_before_what_needs_it(self) -> None:
        """READY=1 was not said before the daemon answered; and it came up at the first try."""
        assert run("systemctl", "is-system-running", "--wait", code=None).strip() == "running", run(
            "sh",
            "-c",
            "systemctl list-units --failed; journalctl -b -u faasd -u rig-after -o short-monotonic",
        )
        assert (ROOT / "status.code").read_text().split() == ["0"]
        assert json.loads((ROOT / "status.json").read_text())["state"] == "ready"
        assert (show("ActiveState"), show("NRestarts")) == ("active", "0")
        assert show("ActiveState", "faasd.socket") == "active"
        assert SOCKET.is_socket()

    def test_the_shutdown_was_a_drain(self) -> None:
        """Not a kill: it stopped the last daemon as `systemctl stop` does, within its time."""
        log = run("journalctl", "-b", "-1", "-u", "faasd", "-o", "cat", "--no-pager")
        assert "daemon_stopped" in log
        assert "faasd.service: Deactivated successfully." in log
        assert "Traceback" not in log

    def test_the_backlog_is_done(self, left: dict[str, Any]) -> None:
        """In order, each once; and what the drain ended is uncharged and has run again."""
        for n, id_ in enumerate(left["orders"]):
            found = wait_until(id_, "done")
            assert (found["outcome"], found["result"]) == ("ok", n)
            assert {one["outcome"] for one in found["attempt_records"][:-1]} <= {"drained"}
        starts = [epoch(state_of(id_)["attempt_records"][-1]["started_at"]) for id_ in left["orders"]]  # fmt: skip
        assert starts == sorted(starts)
        assert starts[-1] > left["at"] + 10  # The control: there was a backlog.
        short, long = wait_until(left["short"], "done"), wait_until(left["long"], "done")
        assert [one["outcome"] for one in short["attempt_records"]] == ["ok"]
        assert [one["outcome"] for one in long["attempt_records"]] == ["drained", "ok"]
        assert wait_until(left["later"], "done")["outcome"] == "ok"

    def test_files_of_before_and_of_meanwhile_are_handled_once(self) -> None:
        """Also the one that was dropped while no daemon ran."""
        wait_for(lambda: len(list(DONE.iterdir())) == 2 and not list(INBOX.iterdir()), "the files")
        found = json.loads(run(FAASD, "invocations", "list", "--function", "picture", "--json"))
        names = [state_of(one["id"])["result"] for one in found]
        assert sorted(names) == ["early.txt", "late.txt"]

    def test_each_rule_of_catch_up_has_been_kept(self) -> None:
        """Every fire time of the time without a daemon is in the history, once, as its rule says."""
        for schedule in ("latest", "all", "skip"):
            wait_for(lambda name=schedule: len(ticks(name)) > 20, "ticks")  # type: ignore[misc]
            found = ticks(schedule)
            times = [round(epoch(one["scheduled_for"])) for one in found if not _span(one)]
            spans = [span for one in found if (span := _span(one))]
            for first, last in spans:
                times += range(round(first), round(last) + 1, 3)
            assert sorted(times) == list(range(min(times), max(times) + 1, 3)), schedule
            missed = [one for one in found if one["outcome"] == "missed"]
            late = [one for one in found if one["outcome"] == "ok" and _late_s(one) > 10]
            print(
                f"{schedule}: {len(times)} fire times, {len(missed)} records, {len(late)} late runs"
            )
            if schedule == "all":
                assert not missed
                assert late
            else:
                assert missed
                assert all(state_of(one["id"])["reason"] for one in missed)
                assert len(late) <= (1 if schedule == "latest" else 0)

    def test_a_pause_outlives_the_reboot(self, left: dict[str, Any]) -> None:
        """Nobody has resumed it."""
        assert [one for one in ticks("paused") if epoch(one["created_at"]) > left["at"]] == []
        assert [
            one for one in ticks("all") if epoch(one["created_at"]) > left["at"]
        ]  # The control.

    def test_the_service_of_a_user_who_lingers_is_up_too(self) -> None:
        """Without anybody's login."""
        status = json.loads(as_owner(FAASD, "service", "status", "--user", "--json"))
        assert (status["state"], status["restarts"]) == ("active", 0)
        said = as_owner(FAASD, "invoke", "greet", "--event", '{"body": {"name": "Ada"}}')
        assert said.strip() == '"Hello, Ada"'


def _late_s(tick: dict[str, Any]) -> float:
    """Return how late a tick was when it was accepted."""
    return epoch(tick["created_at"]) - epoch(tick["scheduled_for"])


def _span(tick: dict[str, Any]) -> tuple[float, float] | None:
    """Return the first and the last fire time of a record that is about several."""
    found = re.match(r"\d+ fire times from (\S+) to (\S+): ", tick.get("reason") or "")
    return (epoch(found[1]), epoch(found[2])) if found else None
