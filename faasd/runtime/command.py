"""Functions that are commands: the event on standard input, the result on standard output."""

from __future__ import annotations

import errno
import os
import signal
from typing import Any, Callable

from faasd.runtime.os_errors import os_errors

__all__ = ["run"]


def run(header: dict[str, Any], event_text: bytes, send: Callable[[dict[str, Any]], None]) -> None:
    """Become the command. Returns only when that cannot be done, after saying so on the channel."""
    # A memory file and not a pipe: nobody has to keep feeding it, and it may be read twice.
    stdin = os.memfd_create("event", os.MFD_CLOEXEC)
    os.write(stdin, event_text)
    os.lseek(stdin, 0, os.SEEK_SET)
    os.dup2(stdin, 0)
    # Python ignores them; other programs expect them.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    argv = header["command"]
    try:
        os.execvpe(argv[0], argv, dict(os.environ))
    except OSError as error:
        send({"op": "error", "error": _why_not(argv[0], error)})


def _why_not(name: str, error: OSError) -> dict[str, Any]:
    kind, reason = "CommandFailed", error.strerror
    if isinstance(error, FileNotFoundError):
        kind = "CommandNotFound"
        if "/" not in name:
            reason = f"it is not in any directory of PATH={os.environ.get('PATH', '')}"
        elif os.path.exists(name):
            reason = "the interpreter in its first line (#!) does not exist"
        else:
            reason = (
                f"there is no such file below {os.getcwd()}"
                if name[0] != "/"
                else "there is no such file"
            )
    elif isinstance(error, PermissionError):
        # access(2) asks for its mode alone, of which the file wall knows nothing.
        kind, reason = "CommandNotExecutable", "it is not executable; try chmod +x"
        if os.access(name, os.X_OK):
            reason = "it may not be run: it was not given, or its file system allows no programs"
    elif error.errno == errno.ENOEXEC:
        kind, reason = (
            "CommandNotExecutable",
            "it is no program; does its first line (#!) name its interpreter?",
        )
    message = f"cannot run the command {name!r}: {reason}"
    return {"type": kind, "message": message, "stack": [], "os_errors": os_errors(error)}
