"""What a process may say about itself: its parent's death, its orphans, its privileges, its place in an OOM."""

from __future__ import annotations

import ctypes
import functools
import os
import select
import signal
from collections.abc import Sequence
from typing import Any

__all__ = [
    "become_subreaper",
    "die_with_parent",
    "drop_capabilities",
    "forbid_new_privileges",
    "has_ended",
    "has_hung_up",
    "is_reaped",
    "keep_capabilities",
    "pid_of_pidfd",
    "raise_oom_score",
    "send_signal",
    "set_dumpable",
    "set_name",
]

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_CAPABILITY_VERSION_3 = 0x20080522
_OOM_SCORE_MAX = 1000

_libc = ctypes.CDLL(None, use_errno=True)
_capability_header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
#: Made once: to make a type of ctypes in each sandbox costs it the copies of tens of pages.
_drop_capabilities = functools.partial(_libc.capset, _capability_header, (ctypes.c_uint32 * 6)())
_call_prctl = _libc.prctl
_call_prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]


def _prctl(option: int, value: int) -> None:
    if _call_prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl({option}): {os.strerror(error)}")


def die_with_parent(signal_number: int = signal.SIGKILL) -> None:
    """Have the kernel send us this signal when the thread that forked us ends.

    A parent that ended before this call sends nothing: look at a pipe of its own afterwards. A change
    of uid undoes it.
    """
    _prctl(_PR_SET_PDEATHSIG, signal_number)


def has_hung_up(fd: int) -> bool:
    """Whether the other end of a pipe or socket is closed."""
    poll = select.poll()
    poll.register(fd, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def become_subreaper() -> None:
    """Adopt orphaned descendants instead of leaving them to the host's init."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def set_dumpable(*, is_dumpable: bool) -> None:
    """Own our files below /proc ourselves, as after a change of uid nobody does; or have other processes kept out.

    Who is not dumpable can be neither traced nor read, but by who has the capability for that.
    """
    _prctl(_PR_SET_DUMPABLE, int(is_dumpable))


def forbid_new_privileges() -> None:
    """Make set-uid programs and file capabilities powerless for us and all descendants."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_name(name: str) -> None:
    """Show up under this name (15 bytes of it) in ps and top."""
    text = _name_buffer(name)
    _call_prctl(_PR_SET_NAME, ctypes.addressof(text), 0, 0, 0)


@functools.cache
def _name_buffer(name: str) -> Any:
    """Return it as C has it; made once, as a zygote is renamed around each fork."""
    return ctypes.create_string_buffer(name.encode()[:15])


def drop_capabilities() -> None:
    """Give up every capability of this process. Raises OSError."""
    if _drop_capabilities() != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"capset: {os.strerror(error)}")


def keep_capabilities(numbers: Sequence[int]) -> None:
    """Give up every capability of this process but these, which it must have. Raises OSError.

    With no_new_privs root gets none of them back from exec either.
    """
    mask = sum(1 << number for number in numbers)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    # Effective, permitted, inheritable; then the same of those above 31.
    sets = (ctypes.c_uint32 * 6)(low, low, 0, high, high, 0)
    if _libc.capset(_capability_header, sets) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"capset: {os.strerror(error)}")


def raise_oom_score(adjustment: int) -> None:
    """Offer ourselves to the OOM killer so much sooner than our parent. Raising needs no privilege."""
    with open("/proc/self/oom_score_adj", "r+") as file:
        inherited = int(file.read())
        file.seek(0)
        file.write(str(min(_OOM_SCORE_MAX, inherited + adjustment)))


def send_signal(pidfd: int, signal_number: int) -> bool:
    """Send a signal through a pidfd; False when the process has ended."""
    try:
        signal.pidfd_send_signal(pidfd, signal_number)
    except ProcessLookupError:
        return False
    return True


def has_ended(pidfd: int) -> bool:
    """Whether the process has ended; its parent need not have waited for it yet."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def is_reaped(pidfd: int) -> bool:
    """Whether the process is gone, so that its number may be another's; a zombie is not. Of a pidfd that is one."""
    try:
        signal.pidfd_send_signal(pidfd, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # It is there, and not ours.
    return False


def pid_of_pidfd(pidfd: int) -> int | None:
    """Return the pid, as our own PID namespace counts, of a process that may live in another.

    -1 once it is reaped, 0 when our namespace does not hold it, None for a descriptor that is no pidfd.
    """
    # Not through a file object, which takes three times as long, and this is asked for every sandbox.
    fd = os.open(f"/proc/self/fdinfo/{pidfd}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _, found, after = os.read(fd, 4096).partition(b"\nPid:")
    finally:
        os.close(fd)
    return int(after.split(None, 1)[0]) if found else None
