"""A descriptor that becomes readable when the wall clock is set: timerfd_create(2), TFD_TIMER_CANCEL_ON_SET.

The kernel also cancels the timer when the machine wakes from suspend.
"""

from __future__ import annotations

import ctypes
import errno
import os

__all__ = ["acknowledge", "open_clock_change"]

_CLOCK_REALTIME = 0
_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000
_TFD_TIMER_ABSTIME = 1
_TFD_TIMER_CANCEL_ON_SET = 2
_FAR_AHEAD_S = 2**31 - 1  # The expiry itself is of no interest; it only has to be in the future.


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


def open_clock_change() -> int:
    """Return a new descriptor that hears of the next change. Raises OSError where there is none."""
    fd = _checked(_libc().timerfd_create(_CLOCK_REALTIME, _TFD_NONBLOCK | _TFD_CLOEXEC))
    try:
        _set(fd)
    except OSError:
        os.close(fd)
        raise
    return fd


def acknowledge(fd: int) -> bool:
    """Say whether the clock was set since the last call, and listen for the next change."""
    try:
        os.read(fd, 8)
        changed = True
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno != errno.ECANCELED:
            raise
        changed = True
    _set(fd)
    return changed


def _set(fd: int) -> None:
    wanted = _Itimerspec(_Timespec(0, 0), _Timespec(_FAR_AHEAD_S, 0))
    flags = _TFD_TIMER_ABSTIME | _TFD_TIMER_CANCEL_ON_SET
    try:
        _checked(_libc().timerfd_settime(fd, flags, ctypes.byref(wanted), None))
    except OSError as error:
        if error.errno != errno.ECANCELED:  # Set again since: the timer is armed all the same.
            raise


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
