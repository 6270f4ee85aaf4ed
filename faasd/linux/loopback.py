"""The loopback interface of a network namespace, which is down when the namespace is new."""

from __future__ import annotations

import fcntl
import struct
from _socket import AF_INET, SOCK_DGRAM
from _socket import socket as Socket  # noqa: N812 - see faasd/wire.py.

__all__ = ["bring_up"]

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1


def bring_up() -> None:
    """Make 127.0.0.1 and ::1 reachable. Needs CAP_NET_ADMIN in the namespace. Raises OSError."""
    asked = Socket(AF_INET, SOCK_DGRAM)
    try:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack_from("H", fcntl.ioctl(asked, _SIOCGIFFLAGS, request), 16)[0]
        fcntl.ioctl(asked, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))
    finally:
        asked.close()
