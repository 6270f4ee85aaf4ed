"""Frames on a stream socket: four bytes of length, then JSON; descriptors travel beside them.

Never pickle. Every reader names the largest frame it takes, so that the other end, which may be
hostile, can neither fill our memory nor make us wait: what does not fit the protocol is a WireError.
"""

from __future__ import annotations

import json
import sys

# Not through `socket`, which weighs a twentieth of a zygote, and each fork of one copies its tables of pages.
from _socket import CMSG_SPACE, MSG_CMSG_CLOEXEC, MSG_CTRUNC, SCM_RIGHTS, SOL_SOCKET
from _socket import socket as Socket  # noqa: N812 - it is a class.
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from faasd.errors import WireError

__all__ = [
    "BEGIN",
    "CONTROL_BYTES_MAX",
    "REHEARSE",
    "FrameReader",
    "Receiver",
    "decode",
    "encode",
    "encode_raw",
    "receive",
    "receive_message",
    "receive_with_fds",
    "send",
    "send_text",
]

#: Largest frame between the daemon and its zygotes; nothing of unbounded size travels there.
CONTROL_BYTES_MAX = 2**20
#: What comes with the descriptors for a renewed sandbox's next attempt: whether that is there, or is waited for.
BEGIN, REHEARSE = b"b", b"r"
_FDS_MAX = 16
_FD_BYTES = 4  # A C int, on all that Linux runs on.
_FDS_ROOM = CMSG_SPACE(_FDS_MAX * _FD_BYTES)
#: `json.dumps` with any option builds an encoder at every call.
_encode_text = json.JSONEncoder(separators=(",", ":")).encode
_scan: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


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

    def receive(self, channel: Socket, size: int = 65536) -> list[bytes] | None:
        """Read once from a socket, descriptors included; None at its end. Raises WireError, OSError."""
        data = _receive_once(channel, size, self.fds)
        if len(self.fds) > 2 * _FDS_MAX:  # They would fill our table, and nobody says what for.
            raise WireError(f"{len(self.fds)} descriptors came that no frame has spoken of")
        return self.feed(data) if data else None


def _receive_once(channel: Socket, size: int, fds: deque[int] | list[int]) -> bytes:
    """Read once, and add the descriptors that come along; nothing is read at the end. Raises WireError, OSError."""
    # Not socket.recv_fds: up to Python 3.11 it drops its flags, and the descriptors would leak.
    data, ancillary, flags, _ = channel.recvmsg(size, _FDS_ROOM, MSG_CMSG_CLOEXEC)
    for level, kind, packed in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            whole = packed[: len(packed) - len(packed) % _FD_BYTES]
            fds.extend(memoryview(whole).cast("i").tolist())
    if flags & MSG_CTRUNC:
        raise WireError("more descriptors came at once than a frame may bring")
    return data


def decode(text: bytes) -> dict[str, Any]:
    """Read a frame that must be a JSON object. Raises WireError."""
    try:
        # Not json.loads, which first looks for the encoding and for blanks around.
        string = text.decode("utf-8", "surrogatepass")
        value, end = _scan(string, 0)
        if end != len(string):
            raise ValueError(f"extra data at character {end}")
    except StopIteration as error:
        raise WireError("a frame is not JSON: no value at its begin") from error
    except (ValueError, RecursionError) as error:
        raise WireError(f"a frame is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise WireError("a frame is not a JSON object")
    return value


def send(channel: Socket, value: Any, fds: Sequence[int] = ()) -> None:
    """Write one frame to a blocking socket, with descriptors. Raises OSError."""
    send_text(channel, _encode_text(value).encode(), *fds)


def send_text(channel: Socket, text: bytes, *fds: int) -> None:
    """Write one frame, whose JSON is encoded already, to a blocking socket, with descriptors. Raises OSError."""
    frame = encode_raw(text)
    sent = 0
    if fds:
        packed = b"".join([fd.to_bytes(_FD_BYTES, sys.byteorder) for fd in fds])
        sent = channel.sendmsg((frame,), ((SOL_SOCKET, SCM_RIGHTS, packed),))
    if sent < len(frame):
        channel.sendall(frame[sent:])


def receive_with_fds(channel: Socket, bytes_max: int) -> tuple[bytes | None, list[int]]:
    """Read the text of exactly one frame from a blocking socket, with the descriptors that come with it.

    (None, []) at its end. Raises WireError, OSError.
    """
    fds: list[int] = []
    # Never more than one frame: the first read takes the length, the others what is missing.
    text, missing = b"", 4
    has_length = False
    while missing:
        data = _receive_once(channel, missing, fds)
        if not data:
            return None, []
        text += data
        missing -= len(data)
        if not missing and not has_length:
            has_length, missing, text = True, int.from_bytes(text, "big"), b""
            if missing > bytes_max:
                raise WireError(f"a frame of {missing} bytes is over the limit of {bytes_max}")
    return text, fds


def receive_message(channel: Socket, size: int) -> tuple[bytes, list[int]]:
    """Read once from a socket, whose messages may be whole without a length, with what descriptors come along."""
    fds: list[int] = []
    return _receive_once(channel, size, fds), fds


def receive(channel: Socket, bytes_max: int) -> bytes | None:
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

    def __init__(self, channel: Socket) -> None:
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


def _receive_exactly(channel: Socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        data = channel.recv(min(size - len(parts), 2**20))
        if not data:
            if parts:
                raise WireError("the channel closed within a frame")
            return None
        parts += data
    return bytes(parts)
