"""Writes docs/http-api.md: what holds for every request, then the route table in words."""

from __future__ import annotations

from faasd.api.access import ACCESS_MEANINGS
from faasd.api.replies import error_statuses
from faasd.api.routes import ROUTES, ApiRoute

__all__ = ["render_api_reference"]

_HEAD = """\
# HTTP API

The route table below is generated from the code by `make generate`; the same is served as OpenAPI at
`/api/v1/openapi.json`.

The daemon answers on a Unix socket: `[daemon] socket`, by default `faasd.sock` in its state or runtime
directory. `faasd status` says which daemon a configuration means.

```sh
curl --unix-socket /run/faasd/faasd.sock http://faasd/api/v1/queues
curl --unix-socket /run/faasd/faasd.sock http://faasd/api/v1/queues/images/events \\
     --data '{"events": [{"body": {"path": "/srv/a.jpg"}, "delay": "5m"}]}'
```

Programs in Python use `faasd.client.Client`, which needs nothing but the standard library:

```python
from faasd.client import Client

client = Client()  # Finds the socket as the command line does.
client.enqueue("images", {"path": "/srv/a.jpg"}, delay="5m", key="camera-1")
client.invoke("thumbnail", {"path": "/srv/a.jpg"})  # {"outcome": "ok", "result": …, …}
```

## Values

Bodies and answers are JSON. Times are ISO 8601 in UTC, such as `2026-01-31T12:00:00.000Z`; where a request
takes a time, a duration such as `1h` means so long ago. Lengths of time and sizes carry their unit in the
key. A stream is `application/x-ndjson`: one JSON object a line, as things happen. Keys may be added; those
that are there keep their meaning.

Requests are bounded: a body may have 64 MiB, a request at most 10,000 events. An event that is accepted is
on disk when the answer is sent. Give each event an `id` (a UUID) of your own to be able to repeat a request
whose answer got lost: an id that was seen before is answered with the state `duplicate` and not stored again.

A client that closes its connection cancels the invocation that it waits for.
"""

_ACCESS = """\
## Who may

The mode and group of the socket (0660; `[daemon] socket_group`) say who may connect. The kernel then says who
did, and each route asks for one of these:

| Access | Who has it |
|---|---|
"""

_ACCESS_END = """
A function that connects to the socket is no administrator, whatever user it runs as: everything below the
daemon's process may only read the status, send and invoke. Somebody who sent an event may read its invocation
by the whole id; prefixes of ids are for administrators.
"""

_ERRORS = """\
## Errors

`{"error": {"kind": "unknown-queue", "message": "no function consumes a queue named 'imags'; did you mean \\"images\\"?"}}`

| Kind | Status | |
|---|---|---|
"""


def render_api_reference() -> str:
    """Return the whole of docs/http-api.md."""
    access = "".join(f"| {word} | {meaning} |\n" for word, meaning in ACCESS_MEANINGS.items())
    table = "".join(
        f"| `{route.method} {_path(route)}` | {route.access} | {route.summary} |\n"
        for route in ROUTES
    )
    details = "\n".join(_details(route) for route in ROUTES if route.description or route.query)
    return (
        f"{_HEAD}\n{_ACCESS}{access}{_ACCESS_END}\n{_ERRORS}{_errors()}\n"
        f"## Routes\n\n| Route | Access | |\n|---|---|---|\n{table}\n{details}"
    )


def _path(route: ApiRoute) -> str:
    return route.path.replace(":path}", "}")


def _errors() -> str:
    rows = [
        (kind, status, f"`Retry-After: {after}`" if after else "")
        for kind, status, after in error_statuses()
    ]
    rows += [
        ("forbidden", 403, ""),
        ("method-not-allowed", 405, ""),
        ("not-ready", 503, "`Retry-After: 2`"),
    ]
    rows = [*sorted(rows, key=lambda row: (row[1], row[0])), ("internal", 500, "and any other")]
    return "".join(f"| `{kind}` | {status} | {note} |\n" for kind, status, note in rows)


def _details(route: ApiRoute) -> str:
    text = f"### {route.method} {_path(route)}\n\n{route.summary}\n"
    if route.description:
        text += f"\n{route.description}\n"
    if route.query:
        text += f"\nQuery: {', '.join(f'`{name}`' for name in route.query)}.\n"
    return text
