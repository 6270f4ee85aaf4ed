"""Streams: lines come as they are printed, and a client that goes away is noticed."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from faasd import errors
from faasd.client import Client
from tests.fakes.api_fakes import FakeDaemon, ServerThread, serving, wait_for


def test_logs_of_an_invoke_come_before_its_outcome(client: Client) -> None:
    """Whoever waits wants to see what happens, and then the result."""
    lines: list[str] = []
    outcome = client.invoke("echo", {"x": 1}, on_log=lambda line: lines.append(line["text"]))
    assert lines == ["hello from inside"]
    assert outcome["result"] == {"x": 1}


def test_a_refusal_before_the_first_line_has_its_own_status(client: Client) -> None:
    """A stream that had begun with 200 could not say 404 any more."""
    with pytest.raises(errors.EventRefused):
        client.invoke("echo", "refuse", on_log=lambda _: None)


@pytest.mark.parametrize("query", ["", "?logs=1"], ids=["plain", "with logs"])
def test_a_client_that_goes_away_cancels_the_invocation(
    daemon: FakeDaemon, socket_path: Path, server: ServerThread, query: str
) -> None:
    """Ctrl-C on `faasd invoke` must not leave the function running for nobody."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(socket_path))
        head = f"POST /api/v1/functions/wait/invocations{query} HTTP/1.1\r\nhost: x\r\n"
        connection.sendall(f"{head}content-length: 2\r\n\r\n{{}}".encode())
        assert daemon.invoker.begun.wait(10)
        assert not daemon.invoker.cancelled.is_set()
    assert daemon.invoker.cancelled.wait(10)


def test_an_exception_in_the_reader_of_lines_cancels_the_invocation(
    daemon: FakeDaemon, client: Client
) -> None:
    """KeyboardInterrupt comes as one."""

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.invoke("wait", on_log=stop)
    assert daemon.invoker.cancelled.wait(10)


def test_following_begins_with_what_there_is_and_goes_on_with_what_comes(
    daemon: FakeDaemon, server: ServerThread, client: Client
) -> None:
    """Nothing between the two may be missing or come twice."""
    daemon.logs.add("one", 1.0)
    texts: list[str] = []
    done = threading.Event()

    def follow() -> None:
        for line in client.stream("GET", "/api/v1/logs", query={"follow": 1}):
            texts.append(line["text"])
            if len(texts) == 3:
                done.set()
                return

    reader = threading.Thread(target=follow)
    reader.start()
    wait_for(lambda: texts == ["one"])
    server.call(lambda: daemon.logs.add("two", 2.0))
    daemon.logs.add("three", 3.0)  # From another thread than the server's, as a writer's may be.
    assert done.wait(10)
    reader.join(10)
    assert sorted(texts) == ["one", "three", "two"]
    wait_for(lambda: not daemon.logs.sinks)


def test_a_line_that_is_printed_while_reading_comes_once(
    daemon: FakeDaemon, client: Client
) -> None:
    """The subscription begins before the reading, so such a line is seen by both."""
    read = daemon.logs.read

    async def read_late(*arguments: object, **named: object) -> object:
        daemon.logs.add("between", 5.0)
        return await read()

    daemon.logs.read = read_late  # type: ignore[method-assign]
    lines = client.stream("GET", "/api/v1/logs", query={"follow": 1})
    assert next(lines)["text"] == "between"
    daemon.logs.add("after", 6.0)
    assert next(lines)["text"] == "after"
    lines.close()  # type: ignore[attr-defined]


def test_lines_are_narrowed_by_function_invocation_time_pattern_and_number(
    daemon: FakeDaemon, client: Client
) -> None:
    """By several at once, too."""
    now = daemon.clock.now()
    daemon.logs.add("old refused", now - 7200)
    daemon.logs.add("refused", now, "echo", "1")
    daemon.logs.add("accepted", now, "echo", "2")
    daemon.logs.add("refused too", now, "resize", "3")

    def texts(**query: object) -> list[str]:
        return [line["text"] for line in client.stream("GET", "/api/v1/logs", query=query)]

    assert texts(since="1h", grep="^ref") == ["refused", "refused too"]
    assert texts(function="resize") == ["refused too"]
    assert texts(function="resize,echo", since="1h", limit=2) == ["accepted", "refused too"]
    assert texts(invocation="2") == ["accepted"]
    assert texts(limit=2) == ["accepted", "refused too"]


def test_no_more_lines_are_read_than_are_wanted(daemon: FakeDaemon, client: Client) -> None:
    """Sixteen mebibytes of each function's are kept, and most who ask want the last screen."""
    queries: list[dict[str, object]] = [{}, {"function": "echo"}, {"grep": "x"}, {"function": "echo,resize"}]  # fmt: skip
    for query in queries:
        list(client.stream("GET", "/api/v1/logs", query={**query, "limit": 5}))
    assert daemon.logs.limits == [5, 5, None, None]


def test_the_lines_of_an_invocation_are_looked_for_where_its_function_prints(
    daemon: FakeDaemon, client: Client
) -> None:
    """Else all that was ever kept of every function would be read through."""
    row = daemon.store.put(function="resize")
    list(client.stream("GET", "/api/v1/logs", query={"invocation": row.id}))
    list(client.stream("GET", "/api/v1/logs", query={"invocation": "forgotten"}))
    assert daemon.logs.read_of == [("resize", row.id), (None, "forgotten")]


def test_stopping_ends_a_stream_at_once(daemon: FakeDaemon, socket_path: Path) -> None:
    """Somebody who follows logs must not hold up the daemon's end for its drain time."""
    texts: list[str] = []
    with serving(daemon, socket_path) as server:
        server.drain_s = 60.0
        daemon.logs.add("one", 1.0)
        lines = Client(str(socket_path)).stream("GET", "/api/v1/logs", query={"follow": 1})
        reader = threading.Thread(target=lambda: texts.extend(line["text"] for line in lines))
        reader.start()
        wait_for(lambda: daemon.logs.sinks)
    reader.join(10)
    assert not reader.is_alive()
    assert texts == ["one"]
