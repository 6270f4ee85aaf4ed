"""The journal's native protocol: one entry is one datagram of named fields.

Written after systemd's "Native Journal Protocol" page, which promises that it stays as it is.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Mapping

__all__ = ["SOCKET_PATH", "JournalSender", "encode", "is_journal_stream"]

SOCKET_PATH = "/run/systemd/journal/socket"
_NAME_MAX = 64
#: An entry that is larger than this is cut rather than lost; journald keeps no larger field either.
_VALUE_BYTES_MAX = 2**20
#: What a send to a journal that has gone says, and to one that is connected to no more.
_AWAY = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE, errno.ENOENT})
# F_ADD_SEALS with SEAL, SHRINK, GROW and WRITE: fcntl has their names since Python 3.8 on Linux, but not
# on every libc. The numbers are the kernel's.
_F_ADD_SEALS, _ALL_SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8


def is_journal_stream(journal_stream: str, fd: int) -> bool:
    """Whether a descriptor is the one that JOURNAL_STREAM names, and not one that it was redirected to."""
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return journal_stream == f"{found.st_dev}:{found.st_ino}"


def encode(fields: Mapping[str, str]) -> bytes:
    """Return the datagram of one entry. Names are made to fit: capitals, digits, underscores."""
    parts = []
    for name, value in fields.items():
        data = value.encode("utf-8", "backslashreplace")[:_VALUE_BYTES_MAX]
        label = _label(name)
        if b"\n" in data:
            parts.append(label + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(label + b"=" + data + b"\n")
    return b"".join(parts)


class JournalSender:
    """Sends entries from a socket of its own. Never blocks."""

    def __init__(self, path: str = SOCKET_PATH) -> None:
        """Raise OSError where no journal listens."""
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        try:
            self._socket.setblocking(False)
            self._socket.connect(path)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        except OSError:
            self._socket.close()
            raise

    def send(self, entry: bytes) -> None:
        """Send one encoded entry; what is too large for a datagram goes as a file in memory.

        Raises BlockingIOError when the journal takes nothing now, and OSError when it is away.
        """
        try:
            try:
                self._socket.send(entry)
            except OSError as error:
                if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                    raise
                self._send_file(entry)
        except OSError as error:
            if error.errno not in _AWAY:
                raise
            # It was started anew; its socket is another one now.
            self._socket.connect(self._path)
            self._socket.send(entry)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _send_file(self, entry: bytes) -> None:
        fd = os.memfd_create("journal", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.write(fd, entry)
            # The journal maps it, and believes only what can no longer change.
            fcntl.fcntl(fd, _F_ADD_SEALS, _ALL_SEALS)
            rights = array.array("i", [fd])
            self._socket.sendmsg([b""], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        finally:
            os.close(fd)


def _label(name: str) -> bytes:
    upper = name.upper().encode("ascii", "replace")
    fitting = bytes(one if chr(one).isalnum() else ord("_") for one in upper)
    # The journal trusts names that begin with an underscore only where it has set them itself.
    return fitting.lstrip(b"_0123456789")[:_NAME_MAX] or b"FIELD"
