"""An attempt's secrets inside its sandbox: files in memory, and a directory of links to them.

The directory, named by CREDENTIALS_DIRECTORY as systemd does, is in the attempt's private temporary directory
and holds links alone. Each leads through /proc to a sealed memory file that the handler's process, or the
command, holds open: what a secret says never reaches a disk, and goes with that process. The links work
in every process of the attempt, also in those that inherit no descriptor.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from typing import Any

__all__ = ["link", "prepare", "reserve", "store", "values"]

#: Above the channel's, and so out of the way of handlers that number their descriptors themselves.
_FD_MIN = 110
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def prepare() -> None:
    """Import, in the zygote, what sandboxes of a function with secrets need."""
    import base64  # noqa: F401 - for all its sandboxes, and not where there are no secrets.


def values(header: dict[str, Any]) -> dict[str, bytes]:
    """Return the secrets that the daemon sent, by name."""
    if not header["secrets"]:
        return {}
    import base64  # Imported by the zygote already; see `prepare`.

    return {name: base64.b64decode(text) for name, text in header["secrets"].items()}


def reserve(names: Sequence[str], *, is_command: bool) -> dict[str, int]:
    """Make an empty memory file for each secret; returns their descriptors, which a command keeps. Raises OSError."""
    kept = {}
    duplicate = fcntl.F_DUPFD if is_command else fcntl.F_DUPFD_CLOEXEC
    for name in names:
        fd = os.memfd_create("secret", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            kept[name] = fcntl.fcntl(fd, duplicate, _FD_MIN)
        finally:
            os.close(fd)
    return kept


def store(secrets: dict[str, bytes], fds: dict[str, int]) -> None:
    """Put each secret into its file, which nobody can change from then on. Raises OSError."""
    for name, fd in fds.items():
        os.fchmod(fd, 0o400)
        _write(fd, name, secrets[name])
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)


def link(directory: str, fds: dict[str, int]) -> None:
    """Make the directory, where each name leads to its file. Raises OSError."""
    os.mkdir(directory, 0o700)
    process = os.readlink("/proc/self")  # As /proc has us, which may count in an outer namespace.
    for name, fd in fds.items():
        os.symlink(f"/proc/{process}/fd/{fd}", os.path.join(directory, name))


def _write(fd: int, name: str, value: bytes) -> None:
    try:
        written = os.write(fd, value)
    except OSError as error:
        message = f"cannot keep the secret {name!r} in memory: {error.strerror}"
        raise OSError(error.errno, message) from error
    if written < len(value):
        raise OSError(f"the secret {name!r} is larger than the function's file_size")
