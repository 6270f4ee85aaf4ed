"""Every setting of the daemon and of functions, declared once: name, kind, default, bounds, sentence.

The loader, config.example.toml, docs/configuration.md and the JSON schema are derived from here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from faasd.config.http_settings import HttpSettings
from faasd.config.trigger_settings import Settings, TriggerSettings
from faasd.config.values import (
    Destinations,
    Duration,
    Location,
    Names,
    Network,
    Size,
    Spares,
    setting,
)
from faasd.errors import InvalidSetting
from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import RESERVED_VARIABLES, Permissions, Ports
from faasd.model.retry import RetryPolicy
from faasd.secret_files import name_problem

__all__ = [
    "DaemonSettings",
    "DefaultSettings",
    "FileSettings",
    "FunctionSettings",
    "RetrySettings",
    "explicit",
]

_LIMITS = Limits()
_RETRY = RetryPolicy()
_FUNCTION = Function(name="")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HANDLER = re.compile(r"[\w.-]+:[A-Za-z_][\w.]*")


def _check_env(value: dict[str, str]) -> dict[str, str]:
    for name in value:
        if not _ENV_NAME.fullmatch(name):
            raise InvalidSetting(f"expected the name of an environment variable, not {name!r}")
    _check_reserved(value)
    return value


def _check_reserved(names: Iterable[str]) -> None:
    for name in names:
        if name in RESERVED_VARIABLES:
            hint = "; name what it gets in `secrets`" if name == "CREDENTIALS_DIRECTORY" else ""
            raise InvalidSetting(f"{name} is set by faasd, and cannot be given{hint}")


def _check_pass_env(value: tuple[str, ...]) -> tuple[str, ...]:
    _check_reserved(value)
    return value


def _check_secrets(value: tuple[str, ...]) -> tuple[str, ...]:
    for name in value:
        problem = name_problem(name)
        if problem is not None:
            raise InvalidSetting(problem)
    return tuple(dict.fromkeys(value))


def _check_handler(value: str | None) -> str | None:
    if value is not None and not _HANDLER.fullmatch(value):
        raise InvalidSetting(f'expected "module:function", such as "thumbs:make", not {value!r}')
    return value


def _check_command(value: list[str] | None) -> list[str] | None:
    if value is not None and (not value or not value[0]):
        raise InvalidSetting('expected a program and its arguments, such as ["./report.sh"]')
    return value


class DaemonSettings(Settings):
    """The daemon itself."""

    # Written as text, or left out; what the loader hands out has both as absolute paths.
    state_dir: Annotated[Path, Location()] = setting(
        None,
        "Where the database and the logs are kept; relative to this file.",
        example="/var/lib/faasd",
        default_text="systemd's STATE_DIRECTORY; /var/lib/faasd for a file below /etc; else "
        "$XDG_STATE_HOME/faasd, that is ~/.local/state/faasd",
    )
    socket: Annotated[Path, Location()] = setting(
        None,
        "The Unix socket that the command line speaks to, at most 107 bytes long; relative to this file.",
        example="/run/faasd/faasd.sock",
        default_text="`faasd.sock` in `state_dir` where that is set; else in systemd's "
        "RUNTIME_DIRECTORY, /run/faasd for a file below /etc, $XDG_RUNTIME_DIR/faasd or the state directory",
    )
    socket_group: str | None = setting(
        None,
        "The group whose members may use the socket, besides the daemon's own user and root.",
        example="faasd",
        default_text="none",
    )
    functions: Annotated[tuple[str, ...], Names("a directory, a .py file or a module")] = setting(
        ("functions",),
        "Where functions are declared in Python; directories and files are relative to this file.",
    )
    secrets_dir: Annotated[Path, Location()] = setting(
        None,
        "Where secrets are kept, a file each, readable by the daemon's user alone; relative to this file.",
        example="/etc/faasd/secrets",
        default_text="systemd's CREDENTIALS_DIRECTORY; else `secrets` beside this file",
    )
    slots: int = setting(
        lambda: max(4, 2 * (os.cpu_count() or 1)),
        "How many attempts may run at once, over all functions.",
        default_text="twice the number of processors, at least 4",
        example=8,
        at_least=1,
        at_most=10_000,
    )
    drain_timeout_s: Annotated[float, Duration(at_most_s=86400)] = setting(
        30.0,
        "How long a stopping daemon lets running attempts finish; the rest goes back to its queue, uncharged.",
        key="drain_timeout",
    )
    watch: bool = setting(
        False,
        "Reload by itself when this file or the functions' code changes; `faasd reload` does it when asked.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "info",
        "The least important messages of the daemon's own log: `debug`, `info`, `warning` or `error`.",
    )
    log_format: Literal["auto", "json", "console"] = setting(
        "auto",
        "How the daemon logs: `json`, `console`, or `auto`, which is `console` on a terminal, fields of the "
        "journal's under systemd, and `json` elsewhere.",
    )
    keep_finished_s: Annotated[float, Duration(at_least_s=60, at_most_s=3660 * 86400.0)] = setting(
        7 * 86400.0,
        "How long finished invocations are kept in the history.",
        key="keep_finished",
    )
    keep_finished_count: int = setting(
        100_000,
        "How many finished invocations are kept at most.",
        at_least=0,
        at_most=1_000_000_000,
    )
    keep_dead_s: Annotated[float, Duration(at_least_s=60, at_most_s=3660 * 86400.0)] = setting(
        30 * 86400.0, "How long dead letters are kept.", key="keep_dead"
    )
    log_bytes_per_function: Annotated[int, Size(at_least_bytes=64 * 2**10)] = setting(
        16 * 2**20, "How much of what a function prints is kept; the oldest goes first."
    )
    log_lines_per_function: int = setting(
        1_000_000,
        "How many lines of what a function prints are kept, about; the oldest go first.",
        at_least=1000,
        at_most=1_000_000_000,
    )
    keep_logs_s: Annotated[float, Duration(at_least_s=60, at_most_s=3660 * 86400.0)] = setting(
        30 * 86400.0,
        "How long what functions print is kept; looked at every hour.",
        key="keep_logs",
    )
    state_bytes_max: Annotated[int, Size(at_least_bytes=16 * 2**20)] | None = setting(
        None,
        "How much the state directory may hold. Beyond it the oldest logs and finished invocations go, then "
        "new events are refused.",
        example="10GiB",
        default_text="as much as the disk holds",
    )
    copy_before_upgrade: bool = setting(
        True,
        "Whether the database is copied beside itself before a new release changes its schema.",
    )
    price_per_gb_second: float | None = setting(
        None,
        "What `faasd usage` takes a GB-second to cost, in a currency of your own.",
        example=0.0000166667,
        default_text="none",
        at_least=0,
    )
    price_per_million_requests: float | None = setting(
        None,
        "What `faasd usage` takes a million requests to cost.",
        example=0.2,
        default_text="none",
        at_least=0,
    )


class RetrySettings(Settings):
    """When a failed invocation is tried again."""

    attempts: int = setting(
        _RETRY.attempts,
        "How many attempts there are, the first included.",
        at_least=1,
        at_most=1000,
    )
    backoff: Literal["fixed", "linear", "exponential"] = setting(
        _RETRY.backoff, "How the wait grows: `fixed`, `linear` or `exponential`."
    )
    first_s: Annotated[float, Duration()] = setting(
        _RETRY.first_s, "The wait before the second attempt.", key="first"
    )
    max_s: Annotated[float, Duration()] = setting(_RETRY.max_s, "The longest wait.", key="max")
    jitter: float = setting(
        _RETRY.jitter,
        "The part of each wait by which it is moved at random, so that failures spread.",
        at_least=0,
        at_most=1,
    )


class DefaultSettings(Settings):
    """What every function gets that does not say otherwise."""

    python: str | None = setting(
        None,
        "The interpreter that runs the handler, CPython 3.9 or newer; relative to this file.",
        example="/srv/thumbs/.venv/bin/python",
        default_text="the daemon's own",
    )
    layers: Annotated[tuple[str, ...], Names("a layer")] = setting(
        (),
        "Shared directories of modules, programs and libraries, as in Lambda; later ones win: a published layer, "
        "its newest version or the one named, or a directory, relative to this file.",
        example=["numpy", "fonts:3", "/srv/layers/ours"],
        default_text="none",
    )
    timeout_s: Annotated[float, Duration(at_least_s=0.05, at_most_s=7 * 86400)] = setting(
        _LIMITS.timeout_s,
        "How long one attempt may run; then its whole process tree is killed.",
        key="timeout",
    )
    grace_s: Annotated[float, Duration(at_most_s=300)] = setting(
        _LIMITS.grace_s,
        "The time between the soft signal, at the timeout, and the kill.",
        key="grace",
    )
    memory_bytes: Annotated[int, Size(at_least_bytes=16 * 2**20)] = setting(
        _LIMITS.memory_bytes,
        "How much memory one attempt's processes may use together.",
        key="memory",
    )
    cpu: float | None = setting(
        _LIMITS.cpu,
        "How many processors' worth of time one attempt's processes may use together.",
        example=0.5,
        default_text="no cap",
        at_least=0.01,
        at_most=1024,
    )
    cpu_time_s: Annotated[float | None, Duration(at_least_s=0.1, at_most_s=366 * 86400)] = setting(
        _LIMITS.cpu_time_s,
        "How much processor time one attempt's processes may use together; then they are killed.",
        key="cpu_time",
        example="10s",
        default_text="no cap",
    )
    processes: int = setting(
        _LIMITS.processes,
        "How many processes and threads one attempt may have at once.",
        at_least=1,
        at_most=1_000_000,
    )
    open_files: int = setting(
        _LIMITS.open_files,
        "How many files one process may have open.",
        at_least=16,
        at_most=1_000_000,
    )
    file_size_bytes: Annotated[int, Size()] = setting(
        _LIMITS.file_size_bytes, "The largest file that it may write.", key="file_size"
    )
    tmp_size_bytes: Annotated[int, Size(at_least_bytes=64 * 2**10)] = setting(
        _LIMITS.tmp_size_bytes,
        "How much one attempt may keep in its private temporary directory.",
        key="tmp_size",
    )
    oom_score_adj: int = setting(
        _LIMITS.oom_score_adj,
        "How much sooner than the daemon its processes go when the whole host is out of memory.",
        at_least=0,
        at_most=1000,
    )
    output_limit_bytes: Annotated[int, Size(at_most_bytes=2**30)] = setting(
        _LIMITS.output_limit_bytes, "How much one attempt may print.", key="output_limit"
    )
    line_limit_bytes: Annotated[int, Size(at_least_bytes=64, at_most_bytes=2**20)] = setting(
        _LIMITS.line_limit_bytes, "Longer lines are cut here.", key="line_limit"
    )
    payload_limit_bytes: Annotated[int, Size(at_least_bytes=2**10, at_most_bytes=256 * 2**20)] = (
        setting(
            _LIMITS.payload_limit_bytes,
            "The largest event, and the largest result.",
            key="payload_limit",
        )
    )
    init_timeout_s: Annotated[float, Duration(at_least_s=0.1, at_most_s=3600)] = setting(
        _LIMITS.init_timeout_s, "How long the import of the handler may take.", key="init_timeout"
    )
    concurrency: int | None = setting(
        None,
        "How many attempts of this function may run at once.",
        example=2,
        default_text="as many as the daemon has slots",
        at_least=1,
        at_most=10_000,
    )
    reuse: int = setting(
        _FUNCTION.reuse,
        "How many attempts one sandbox serves, one after the other, before it is replaced. With 1 every "
        "attempt has a fresh process.",
        example=1000,
        at_least=1,
        at_most=1_000_000_000,
    )
    recycle_memory_bytes: Annotated[int | None, Size(at_least_bytes=2**20)] = setting(
        _FUNCTION.recycle_memory_bytes,
        "A sandbox whose processes have more memory than this after an attempt serves no other one.",
        key="recycle_memory",
        example="128MiB",
        default_text="never for its memory",
    )
    spares: Annotated[int | None, Spares()] = setting(
        _FUNCTION.spares,
        "How many sandboxes wait, forked ahead of need; `auto`: as many as the function's use asks for.",
        default_text="auto",
    )
    keep_warm: bool = setting(
        _FUNCTION.keep_warm,
        "Import the handler when the daemon starts, and never let go of it for being idle.",
    )
    retry: RetrySettings = setting(RetrySettings, "When a failed invocation is tried again.")
    expires_s: Annotated[float | None, Duration(at_least_s=1)] = setting(
        None,
        "An event that waits longer than this for its first attempt is not run; one that failed is not tried again after it.",
        key="expires",
        example="1h",
        default_text="never",
    )
    dead_letter: bool = setting(
        _FUNCTION.dead_letter, "Keep invocations whose attempts are used up, for people to look at."
    )
    env: Annotated[dict[str, str], AfterValidator(_check_env)] = setting(
        dict,
        "Environment variables of the handler.",
        example={"LANG": "C.UTF-8"},
        default_text="none",
    )
    pass_env: Annotated[
        tuple[str, ...], Names("a variable's name"), AfterValidator(_check_pass_env)
    ] = setting(
        (), "The daemon's own environment variables that the handler gets too.", example=["TZ"]
    )
    read: Annotated[tuple[str, ...], Names("a path")] = setting(
        (),
        "Files and directories that it may read, besides its code and the system's libraries; "
        "relative to this file. A files trigger's directory is among them.",
        example=["/srv/prices"],
        default_text="none",
    )
    write: Annotated[tuple[str, ...], Names("a path")] = setting(
        (),
        "Files and directories that it may read, write, make and remove, besides its private "
        "temporary directory; relative to this file.",
        example=["/srv/thumbnails"],
        default_text="none",
    )
    network: Annotated[bool | Ports, Network()] = setting(
        Permissions().network,
        "Whether it may use the network; or the TCP ports that it may connect to; or both kinds, as in "
        "`{ connect = [443], bind = [8080] }`.",
        example=[443, 5432],
        default_text="true",
    )
    secrets: Annotated[
        tuple[str, ...], Names("a secret's name"), AfterValidator(_check_secrets)
    ] = setting(
        (),
        "Secrets that it gets: names of files in `secrets_dir` or of systemd credentials.",
        example=["smtp-password"],
        default_text="none",
    )
    user: str | None = setting(
        None,
        "The user that it runs as, where the daemon runs as root.",
        example="nobody",
        default_text="the daemon's own",
    )
    containment: Literal["strict", "best-effort"] = setting(
        Permissions().containment,
        "`strict`: where this host cannot build a wall, the function is refused. `best-effort`: it runs, "
        "and each attempt's record names the missing walls under `degraded`.",
    )
    on_success: Annotated[tuple[str, ...], Destinations()] = setting(
        (),
        "Where the record of a finished invocation is sent.",
        example="function:report",
    )
    on_failure: Annotated[tuple[str, ...], Destinations()] = setting(
        (),
        "Where the record of an invocation is sent whose attempts are used up.",
        example="queue:failures",
    )


class FunctionSettings(DefaultSettings):
    """One function. Its name is the table's: `[functions.NAME]`."""

    handler: Annotated[str | None, AfterValidator(_check_handler)] = setting(
        None,
        "The Python callable that runs, as `module:function`; not for functions declared in Python.",
        example="thumbs:make",
        default_text="the one that the decorator is on",
    )
    command: Annotated[list[str] | None, AfterValidator(_check_command)] = setting(
        None,
        "The program that runs, with its arguments, instead of a handler; relative to this file.",
        example=["./report.sh", "--daily"],
        default_text="none",
    )
    triggers: list[TriggerSettings] = setting(
        list,
        "What makes the function run; those in TOML replace those of the decorator.",
        example=[{"type": "every", "interval": "5m"}],
        default_text="none",
    )
    enabled: bool = setting(True, "Whether the function exists at all.")


class FileSettings(Settings):
    """The whole file."""

    daemon: DaemonSettings = setting(DaemonSettings, "The daemon itself.")
    http: HttpSettings = setting(HttpSettings, "What is served over TCP.")
    defaults: DefaultSettings = setting(
        DefaultSettings, "What every function gets that does not say otherwise."
    )
    functions: dict[str, FunctionSettings] = setting(
        dict, "Functions by name: those declared here, and settings of those declared in Python."
    )


def explicit(settings: Settings) -> dict[str, Any]:
    """Return what somebody has written, by attribute name."""
    return {name: getattr(settings, name) for name in settings.model_fields_set}
