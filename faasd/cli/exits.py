"""Exit codes, and how a failure is told: light, because `faasd enqueue` needs it without click."""

from __future__ import annotations

import sys

from faasd import errors

__all__ = [
    "CONFIG",
    "EXIT_CODES",
    "FAILED",
    "INTERRUPTED",
    "NO_DAEMON",
    "OK",
    "USAGE",
    "complain",
    "exit_code_of",
]

OK, FAILED, USAGE, NO_DAEMON, INTERRUPTED = 0, 1, 2, 3, 130
#: EX_CONFIG of sysexits.h: a supervisor is not to try again, because it would end the same way.
CONFIG = 78

#: The meaning of every exit code, for help texts and the manual.
EXIT_CODES = {
    OK: "it was done; for `invoke`: the function succeeded",
    FAILED: "it could not be done; for `invoke`: the function failed",
    USAGE: "the command line is wrong: an unknown option, name or value",
    NO_DAEMON: "no daemon answers",
    CONFIG: "for `run`: the configuration is wrong, and starting again would not help",
    INTERRUPTED: "interrupted by Ctrl-C; for `invoke`: the invocation was cancelled",
}

_USAGE_ERRORS = (
    errors.InvalidSetting,
    errors.NotFound,
    errors.UnknownFunction,
    errors.UnknownQueue,
    errors.PayloadTooLarge,
)


def exit_code_of(error: errors.FaasdError) -> int:
    """Return the exit code that an error means."""
    if isinstance(error, errors.DaemonUnreachable | errors.NotAccepting):
        return NO_DAEMON
    return USAGE if isinstance(error, _USAGE_ERRORS) else FAILED


def complain(message: str) -> None:
    """Tell a failure on standard error, every line of it as one."""
    first, *rest = message.splitlines() or [""]
    print(f"faasd: error: {first}", *[f"  {line}" for line in rest], sep="\n", file=sys.stderr)
