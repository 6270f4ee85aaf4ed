"""What a supervisor hears, at a real socket."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from faasd.clock import Clock
from faasd.errors import StoreError
from faasd.supervision import Counts, Supervision, beat_interval_s, beat_lines, status_text

PID = 42


class Supervisor:
    """The other end."""

    def __init__(self, path: Path) -> None:
        self.address = str(path)
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(self.address)
        self._socket.setblocking(False)

    def close(self) -> None:
        self._socket.close()

    def read(self) -> None:
        """Read what there is, without waiting."""
        while True:
            try:
                self.heard += self._socket.recv(4096).decode().split("\n")
            except BlockingIOError:
                return

    def fill(self) -> None:
        """Fill its queue, so that nothing more is taken until it reads."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            try:
                while True:
                    filler.sendto(b"X=1", self.address)
            except BlockingIOError:
                return

    async def hear(self, line: str, count: int = 1) -> None:
        """Wait until this line has come so often."""
        async with asyncio.timeout(20):
            while True:
                self.read()
                if self.heard.count(line) >= count:
                    return
                await asyncio.sleep(0.005)

    def environ(self, watchdog_s: float = 0.03) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    one = Supervisor(tmp_path / "notify")
    yield one
    one.close()


async def test_the_life_of_a_daemon_as_its_supervisor_hears_it(supervisor: Supervisor) -> None:
    """Ready is said only when it is so, and time is asked for only while starting and stopping."""
    one = Supervision(supervisor.environ(), Clock(), PID)
    one.start()
    await supervisor.hear("EXTEND_TIMEOUT_USEC=90000000", 2)
    assert "READY=1" not in supervisor.heard

    async def counts() -> Counts:
        return Counts(functions=2, running=1, waiting=3, dead=1)

    one.count_with(counts)
    await one.ready()
    await supervisor.hear("STATUS=ready: 2 functions, 1 running, 3 waiting, 1 dead letter")
    assert supervisor.heard.index("READY=1") < len(supervisor.heard) - 1
    supervisor.heard.clear()
    await supervisor.hear("WATCHDOG=1", 3)
    assert set(supervisor.heard) == {"WATCHDOG=1"}
    await one.stopping()
    await supervisor.hear("STOPPING=1")
    await supervisor.hear("EXTEND_TIMEOUT_USEC=90000000", 2)
    await one.stop()
    supervisor.read()
    supervisor.heard.clear()
    await asyncio.sleep(0)
    supervisor.read()
    assert supervisor.heard == []


async def test_a_loop_that_does_not_turn_is_not_heard(supervisor: Supervisor) -> None:
    """The watchdog bites for this; a thread that went on feeding it would defeat it."""
    one = Supervision(supervisor.environ(), Clock(), PID)
    one.start()
    await supervisor.hear("WATCHDOG=1", 2)
    heard = supervisor.heard.count("WATCHDOG=1")
    blocked_until = Clock().monotonic() + 0.2
    while Clock().monotonic() < blocked_until:
        supervisor.read()
    assert (
        supervisor.heard.count("WATCHDOG=1") <= heard + 1
    )  # One may have been due at that moment.
    await supervisor.hear("WATCHDOG=1", heard + 2)  # The control: it goes on when the loop does.
    await one.stop()


@pytest.mark.parametrize("trouble", ["hangs", "fails"])
async def test_a_store_in_trouble_does_not_silence_the_beat(
    supervisor: Supervisor, trouble: str
) -> None:
    """A restart would not make the disk any faster."""

    async def counts() -> Counts:
        if trouble == "hangs":
            await asyncio.Event().wait()
        raise StoreError("the disk is on fire")

    one = Supervision(supervisor.environ(), Clock(), PID)
    one.count_with(counts)
    one.start()
    await one.ready()
    await supervisor.hear("STATUS=ready: the store does not answer")
    await supervisor.hear("WATCHDOG=1", 5)
    await one.stop()


async def test_what_the_supervisor_did_not_take_is_said_again(supervisor: Supervisor) -> None:
    """READY=1 is said once; lost, it would end in a start timeout."""
    supervisor.fill()
    one = Supervision(supervisor.environ(), Clock(), PID)
    one.start()
    await one.ready()
    await supervisor.hear("READY=1")
    await one.stop()


async def test_a_reload_is_told_and_ends_with_ready(supervisor: Supervisor) -> None:
    """Type=notify-reload waits for exactly this pair."""
    one = Supervision(supervisor.environ(10), Clock(), PID)
    one.begin_reload()
    await one.ready()
    supervisor.read()
    words = [line.partition("=")[0] for line in supervisor.heard]
    assert words == ["RELOADING", "MONOTONIC_USEC", "STATUS", "READY", "STATUS"]
    assert (
        supervisor.heard[-1] == "STATUS=ready"
    )  # In one message with READY=1: no active unit "starts".


async def test_the_counts_are_told_again_after_a_reload_that_did_not_change_them(
    supervisor: Supervisor,
) -> None:
    """Else the status would say "reloading" until there is something else to do."""

    async def counts() -> Counts:
        return Counts(functions=2)

    one = Supervision(supervisor.environ(), Clock(), PID)
    one.count_with(counts)
    await one.ready()
    one.begin_reload()
    await one.ready()
    supervisor.read()
    status = [line for line in supervisor.heard if line.startswith("STATUS=")]
    counted = "STATUS=ready: 2 functions, 0 running, 0 waiting, 0 dead letters"
    assert status == ["STATUS=ready", counted, "STATUS=reloading", "STATUS=ready", counted]


async def test_without_a_supervisor_nothing_is_said_and_nothing_runs() -> None:
    """Under runit, in a container, in tmux."""
    one = Supervision({}, Clock(), PID)
    before = asyncio.all_tasks()
    one.start()
    await one.ready()
    await one.stopping()
    assert asyncio.all_tasks() == before
    await one.stop()


async def test_a_supervisor_that_is_gone_stops_nobody(tmp_path: Path) -> None:
    """Its restart must not be ours."""
    one = Supervision({"NOTIFY_SOCKET": str(tmp_path / "gone")}, Clock(), PID)
    one.start()
    await one.ready()
    await one.stop()


@pytest.mark.parametrize(("watchdog_s", "interval_s"), [(30.0, 10.0), (6.0, 2.0), (900.0, 10.0), (None, 10.0)])  # fmt: skip
def test_beats_come_thrice_within_the_watchdogs_time(
    watchdog_s: float | None, interval_s: float
) -> None:
    """One that comes late must not cost the daemon."""
    assert beat_interval_s(watchdog_s) == interval_s


def test_more_time_is_asked_for_whenever_the_daemon_does_not_serve() -> None:
    """In service, it would say nothing."""
    assert beat_lines("ready") == ["WATCHDOG=1"]
    assert all(len(beat_lines(state)) == 2 for state in ("starting", "stopping"))


def test_the_status_counts_in_plain_words() -> None:
    """It is read in `systemctl status`."""
    assert status_text("ready", Counts(1, 0, 12, 2)) == "ready: 1 function, 0 running, 12 waiting, 2 dead letters"  # fmt: skip
    full = Counts(2, 0, 0, 0, "no space left, new events are refused")
    assert status_text("ready", full).endswith(
        "0 dead letters; no space left, new events are refused"
    )
