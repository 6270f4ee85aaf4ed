"""The lock that makes one process the owner of a state directory."""

from __future__ import annotations

import fcntl
import json
import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from faasd.clock import Clock
from faasd.errors import StateDirectoryInUse, StoreError

__all__ = ["LOCK_NAME", "StateLock"]

LOCK_NAME = "faasd.lock"
_LOOK_AGAIN_S = 0.02


class StateLock:
    """Holds `<state_dir>/faasd.lock` until `release`, or until the process ends however it ends.

    The file names the holder: its process id, when that process started (in clock ticks since boot,
    as in /proc/PID/stat, so that a reused id is not taken for it) and its command.
    """

    def __init__(self, descriptor: int, path: Path) -> None:
        self._descriptor: int | None = descriptor
        self.path = path

    @classmethod
    def acquire(cls, state_dir: Path, wait_s: float = 0.0) -> StateLock:
        """Become the owner, waiting up to `wait_s` for another to let go.

        Raises StateDirectoryInUse, naming the holder.
        """
        clock = Clock()  # The other process lives in real time, whatever clock a test is given.
        path = state_dir / LOCK_NAME
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise StoreError(
                f"cannot open the lock {path}: {error.strerror}; "
                f"check the owner and mode of it and its directory"
            ) from error
        deadline = clock.monotonic() + wait_s
        try:
            while not _try_lock(descriptor):
                if clock.monotonic() >= deadline:
                    raise StateDirectoryInUse(_in_use(state_dir, descriptor))
                # flock cannot wait with a deadline, short of a signal.
                threading.Event().wait(_LOOK_AGAIN_S)
            _write_holder(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor, path)

    def release(self) -> None:
        """Let go. The file stays: removing it would let two processes hold a lock of that name."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(descriptor: int) -> None:
    pid = os.getpid()
    holder = {"pid": pid, "started_ticks": _started_ticks(pid), "command": _command(pid)}
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode() + b"\n", 0)
    except OSError:
        pass  # A full disk: the lock itself needs no space, only its description is missing.


def _in_use(state_dir: Path, descriptor: int) -> str:
    holder: dict[str, object] = {}
    try:
        read = json.loads(os.pread(descriptor, 65536, 0))
        holder = read if isinstance(read, dict) else {}
    except ValueError:
        pass  # The holder has the lock and has not written its name yet, or could not.
    pid = holder.get("pid")
    if not isinstance(pid, int):
        return (
            f"cannot use the state directory {state_dir}: another process holds it; "
            f"`fuser {state_dir / LOCK_NAME}` names it"
        )
    command = holder.get("command") or "unknown command"
    if _started_ticks(pid) == holder.get("started_ticks"):
        command = _command(pid) or command
    return (
        f"cannot use the state directory {state_dir}: process {pid} ({command}) holds it; "
        f"stop that process, speak to it instead, or set another `state_dir`"
    )


def _started_ticks(pid: int) -> int | None:
    """Return field 22 of /proc/PID/stat; the name before it may hold spaces and brackets."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[19])


def _command(pid: int) -> str | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return None
    return b" ".join(words).decode("utf-8", "replace")[:200] or None
