"""One answer of HTTP/1.1 on a Unix socket, read as it comes; `http.client` is too slow to import."""

from __future__ import annotations

from faasd import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket as sockets
    from collections.abc import Iterator

__all__ = ["Answer", "Interrupted", "RequestFailed"]

_HEAD_BYTES_MAX = 64 * 2**10
_READ_BYTES = 64 * 2**10


class RequestFailed(errors.FaasdError):
    """The daemon refused a request for a reason that has no class of its own."""


class Interrupted(errors.DaemonUnreachable):
    """The daemon went away before it had answered."""


class Answer:
    """One answer being read: status and headers first, then the body as it comes."""

    def __init__(self, connection: sockets.socket, path: str, answer_s: float | None) -> None:
        self.status = 0
        self._connection = connection
        self._connection.settimeout(answer_s)
        self._path = path
        self._buffer = b""
        self._length: int | None = None
        self._is_chunked = False

    def __enter__(self) -> Answer:  # noqa: PYI034 - `Self` would need typing.
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connection; the daemon then cancels what waits for it."""
        self._connection.close()

    def begin(self, request: bytes) -> None:
        """Send the request and read the head of the answer."""
        try:
            self._connection.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            pass  # It may have answered before it had read everything, as with 413; read that.
        except TimeoutError as error:
            raise self._is_silent() from error
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > _HEAD_BYTES_MAX:
                raise RequestFailed(
                    f"what answers on {self._path} is no faasd: its header does not end"
                )
            self._receive()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        parts = first.split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
            raise RequestFailed(f"what answers on {self._path} is no faasd: it says {first[:80]!r}")
        self.status = int(parts[1])
        headers = {name.lower(): value.strip() for name, _, value in _split(lines)}
        self._is_chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        length = headers.get("content-length", "")
        self._length = int(length) if length.isdigit() else None

    def chunks(self) -> Iterator[bytes]:
        """Yield the body in pieces until it is complete."""
        if self._is_chunked:
            while size := int(self._line().split(b";")[0], 16):
                yield from self._exactly(size)
                self._line()
        elif self._length is not None:
            yield from self._exactly(self._length)
        else:
            raise RequestFailed(f"what answers on {self._path} is no faasd: no length is given")

    def _line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._receive()
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._buffer:
                self._receive()
            piece, self._buffer = self._buffer[:size], self._buffer[size:]
            size -= len(piece)
            yield piece

    def _receive(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
        except ConnectionResetError:
            data = b""
        except TimeoutError as error:
            raise self._is_silent() from error
        if not data:
            raise Interrupted(
                f"the daemon at {self._path} went away before it had answered; see its log"
            )
        self._buffer += data

    def _is_silent(self) -> errors.DaemonUnreachable:
        return errors.DaemonUnreachable(
            f"the daemon at {self._path} takes connections but has not answered for "
            f"{self._connection.gettimeout():g} s; see its log. It may yet do what was asked"
        )


def _split(lines: list[str]) -> list[tuple[str, str, str]]:
    return [line.partition(":") for line in lines]
