"""The daemon's end of a control channel: frames and descriptors, without ever waiting for the other end."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

from faasd import wire
from faasd.errors import SandboxError, WireError

__all__ = ["ControlChannel"]


class ControlChannel:
    """Calls `on_frame(frame, fds)` for each frame and `on_closed(reason)` once at the end.

    A zygote has run user code, so what it sends is checked and bounded; whoever breaks the protocol
    is closed, and `breach` says how. `on_frame` pops the descriptors that it keeps; the rest are closed.
    """

    def __init__(
        self,
        channel: socket.socket,
        on_frame: Callable[[dict[str, Any], list[int]], None],
        on_closed: Callable[[str], None],
    ) -> None:
        channel.setblocking(False)
        self._channel = channel
        self._on_frame = on_frame
        self._on_closed = on_closed
        self._reader = wire.FrameReader(wire.CONTROL_BYTES_MAX)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(channel.fileno(), self._read)
        self.is_closed = False
        self.breach: str | None = None

    def send(self, value: dict[str, Any], fds: Sequence[int] = ()) -> None:
        """Send a frame. Raises SandboxError when the other end has gone or does not read."""
        if self.is_closed:
            raise SandboxError("its channel is closed")
        frame = wire.encode(value)
        try:
            sent = socket.send_fds(self._channel, [frame], list(fds))
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise SandboxError(f"its channel broke: {error}") from error
        if sent < len(frame):
            # It holds some hundred frames; who has not read those is stopped or hangs.
            self.close("does not read its channel")
            raise SandboxError("it does not read its channel")

    def close(self, reason: str = "closed") -> None:
        """Close our end; the other end sees that as the order to stop."""
        if self.is_closed:
            return
        self.is_closed = True
        self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        for fd in self._reader.fds:
            os.close(fd)
        self._reader.fds.clear()
        self._on_closed(reason)

    def _read(self) -> None:
        try:
            frames = self._reader.receive(self._channel)
            if frames is None:
                self.close("closed by the other end")
                return
            for text in frames:
                if self.is_closed:
                    return  # What the frame before this one said was the end.
                self._hand_on(wire.decode(text))
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(f"broke: {error}")
        except (WireError, KeyError, TypeError, ValueError, ArithmeticError) as error:
            self.breach = str(error) or type(error).__name__
            self.close(f"broken: {self.breach}")

    def _hand_on(self, frame: dict[str, Any]) -> None:
        count = frame.get("fds", 0)
        if type(count) is not int:
            raise WireError("a frame says of its descriptors what is no number")
        fds = self._reader.take_fds(count)
        try:
            self._on_frame(frame, fds)
        finally:
            for fd in fds:
                os.close(fd)
