"""The API from the other end, for the command line and for other programs.

    from faasd.client import Client

    Client().enqueue("images", {"path": "/srv/a.jpg"}, delay="5m")

Standard library only and light to import: a cold `faasd enqueue` is mostly this module, and
`http.client`, `typing`, `dataclasses` and `pathlib` would each cost it milliseconds. So HTTP/1.1 over
the Unix socket is written by hand here, as much of it as the daemon speaks.
"""

from __future__ import annotations

import json
import os
import socket as sockets

from faasd import errors
from faasd.http_answer import Answer, Interrupted, RequestFailed
from faasd.model.config_glance import glance_daemon_table
from faasd.model.ids import new_id
from faasd.model.paths import find_config, places

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

__all__ = ["Client", "RequestFailed", "daemon_paths", "find_socket", "how_to_start", "quote"]

_CONNECT_TIMEOUT_S = 5.0
#: Where `faasd service install` and packages put the system's service.
_SERVICE_SOCKET = "/run/faasd/faasd.sock"
_SERVICE_UNITS = (
    "/etc/systemd/system/faasd.service",
    "/usr/lib/systemd/system/faasd.service",
)
#: Far longer than a commit takes on a busy disk; a script must not hang for ever in an enqueue.
_ENQUEUE_ANSWER_S = 20.0


def find_socket(socket: str | None = None, config: str | None = None) -> str:
    """Return the daemon's socket: as given, else FAASD_SOCKET, else as the configuration says.

    Raises InvalidSetting when the configuration cannot be read.
    """
    given = socket or os.environ.get("FAASD_SOCKET")
    if given:
        return given
    return daemon_paths(config)[1]


def daemon_paths(config: str | None = None) -> tuple[str, str]:
    """Return (state directory, socket) as the configuration says, or as they are without one."""
    path = find_config(config)
    return places(path, _daemon_table(path) if path else {})


class Client:
    """Speaks to a running daemon; each request has a connection of its own, so threads may share one.

    Without `socket` it is found by `find_socket`. `offline(queue, events)` takes events when no daemon
    answers and returns what became of them, in the form of `enqueue_many`; without it DaemonUnreachable
    is raised.
    """

    def __init__(
        self,
        socket: str | None = None,
        config: str | None = None,
        *,
        offline: Callable[[str, list[dict[str, Any]]], list[dict[str, Any]]] | None = None,
    ) -> None:
        self.socket_path = find_socket(socket, config)
        self._offline = offline

    def enqueue(
        self,
        queue: str,
        body: Any,
        *,
        delay: str | float | None = None,
        key: str | None = None,
        dedup: str | None = None,
        priority: int = 0,
        expires: str | float | None = None,
    ) -> str:
        """Put one event on a queue and return its invocation's id; it is on disk by then.

        `delay` and `expires` are seconds or texts such as `5m`. Events of one `key` run in order. With a
        `dedup` key seen shortly before, the id is that of the earlier invocation.
        """
        options = {"delay": delay, "key": key, "dedup": dedup, "expires": expires}
        event = {name: value for name, value in options.items() if value is not None}
        if priority:
            event["priority"] = priority
        [accepted] = self.enqueue_many(queue, [{"body": body, **event}])
        return str(accepted["id"])

    def enqueue_many(self, queue: str, events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Put events on a queue in one transaction, all or none; returns `id` and `state` of each, in order.

        Each is an object with a `body` and any of `id`, `delay`, `key`, `dedup`, `priority`, `expires`.
        Ids are given here, so a request whose answer got lost is repeated without storing anything twice.
        """
        named = [{**event, "id": event.get("id") or new_id()} for event in events]
        path = f"/api/v1/queues/{quote(queue)}/events"
        try:
            answer = self._request_again("POST", path, {"events": named})
        except errors.DaemonUnreachable:
            if self._offline is None:
                raise
            return self._offline(queue, named)
        accepted: list[dict[str, Any]] = answer["accepted"]
        return accepted

    def invoke(
        self,
        name: str,
        event: Any = None,
        *,
        wait: bool = True,
        on_log: Callable[[dict[str, Any]], None] | None = None,
    ) -> dict[str, Any]:
        """Run a function and return `id`, `outcome`, `result`, `error` …, or, without `wait`, its `id` at once.

        `NAME:VERSION` and `NAME:ALIAS` run a kept version of its code. These are waited for.
        `on_log` receives each captured line as it comes. Closing the connection, as an exception such
        as KeyboardInterrupt does, cancels the invocation.
        """
        name, _, version = name.partition(":")
        path = f"/api/v1/functions/{quote(name)}/invocations"
        query = {"version": version} if version else {}
        body = {} if event is None else event
        if not wait:
            return self._object("POST", path, body, query={**query, "mode": "async"})
        if on_log is None:
            return self._object("POST", path, body, query=query)
        for line in self.stream("POST", path, body, query={**query, "logs": "1"}):
            if line.pop("type", None) == "result":
                return line
            on_log(line)
        raise errors.DaemonUnreachable(
            f"the daemon ended before function {name!r} did; see `faasd invocations list`"
        )

    def invocation(self, id_or_prefix: str) -> dict[str, Any]:
        """Return everything about one invocation. Raises NotFound."""
        return self._object("GET", f"/api/v1/invocations/{quote(id_or_prefix)}")

    def queues(self) -> list[dict[str, Any]]:
        """Return every queue with its counts."""
        found: list[dict[str, Any]] = self._object("GET", "/api/v1/queues")["queues"]
        return found

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, object] | None = None,
        answer_s: float | None = None,
    ) -> Any:
        """Send one request and return the JSON value of its answer.

        `answer_s` is how long the daemon may stay silent; None is for ever, as an invocation may need.
        Raises DaemonUnreachable when nobody answers, the error that the daemon names, or RequestFailed.
        """
        with self._open(method, path, body, query, answer_s) as answer:
            return json.loads(b"".join(answer.chunks()))

    def text(self, path: str) -> str:
        """Return an answer that is no JSON, such as `/metrics`. Raises as `request` does."""
        with self._open("GET", path, None, None) as answer:
            return b"".join(answer.chunks()).decode("utf-8")

    def stream(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, object] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Send one request and yield the JSON objects of its answer, a line each, as they come.

        Raises what the daemon names when it has to break off.
        """
        with self._open(method, path, body, query) as answer:
            rest = b""
            for chunk in answer.chunks():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    value = json.loads(line)
                    if value.get("type") == "error":
                        raise _error_of(500, value)
                    yield value

    def _object(
        self, method: str, path: str, body: Any = None, query: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        value = self.request(method, path, body, query=query)
        assert isinstance(value, dict), f"{path} answers with an object"
        return value

    def _request_again(self, method: str, path: str, body: Any) -> Any:
        """Send a request that may be repeated, once more if the daemon went away before it answered."""
        try:
            return self.request(method, path, body, answer_s=_ENQUEUE_ANSWER_S)
        except Interrupted:
            return self.request(method, path, body, answer_s=_ENQUEUE_ANSWER_S)

    def _open(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, object] | None,
        answer_s: float | None = None,
    ) -> Answer:
        data = b"" if body is None else _encode(body)
        target = path + _query_text(query)
        head = (
            f"{method} {target} HTTP/1.1\r\nHost: faasd\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        )
        answer = Answer(self._connect(), self.socket_path, answer_s)
        try:
            answer.begin(head.encode("ascii") + data)
            if answer.status >= 400:
                raise _error_of(answer.status, _json_or_none(b"".join(answer.chunks())))
        except BaseException:
            answer.close()
            raise
        return answer

    def _connect(self) -> sockets.socket:
        connection = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        try:
            # A backlog that stays full for seconds is a daemon that does not answer.
            connection.settimeout(_CONNECT_TIMEOUT_S)
            connection.connect(self.socket_path)
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError) as error:
            connection.close()
            raise errors.DaemonUnreachable(
                f"no daemon answers on {self.socket_path}; {how_to_start(self.socket_path)}, or name its "
                f"configuration with --config"
            ) from error
        except (TimeoutError, BlockingIOError) as error:
            connection.close()
            raise errors.DaemonUnreachable(
                f"the daemon at {self.socket_path} does not take connections; see its log"
            ) from error
        except OSError as error:
            connection.close()
            raise RequestFailed(
                f"cannot open {self.socket_path}: {error.strerror or error}; run as the daemon's user or as "
                f"a member of the socket's group"
            ) from error
        return connection


def how_to_start(socket_path: str) -> str:
    """Say what starts the daemon of a socket; who has installed a service does not want a second daemon."""
    if socket_path == _SERVICE_SOCKET and any(map(os.path.exists, _SERVICE_UNITS)):
        return "start it with `systemctl start faasd`"
    return "start one with `faasd run`"


def quote(text: str) -> str:
    """Write a name for use in a path or query: everything but unreserved ASCII is escaped."""
    return "".join(
        chr(byte) if byte < 128 and (chr(byte).isalnum() or byte in b"-._~/") else f"%{byte:02X}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


def _query_text(query: Mapping[str, object] | None) -> str:
    pairs = [
        f"{quote(name)}={quote(str(value))}"
        for name, value in (query or {}).items()
        if value is not None
    ]
    return "?" + "&".join(pairs) if pairs else ""


def _encode(body: Any) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError) as error:
        raise errors.InvalidSetting(f"the event cannot be written as JSON: {error}") from error


def _json_or_none(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _error_of(status: int, value: Any) -> errors.FaasdError:
    """Return the error that an answer names; its kind is the class's name in kebab case."""
    said = value.get("error") if isinstance(value, dict) else None
    if not isinstance(said, dict):
        return RequestFailed(f"the daemon answered with status {status}")
    name = "".join(part.capitalize() for part in str(said.get("kind", "")).split("-"))
    found = getattr(errors, name, None) if name in errors.__all__ else None
    message = str(said.get("message", ""))
    if found is None or found in (errors.ConfigErrors, errors.ZygoteInitFailed):
        return RequestFailed(message)
    error: errors.FaasdError = found(message)
    return error


def _daemon_table(path: str) -> dict[str, str]:
    """Read `[daemon] state_dir` and `socket`, and nothing else: the loader checks the rest."""
    try:
        with open(path, encoding="utf-8", newline="") as file:  # noqa: PTH123 - see the first lines.
            text = file.read()
        found = glance_daemon_table(text)
        if found is not None:
            return found
        import tomllib

        table = tomllib.loads(text.replace("\r\n", "\n")).get("daemon", {})
    except OSError as error:
        raise errors.InvalidSetting(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # Not TOML, or not UTF-8.
        raise errors.InvalidSetting(f"cannot read {path}: {error}; see `faasd check`") from error
    return {
        name: value
        for name in ("state_dir", "socket")
        if isinstance(table, dict) and isinstance(value := table.get(name), str)
    }
