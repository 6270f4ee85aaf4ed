"""System V's segments, semaphores and queues: how many there are in the caller's IPC namespace."""

from __future__ import annotations

import ctypes
import functools
import os

__all__ = ["objects"]

_MSG_INFO, _SHM_INFO, _SEM_INFO = 12, 14, 19
#: Where the three structures, all of C ints, have how many of a kind are in use.
_SHM_USED, _SEM_USED, _MSG_USED = 0, 7, 0

_libc = ctypes.CDLL(None, use_errno=True)
#: Made once, as what is made in a sandbox costs it the copies of pages. Larger than each of the structures.
_found = (ctypes.c_int * 32)()
_shm = functools.partial(_libc.shmctl, ctypes.c_int(0), ctypes.c_int(_SHM_INFO), _found)
_sem = functools.partial(
    _libc.semctl, ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(_SEM_INFO), _found
)
_msg = functools.partial(_libc.msgctl, ctypes.c_int(0), ctypes.c_int(_MSG_INFO), _found)


def objects() -> int:
    """Return how many there are of all three kinds. Raises OSError."""
    total = 0
    for count, index in ((_shm, _SHM_USED), (_sem, _SEM_USED), (_msg, _MSG_USED)):
        if count() < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"shmctl, semctl, msgctl: {os.strerror(error)}")
        total += _found[index]
    return total
