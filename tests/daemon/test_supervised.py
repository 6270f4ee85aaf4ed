"""A real daemon under whatever supervises it: notifications, a socket handed over, process 1 of a container."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faasd.client import Client
from faasd.errors import FaasdError
from tests.daemon.harness import REPOSITORY, DaemonProcess, wait_for, write_project
from tests.patience import patient

FUNCTIONS = """
    import os, time
    from faasd import function, queue

    @function(triggers=[queue("slow")], timeout="60s")
    def slow(event, context):
        time.sleep(event["body"])
        return context.attempt

    @function
    def surroundings(event, context):
        return {"names": sorted(os.environ), "open": sorted(os.listdir("/proc/self/fd"))}
"""
RUN = (sys.executable, "-m", "faasd", "run", "--config")


@pytest.fixture
def daemon(tmp_path: Path) -> DaemonProcess:
    return DaemonProcess(write_project(tmp_path, FUNCTIONS, 'drain_timeout = "30s"\n'))


@contextlib.contextmanager
def started(
    daemon: DaemonProcess, *prefix: str, fds: tuple[int, ...] = (), **environ: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start it as a supervisor does; it is dead afterwards, whatever the test did."""
    with daemon.log_path.open("ab") as log:
        process = subprocess.Popen(
            [*prefix, *RUN, str(daemon.config)],
            cwd=REPOSITORY,
            env={**os.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            pass_fds=fds,
        )
    daemon.process = process
    try:
        yield process
    finally:
        process.kill()
        process.wait()
    # They end with the daemon, but not in the same moment.
    wait_for(lambda: not daemon.leftovers(), "everything below the daemon to end")


@contextlib.contextmanager
def notified(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(path))
        receiver.settimeout(patient(20))
        yield receiver


def hear(receiver: socket.socket, line: str) -> list[str]:
    """Wait for a line; returns all that came until then."""
    heard: list[str] = []
    while line not in heard:
        heard += receiver.recv(4096).decode().split("\n")
    return heard


def test_ready_is_said_when_requests_are_answered_and_stopping_when_it_drains(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """What `systemctl start` and `systemctl stop` wait for; and a handler can say neither."""
    with notified(tmp_path / "notify") as receiver:
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "600000"}
        with started(daemon, **environ) as process:
            hear(receiver, "READY=1")
            assert daemon.client.request("GET", "/readyz") == {"state": "ready"}
            names = daemon.client.invoke("surroundings")["result"]["names"]
            assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(names)
            id_ = daemon.client.enqueue("slow", 1.5)
            daemon.wait_for_state(id_, "running")
            process.send_signal(signal.SIGTERM)
            hear(receiver, "STATUS=stopping: 2 functions, 1 running, 0 waiting, 0 dead letters")
            assert "READY=1" not in hear(receiver, "EXTEND_TIMEOUT_USEC=90000000")
            assert process.wait(patient(30)) == 0


def test_a_signal_while_the_configuration_is_read_is_a_clean_stop(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """`systemctl stop` right after `start`, while a slow module is imported."""
    slow = "import time\ntime.sleep(60)\n"
    (daemon.config.parent / "functions" / "slow_import.py").write_text(slow)
    with (
        notified(tmp_path / "notify") as receiver,
        started(daemon, NOTIFY_SOCKET=str(tmp_path / "notify")) as process,
    ):
        hear(receiver, "WATCHDOG=1")
        wait_for(lambda: _children_of_all_threads(process.pid), "the import to run")
        process.send_signal(signal.SIGTERM)
        assert process.wait(patient(20)) == 0


def _children_of_all_threads(pid: int) -> str:
    return "".join(one.read_text() for one in Path(f"/proc/{pid}/task").glob("*/children"))


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    path.parent.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(64)
        yield listener


#: LISTEN_PID must name the process that is started; descriptor 3 is the first that is handed over.
HAND_OVER = ("/bin/bash", "-c", 'exec env LISTEN_PID=$$ LISTEN_FDS=1 "$@" 3<&"$FD"', "-")


def test_a_socket_that_is_handed_over_outlives_the_daemon_and_keeps_who_waits(
    daemon: DaemonProcess,
) -> None:
    """With socket activation, a restart refuses nobody: who connects meanwhile is answered by the next."""
    path = daemon.state_dir / "faasd.sock"
    with listening(path) as listener:
        fd = listener.fileno()
        with started(daemon, *HAND_OVER, fds=(fd,), FD=str(fd)) as process:
            daemon.wait_until_ready()
            surroundings = daemon.client.invoke("surroundings")["result"]
            assert not [name for name in surroundings["names"] if name.startswith("LISTEN_")]
            assert daemon.stop() == 0
            daemon.process = process
        assert path.is_socket()
        early = socket.socket(socket.AF_UNIX)
        early.settimeout(patient(20))
        early.connect(str(path))
        early.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        with started(daemon, *HAND_OVER, fds=(fd,), FD=str(fd)):
            with early:
                assert early.recv(4096).startswith(b"HTTP/1.1 200 ")
            assert daemon.stop() == 0
            daemon.process = None


def test_a_restart_under_load_refuses_nobody(daemon: DaemonProcess) -> None:
    """With the socket handed over, an event that is sent at any moment is accepted by one daemon or the next."""
    sent: list[str] = []
    failures: list[FaasdError] = []
    enough = threading.Event()

    def send() -> None:
        try:
            while not enough.is_set():
                sent.append(daemon.client.enqueue("slow", 0))
        except FaasdError as error:
            failures.append(error)

    senders = [threading.Thread(target=send) for _ in range(4)]
    with listening(daemon.state_dir / "faasd.sock") as listener:
        fd = listener.fileno()
        for one in senders:
            one.start()
        try:
            for _ in range(4):
                before = len(sent)
                with started(daemon, *HAND_OVER, fds=(fd,), FD=str(fd)):
                    wait_for(lambda: len(sent) > before + 20 or failures, "some events")  # noqa: B023
                    assert failures == []
                    assert daemon.stop() == 0
                    daemon.process = None
            enough.set()
            with started(daemon, *HAND_OVER, fds=(fd,), FD=str(fd)):
                for one in senders:
                    one.join()
                for id_ in sent:
                    daemon.wait_for_state(id_, "done", timeout_s=60.0)
                assert daemon.stop() == 0
                daemon.process = None
        finally:
            enough.set()
            listener.close()
            for one in senders:
                one.join()
    assert failures == []


def test_a_wrong_configuration_is_an_exit_code_of_its_own(daemon: DaemonProcess) -> None:
    """A supervisor is told not to try again (RestartPreventExitStatus=), which 1 could not tell it."""
    daemon.config.write_text(
        daemon.config.read_text().replace("[daemon]\n", "[daemon]\nslotz = 3\n")
    )
    with started(daemon) as process:
        assert process.wait(patient(20)) == 78
    assert 'did you mean "slots"' in daemon.log()


def ask(path: Path) -> socket.socket:
    """Connect and send a request, as any client does before it waits."""
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(patient(20))
    client.connect(str(path))
    client.sendall(b"GET /api/v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    return client


def test_another_socket_than_the_configured_one_is_refused(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """Clients of the one are told so, clients of the other find nobody."""
    with listening(tmp_path / "other.sock") as listener, ask(tmp_path / "other.sock") as client:
        fd = listener.fileno()
        with started(daemon, *HAND_OVER, fds=(fd,), FD=str(fd)) as process:
            assert process.wait(patient(20)) == 78
        assert b"write ListenStream=" in client.recv(4096)
    assert "write ListenStream=" in daemon.log()


def cannot_start(daemon: DaemonProcess, listener: socket.socket, **environ: str) -> None:
    """Start it on a configuration with a mistake, as the supervisor does for who waits on the socket."""
    good = daemon.config.read_text()
    daemon.config.write_text(good.replace("[daemon]\n", "[daemon]\nslotz = 3\n"))
    fd = listener.fileno()
    with started(daemon, *HAND_OVER, fds=(fd,), FD=str(fd), **environ) as process:
        assert process.wait(patient(20)) == 78
    daemon.config.write_text(good)


def test_who_waits_on_the_socket_of_a_daemon_that_cannot_start_is_told_why(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """systemd would start it again for as long as somebody waits there, and who waits would do so for ever."""
    path = daemon.state_dir / "faasd.sock"
    with listening(path) as listener, ask(path) as client, notified(tmp_path / "notify") as heard:
        cannot_start(daemon, listener, NOTIFY_SOCKET=str(tmp_path / "notify"))
        said = client.recv(4096)
        assert said.startswith(b"HTTP/1.1 503 ")
        assert b'did you mean \\"slots\\"' in said
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):  # Nobody for whom systemd would start it again.
            listener.accept()
        while "STATUS=failed: " not in (line := heard.recv(4096).decode()):
            pass
        assert 'did you mean "slots"' in line


def test_an_enqueue_that_waits_for_a_daemon_that_cannot_start_stores_its_event(
    daemon: DaemonProcess,
) -> None:
    """As it does where no daemon runs: a script must not lose its event to a mistake in a configuration."""
    with daemon.running():
        pass  # So that the queue is known.
    path = daemon.state_dir / "faasd.sock"
    with listening(path) as listener:
        sender = subprocess.Popen(
            [sys.executable, "-m", "faasd", "enqueue", "slow", "0", "--config", daemon.config],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert select.select([listener], [], [], patient(20))[0]
        cannot_start(daemon, listener)
        said, _ = sender.communicate(timeout=patient(20))
        assert sender.returncode == 0
    path.unlink()
    with daemon.running():
        assert daemon.wait_for_state(said.strip(), "done")["result"] == 1


def test_as_process_1_of_a_container_it_stops_cleanly(daemon: DaemonProcess) -> None:
    """The kernel drops signals to process 1 that have no handler, so a default action would not do."""
    if os.geteuid() != 0:
        pytest.skip("only root may make a PID namespace here")
    with started(daemon, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc") as process:
        daemon.wait_until_ready()
        inside = int(_children_of_all_threads(process.pid).split()[0])
        assert Path(f"/proc/{inside}/status").read_text().split("NSpid:")[1].split()[1] == "1"
        client = Client(config=str(daemon.config))
        assert client.enqueue("slow", 0)
        os.kill(inside, signal.SIGTERM)
        assert process.wait(patient(30)) == 0
        daemon.process = None


def test_a_reload_is_told_with_its_time_and_ends_with_ready(
    daemon: DaemonProcess, tmp_path: Path
) -> None:
    """What `systemctl reload` waits for; also when the configuration is refused."""
    with (
        notified(tmp_path / "notify") as receiver,
        started(daemon, NOTIFY_SOCKET=str(tmp_path / "notify")) as process,
    ):
        hear(receiver, "READY=1")
        for text in (daemon.config.read_text(), "nonsense"):
            daemon.config.write_text(text)
            before_us = time.monotonic_ns() // 1000
            process.send_signal(signal.SIGHUP)
            heard = hear(receiver, "READY=1")
            assert "RELOADING=1" in heard
            [at_us] = [one for one in heard if one.startswith("MONOTONIC_USEC=")]
            assert before_us <= int(at_us.partition("=")[2]) <= time.monotonic_ns() // 1000


def test_a_closed_terminal_stops_the_daemon_rather_than_reloading_it(
    daemon: DaemonProcess,
) -> None:
    """Both are SIGHUP; who closes a window does not want a daemon that goes on without it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *RUN, str(daemon.config)],
        cwd=REPOSITORY,
        stdin=theirs,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(theirs)
    daemon.process = process
    try:
        daemon.wait_until_ready()
        process.send_signal(signal.SIGHUP)  # From somebody else: the terminal is there.
        request = daemon.client.request
        wait_for(lambda: request("GET", "/api/v1/status")["reloads"] == 1, "it to reload")
        os.close(ours)  # The kernel sends SIGHUP to the session's leader.
        assert process.wait(patient(30)) == 0
    finally:
        process.kill()
        process.wait()
    assert not daemon.leftovers()
