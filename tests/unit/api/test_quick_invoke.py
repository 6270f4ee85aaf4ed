"""The short way of a direct invoke answers as the long way does, and lets go when its caller does."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from faasd.api.quick_http import read_quickly
from faasd.model.invocation import NewEvent
from faasd.model.outcome import Outcome
from tests.fakes.api_fakes import FakeDaemon, serving, wait_for
from tests.unit.api.test_quick_enqueue import answer_on, connected, request

MORE = b"X-Other: 1"  # A header that nobody knows has a request take the long way.


def invoke(
    body: bytes = b'{"x": 1}', *more: bytes, function: str = "echo", query: str = ""
) -> bytes:
    line = f"POST /api/v1/functions/{function}/invocations{query} HTTP/1.1".encode()
    return request(body, *more, line=line)


def test_a_usual_invoke_is_read() -> None:
    """As the client of this project, curl and most libraries send it."""
    read = read_quickly(invoke(b"[]", b"User-Agent: curl/8", b"Accept: */*", function="a.b-c_9"))
    assert read is not None
    assert (read.function, read.queue, read.body, read.closes) == ("a.b-c_9", None, b"[]", False)


@pytest.mark.parametrize("query", ["?mode=async", "?logs=1", "?version=live", "?"])
def test_an_invoke_with_wishes_takes_the_long_way(query: str) -> None:
    """The short way knows none."""
    assert read_quickly(invoke(query=query)) is None


@pytest.mark.parametrize(
    ("function", "body"),
    [
        ("echo", b'{"x": [1, null, "\xc3\xa4"]}'),
        ("echo", b""),
        ("echo", b" \n"),
        ("echo", b"0"),
        ("fail", b"{}"),
        ("echo", b"{"),
        ("echo", b"NaN"),
        ("echo", b'"\xff"'),
        ("echo", b'"refuse"'),
        ("ehco", b"{}"),
        ("paused", b"{}"),
    ],
)
async def test_both_ways_answer_alike(
    daemon: FakeDaemon, socket_path: Path, function: str, body: bytes
) -> None:
    """A header that nobody knows must not change what a caller hears."""
    await daemon.pauses.set("function", "fail" if function == "paused" else "nobody", True)
    function = function.replace("paused", "fail")
    with serving(daemon, socket_path), connected(socket_path) as connection:
        answers = []
        for more in ((), (MORE,)):
            connection.sendall(invoke(body, *more, function=function))
            answers.append(answer_on(connection))
    for line, headers, value in answers:
        value.pop("id", None)
        headers.pop(b"faasd-invocation", None)
        assert b"HTTP/1.1 " in line
    quick, slow = answers
    assert quick == slow


def test_a_broken_invoke_is_an_error_and_the_connection_goes_on(
    daemon: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What nobody foresaw is the daemon's failure, of which its caller hears."""

    async def broken(event: NewEvent) -> tuple[str, Outcome]:
        raise ZeroDivisionError

    with serving(daemon, socket_path), connected(socket_path) as connection:
        monkeypatch.setattr(daemon.invoker, "invoke", broken)
        connection.sendall(invoke())
        line, _, body = answer_on(connection)
        assert b"500" in line
        assert body["error"]["kind"] == "internal"
        monkeypatch.undo()
        connection.sendall(invoke())
        assert answer_on(connection)[2]["result"] == {"x": 1}


def test_a_caller_that_goes_away_cancels_its_invoke(daemon: FakeDaemon, socket_path: Path) -> None:
    """Nobody waits for the answer any more."""
    with serving(daemon, socket_path) as thread:
        with connected(socket_path) as connection:
            connection.sendall(invoke(function="wait"))
            assert daemon.invoker.begun.wait(10)
            assert not daemon.invoker.cancelled.is_set()
        assert daemon.invoker.cancelled.wait(10)
        wait_for(lambda: not thread.is_busy())


def test_a_stop_tells_the_callers_that_wait(daemon: FakeDaemon, socket_path: Path) -> None:
    """When the drain time is over."""
    with ExitStack() as open_until_read:
        with serving(daemon, socket_path) as thread:
            thread.drain_s = 0.0
            connection = open_until_read.enter_context(connected(socket_path))
            connection.sendall(invoke(function="wait"))
            assert daemon.invoker.begun.wait(10)
        line, headers, body = answer_on(connection)
    assert b"503" in line
    assert body["error"]["kind"] == "not-accepting"
    assert headers[b"retry-after"] == b"5"


def test_an_invoke_may_take_longer_than_a_connection_may_be_idle(
    daemon: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of what was answered before does not run on."""
    monkeypatch.setattr("faasd.api.uvicorn_server._KEEP_ALIVE_S", 1)
    with serving(daemon, socket_path) as thread, connected(socket_path) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer_on(connection)
        connection.sendall(invoke(function="wait"))
        assert daemon.invoker.begun.wait(10)
        with connected(socket_path) as idle:  # Whose time begins later.
            idle.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer_on(idle)
            assert idle.recv(1) == b""
        wait_for(lambda: thread.connection_count() == 1)
        assert not daemon.invoker.cancelled.is_set()
