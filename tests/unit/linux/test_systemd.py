"""The protocols between systemd and a service, over real sockets and in a real process."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from faasd.linux import systemd

Listen = Callable[[str], socket.socket]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Listens for notifications as systemd does."""
    made = []

    def at(address: str) -> socket.socket:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        made.append(receiver)
        receiver.bind("\0" + address[1:] if address.startswith("@") else address)
        receiver.settimeout(10)
        return receiver

    yield at
    for receiver in made:
        receiver.close()


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_notification_is_one_datagram_of_lines(listen: Listen, tmp_path: Path, kind: str) -> None:
    """Systemd gives either kind of address; containers mostly the abstract one."""
    address = str(tmp_path / "notify") if kind == "path" else f"@faasd-test-{secrets.token_hex(8)}"
    receiver = listen(address)
    systemd.notify(address, "READY=1", "STATUS=two\nlines")
    assert (
        receiver.recv(4096) == b"READY=1\nSTATUS=two lines"
    )  # A newline would begin an assignment.


def test_a_full_queue_does_not_hold_up_who_notifies(listen: Listen, tmp_path: Path) -> None:
    """The event loop sends these, and a supervisor that hangs must not hang the daemon."""
    address = str(tmp_path / "notify")
    receiver = listen(address)
    with pytest.raises(systemd.NOT_TAKEN):
        _notify_again_and_again(address)
    assert receiver.recv(4096) == b"WATCHDOG=1"


def _notify_again_and_again(address: str) -> None:
    for _ in range(100_000):
        systemd.notify(address, "WATCHDOG=1")


def test_nobody_at_the_address_is_an_error(tmp_path: Path) -> None:
    """It is told once, and the daemon goes on."""
    with pytest.raises(FileNotFoundError):
        systemd.notify(str(tmp_path / "nobody"), "READY=1")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("/run/n", "/run/n"),
        ("@n", "@n"),
        ("vsock:2:1", None),
        ("", None),
        ("@", None),
        (None, None),
    ],
)
def test_the_address_is_taken_out_of_the_environment(given: str | None, wanted: str | None) -> None:
    """A child that sent READY=1, or WATCHDOG=1 for a daemon that hangs, would speak for us."""
    environ = {"OTHER": "1", **({} if given is None else {"NOTIFY_SOCKET": given})}
    assert systemd.take_notify_address(environ) == wanted
    assert environ == {"OTHER": "1"}


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30.0),
        ({"WATCHDOG_USEC": "1500000"}, 1.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_counts_only_for_the_process_that_it_is_meant_for(
    environ: dict[str, str], wanted: float | None
) -> None:
    """A shell between systemd and us keeps the variables of its own."""
    assert systemd.take_watchdog_interval_s(environ, pid=42) == wanted
    assert environ == {}


def test_sockets_meant_for_another_process_are_not_ours() -> None:
    """Descriptor 3 is something else then, and closing or serving it would break that."""
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": "43", "LISTEN_FDNAMES": "api", "OTHER": "1"}
    assert systemd.take_listen_fds(environ, pid=42) == []
    assert environ == {"OTHER": "1"}


_TAKER = """
import json, os, socket, subprocess, sys
from faasd.linux import systemd
os.environ["LISTEN_PID"] = str(os.getpid())
taken = systemd.take_listen_fds(os.environ, os.getpid())
names = [socket.socket(fileno=one.fd).getsockname() for one in taken]
left = {name for name in os.environ if name.startswith("LISTEN_")}
child = "import os; print([fd for fd in (3, 4) if os.path.exists(f'/proc/self/fd/{fd}')])"
seen = subprocess.run([sys.executable, "-c", child], close_fds=False, capture_output=True, text=True)
print(json.dumps([[one.name for one in taken], names, sorted(left), seen.stdout.strip()]))
"""


def test_sockets_that_are_handed_over_are_named_and_stay_in_this_process(tmp_path: Path) -> None:
    """A sandbox that inherited the listening socket could answer the command line in our place."""
    paths = [str(tmp_path / "a"), str(tmp_path / "b")]
    listeners = [socket.socket(socket.AF_UNIX) for _ in paths]
    for listener, path in zip(listeners, paths, strict=True):
        listener.bind(path)
        listener.listen()
    # As systemd does it: the descriptors are 3 and 4 of the process that is started.
    fds = [listener.fileno() for listener in listeners]
    shell = f'exec "$0" -c "$1" 3<&{fds[0]} 4<&{fds[1]}'
    done = subprocess.run(
        ["/bin/bash", "-c", shell, sys.executable, _TAKER],
        env={**os.environ, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "api"},
        pass_fds=fds,
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).resolve().parents[3],
    )
    for listener in listeners:
        listener.close()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [["api", "unknown"], paths, [], "[]"]


def test_a_reload_begins_with_the_time_that_systemd_compares() -> None:
    """With another clock than CLOCK_MONOTONIC, systemd would take an old READY=1 for the new one."""
    before_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    word, at = systemd.reloading(time.monotonic())
    after_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    name, _, value = at.partition("=")
    assert (word, name) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before_us - 1 <= int(value) <= after_us
