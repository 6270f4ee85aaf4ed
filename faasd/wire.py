"""Frames on a stream socket: four bytes of length, then JSON; descriptors travel beside them.

Never pickle. Every reader names the largest frame it takes, so that the other end, which may be
hostile, can neither fill our memory nor make us wait: what does not fit the protocol is a WireError.
"""

from __future__ import annotations

import array
import json
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from faasd.errors import WireError

__all__ = [
    "CONTROL_BYTES_MAX",
    "FrameReader",
    "Receiver",
    "decode",
    "encode",
    "encode_raw",
    "receive",
    "send",
]

#: Largest frame between the daemon and its zygotes; nothing of unbounded size travels there.
CONTROL_BYTES_MAX = 2**20
_FDS_MAX = 16
_FD_BYTES = array.array("i").itemsize
#: `json.dumps` with any option builds an encoder at every call.
_encode_text = json.JSONEncoder(separators=(",", ":")).encode


def encode(value: Any) -> bytes:
    """Return one frame holding this value as JSON."""
    return encode_raw(_encode_text(value).encode())


def encode_raw(text: bytes) -> bytes:
    """Return one frame holding JSON text that is already encoded."""
    return len(text).to_bytes(4, "big") + text


class FrameReader:
    """Cuts a byte stream into frames, without ever holding more than one frame too many."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.fds: deque[int] = deque()  # Received and not yet taken, in order.
        self.before_error: list[
            bytes
        ] = []  # What was complete before the frame that `feed` refused.
        self._buffer = bytearray()

    @property
    def is_within_frame(self) -> bool:
        """Whether part of a frame has come and the rest has not."""
        return bool(self._buffer)

    @property
    def bytes_missing(self) -> int:
        """How many bytes complete the frame that has begun; 4, a length, when none has."""
        have = len(self._buffer)
        if have < 4:
            return 4 - have
        return 4 + int.from_bytes(self._buffer[:4], "big") - have

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes; return the texts of the frames that they complete. Raises WireError."""
        buffer = self._buffer
        come: bytes | bytearray = data  # Frames that come whole are copied once.
        if buffer:
            buffer += data
            come = buffer
        frames: list[bytes] = []
        start, end = 0, len(come)
        while end - start >= 4:
            size = int.from_bytes(come[start : start + 4], "big")
            if size > self.bytes_max:
                self.before_error = frames
                raise WireError(f"a frame of {size} bytes is over the limit of {self.bytes_max}")
            if end - start - 4 < size:
                break
            frames.append(bytes(come[start + 4 : start + 4 + size]))
            start += 4 + size
        if come is buffer:
            del buffer[:start]
        elif start < end:
            buffer += come[start:]
        return frames

    def take_fds(self, count: int) -> list[int]:
        """Take the descriptors that a frame says it brought. Raises WireError when they did not come."""
        if not 0 <= count <= len(self.fds):
            raise WireError(f"a frame promised {count} descriptors, {len(self.fds)} came")
        return [self.fds.popleft() for _ in range(count)]

    def receive(self, channel: socket.socket, size: int = 65536) -> list[bytes] | None:
        """Read once from a socket, descriptors included; None at its end. Raises WireError, OSError."""
        # Not socket.recv_fds: up to Python 3.11 it drops its flags, and the descriptors would leak.
        room = socket.CMSG_SPACE(_FDS_MAX * _FD_BYTES)
        data, ancillary, flags, _ = channel.recvmsg(size, room, socket.MSG_CMSG_CLOEXEC)
        for level, kind, packed in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds = array.array("i")
                fds.frombytes(packed[: len(packed) - len(packed) % _FD_BYTES])
                self.fds.extend(fds)
        if len(self.fds) > 2 * _FDS_MAX:  # They would fill our table, and nobody says what for.
            raise WireError(f"{len(self.fds)} descriptors came that no frame has spoken of")
        if flags & socket.MSG_CTRUNC:
            raise WireError("more descriptors came at once than a frame may bring")
        if not data:
            return None
        return self.feed(data)


def decode(text: bytes) -> dict[str, Any]:
    """Read a frame that must be a JSON object. Raises WireError."""
    try:
        # As `json.loads` reads bytes, which would look for other encodings first.
        value = json.loads(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise WireError(f"a frame is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WireError("a frame is not a JSON object")
    return value


def send(channel: socket.socket, value: Any, fds: Sequence[int] = ()) -> None:
    """Write one frame to a blocking socket, with descriptors. Raises OSError."""
    frame = encode(value)
    sent = socket.send_fds(channel, [frame], list(fds)) if fds else 0
    if sent < len(frame):
        channel.sendall(frame[sent:])


def receive(channel: socket.socket, bytes_max: int) -> bytes | None:
    """Read the text of exactly one frame from a blocking socket; None at its end. Raises WireError, OSError."""
    header = _receive_exactly(channel, 4)
    if header is None:
        return None
    size = int.from_bytes(header, "big")
    if size > bytes_max:
        raise WireError(f"a frame of {size} bytes is over the limit of {bytes_max}")
    text = _receive_exactly(channel, size)
    if text is None and size:
        raise WireError("the channel closed within a frame")
    return text or b""


class Receiver:
    """Reads frames from a blocking socket, as `receive` does, with as few system calls as they come in.

    What it has read ahead belongs to the frames that follow, so nobody else may read from the socket.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._ahead = b""

    def receive(self, bytes_max: int) -> bytes | None:
        """Read the text of exactly one frame; None at its end. Raises WireError, OSError."""
        ahead = self._ahead
        if len(ahead) < 4:
            ahead = self._more(ahead, 4)
            if len(ahead) < 4:
                if ahead:
                    raise WireError("the channel closed within a frame")
                return None
        size = int.from_bytes(ahead[:4], "big")
        if size > bytes_max:
            raise WireError(f"a frame of {size} bytes is over the limit of {bytes_max}")
        end = 4 + size
        if len(ahead) < end:
            ahead = self._more(ahead, end)
            if len(ahead) < end:
                raise WireError("the channel closed within a frame")
        self._ahead = ahead[end:]
        return ahead[4:end]

    def _more(self, ahead: bytes, size: int) -> bytes:
        """Read until there are so many bytes, or the channel has ended."""
        parts = [ahead]
        have = len(ahead)
        while have < size:
            data = self._channel.recv(min(max(size - have, 65536), 2**20))
            if not data:
                break
            parts.append(data)
            have += len(data)
        return b"".join(parts)


def _receive_exactly(channel: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        data = channel.recv(min(size - len(parts), 2**20))
        if not data:
            if parts:
                raise WireError("the channel closed within a frame")
            return None
        parts += data
    return bytes(parts)
