"""What systemd and a service say to each other: notifications, sockets handed over, the watchdog's interval.

Written after sd_notify(3), sd_listen_fds(3) and sd_watchdog_enabled(3); the protocols are older than
systemd 249 and have not changed since.
"""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from typing import NamedTuple

__all__ = [
    "NOT_TAKEN",
    "HandedOver",
    "notify",
    "reloading",
    "take_listen_fds",
    "take_notify_address",
    "take_watchdog_interval_s",
]

#: The first descriptor that is handed over (SD_LISTEN_FDS_START).
_FIRST_FD = 3
#: What `notify` may raise when the other side does not take it now: try again later.
NOT_TAKEN = (BlockingIOError, InterruptedError)


class HandedOver(NamedTuple):
    """A descriptor that was opened for us, under the name that the socket unit gives it."""

    name: str
    fd: int


def take_notify_address(environ: MutableMapping[str, str]) -> str | None:
    """Return where notifications go, or None where nobody asks for any; children are not told.

    Only Unix sockets are spoken to: a path, or a name in the abstract namespace that begins with `@`.
    """
    address = environ.pop("NOTIFY_SOCKET", "")
    return address if address[:1] in ("/", "@") and len(address) > 1 else None


def take_watchdog_interval_s(environ: MutableMapping[str, str], pid: int) -> float | None:
    """Return within how many seconds the watchdog wants to hear from us, None where there is none."""
    meant_for = environ.pop("WATCHDOG_PID", "")
    interval_us = environ.pop("WATCHDOG_USEC", "")
    if not interval_us.isdecimal() or (meant_for and meant_for != str(pid)):
        return None
    return int(interval_us) / 1e6 or None


def take_listen_fds(environ: MutableMapping[str, str], pid: int) -> list[HandedOver]:
    """Return the descriptors that were handed over to this very process, closed on exec from now on.

    The variables are removed in any case: what they say is not true of our children.
    """
    meant_for = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    environ.pop("LISTEN_PIDFDID", None)  # systemd 258 and newer
    if meant_for != str(pid) or not count.isdecimal():
        return []
    taken = []
    for index in range(int(count)):
        fd = _FIRST_FD + index
        os.set_inheritable(fd, False)
        taken.append(HandedOver(names[index] if index < len(names) else "unknown", fd))
    return taken


def notify(address: str, *assignments: str) -> None:
    """Send one notification, such as `READY=1` and `STATUS=…`, all lines together. Never blocks.

    Raises one of NOT_TAKEN when the other side's queue is full, and other OSErrors when nobody is there.
    """
    target = "\0" + address[1:] if address.startswith("@") else address
    text = "\n".join(one.replace("\n", " ") for one in assignments)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        sender.connect(target)
        sender.send(text.encode("utf-8", "backslashreplace"))


def reloading(monotonic_s: float) -> tuple[str, str]:
    """Return the assignments that begin a reload, which `READY=1` ends.

    systemd 253 and newer, with Type=notify-reload, wants the time on CLOCK_MONOTONIC, so that it can
    tell the `READY=1` of this reload from an earlier one.
    """
    return "RELOADING=1", f"MONOTONIC_USEC={int(monotonic_s * 1e6)}"
