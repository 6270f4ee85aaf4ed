"""No room: on a small disk while events flow, and in the budget of the state directory."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from pathlib import Path
from typing import Any, Self

import pytest

from faasd.client import Client
from faasd.errors import FaasdError, StoreFull
from tests.daemon.harness import DaemonProcess, tmpfs, wait_for, write_project
from tests.patience import patient

FUNCTIONS = """
    from faasd import function, queue

    @function(triggers=[queue("plain")])
    def plain(event, context):
        print("x" * 500)
        return event["body"]

    @function(triggers=[queue("held")])
    def held(event, context):
        return len(event["body"])
"""


def fill(path: Path) -> None:
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


class Sender:
    """Enqueues one event after the other, in a thread of its own, and keeps what was acknowledged."""

    def __init__(self, config: Path) -> None:
        self.acknowledged: list[tuple[str, int]] = []
        self.refused: list[Exception] = []
        self._config = config
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _send(self) -> None:
        client = Client(config=str(self._config))
        number = 0
        while not self._stopping.wait(0.01):
            number += 1
            try:
                self.acknowledged.append((client.enqueue("plain", number), number))
            except FaasdError as error:
                self.refused.append(error)


class Supervisor:
    """Hears what the daemon tells systemd."""

    def __init__(self, path: Path) -> None:
        self.receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.bind(str(path))
        self.receiver.settimeout(patient(30))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.receiver.close()

    def hear_status(self, part: str, *, there: bool = True) -> None:
        """Wait for a status that has this part, or has it no longer."""
        while True:
            for line in self.receiver.recv(4096).decode().split("\n"):
                if line.startswith("STATUS=ready") and (part in line) is there:
                    return


def metric(daemon: DaemonProcess, name: str) -> float:
    lines = daemon.cli("metrics").stdout.splitlines()
    [found] = [line for line in lines if line.startswith(f"{name} ")]
    return float(found.split()[1])


def status(daemon: DaemonProcess) -> dict[str, Any]:
    return daemon.client.request("GET", "/api/v1/status")


def test_a_full_disk_is_said_everywhere_and_nothing_acknowledged_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Events flow all the while; the daemon is killed on the full disk, and cannot start on it either."""
    daemon = DaemonProcess(write_project(tmp_path, FUNCTIONS))
    daemon.state_dir.mkdir()
    filler = daemon.state_dir / "filler"
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with Supervisor(tmp_path / "notify") as supervisor, tmpfs(daemon.state_dir, "12m") as unmount:
        with daemon.running(), Sender(daemon.config) as sender:
            wait_for(lambda: len(sender.acknowledged) > 30, "events to flow")
            fill(filler)
            wait_for(lambda: sender.refused, "the first refusal")
            supervisor.hear_status("; no space left, new events are refused")
            _check_that_it_is_said(daemon)
            filler.unlink()
            supervisor.hear_status("no space left", there=False)
            wait_for(lambda: not status(daemon)["problems"], "the problem to be over")
            assert metric(daemon, "faasd_accepting_events") == 1
            count = len(sender.acknowledged)
            wait_for(lambda: len(sender.acknowledged) > count + 10, "events to flow again")

            fill(filler)
            sender.stop()  # Without a daemon it would open the database itself, and give room back as it closes it.
            daemon.kill9()
            # As after a reboot; with it, and a log that may begin anew, a start can do without a free page.
            for shared_memory in daemon.state_dir.glob("*-shm"):
                shared_memory.unlink()
            fill(filler)
            ended = daemon.cli("run")  # Until there is room, a supervisor tries again.
            assert (ended.returncode, "no space is left" in ended.stderr) == (1, True), ended.stderr
            filler.unlink()
            daemon.start()
            for id_, number in sender.acknowledged:
                assert daemon.wait_for_state(id_, "done")["result"] == number
        unmount()


def _check_that_it_is_said(daemon: DaemonProcess) -> None:
    [problem] = status(daemon)["problems"]
    assert problem.startswith("no space is left for new events")
    assert metric(daemon, "faasd_accepting_events") == 0
    assert metric(daemon, "faasd_no_room_refusals_total") > 0
    assert "New events are refused at the moment" in daemon.cli("why", "plain").stdout
    for command in (["enqueue", "plain", "1"], ["invoke", "plain", "--event", "1"]):
        refused = daemon.cli(*command)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "no space is left for new events" in refused.stderr
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.state_dir / "faasd.sock"))
        body = json.dumps({"events": [{"body": 1}]})
        connection.sendall(
            f"POST /api/v1/queues/plain/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = connection.makefile("rb").read().partition(b"\r\n\r\n")[0].decode().lower()
    assert head.startswith("http/1.1 503")
    assert "retry-after: 30" in head
    assert daemon.log().count('"room_ended"') == 1


def test_a_budget_forgets_what_is_done_and_then_refuses_until_there_is_room_again(
    tmp_path: Path,
) -> None:
    """What was acknowledged and has not run is never what makes room."""
    config = write_project(tmp_path, FUNCTIONS, 'state_bytes_max = "16MiB"\n')
    daemon = DaemonProcess(config)
    body = "x" * 200_000
    with daemon.running():
        daemon.client.request("POST", "/api/v1/functions/held/pause")
        for _ in range(60):  # 24 MB, and all of it done.
            daemon.wait_for_state(_enqueue(daemon, "plain", body), "done")
        assert "budget_kept" in daemon.log()
        waiting = []
        with contextlib.suppress(StoreFull):
            while True:
                waiting.append(daemon.client.enqueue("held", body))
        assert len(waiting) > 20
        # It may go away again by itself: what has been written is given back when it is in the database.
        said = wait_for(lambda: status(daemon)["problems"], "the status to say it")
        assert "`state_bytes_max` is 16MiB" in said[0]
        # More by what one look lets in and by the write-ahead log, which counts twice until it is emptied, or
        # less by as much.
        assert 12 * 2**20 <= metric(daemon, "faasd_state_dir_bytes") < 32 * 2**20
        assert metric(daemon, "faasd_state_dir_bytes_max") == 16 * 2**20
        daemon.process.send_signal(signal.SIGKILL)  # type: ignore[union-attr]
        daemon.process.wait()  # type: ignore[union-attr]
        daemon.start()
        daemon.client.request("POST", "/api/v1/functions/held/resume")
        for id_ in waiting[-20:]:  # The first ones may be forgotten again when these are done.
            assert daemon.wait_for_state(id_, "done")["result"] == len(body)
        wait_for(lambda: not status(daemon)["problems"], "room")
        daemon.wait_for_state(daemon.client.enqueue("plain", 1), "done")


def _enqueue(daemon: DaemonProcess, queue: str, body: str) -> str:
    """Enqueue as soon as there is room."""

    def attempt() -> str | None:
        with contextlib.suppress(StoreFull):
            return daemon.client.enqueue(queue, body)
        return None

    return str(wait_for(attempt, "room for one more event"))
