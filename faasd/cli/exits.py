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
    "exit_codes_of",
]

OK, FAILED, USAGE, NO_DAEMON, INTERRUPTED = 0, 1, 2, 3, 130
#: EX_CONFIG of sysexits.h: a supervisor is not to try again, because it would end the same way.
CONFIG = 78

#: The meaning of every exit code, for the manual.
EXIT_CODES = {
    OK: "it was done; for `invoke`: the function succeeded",
    FAILED: "it could not be done; for `invoke`: the function failed",
    USAGE: "the command line is wrong: an unknown option, name or value",
    NO_DAEMON: "no daemon answers",
    CONFIG: "for `run`: the configuration is wrong, and starting again would not help",
    INTERRUPTED: "interrupted by Ctrl-C; for `invoke`: the invocation was cancelled",
}

_GENERAL = {
    OK: "it was done",
    FAILED: "it could not be done",
    USAGE: EXIT_CODES[USAGE],
    NO_DAEMON: EXIT_CODES[NO_DAEMON],
    INTERRUPTED: "interrupted by Ctrl-C",
}
#: What a code means for these alone; "" where they do not end so.
_PARTICULAR = {
    "invoke": {
        OK: "the function succeeded",
        FAILED: "the function failed, or could not be invoked",
        INTERRUPTED: "interrupted by Ctrl-C, and the invocation was cancelled",
    },
    "run": {
        OK: "stopped by a signal, after the drain",
        FAILED: "it could not start, or had to stop",
        NO_DAEMON: "",
        CONFIG: "the configuration is wrong, and starting again would not help",
        INTERRUPTED: "",
    },
    "check": {OK: "no mistake was found", FAILED: "something is wrong", NO_DAEMON: ""},
    "doctor": {OK: "all is well", FAILED: "something is wrong", NO_DAEMON: ""},
    "service status": {
        OK: "the daemon runs",
        FAILED: "nothing is installed",
        NO_DAEMON: "the daemon does not run",
    },
}
_WITHOUT_DAEMON = (
    "init",
    "demo",
    "completion",
    "backup",
    "restore",
    "service install",
    "service uninstall",
    "deploy",
    "deployments list",
    "deployments show",
    "deployments remove",
    "layers list",
    "layers publish",
)

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


def exit_codes_of(command: str) -> dict[int, str]:
    """Return the codes with which a command, such as `service status`, ends, and their meanings."""
    meanings = {**_GENERAL, **_PARTICULAR.get(command, {})}
    if command in _WITHOUT_DAEMON:
        del meanings[NO_DAEMON]
    return {code: meanings[code] for code in sorted(meanings) if meanings[code]}


def complain(message: str) -> None:
    """Tell a failure on standard error, every line of it as one."""
    first, *rest = message.splitlines() or [""]
    print(f"faasd: error: {first}", *[f"  {line}" for line in rest], sep="\n", file=sys.stderr)
