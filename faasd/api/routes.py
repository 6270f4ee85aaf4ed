"""The one table: method, path, access, handler. Everything that the daemon answers stands here."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from typing import Any

from faasd.api.access import ACCESS_MEANINGS
from faasd.api.call import Handler
from faasd.api.handlers import (
    code,
    functions,
    invocations,
    logs,
    metrics,
    queues,
    system,
    triggers,
    usage,
    why,
)

__all__ = ["ROUTES", "ApiRoute", "openapi_document"]

_LISTING = ("function", "queue", "trigger", "source", "outcome", "since", "until", "limit")


@dataclass(frozen=True)
class ApiRoute:
    """One thing that can be asked. `query` names its query parameters."""

    method: str
    path: str
    access: str  # A key of ACCESS_MEANINGS.
    handler: Handler
    query: tuple[str, ...] = ()

    @property
    def shows_records(self) -> bool:
        """Whether it tells, or acts on, what is in the store: it must find there what others were answered before."""
        return self.access != "open" and (self.method, self.access) != ("POST", "send")

    @property
    def summary(self) -> str:
        """The first sentence of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").split("\n", 1)[0]

    @property
    def description(self) -> str:
        """The rest of the handler's docstring."""
        return (inspect.getdoc(self.handler) or "").partition("\n")[2].strip()


# Names of queues and schedules may hold slashes, hence `:path`.
ROUTES = (
    ApiRoute("GET", "/healthz", "open", system.healthz),
    ApiRoute("GET", "/readyz", "open", system.readyz),
    ApiRoute("GET", "/metrics", "status", metrics.show_metrics),
    ApiRoute("GET", "/api/v1/status", "status", system.show_status),
    ApiRoute("GET", "/api/v1/functions", "status", functions.list_functions),
    ApiRoute("GET", "/api/v1/functions/{name}", "status", functions.show_function),
    ApiRoute(
        "POST",
        "/api/v1/functions/{name}/invocations",
        "send",
        functions.invoke_function,
        ("mode", "logs", "id", "version"),
    ),
    ApiRoute("POST", "/api/v1/functions/{name}/pause", "admin", functions.pause_function),
    ApiRoute("POST", "/api/v1/functions/{name}/resume", "admin", functions.resume_function),
    ApiRoute("GET", "/api/v1/functions/{name}/versions", "status", code.list_versions),
    ApiRoute("POST", "/api/v1/functions/{name}/rollback", "admin", code.roll_back),
    ApiRoute("POST", "/api/v1/functions/{name}/unpin", "admin", code.unpin),
    ApiRoute("POST", "/api/v1/functions/{name}/aliases", "admin", code.set_alias),
    ApiRoute("POST", "/api/v1/reload", "admin", code.reload),
    ApiRoute("GET", "/api/v1/attempts", "admin", invocations.list_attempts),
    ApiRoute("GET", "/api/v1/queues", "status", queues.list_queues),
    ApiRoute("POST", "/api/v1/queues/{queue:path}/events", "send", queues.enqueue),
    ApiRoute("POST", "/api/v1/wake", "send", queues.wake),
    ApiRoute(
        "GET", "/api/v1/invocations", "admin", invocations.list_invocations, ("state", *_LISTING)
    ),
    ApiRoute("GET", "/api/v1/invocations/{id}", "send", invocations.show_invocation),
    ApiRoute("POST", "/api/v1/invocations/{id}/replay", "admin", invocations.replay_invocation),
    ApiRoute("POST", "/api/v1/invocations/{id}/cancel", "admin", invocations.cancel_invocation),
    ApiRoute("GET", "/api/v1/dead-letters", "admin", invocations.list_dead_letters, _LISTING),
    ApiRoute("POST", "/api/v1/dead-letters/redrive", "admin", invocations.redrive_dead_letters),
    ApiRoute("POST", "/api/v1/dead-letters/drop", "admin", invocations.drop_dead_letters),
    ApiRoute("GET", "/api/v1/schedules", "status", triggers.list_schedules),
    ApiRoute(
        "GET",
        "/api/v1/schedules/{name:path}/next",
        "status",
        triggers.next_of_schedule,
        ("n", "after"),
    ),
    ApiRoute("POST", "/api/v1/schedules/{name:path}/pause", "admin", triggers.pause_schedule),
    ApiRoute("POST", "/api/v1/schedules/{name:path}/resume", "admin", triggers.resume_schedule),
    ApiRoute("POST", "/api/v1/schedules/{name:path}/run", "admin", triggers.run_schedule),
    ApiRoute("GET", "/api/v1/watches", "status", triggers.list_watches),
    ApiRoute("GET", "/api/v1/files", "admin", triggers.list_files, ("trigger", "state", "limit")),
    ApiRoute("POST", "/api/v1/files/retry", "admin", triggers.retry_files),
    ApiRoute(
        "GET",
        "/api/v1/logs",
        "admin",
        logs.read_logs,
        ("follow", "function", "invocation", "since", "grep", "limit"),
    ),
    ApiRoute(
        "GET",
        "/api/v1/usage",
        "status",
        usage.show_usage,
        ("month", "function", "price_per_gb_second", "price_per_million_requests"),
    ),
    ApiRoute("GET", "/api/v1/why", "admin", why.why, ("subject", "path")),
    ApiRoute("POST", "/api/v1/backup", "admin", system.backup),
)


def openapi_document(version: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the table."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        path = route.path.replace(":path}", "}")
        operation: dict[str, Any] = {
            "operationId": route.handler.__name__,
            "summary": route.summary,
            "description": f"{route.description}\n\nAccess: {ACCESS_MEANINGS[route.access]}".strip(),
            "parameters": _parameters(path, route.query),
            "responses": {
                "2XX": {"description": "Done."},
                "default": {
                    "description": "Refused, with the kind of error and a sentence.",
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Error"}}
                    },
                },
            },
        }
        paths.setdefault(path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "faasd", "version": version},
        "paths": paths,
        "components": {"schemas": {"Error": _error_schema()}},
    }


def _parameters(path: str, query: tuple[str, ...]) -> list[dict[str, Any]]:
    text = {"type": "string"}
    named = re.findall(r"{(\w+)}", path)
    return [{"name": name, "in": "path", "required": True, "schema": text} for name in named] + [
        {"name": name, "in": "query", "schema": text} for name in query
    ]


def _error_schema() -> dict[str, Any]:
    texts = {"kind": {"type": "string"}, "message": {"type": "string"}}
    error = {"type": "object", "required": ["kind", "message"], "properties": texts}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}
