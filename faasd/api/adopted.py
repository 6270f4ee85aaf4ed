"""A listening socket that a supervisor opened for the daemon, and holds while the daemon is restarted."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from faasd.errors import InvalidSetting

__all__ = ["adopt_listener", "turn_away"]

#: How long one client may take to say what it wants; it has usually done so when it is accepted.
_REQUEST_S = 0.2
_READ_BYTES = 2**16
#: Who comes again and again must not keep a daemon that is about to end.
_TURNED_AWAY_MAX = 1024


def adopt_listener(fds: Sequence[int], path: Path) -> socket.socket:
    """Return the socket that was handed over, ready to accept; its file, mode and group are its maker's.

    Raises InvalidSetting unless it is the one that the configuration names: clients would wait for ever
    on a socket that is open and not served.
    """
    if len(fds) != 1:
        raise InvalidSetting(
            f"cannot take the {len(fds)} sockets that were handed over: faasd listens on one; leave a single "
            f"ListenStream= in faasd.socket"
        )
    listener = socket.socket(fileno=fds[0])
    found = _path_of(listener)
    if found != os.fspath(path):
        listener.detach()  # Open still: who waits on it is told why, by `turn_away`.
        raise InvalidSetting(
            f"cannot take the socket that was handed over: it is {found}, and the configuration says {path}; "
            f"write ListenStream={path} into faasd.socket, or disable faasd.socket"
        )
    listener.setblocking(False)
    return listener


def turn_away(fds: Sequence[int], message: str) -> None:
    """Tell whoever waits on sockets that were handed over why no daemon will answer.

    A supervisor that holds the socket starts the daemon anew for as long as somebody waits there, and who
    waits would do so for ever. The answer's kind is that of a daemon that is not there, so that an enqueue
    goes the way that it goes without one.
    """
    body = json.dumps({"error": {"kind": "daemon-unreachable", "message": message}}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    for fd in fds:
        with contextlib.suppress(OSError):  # Closed by now, or no socket: then nobody waits there.
            _answer_all(fd, head.encode() + body)


def _answer_all(fd: int, answer: bytes) -> None:
    with socket.socket(fileno=os.dup(fd)) as listener:
        listener.setblocking(False)
        for _ in range(_TURNED_AWAY_MAX):
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(_REQUEST_S)
                connection.recv(_READ_BYTES)
                connection.sendall(answer)


def _path_of(listener: socket.socket) -> str:
    if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM:
        return "no Unix stream socket"
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "not listening"
    return os.fsdecode(listener.getsockname())
