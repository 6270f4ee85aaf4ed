"""The short way of an enqueue answers as the long way does, and takes only what is usual in every way."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from faasd import errors
from faasd.api.quick_http import BODY_MAX_BYTES, read_quickly
from faasd.client import Client
from tests.fakes.api_fakes import FakeDaemon, serving, wait_for

BODY = b'{"events":[{"body":1}]}'


def request(
    body: bytes = BODY,
    *more: bytes,
    line: bytes = b"POST /api/v1/queues/images/events HTTP/1.1",
    length: bytes | None = None,
) -> bytes:
    said = b"Content-Length: %d" % len(body) if length is None else length
    head = [line, b"Host: x", b"Content-Type: application/json", said, *more]
    return b"\r\n".join(one for one in head if one) + b"\r\n\r\n" + body


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        connection.settimeout(10)
        connection.connect(str(path))
        yield connection


def answer_on(connection: socket.socket) -> tuple[bytes, dict[bytes, bytes], Any]:
    """Read one answer: status line, headers, body."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    line, *rest = head.split(b"\r\n")
    headers = {name.lower(): value for name, _, value in (one.partition(b": ") for one in rest)}
    while len(body) < int(headers[b"content-length"]):
        body += connection.recv(65536)
    assert len(body) == int(headers[b"content-length"]), "nothing comes behind an answer"
    return line, headers, json.loads(body)


def test_a_usual_enqueue_is_read() -> None:
    """As the client of this project, curl and most libraries send it."""
    read = read_quickly(request(BODY, b"User-Agent: curl/8", b"Accept: */*", b"connection: Close"))
    assert read is not None
    assert (read.queue, read.body, read.closes) == ("images", BODY, True)
    assert read_quickly(request()).closes is False


@pytest.mark.parametrize(
    "unusual",
    [
        pytest.param(request(line=b"GET /api/v1/queues/images/events HTTP/1.1"), id="method"),
        pytest.param(request(line=b"POST /api/v1/queues/images/events HTTP/1.0"), id="version"),
        pytest.param(request(line=b"POST /api/v1/queues/a%20b/events HTTP/1.1"), id="escape"),
        pytest.param(request(line=b"POST /api/v1/queues/a/b/events HTTP/1.1"), id="slash"),
        pytest.param(request(line=b"POST /api/v1/queues/images/events?x HTTP/1.1"), id="query"),
        pytest.param(request(line=b"POST /api/v1/functions/images/events HTTP/1.1"), id="path"),
        pytest.param(request(BODY, b"Transfer-Encoding: chunked"), id="chunked"),
        pytest.param(request(BODY, b"Expect: 100-continue"), id="expect"),
        pytest.param(request(BODY, b"Connection: upgrade"), id="upgrade"),
        pytest.param(request(BODY, b"Content-Length: %d" % len(BODY)), id="two lengths"),
        pytest.param(request(BODY, b"no colon"), id="no header"),
        pytest.param(request(BODY, b"Host: a\nTransfer-Encoding: chunked"), id="bare newline"),
        pytest.param(request(BODY, b"Host: a\rb"), id="bare return"),
        pytest.param(request(length=b""), id="no length"),
        pytest.param(request(length=b"Content-Length: 5"), id="more than said"),
        pytest.param(request(length=b"Content-Length: 500"), id="less than said"),
        pytest.param(request(length=b"Content-Length: +23"), id="sign"),
        pytest.param(request(BODY, b"Accept: " + b"x" * 4000), id="large head"),
        pytest.param(request(b"[" + b" " * BODY_MAX_BYTES + b"]"), id="large body"),
        pytest.param(request()[:-1], id="cut"),
        pytest.param(request() + b"GET", id="more behind"),
        pytest.param(request()[:40], id="begin"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_what_is_unusual_takes_the_long_way(unusual: bytes) -> None:
    """Only the long way understands it, or knows how to refuse it."""
    assert read_quickly(unusual) is None


@pytest.mark.parametrize(
    "body",
    [
        BODY,
        b'{"events":[{"body":1,"delay":"5m","key":"k","priority":3},{"body":{"a":"\xc3\xa4"}}]}',
        b'{"events":[{"body":1,"id":"0193ab00-0000-7000-8000-000000000000"}]}',
        b'{"events":[{"body":1,"nonsense":2}]}',
        b'{"events":[]}',
        b'{"events":[{"body":NaN}]}',
        b'{"events":[{"body":"' + b"\xff" + b'"}]}',
        b"[1]",
        b"{",
        b"",
        b"\xff\xfe[\x00]\x00",
        '{"events":[{"body":1}]}'.encode("utf-16"),
    ],
)
def test_both_ways_answer_alike(daemon: FakeDaemon, socket_path: Path, body: bytes) -> None:
    """A header that nobody knows must not change what a sender hears."""
    with serving(daemon, socket_path), connected(socket_path) as connection:
        connection.sendall(request(body))
        quick = answer_on(connection)
        short = [
            (one.body.get("body"), one.priority, one.group_key) for one in daemon.store.accepted
        ]
        daemon.store.accepted.clear()
        daemon.store.rows.clear()
        connection.sendall(request(body, b"X-Other: 1"))
        slow = answer_on(connection)
    assert quick[0] == slow[0]
    assert set(quick[1]) == set(slow[1])
    assert short == [
        (one.body.get("body"), one.priority, one.group_key) for one in daemon.store.accepted
    ]
    if b"202" in quick[0]:
        states = [[one["state"] for one in each[2]["accepted"]] for each in (quick, slow)]
        assert states[0] == states[1]
    else:
        assert quick[2] == slow[2]


def test_an_unknown_queue_is_refused_alike(daemon: FakeDaemon, socket_path: Path) -> None:
    """With the nearest name, and without keeping the others of its moment out."""
    line = b"POST /api/v1/queues/imagse/events HTTP/1.1"
    with serving(daemon, socket_path), connected(socket_path) as connection:
        connection.sendall(request(line=line))
        quick = answer_on(connection)
        connection.sendall(request(BODY, b"X-Other: 1", line=line))
        assert quick == answer_on(connection)
    assert b"404" in quick[0]


def test_requests_behind_each_other_are_answered_in_order(
    daemon: FakeDaemon, socket_path: Path
) -> None:
    """Also those that come while the first is on its way to the disk, by whichever way each goes."""
    slow_body = b'{"events":[{"body":"second"}]}'
    with serving(daemon, socket_path) as thread, connected(socket_path) as connection:
        release = delayed(daemon)
        connection.sendall(request())
        wait_for(thread.is_busy)
        connection.sendall(
            request(slow_body, b"X-Other: 1") + b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
        )
        connection.sendall(b"\r\n")
        release.set()
        data = b""
        while data.count(b"HTTP/1.1 ") < 3 or not data.endswith(b"}"):
            data += connection.recv(65536)
    lines = [one.split(b"\r\n")[0] for one in data.split(b"HTTP/1.1 ")[1:]]
    assert lines == [b"202 Accepted", b"202 Accepted", b"200 OK"]
    assert [one.body["body"] for one in daemon.store.accepted] == [1, "second"]


def test_one_refused_request_keeps_none_of_its_moment_out(
    daemon: FakeDaemon, socket_path: Path
) -> None:
    """They share a transaction, and nothing else."""
    bad = [b'{"events":[{"body":1,"nonsense":2}]}', b'{"events":[{"body":"%b"}]}' % (b"x" * 60_000)]
    answers: list[int] = []
    with serving(daemon, socket_path) as thread, connected(socket_path) as first:
        release = delayed(daemon)
        first.sendall(request())
        wait_for(thread.is_busy)

        def send(body: bytes) -> None:
            with connected(socket_path) as connection:
                connection.sendall(request(body))
                answers.append(int(answer_on(connection)[0].split()[1]))

        senders = [threading.Thread(target=send, args=(body,)) for body in [BODY] * 5 + bad]
        for sender in senders:
            sender.start()
        # Who is refused hears of it at once, and may have gone before the last one comes.
        wait_for(lambda: thread.connection_count() + len(answers) >= 1 + len(senders))
        release.set()
        for sender in senders:
            sender.join(10)
        assert b"202" in answer_on(first)[0]
    assert sorted(answers) == [202] * 6 + [400]
    assert len(daemon.store.accepted) == 7


def test_a_connection_that_goes_away_harms_nobody(daemon: FakeDaemon, socket_path: Path) -> None:
    """Its event is stored all the same: it was taken."""
    with serving(daemon, socket_path) as thread:
        release = delayed(daemon)
        with connected(socket_path) as connection:
            connection.sendall(request())
            wait_for(thread.is_busy)
        wait_for(lambda: thread.connection_count() == 0)
        release.set()
        wait_for(lambda: not thread.is_busy())
        assert Client(str(socket_path)).enqueue("images", 2)
    assert len(daemon.store.accepted) == 2


def test_a_connection_in_use_stays_and_an_idle_one_is_closed(
    daemon: FakeDaemon, socket_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one timer for a connection, and not one for each request."""
    monkeypatch.setattr("faasd.api.uvicorn_server._KEEP_ALIVE_S", 1)
    with serving(daemon, socket_path) as thread, connected(socket_path) as connection:
        for _ in range(3):
            connection.sendall(request())
            assert b"202" in answer_on(connection)[0]
        assert thread.connection_count() == 1
        assert connection.recv(1) == b""


def test_a_full_disk_is_told_to_all_of_a_moment(daemon: FakeDaemon, socket_path: Path) -> None:
    """Nothing of it was stored."""
    daemon.store.refuse = errors.StoreFull("no room on the disk")
    with serving(daemon, socket_path), connected(socket_path) as connection:
        connection.sendall(request())
        line, headers, body = answer_on(connection)
    assert b"503" in line
    assert headers[b"retry-after"] == b"30"
    assert body["error"]["kind"] == "store-full"


def delayed(daemon: FakeDaemon) -> threading.Event:
    """Hold every transaction until the event is set."""
    release = threading.Event()
    accept_many = daemon.store.accept_many

    async def slowly(events: Any) -> Any:
        import asyncio

        await asyncio.to_thread(release.wait, 10)
        return await accept_many(events)

    daemon.store.accept_many = slowly  # type: ignore[method-assign]
    return release
