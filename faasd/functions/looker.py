"""The daemon's end of a looker: the process that forks an import for every module of one interpreter.

See faasd/runtime/discover.py for what is said between the two.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import faasd
from faasd import wire
from faasd.errors import WireError

__all__ = ["Looker", "Lookers", "Seen", "passed_env"]

_BOOTSTRAP = os.path.join(
    os.path.dirname(os.path.abspath(faasd.__file__)), "runtime", "bootstrap.py"
)
_PASSED_ENV = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR", "TZ", "USER")
REPORT_BYTES_MAX = 4 * 2**20
OUTPUT_BYTES_KEPT = 2000
#: The keeper keeps the limit itself; this is for one that was stopped.
_BACKSTOP_S = 10.0
#: How long a looker may take to end what it was told to end.
_END_S = 5.0


def passed_env() -> dict[str, str]:
    """Return what every import sees of our environment."""
    return {name: os.environ[name] for name in _PASSED_ENV if name in os.environ}


@dataclass
class Seen:
    """What one look has brought until its end."""

    report: bytearray = field(default_factory=bytearray)
    output: bytearray = field(default_factory=bytearray)
    fault: str | None = None


class Looker:
    """One looker. Safe to use from several threads at once."""

    def __init__(self, python: str) -> None:
        """Start it. Raises OSError."""
        self.has_answered = False
        self._lock = threading.Lock()
        self._said = os.memfd_create("faasd-looker-said")
        self._control, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [python, "-I", _BOOTSTRAP, "discover", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                cwd="/",
                env=passed_env(),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        except OSError:
            os.close(self._said)
            self._control.close()
            raise
        finally:
            theirs.close()

    @property
    def is_alive(self) -> bool:
        """Whether it can look still."""
        return self._process.poll() is None

    def look(self, request: dict[str, Any], timeout_s: float, stop: int) -> Seen:
        """Have one module looked at; when this returns nothing of it is left. Raises OSError.

        It is ended when `stop` can be read.
        """
        with contextlib.ExitStack() as stack:
            report, output, answer = self._begin(request, stack)
            seen = Seen()
            _collect((report, output, answer.fileno(), stop), seen, timeout_s + _BACKSTOP_S)
            if seen.fault is not None:
                answer.shutdown(socket.SHUT_WR)  # Has it killed.
            how = self._how_it_ended(answer, seen)
            seen.fault = seen.fault or how
            return seen

    def _begin(
        self, request: dict[str, Any], stack: contextlib.ExitStack
    ) -> tuple[int, int, socket.socket]:
        """Ask for a look; returns our ends of its report, its output and its answer."""
        with contextlib.ExitStack() as theirs:
            asked = _opened(theirs, os.memfd_create("faasd-look"))
            with open(asked, "wb", closefd=False) as file:
                file.write(json.dumps(request).encode())
            given = [asked]
            pipes = []
            for _ in range(2):
                out, into = os.pipe()
                pipes.append(_opened(stack, out))
                given.append(_opened(theirs, into))
            answer, far = socket.socketpair()
            stack.enter_context(answer)
            given.append(theirs.enter_context(far).fileno())
            # A looker that has gone shows as the end of the answer.
            with self._lock, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                wire.send(self._control, {"timeout_s": request["timeout_s"]}, given)
        return pipes[0], pipes[1], answer

    def _how_it_ended(self, answer: socket.socket, seen: Seen) -> str | None:
        """Wait for the end of a look; returns what is wrong with it."""
        answer.settimeout(_END_S)
        try:
            text = wire.receive(answer, wire.CONTROL_BYTES_MAX)
            found = None if text is None else wire.decode(text)
        except (OSError, WireError):  # An interpreter that is none, or one that is stopped.
            self._process.kill()
            found = None
        if found is None:
            return self._how_we_lost_it(seen)
        self.has_answered = True
        if "failed" in found:
            return f"could not be imported: cannot fork a process for it: {found['failed']}"
        # The keeper always ends well, unless the module got at it.
        status = found["status"]
        return f"could not be imported: its process ended with status {status}" if status else None

    def _how_we_lost_it(self, seen: Seen) -> str:
        try:
            status = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:  # It has closed what we speak through.
            self._process.kill()
            status = self._process.wait()
        said = os.pread(self._said, OUTPUT_BYTES_KEPT, _from_end(self._said))
        seen.output[:] = seen.output or said
        if status == 0:
            return "ended without a report"
        return f"could not be imported: its process ended with status {status}"

    def close(self) -> None:
        """End it, and all that it has started; returns when it is gone."""
        self._control.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._said)


class Lookers:
    """A looker for every interpreter that is asked for, started when it is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._started: list[Looker] = []
        self._by_python: dict[str, Looker] = {}

    def of(self, python: str) -> Looker:
        """Return the looker of an interpreter. Raises OSError.

        Where one was lost there is a new one, but for an interpreter that never answered at all.
        """
        with self._lock:
            looker = self._by_python.get(python)
            if looker is None or (looker.has_answered and not looker.is_alive):
                looker = self._by_python[python] = Looker(python)
                self._started.append(looker)
            return looker

    def close(self) -> None:
        """End all of them."""
        for looker in self._started:
            looker.close()


def _opened(stack: contextlib.ExitStack, fd: int) -> int:
    stack.callback(os.close, fd)
    return fd


def _from_end(fd: int) -> int:
    return max(0, os.fstat(fd).st_size - OUTPUT_BYTES_KEPT)


def _collect(fds: tuple[int, int, int, int], seen: Seen, timeout_s: float) -> None:
    """Read until the look is over, not until its pipes close: others may hold those open."""
    report, output, answer, stop = fds
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for descriptor in fds:
            selector.register(descriptor, selectors.EVENT_READ)
        while seen.fault is None:
            left_s = deadline - time.monotonic()
            ready = {key.fd for key, _ in selector.select(max(0.0, left_s))}
            if stop in ready:
                seen.fault = "its import was cancelled"
            elif time.monotonic() >= deadline:
                seen.fault = "its import could not be ended in time and was killed"
            for descriptor in ready & {report, output}:
                if not _read(descriptor, seen.report if descriptor == report else seen.output):
                    selector.unregister(descriptor)
            if len(seen.report) > REPORT_BYTES_MAX:
                seen.fault = f"reported more than {REPORT_BYTES_MAX} bytes of declarations"
            del seen.output[:-OUTPUT_BYTES_KEPT]
            if ready == {answer}:  # Ended, and nothing more to read.
                return


def _read(descriptor: int, into: bytearray) -> bool:
    data = os.read(descriptor, 65536)
    into += data
    return bool(data)
