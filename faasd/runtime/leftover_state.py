"""What an attempt could leave behind in a sandbox whose first process goes on: looked at after each."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import stat
from typing import Any

__all__ = ["LeftoverState"]

_libc = ctypes.CDLL(None, use_errno=True)
_buffer = ctypes.create_string_buffer(256)
_SCHED_GETATTR = 315
_IOPRIO_GET = 252
_sched_getattr = functools.partial(
    _libc.syscall, ctypes.c_long(_SCHED_GETATTR), ctypes.c_int(0), _buffer, ctypes.c_uint(64), ctypes.c_uint(0)
)
_ioprio_get = functools.partial(_libc.syscall, ctypes.c_long(_IOPRIO_GET), ctypes.c_int(1), ctypes.c_int(0))
_shm_info = functools.partial(_libc.shmctl, ctypes.c_int(0), ctypes.c_int(14), _buffer)
_sem_info = functools.partial(_libc.semctl, ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(19), _buffer)
_msg_info = functools.partial(_libc.msgctl, ctypes.c_int(0), ctypes.c_int(12), _buffer)
_SIGNALS = tuple(map(int, signal.valid_signals()))


class LeftoverState:
    def __init__(self, policy: dict[str, Any]) -> None:
        slots = policy["file_walls"].slots
        slot = slots._slots[policy["slot"]]
        self._dirs = [os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for path in slot.directories]
        self._limits = -1
        self._before: Any = None

    def remember(self) -> None:
        self._limits = os.open("/proc/self/limits", os.O_RDONLY | os.O_CLOEXEC)
        self._before = self._look()

    def close(self) -> None:
        for fd in self._dirs:
            os.close(fd)
        os.close(self._limits)

    def _look(self) -> Any:
        if _sched_getattr() != 0:
            raise OSError("sched_getattr")
        sched = _buffer.raw[:56]
        _shm_info()
        shm = _buffer.raw[:4]
        _sem_info()
        sem = _buffer.raw[24:28]  # semusz
        _msg_info()
        msg = _buffer.raw[0:4]  # msgpool
        dirs = []
        for fd in self._dirs:
            found = os.fstatvfs(fd)
            mode = os.fstat(fd).st_mode
            dirs.append((found.f_ffree, found.f_bfree, mode, bool(os.listxattr(fd))))
        return (sched, shm, sem, msg, _ioprio_get(), os.sched_getaffinity(0), os.pread(self._limits, 4096, 0), dirs)

    def renew(self) -> bool:
        while signal.sigtimedwait(_SIGNALS, 0) is not None:
            pass
        return self._look() == self._before
