"""A listening socket that a supervisor opened for the daemon, and holds while the daemon is restarted."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path

from faasd.errors import InvalidSetting

__all__ = ["adopt_listener"]


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
        listener.close()
        raise InvalidSetting(
            f"cannot take the socket that was handed over: it is {found}, and the configuration says {path}; "
            f"write ListenStream={path} into faasd.socket, or disable faasd.socket"
        )
    listener.setblocking(False)
    return listener


def _path_of(listener: socket.socket) -> str:
    if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM:
        return "no Unix stream socket"
    if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return "not listening"
    return os.fsdecode(listener.getsockname())
