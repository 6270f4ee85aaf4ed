"""Who may do what: decided from the credentials that the kernel gives for the peer of a Unix socket.

Being able to open the socket is the first check, made by its mode and group. The second is here:
the daemon's own user and root may do everything; everybody else may see that the daemon is well and
send work, and nothing more. Payloads, results and logs of others are for administrators.
"""

from __future__ import annotations

import functools
import os
import pwd
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ACCESS_MEANINGS", "Peer", "descends_from_this_process", "peer_of", "refusal"]

#: Access words of routes, weakest first, each with who has it.
ACCESS_MEANINGS = {
    "open": "Anybody who reaches the daemon.",
    "status": "Every local user who may open the socket.",
    "send": "Every local user who may open the socket.",
    "admin": "Root and the user that the daemon runs as, but not from inside a sandbox.",
}

_UCRED = struct.Struct("3i")


@dataclass(frozen=True)
class Peer:
    """The process at the other end, as the kernel names it at the moment of connecting."""

    pid: int
    uid: int
    gid: int

    @functools.cached_property  # Once for each connection: it may be a look into a directory service.
    def who(self) -> str:
        """A name for records: the user's name, else `uid:1234`."""
        try:
            return pwd.getpwuid(self.uid).pw_name
        except KeyError:
            return f"uid:{self.uid}"


def peer_of(connection: socket.socket) -> Peer | None:
    """Return the peer's credentials; None when this is no Unix socket."""
    if connection.family != socket.AF_UNIX:
        return None
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return Peer(*_UCRED.unpack(raw))


def descends_from_this_process(pid: int) -> bool:
    """Whether a process is below this one, as every sandbox is; a process that is gone counts as below.

    A sandbox may run as the daemon's own user, and Landlock does not stop it from connecting to a
    socket, so its user alone must not make it an administrator. So does one in a PID namespace that
    is not below ours, whose id the kernel gives as 0.
    """
    if pid <= 0:
        return True
    me = os.getpid()
    while pid > 1:
        if pid == me:
            return True
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return True  # It cannot be told any more, and nobody honest waits for the answer.
        pid = int(stat.rpartition(")")[2].split()[1])  # The name may hold spaces and brackets.
    return False


def refusal(access: str, peer: Peer | None, is_sandboxed: Callable[[int], bool]) -> str | None:
    """Return why this peer may not use a route of this access, in a sentence; None when it may."""
    if access == "open":
        return None
    if peer is None:
        return "this can be asked over the daemon's Unix socket only"
    if access in ("status", "send"):
        return None
    if peer.uid not in (0, os.geteuid()):
        return (
            f"user {peer.who} may read the status, invoke and enqueue, but this needs root or the user "
            f"that the daemon runs as; try again with sudo"
        )
    if is_sandboxed(peer.pid):
        return "a function may enqueue and invoke, but not administer the daemon that runs it"
    return None
