"""Who may do what, decided by the kernel's word on who connects."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faasd.api.access import Peer, descends_from_this_process, refusal
from faasd.api.routes import ROUTES
from faasd.client import Client, RequestFailed
from tests.fakes.api_fakes import FakeDaemon, ServerThread, serving

_ASK = """
import json, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
answers = []
for line in json.loads(sys.argv[2]):
    body = b'{"events": [{"body": 1}]}' if "events" in line else b""
    head = "%s HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: %d\\r\\n\\r\\n" % (line, len(body))
    connection.sendall(head.encode() + body)
    answer = b""
    while b"\\r\\n\\r\\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\\r\\n\\r\\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\\r\\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    answers.append([int(head.split()[1]), json.loads(body)])
print(json.dumps(answers))
"""


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that every user may enter; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="faasd-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_may_see_the_status_and_send_but_not_administer(
    daemon: FakeDaemon, open_directory: Path
) -> None:
    """A web application in the socket's group must be able to enqueue, and to break nothing."""
    other = daemon.store.put_dead(function="resize")
    asked = [
        "GET /api/v1/status",
        "POST /api/v1/queues/images/events",
        f"GET /api/v1/invocations/{other.id}",
        f"GET /api/v1/invocations/{other.id[:12]}",
        "GET /api/v1/invocations",
        "GET /api/v1/logs",
        f"POST /api/v1/invocations/{other.id}/replay",
        "POST /api/v1/functions/echo/pause",
    ]
    path = open_directory / "faasd.sock"
    with serving(daemon, path, mode=0o666):
        done = subprocess.run(
            ["/usr/bin/env", "python3", "-c", _ASK, str(path), json.dumps(asked)],
            user="nobody",
            group="nogroup",
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
    answers = json.loads(done.stdout)
    assert [status for status, _ in answers] == [200, 202, 200, 404, 403, 403, 403, 403]
    error = answers[-1][1]["error"]
    assert error["kind"] == "forbidden"
    assert "nobody" in error["message"]
    assert "sudo" in error["message"]
    assert not daemon.pauses.paused


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(("mode", "opens"), [(0o660, False), (0o666, True)])
def test_the_sockets_mode_keeps_strangers_out(
    daemon: FakeDaemon, open_directory: Path, mode: int, opens: bool
) -> None:
    """The default mode is the first check; the control shows that the mode is what stops them."""
    path = open_directory / "faasd.sock"
    with serving(daemon, path, mode=mode):
        code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(path)!r})"
        done = subprocess.run(
            ["/usr/bin/env", "python3", "-c", code],
            user="nobody",
            group="nogroup",
            extra_groups=[],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode == 0) == opens
    assert ("PermissionError" in done.stderr) != opens


@pytest.mark.parametrize("is_sandboxed", [True, False], ids=["sandbox", "control"])
def test_a_sandbox_of_the_daemons_own_user_cannot_administer_it(
    daemon: FakeDaemon, client: Client, is_sandboxed: bool
) -> None:
    """An unprivileged daemon's functions run as its user, and Landlock lets them connect."""
    daemon.peers_are_sandboxed = is_sandboxed
    client.enqueue("images", 1)
    if is_sandboxed:
        with pytest.raises(RequestFailed, match="a function may enqueue"):
            client.request("POST", "/api/v1/functions/echo/pause")
    else:
        client.request("POST", "/api/v1/functions/echo/pause")
    assert bool(daemon.pauses.paused) != is_sandboxed


def test_everything_below_this_process_counts_as_sandboxed_and_nothing_else() -> None:
    """A process that is gone cannot be told from a sandbox, so it gets no more than one."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        assert descends_from_this_process(child.pid)
        assert not descends_from_this_process(os.getppid())
        assert not descends_from_this_process(1)
        assert descends_from_this_process(0), "of a PID namespace that is not below ours"
    finally:
        child.communicate(b"\n")
    assert descends_from_this_process(child.pid)


def test_no_peer_may_nothing_but_ask_for_health() -> None:
    """A connection whose credentials are unknown must not pass for root's."""
    assert refusal("open", None, lambda _: False) is None
    for access in ("status", "send", "admin"):
        assert refusal(access, None, lambda _: False) is not None


def test_every_route_that_changes_or_shows_the_work_of_others_is_for_administrators() -> None:
    """The list of what is not is short; a new route lands here for somebody to think about."""
    assert {(one.method, one.path) for one in ROUTES if one.access != "admin"} == {
        ("GET", "/healthz"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
        ("GET", "/api/v1/status"),
        ("GET", "/api/v1/functions"),
        ("GET", "/api/v1/functions/{name}"),
        ("POST", "/api/v1/functions/{name}/invocations"),
        ("GET", "/api/v1/queues"),
        ("POST", "/api/v1/queues/{queue:path}/events"),
        ("POST", "/api/v1/wake"),
        ("GET", "/api/v1/invocations/{id}"),
        ("GET", "/api/v1/functions/{name}/versions"),
        ("GET", "/api/v1/schedules"),
        ("GET", "/api/v1/schedules/{name:path}/next"),
        ("GET", "/api/v1/watches"),
        ("GET", "/api/v1/usage"),
    }


def test_a_peers_name_is_the_users_or_its_number() -> None:
    """Records name who asked, and a user without an entry must not break them."""
    assert Peer(1, 0, 0).who == "root"
    assert Peer(1, 3_999_999, 0).who == "uid:3999999"


def test_the_server_gives_the_invocations_source_the_peers_name(
    daemon: FakeDaemon, client: Client, server: ServerThread
) -> None:
    """Who invoked something is the first thing that somebody asks afterwards."""
    client.invoke("echo", {}, wait=False)
    assert daemon.store.accepted[0].source == Peer(0, os.geteuid(), 0).who
