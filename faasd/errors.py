"""Every error that faasd raises for somebody to act on.

FaasdError
├── InvalidSetting        a value that a person wrote cannot be used
├── ConfigErrors          everything wrong with a configuration, together
├── EventRefused          intake will not take this event; nothing was stored
│   ├── UnknownFunction
│   ├── UnknownQueue
│   ├── PayloadTooLarge
│   └── NotAccepting      the daemon is stopping
├── NotFound              the thing that a request names does not exist
├── Conflict              the thing exists, but not in a state that allows the request
│   └── ReloadRefused     the configuration has mistakes, so the one in force stays
├── LeaseLost             the invocation has been claimed again, or ended, since
├── BundleRefused         what was handed over cannot be deployed or made a layer
├── StoreError            the store cannot do what was asked
│   ├── SchemaTooNew      an older faasd on a newer database
│   ├── StateDirectoryInUse
│   └── StoreFull         disk full or file too large; nothing was written
├── SandboxError          ours, not the handler's: outcome `sandbox-failed`
│   ├── FunctionRefused   a wall that the function is promised cannot be built on this host
│   ├── NoRoomOnDisk      a full disk has no place for it; an attempt waits until there is one
│   └── SecretError       a secret that a function names cannot be handed over
├── ZygoteInitFailed      theirs: the handler's module could not be imported
├── SecretNotGiven        a handler asked for a secret that its function does not name
├── VersionError          a directory of code cannot be kept as a version
│   └── CodeTooLarge      it holds more than code
├── WireError             the other end of a channel broke the protocol
└── DaemonUnreachable     no daemon answers on the socket
"""

from __future__ import annotations

__all__ = [
    "BundleRefused",
    "CodeTooLarge",
    "ConfigErrors",
    "Conflict",
    "DaemonUnreachable",
    "EventRefused",
    "FaasdError",
    "FunctionRefused",
    "InvalidSetting",
    "LeaseLost",
    "NoRoomOnDisk",
    "NotAccepting",
    "NotFound",
    "PayloadTooLarge",
    "ReloadRefused",
    "SandboxError",
    "SchemaTooNew",
    "SecretError",
    "SecretNotGiven",
    "StateDirectoryInUse",
    "StoreError",
    "StoreFull",
    "UnknownFunction",
    "UnknownQueue",
    "VersionError",
    "WireError",
    "ZygoteInitFailed",
]


class FaasdError(Exception):
    """The root of faasd's own errors; its text is meant for people."""


class InvalidSetting(FaasdError, ValueError):
    """A value that a person wrote cannot be used; the text says what was expected."""


class ConfigErrors(FaasdError):
    """Everything that is wrong with a configuration, one finished line of text per mistake."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class EventRefused(FaasdError):
    """Intake will not take this event. Nothing was stored; the sender still owns the event."""


class UnknownFunction(EventRefused):
    """No function of that name is registered."""


class UnknownQueue(EventRefused):
    """No function consumes a queue of that name."""


class PayloadTooLarge(EventRefused):
    """The event is larger than its function's `payload_limit`."""


class NotAccepting(EventRefused):
    """The daemon is stopping and takes no new events."""


class NotFound(FaasdError):
    """The thing that a request names does not exist."""


class Conflict(FaasdError):
    """The thing exists, but is not in a state that allows what was asked."""


class LeaseLost(FaasdError):
    """The invocation has been claimed again, or ended, since this lease was given."""


class BundleRefused(FaasdError):
    """An archive or a directory cannot be deployed or made a layer. Nothing has changed."""


class StoreError(FaasdError):
    """The store cannot do what was asked."""


class SchemaTooNew(StoreError):
    """The database was written by a newer faasd."""


class StateDirectoryInUse(StoreError):
    """Another process holds the state directory."""


class StoreFull(StoreError):
    """There is no room on the disk. Nothing was written and nothing was acknowledged."""


class SandboxError(FaasdError):
    """A sandbox could not be made or kept; faasd's fault or the host's, never the handler's."""


class NoRoomOnDisk(SandboxError):
    """What a sandbox needs cannot be made because a disk is full: a matter of waiting, and of no attempt."""


class SecretError(SandboxError):
    """A secret that a function names is missing, open to others, or cannot be read."""


class SecretNotGiven(FaasdError, KeyError):
    """A handler asked for a secret that its function does not name."""

    __str__ = Exception.__str__  # KeyError's shows the repr of its text.


class FunctionRefused(SandboxError):
    """A strict function is promised a wall that this host cannot build, so it does not run."""


class ZygoteInitFailed(FaasdError):
    """A function's zygote could not import its handler.

    `error` is the record that attempts carry: `type`, `message`, `stack`. `outcome` is the
    outcome's word: `init-error`, or `oom` where the import went over the memory cap.
    """

    def __init__(self, message: str, error: dict[str, object], outcome: str = "init-error") -> None:
        self.error = error
        self.outcome = outcome
        super().__init__(message)


class ReloadRefused(Conflict):
    """What was read cannot be put in force; everything stays as it was. The text has a mistake on each line."""


class VersionError(FaasdError):
    """A directory of code cannot be kept as a version, or what is kept cannot be read; the text names it and the cause."""


class CodeTooLarge(VersionError):
    """A directory holds more files or bytes than code does; it can only be used where it is."""


class WireError(FaasdError):
    """The other end of a channel sent something that the protocol does not allow."""


class DaemonUnreachable(FaasdError):
    """No daemon answers on the socket."""
