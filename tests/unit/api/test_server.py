"""The server's own promises: its socket, its limits, its way of stopping."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import pytest

from faasd import errors
from faasd.client import Client
from tests.fakes.api_fakes import FakeDaemon, ServerThread, serving, wait_for


def raw(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(request)
        connection.settimeout(10)
        answer = b""
        while data := connection.recv(65536):
            answer += data
        return answer


def test_the_socket_is_closed_to_others_and_goes_away_with_the_server(
    daemon: FakeDaemon, socket_path: Path
) -> None:
    """Uvicorn by itself would make it 0666."""
    with serving(daemon, socket_path):
        assert stat.S_IMODE(socket_path.stat().st_mode) == 0o660
    assert not socket_path.exists()


def test_the_socket_gets_the_group_that_is_asked_for(daemon: FakeDaemon, socket_path: Path) -> None:
    """That is how an operator lets a web application send events."""
    import grp

    name = grp.getgrgid(os.getgid()).gr_name
    with serving(daemon, socket_path, group=name):
        assert socket_path.stat().st_gid == os.getgid()
    with (
        pytest.raises(errors.StoreError, match="no group 'nonesuch' exists"),
        serving(daemon, socket_path, group="nonesuch"),
    ):
        pass


def test_a_socket_file_that_nobody_answers_on_is_replaced(
    daemon: FakeDaemon, socket_path: Path
) -> None:
    """After a kill -9 the file is still there, and the daemon must start all the same."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    assert socket_path.exists()
    with serving(daemon, socket_path):
        assert Client(str(socket_path)).request("GET", "/healthz") == {"healthy": True}


def test_a_socket_that_somebody_answers_on_is_left_alone(
    daemon: FakeDaemon, socket_path: Path, client: Client
) -> None:
    """Two daemons on one state directory would each believe that it holds the work."""
    with (
        pytest.raises(errors.StateDirectoryInUse, match="another daemon"),
        serving(FakeDaemon(), socket_path),
    ):
        pass
    assert client.request("GET", "/healthz") == {"healthy": True}


def test_a_file_in_the_sockets_place_is_never_removed(
    daemon: FakeDaemon, socket_path: Path
) -> None:
    """A wrong setting must not cost somebody a file."""
    socket_path.write_text("mine")
    with (
        pytest.raises(errors.StoreError, match="a file is in its place"),
        serving(daemon, socket_path),
    ):
        pass
    assert socket_path.read_text() == "mine"


def test_a_path_that_is_too_long_for_a_socket_is_refused_with_the_setting_to_change(
    daemon: FakeDaemon, tmp_path: Path
) -> None:
    """The kernel's 107 bytes surprise everybody once."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    with pytest.raises(errors.StoreError, match="set a shorter"), serving(daemon, deep / "s"):
        pass


def test_stopping_leaves_the_socket_of_a_successor(daemon: FakeDaemon, socket_path: Path) -> None:
    """A successor that has bound the same path already would otherwise be cut off for ever."""
    with serving(daemon, socket_path):
        socket_path.unlink()
        with socket.socket(socket.AF_UNIX) as successor:
            successor.bind(str(socket_path))
    assert socket_path.exists()


def test_a_request_in_flight_finishes_before_the_server_stops(
    daemon: FakeDaemon, socket_path: Path
) -> None:
    """Stopping must not lose the answer to an event that is already on disk."""
    answers = []
    release = threading.Event()
    accept_many = daemon.store.accept_many

    async def slowly(events):
        import asyncio

        await asyncio.to_thread(release.wait, 10)
        return await accept_many(events)

    daemon.store.accept_many = slowly
    with serving(daemon, socket_path) as thread:
        asking = threading.Thread(
            target=lambda: answers.append(Client(str(socket_path)).enqueue("images", 1))
        )
        asking.start()
        wait_for(thread.is_busy)
        stopping = threading.Thread(target=thread.stop)
        stopping.start()
        wait_for(lambda: not socket_path.exists())
        release.set()
        asking.join(10)
        stopping.join(10)
    assert len(answers) == 1


def test_what_does_not_end_within_the_drain_time_is_cancelled(
    daemon: FakeDaemon, socket_path: Path
) -> None:
    """A stop has a bound, whatever runs."""
    failures: list[Exception] = []

    def ask() -> None:
        try:
            Client(str(socket_path)).invoke("wait")
        except errors.FaasdError as error:
            failures.append(error)

    with serving(daemon, socket_path) as thread:
        thread.drain_s = 0.1
        asking = threading.Thread(target=ask)
        asking.start()
        assert daemon.invoker.begun.wait(10)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert daemon.invoker.cancelled.is_set()
    asking.join(10)
    assert len(failures) == 1


def test_the_servers_signals_stay_the_daemons(server: ServerThread) -> None:
    """Uvicorn would take SIGINT and SIGTERM over and raise them again after its end."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize("says_length", [True, False], ids=["content-length", "chunked"])
def test_a_body_over_the_limit_is_refused_without_being_kept(
    daemon: FakeDaemon, socket_path: Path, says_length: bool
) -> None:
    """No client can fill the daemon's memory, whether it says how much comes or not."""
    head = b"POST /api/v1/queues/images/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    body = b"x" * 5000
    if says_length:
        request = head + b"content-length: 5000\r\n\r\n" + body
    else:
        request = head + b"transfer-encoding: chunked\r\n\r\n1388\r\n" + body + b"\r\n0\r\n\r\n"
    with serving(daemon, socket_path, body_limit_bytes=4096):
        answer = raw(socket_path, request)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b'"kind":"payload-too-large"' in answer
    assert b"4KiB" in answer


def test_the_answer_names_neither_the_server_nor_its_version(
    socket_path: Path, server: ServerThread
) -> None:
    """What listens is nobody's business."""
    answer = raw(socket_path, b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert b"uvicorn" not in answer.lower()


@pytest.mark.parametrize(
    ("request_line", "status", "kind"),
    [
        ("GET /nothing", 404, "not-found"),
        ("DELETE /api/v1/status", 405, "method-not-allowed"),
        ("GET /api/v1/functions/ecko", 404, "unknown-function"),
        ("POST /api/v1/queues/image/events", 400, "invalid-setting"),
        ("GET /api/v1/invocations/ffffffff", 404, "not-found"),
        ("GET /api/v1/invocations?state=ded", 400, "invalid-setting"),
        ("GET /api/v1/invocations?limit=0", 400, "invalid-setting"),
        ("GET /api/v1/invocations?since=yesterday", 400, "invalid-setting"),
        ("GET /api/v1/logs?grep=(", 400, "invalid-setting"),
        ("GET /api/v1/schedules/nihgtly/next", 404, "not-found"),
        ("GET /api/v1/schedules/nightly/next?n=1e3", 400, "invalid-setting"),
        ("GET /api/v1/why", 400, "invalid-setting"),
        ("GET /api/v1/why?subject=nonesuch", 404, "not-found"),
        ("POST /api/v1/files/retry", 400, "invalid-setting"),
        ("POST /api/v1/backup", 400, "invalid-setting"),
        ("POST /api/v1/dead-letters/redrive", 400, "invalid-setting"),
    ],
)
def test_every_refusal_has_its_status_and_a_kind(
    socket_path: Path, server: ServerThread, request_line: str, status: int, kind: str
) -> None:
    """Programs act on the kind, people read the message."""
    text = f"{request_line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    answer = raw(socket_path, text.encode())
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert f'"kind":"{kind}"'.encode() in answer


def test_a_full_disk_is_503_with_a_time_to_come_back(
    daemon: FakeDaemon, socket_path: Path, client: Client
) -> None:
    """A sender must know that nothing was stored and that trying later makes sense."""
    daemon.store.refuse = errors.StoreFull("no room on the disk of /var/lib/faasd")
    with pytest.raises(errors.StoreFull, match="no room"):
        client.enqueue("images", 1)
    body = b'{"events":[{"body":1}]}'
    head = b"POST /api/v1/queues/images/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
    answer = raw(socket_path, head + b"content-length: %d\r\n\r\n" % len(body) + body)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 30" in answer


def test_a_bug_in_a_handler_is_500_and_the_daemon_goes_on(
    daemon: FakeDaemon, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback belongs into the daemon's log and not into the answer."""
    daemon.store.refuse = ZeroDivisionError("a bug")
    with pytest.raises(errors.FaasdError, match="its log has the traceback"):
        client.enqueue("images", 1)
    assert "ZeroDivisionError" in caplog.text
    assert client.request("GET", "/healthz") == {"healthy": True}


def test_ready_says_whether_events_run(daemon: FakeDaemon, client: Client) -> None:
    """A load balancer and systemd's checks ask exactly this."""
    assert client.request("GET", "/readyz") == {"state": "ready"}
    daemon.state = "stopping"
    with pytest.raises(errors.FaasdError, match="stopping"):
        client.request("GET", "/readyz")
    assert client.request("GET", "/healthz") == {"healthy": True}


def test_connections_beyond_the_bound_are_told_to_come_back(
    daemon: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever opens connections without end must not use up the descriptors that sandboxes need."""
    monkeypatch.setattr("faasd.api.connection._CONNECTIONS_MAX", 3)
    with serving(daemon, socket_path) as thread, contextlib.ExitStack() as stack:
        for _ in range(3):
            idle = stack.enter_context(socket.socket(socket.AF_UNIX))
            idle.connect(str(socket_path))
        wait_for(lambda: thread.connection_count() == 3)
        with pytest.raises(errors.NotAccepting, match="too many connections"):
            Client(str(socket_path)).queues()
        idle.close()
        wait_for(lambda: thread.connection_count() == 2)
        assert Client(str(socket_path)).queues()
