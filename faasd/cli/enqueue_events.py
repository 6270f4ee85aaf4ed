"""What `faasd enqueue` does, whichever parser has read its arguments. No click in here."""

from __future__ import annotations

import json
import os
import sys
import time

from faasd.cli.exits import OK
from faasd.client import Client, daemon_paths, find_socket
from faasd.errors import (
    DaemonUnreachable,
    FaasdError,
    InvalidSetting,
    NotAccepting,
    StateDirectoryInUse,
)
from faasd.model.ids import new_id
from faasd.model.paths import find_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

__all__ = ["BATCH_DEFAULT", "BATCH_MAX", "enqueue_events", "read_json_argument"]

BATCH_DEFAULT = 1000
BATCH_MAX = 10_000
#: A daemon that holds the state directory but does not answer is starting or stopping; systemd
#: gives it 30 seconds for that.
_PATIENCE_S = 35.0
#: A daemon that runs answers within milliseconds; one that starts looks at the store by itself.
_WAKE_S = 5.0


def enqueue_events(
    queue: str,
    body: str | None,
    *,
    options: dict[str, Any],
    batch: int | None = None,
    config: str | None = None,
    as_json: bool = False,
) -> int:
    """Enqueue what `body` says, print the ids, and return the exit code. Raises FaasdError.

    `options` are `delay`, `key`, `dedup`, `priority`, `expires`, and hold for every event.
    """
    given = {name: value for name, value in options.items() if value is not None}
    check_options(given)
    rows: list[dict[str, Any]] = []
    try:
        for events in _batches(body, given, batch):
            accepted = _enqueue(queue, events, config)
            rows += accepted
            if not as_json:
                print(*[row["id"] for row in accepted], sep="\n", flush=True)
    except BrokenPipeError:
        raise
    except (FaasdError, KeyboardInterrupt, OSError):
        if rows:
            # Whoever sends the rest again must know where it begins.
            print(f"the first {_counted(len(rows))} on disk", file=sys.stderr)
            if as_json:
                print(json.dumps(rows, indent=2))
        raise
    if as_json:
        print(json.dumps(rows, indent=2))
    return OK


def _counted(events: int) -> str:
    return "event is" if events == 1 else f"{events} events are"


def check_options(options: dict[str, Any]) -> None:
    """Raise InvalidSetting for a duration that is none, before anything is sent."""
    for name in ("delay", "expires"):
        if name in options:
            from faasd.model.units import parse_duration_s

            try:
                parse_duration_s(options[name])
            except InvalidSetting as error:
                raise InvalidSetting(f"--{name}: {error}") from error


def read_json_argument(text: str, what: str) -> Any:
    """Read JSON from an argument: itself, `@FILE`, or `-` for standard input."""
    if text == "-":
        return _decode(sys.stdin.buffer.read(), "standard input")
    if text.startswith("@"):
        with _open(text[1:]) as file:
            return _decode(file.read(), text[1:])
    return _decode(text.encode("utf-8", "surrogateescape"), what)


def _batches(
    body: str | None, options: dict[str, Any], batch: int | None
) -> Iterator[list[dict[str, Any]]]:
    if body == "-":
        yield from _in_batches(sys.stdin.buffer, "standard input", options, batch)
    elif body is not None and body.startswith("@") and batch is not None:
        with _open(body[1:]) as file:
            yield from _in_batches(file, body[1:], options, batch)
    else:
        value = {} if body is None else read_json_argument(body, "the event")
        yield [{"body": value, **options}]


def _in_batches(
    lines: Iterable[bytes], name: str, options: dict[str, Any], batch: int | None
) -> Iterator[list[dict[str, Any]]]:
    """Yield events of lines of JSON. A line that is none ends it, after what came before was given out."""
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            value = _decode(line, f"line {number} of {name}")
        except InvalidSetting:
            if events:
                yield events
            raise
        events.append({"body": value, **options})
        if len(events) == (batch or BATCH_DEFAULT):
            yield events
            events = []
    if events:
        yield events


def _decode(data: bytes, what: str) -> Any:
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        shown = data[:60].decode("utf-8", "replace").strip()
        raise InvalidSetting(
            f"{what} is not JSON: {error}: {shown}; a text needs its own quotes, such as '\"hello\"'"
        ) from error


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _open(path: str) -> Any:
    try:
        return open(path, "rb")  # noqa: PTH123 - pathlib is slow to import; callers close it.
    except OSError as error:
        raise InvalidSetting(f"cannot read {path}: {error.strerror}") from error


def _enqueue(
    queue: str, events: list[dict[str, Any]], config: str | None, patience_s: float = _PATIENCE_S
) -> list[dict[str, Any]]:
    """Hand events to the daemon, or to its store while no daemon holds it."""
    named = [{**event, "id": new_id()} for event in events]
    client = Client(find_socket(config=config))
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return client.enqueue_many(queue, named)
        except (DaemonUnreachable, NotAccepting) as error:
            refused = error
        try:
            accepted = _store_offline(queue, named, config, client.socket_path)
        except StateDirectoryInUse:
            accepted = None
        if accepted is not None:
            _wake(client)
            return accepted
        if time.monotonic() > deadline:
            raise refused
        time.sleep(0.1)  # Nothing tells when a daemon begins to answer.


def _wake(client: Client) -> None:
    """Let a daemon that came up between the two look at the store; that nobody answers is the usual case.

    Not for ever: the event is on disk, and systemd may hold a socket behind which no daemon comes up.
    """
    try:
        client.request("POST", "/api/v1/wake", answer_s=_WAKE_S)
    except FaasdError:
        pass


def _store_offline(
    queue: str, events: list[dict[str, Any]], config: str | None, socket_path: str
) -> list[dict[str, Any]]:
    """Commit events to the store itself. Raises StateDirectoryInUse while a daemon holds it."""
    state_dir, its_socket = daemon_paths(config)
    if os.path.realpath(socket_path) != os.path.realpath(its_socket):
        raise DaemonUnreachable(
            f"no daemon answers on {socket_path}, and which store it belongs to is not known; "
            f"use --config instead of FAASD_SOCKET to enqueue without a daemon"
        )
    if find_config(config) is None:
        # A store of its own, which no daemon will ever read, is no place for an event.
        raise DaemonUnreachable(
            f"no daemon answers on {socket_path}, and there is no configuration that names a store; "
            f"give one with --config or FAASD_CONFIG"
        )
    from faasd.cli.offline import store_offline

    return store_offline(state_dir, queue, events)
