"""The client's own promises: light, exact about HTTP, and honest about a daemon that is not there."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faasd import errors
from faasd.client import Client, RequestFailed, find_socket, quote


@contextmanager
def answering(path: Path, *answers: bytes, reads: bool = True) -> Iterator[list[bytes]]:
    """Answer one connection after the other with fixed bytes, and note what was asked."""
    asked: list[bytes] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        for answer in answers:
            connection, _ = listener.accept()
            with connection:
                if reads:
                    asked.append(connection.recv(65536))
                connection.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield asked
    finally:
        thread.join(10)
        listener.close()


def test_importing_the_client_stays_light() -> None:
    """A cold `faasd enqueue` is mostly this import; each of these modules costs milliseconds."""
    heavy = ["http", "typing", "dataclasses", "pathlib", "datetime", "asyncio", "email", "urllib"]
    heavy += ["tomllib", "contextlib", "click", "sqlite3", "subprocess", "logging"]
    code = f"import sys, faasd.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code],
        env={"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_the_next_step_to_an_installed_service_is_systemctl(
    tmp_path: Path, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second daemon in a terminal, as another user, is what its operator wants least."""
    unit = tmp_path / "faasd.service"
    monkeypatch.setattr("faasd.client._SERVICE_SOCKET", str(socket_path))
    monkeypatch.setattr("faasd.client._SERVICE_UNITS", (str(unit),))
    for is_installed, step in (
        (False, "start one with `faasd run`"),
        (True, "`systemctl start faasd`"),
    ):
        if is_installed:
            unit.touch()
        with pytest.raises(errors.DaemonUnreachable, match=step):
            Client(str(socket_path)).queues()


def test_no_daemon_is_an_error_of_its_own_with_the_next_step(socket_path: Path) -> None:
    """Callers fall back on it, so it must not be mistaken for a refusal."""
    with pytest.raises(errors.DaemonUnreachable, match="faasd run"):
        Client(str(socket_path)).queues()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path))
    with pytest.raises(errors.DaemonUnreachable):
        Client(str(socket_path)).queues()


def test_events_go_to_the_fallback_when_no_daemon_answers(socket_path: Path) -> None:
    """A program that may write the store itself never loses an event."""
    taken: list[object] = []

    def offline(queue: str, events: list[dict[str, object]]) -> list[dict[str, object]]:
        taken.append((queue, events))
        return [{"id": event["id"], "state": "waiting"} for event in events]

    client = Client(str(socket_path), offline=offline)
    invocation_id = client.enqueue("images", {"x": 1}, delay="5s")
    assert taken == [("images", [{"body": {"x": 1}, "delay": "5s", "id": invocation_id}])]


def test_an_enqueue_whose_answer_got_lost_is_repeated_with_the_same_ids(
    socket_path: Path,
) -> None:
    """The daemon tells the second from the first by the id, so nothing is stored twice."""
    body = b'{"accepted":[{"id":"x","state":"duplicate"}]}'
    good = b"HTTP/1.1 202 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    with answering(socket_path, b"HTTP/1.1 2", good) as asked:
        assert Client(str(socket_path)).enqueue("images", 1) == "x"
    assert asked[0] == asked[1]
    assert b'"id":"' in asked[0]


@pytest.mark.parametrize("size", [1, 2**20])
def test_an_enqueue_does_not_wait_for_ever(
    socket_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A script must get on, or fail loudly, when the daemon stands still with its socket open."""
    monkeypatch.setattr("faasd.client._ENQUEUE_ANSWER_S", 0.2)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen()  # The kernel completes connections that nobody accepts.
        with pytest.raises(errors.DaemonUnreachable, match=r"has not answered for 0\.2 s"):
            Client(str(socket_path)).enqueue("images", "x" * size)


def test_an_invoke_whose_answer_got_lost_is_not_repeated(socket_path: Path) -> None:
    """A function that is not idempotent would run twice without anybody having asked for it."""
    with (
        answering(socket_path, b"HTTP/1.1 200 OK\r\n") as asked,
        pytest.raises(errors.DaemonUnreachable, match="went away"),
    ):
        Client(str(socket_path)).invoke("echo")
    assert len(asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"220 mail.example.org ESMTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nno length",
        b"x" * 100_000,
    ],
    ids=["another protocol", "no length", "no end"],
)
def test_something_else_on_the_socket_is_said_to_be_something_else(
    socket_path: Path, answer: bytes
) -> None:
    """FAASD_SOCKET may name anything."""
    with (
        answering(socket_path, answer),
        pytest.raises(RequestFailed, match="is no faasd"),
    ):
        Client(str(socket_path)).queues()


def test_chunks_are_put_together_wherever_they_are_cut(socket_path: Path) -> None:
    """Lines and chunks have nothing to do with each other."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    body = b'4\r\n{"a"\r\n5;x=y\r\n: 1}\n\r\n9\r\n{"b": 2}\n\r\n0\r\n\r\n'
    with answering(socket_path, head + body):
        assert list(Client(str(socket_path)).stream("GET", "/x")) == [{"a": 1}, {"b": 2}]


def test_what_json_cannot_hold_is_refused_before_anything_is_sent(socket_path: Path) -> None:
    """NaN would arrive as something that other programs cannot read."""
    client = Client(str(socket_path))
    for body in (float("nan"), {1, 2}):
        with pytest.raises(errors.InvalidSetting, match="as JSON"):
            client.enqueue("images", body)


def test_the_socket_is_found_by_argument_environment_then_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rules as the daemon's, from the same module."""
    config = tmp_path / "faasd.toml"
    monkeypatch.delenv("FAASD_SOCKET", raising=False)
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    config.write_text('[daemon]\nstate_dir = "state"\n')
    assert find_socket(config=str(config)) == str(tmp_path / "state" / "faasd.sock")
    config.write_text('[daemon]\nstate_dir = "state"\nsocket = "run/api.sock"\n')
    assert find_socket(config=str(config)) == str(tmp_path / "run" / "api.sock")
    config.write_text("[http]\n")
    monkeypatch.setenv("STATE_DIRECTORY", "/srv/state")
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert find_socket(config=str(config)) == "/srv/state/faasd.sock"
    monkeypatch.setenv("FAASD_SOCKET", "/run/other.sock")
    assert find_socket(config=str(config)) == "/run/other.sock"
    assert find_socket("/run/this.sock", str(config)) == "/run/this.sock"


def test_a_configuration_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Falling back to the default socket would speak to the wrong daemon."""
    monkeypatch.delenv("FAASD_SOCKET", raising=False)
    config = tmp_path / "faasd.toml"
    with pytest.raises(errors.InvalidSetting, match="No such file"):
        find_socket(config=str(config))
    config.write_text("[daemon\n")
    with pytest.raises(errors.InvalidSetting, match="faasd check"):
        find_socket(config=str(config))


def test_names_are_escaped_in_paths() -> None:
    """A queue's name may hold a slash, and anything else must not end the path."""
    assert quote("resize/inbox") == "resize/inbox"
    assert quote("a b?c#é") == "a%20b%3Fc%23%C3%A9"
