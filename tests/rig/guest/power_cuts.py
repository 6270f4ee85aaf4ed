"""Ten power cuts while events, dropped files and ticks flow: who sends, who notes what was acknowledged, who cuts.

    python -m tests.rig.guest.power_cuts prepare    once: the service, its functions, the units of this test
    python -m tests.rig.guest.power_cuts look       before each start of the daemon: what the cut left of the database
    python -m tests.rig.guest.power_cuts flow       at each boot: sends, and then cuts
    python -m tests.rig.guest.power_cuts wait       until the last cut

A note counts as taken once it is on disk (`durably`), so what stands in a ledger had been acknowledged before.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from faasd.errors import FaasdError
from faasd.model.ids import new_id
from tests.rig.guest.installation import (
    client,
    daemon_pid,
    durably,
    run,
    show,
    write_configuration,
    write_unit,
)
from tests.rig.guest.service import FAASD, wait_for

__all__ = ["CUTS", "DONE", "INBOX", "POISON_EVERY", "ROOT", "SCHEDULES", "Ledger", "ledger"]

ROOT = Path("/srv/rig")
INBOX, DONE, OUTSIDE = ROOT / "inbox", ROOT / "done", ROOT / "outside"
DATABASE = Path("/var/lib/faasd/faasd.db")
#: Each cut's moment: while all flows, while the daemon starts, while a killed daemon recovers.
CUTS = ("flow", "start", "flow", "recovery", "flow", "start", "flow", "recovery", "flow", "flow")
#: Every so many orders, one that fails.
POISON_EVERY = 20
#: Seconds between the fire times of each schedule.
SCHEDULES = {"tick-all": 5, "tick-latest": 2, "tick-skip": 7}

FUNCTIONS = """
    import json, os, time
    from faasd import every, files, function, queue

    def note(context, **more):
        line = json.dumps({"id": context.invocation_id, "attempt": context.attempt, **more}) + "\\n"
        fd = os.open("/srv/rig/notes/runs", os.O_WRONLY | os.O_APPEND)
        os.write(fd, b"\\n" + line.encode())  # A line of its own also after one that a cut tore.
        os.fsync(fd)
        os.close(fd)

    @function(triggers=[queue("orders")], retry={"attempts": 2, "first": "1s"})
    def order(event, context):
        note(context)
        n = event["body"]["n"]
        if n % 20 == 19:
            raise ValueError("poison")
        if n % 5 == 0:
            note(context, child=context.enqueue("receipts", {"n": n}))
        return n

    @function(triggers=[queue("receipts")])
    def receipt(event, context):
        note(context)

    @function(triggers=[queue("naps")], timeout="60s")
    def nap(event, context):
        note(context)
        time.sleep(event["body"])

    @function(triggers=[files("/srv/rig/inbox", settle="500ms", on_success="move:/srv/rig/done", on_failure="move:/srv/rig/failed")])
    def picture(event, context):
        note(context, name=event["name"])

    @function(triggers=[every("5s", catch_up="all", overlap="allow", name="tick-all")])
    def tick_all(event, context):
        note(context)

    @function(triggers=[every("2s", catch_up="latest", name="tick-latest")])
    def tick_latest(event, context):
        note(context)

    @function(triggers=[every("7s", catch_up="skip", name="tick-skip")])
    def tick_skip(event, context):
        note(context)
"""
CONFIGURATION = """
    [daemon]
    functions = ["functions"]
    keep_finished = "1d"
    [defaults]
    write = ["/srv/rig/notes"]
"""
PYTHON = "/opt/faasd/bin/python -m tests.rig.guest.power_cuts"
LOOK = f"""
    [Service]
    WorkingDirectory=/opt/project
    ExecStartPre={PYTHON} look
"""
FLOW = f"""
    [Unit]
    Description=Rig: events, files and ticks, then a power cut
    After=faasd.socket
    [Service]
    WorkingDirectory=/opt/project
    Environment=PYTHONDONTWRITEBYTECODE=1
    ExecStart={PYTHON} flow
    [Install]
    WantedBy=multi-user.target
"""


class Ledger:
    """Lines of JSON that survive whatever comes once they are noted. Threads may share one."""

    def __init__(self, name: str) -> None:
        self.path = ROOT / name
        self._lock = threading.Lock()

    def note(self, **fields: object) -> None:
        with self._lock:
            durably(self.path, json.dumps(fields))

    def read(self) -> list[dict[str, object]]:
        """Return what was noted. A line that a cut tore was never noted."""
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in self.path.read_bytes().split(b"\n"):
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return [one for one in found if isinstance(one, dict)]


def ledger(name: str) -> Ledger:
    """Return one of: `intents`, `acknowledged`, `files`, `cuts`, `looks`, `notes/runs`."""
    return Ledger(name)


def prepare() -> None:
    """Install the service; from the next boot on it starts by itself, and so does the flow."""
    Path("/var/log/journal").mkdir(exist_ok=True)
    run("systemctl", "restart", "systemd-journald")
    for path in (ROOT, INBOX, DONE, OUTSIDE, ROOT / "notes"):
        path.mkdir(exist_ok=True)
        shutil.chown(path, "faasd", "faasd")
    (ROOT / "notes" / "runs").touch()
    (ROOT / "looks").touch()
    for name in ("notes/runs", "looks"):
        shutil.chown(ROOT / name, "faasd", "faasd")
    write_configuration(FUNCTIONS, CONFIGURATION)
    run(FAASD, "service", "install")
    write_unit("faasd.service.d/rig.conf", LOOK)
    write_unit("rig-flow.service", FLOW)
    daemon_pid()
    run("systemctl", "enable", "rig-flow.service")
    os.sync()
    run("systemctl", "start", "rig-flow.service")


def look() -> None:
    """Note whether the database is whole as the cut left it. Reads only; the daemon starts after us."""
    if not DATABASE.exists():
        return
    connection = sqlite3.connect(f"file:{DATABASE}?mode=ro", uri=True)
    try:
        said = [row[0] for row in connection.execute("PRAGMA integrity_check")]
        count = connection.execute("SELECT count(*) FROM invocations").fetchone()[0]
    except sqlite3.Error as error:
        said, count = [repr(error)], None
    finally:
        connection.close()
    ledger("looks").note(at=time.time(), boot=_boot_id(), said=said, invocations=count)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


class Flow:
    """What flows in one boot, until the power is cut."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.dropped = 0
        self._intents = ledger("intents")
        self._acknowledged = ledger("acknowledged")
        self._files = ledger("files")

    def start(self) -> None:
        for sender in (self._send_orders, self._send_naps, self._drop_files):
            threading.Thread(target=sender, daemon=True).start()

    def _send(self, queue: str, events: list[dict[str, object]]) -> None:
        """Send, as often as it takes, under ids that were noted before."""
        ids = [event["id"] for event in events]
        while True:
            try:
                answers = client().enqueue_many(queue, events)
                break
            except FaasdError as error:
                print("not taken, sent again:", error, flush=True)
                time.sleep(0.2)
        assert [answer["id"] for answer in answers] == ids
        self._acknowledged.note(queue=queue, ids=ids)
        self.acknowledged += len(ids)

    def _send_orders(self) -> None:
        known = {id_ for one in self._acknowledged.read() for id_ in one["ids"]}  # type: ignore[attr-defined]
        intents = [one for one in self._intents.read() if one["queue"] == "orders"]
        for one in intents:  # What a sender does who has no answer: it sends again.
            events = [event for event in one["events"] if event["id"] not in known]  # type: ignore[attr-defined]
            if events:
                self._send("orders", events)
        n = sum(len(one["events"]) for one in intents)  # type: ignore[arg-type]
        while True:
            events = [
                # Large ones now and then, so that the log of the database is also written back.
                {"id": new_id(), "body": {"n": n + i, "pad": "x" * random.choice([0, 200, 60_000])}}
                for i in range(random.choice([1, 1, 1, 4]))
            ]
            for event in random.sample(events, len(events) // 4):
                event["delay"] = "15s"
            self._intents.note(queue="orders", events=events)
            self._send("orders", events)
            n += len(events)
            time.sleep(0.4)

    def _send_naps(self) -> None:
        while True:
            self._send("naps", [{"id": new_id(), "body": 4}])
            time.sleep(4)

    def _drop_files(self) -> None:
        """Write beside the inbox, make it durable, rename it in, make that durable, note it."""
        while True:
            name = f"{time.time_ns()}.bin"
            content = os.urandom(random.randint(1, 50_000))
            with (OUTSIDE / name).open("wb") as file:
                file.write(hashlib.sha256(content).hexdigest().encode() + content)
                file.flush()
                os.fsync(file.fileno())
            (OUTSIDE / name).rename(INBOX / name)
            for directory in (OUTSIDE, INBOX):
                fd = os.open(directory, os.O_RDONLY)
                os.fsync(fd)
                os.close(fd)
            self._files.note(name=name)
            self.dropped += 1
            time.sleep(1)


def flow() -> None:
    """Send until the moment of this boot's cut, and cut."""
    begun = time.monotonic()
    cuts = ledger("cuts")
    done = len(cuts.read())
    if done >= len(CUTS):
        return
    kind = CUTS[done]
    flowing = Flow()
    flowing.start()
    ready_s: float | None = None
    if kind != "start":
        daemon_pid()
        ready_s = round(time.monotonic() - begun, 1)
        enough: Callable[[], bool] = lambda: flowing.acknowledged >= 10 and flowing.dropped >= 2  # noqa: E731
        wait_for(enough, "events to flow")
    time.sleep(random.uniform(0, 12))  # The random moment is the subject.
    if kind == "recovery":
        os.kill(int(show("MainPID")), signal.SIGKILL)
        time.sleep(random.uniform(0, 12))
    cuts.note(
        kind=kind,
        at=time.time(),
        boot=_boot_id(),
        seconds=round(time.monotonic() - begun, 1),
        ready_s=ready_s,
        acknowledged=flowing.acknowledged,
        dropped=flowing.dropped,
    )
    os.execvp("rig-reboot", ["rig-reboot", "--crash"])


def wait() -> None:
    """Say where it stands; end when the last cut is behind us. Mostly it ends with the power."""
    done = ledger("cuts").read()
    print(f"== {len(done)} of {len(CUTS)} power cuts; the last: {done[-1:]}", flush=True)
    while len(ledger("cuts").read()) < len(CUTS):
        assert show("ActiveState", "rig-flow.service") == "active", "the flow has ended"
        time.sleep(1)


if __name__ == "__main__":
    {"prepare": prepare, "look": look, "flow": flow, "wait": wait}[sys.argv[1]]()
