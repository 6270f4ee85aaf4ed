"""The context: what a handler is given beside its event.

The attributes and methods of AWS Lambda's context, and faasd's own. A handler's unit test makes one by
hand: `Context(function_name="thumbnail")`.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any, Protocol

from faasd import errors
from faasd.model.event import encode_json

__all__ = ["PROGRESS_BYTES_MAX", "ClientContext", "Context", "Identity", "Services", "SoftTimeout"]


#: Of JSON. It is for people to read, and the daemon keeps it in memory.
PROGRESS_BYTES_MAX = 1000


class SoftTimeout(BaseException):
    """Raised in a handler at its time limit, or when its attempt is ended early; the kill follows after `grace`.

    A BaseException, so that `except Exception` does not swallow it. Catch it to tidy up. The attempt
    ends as `timeout` (or `cancelled`, `drained`) whatever the handler makes of it.
    """


class Services(Protocol):
    """What stands behind a context: the daemon, through the sandbox's channel."""

    def request(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        """Ask and wait for the answer."""

    def notify(self, op: str, fields: dict[str, Any]) -> None:
        """Tell, without an answer."""


class Identity:
    """Lambda's Cognito identity; empty here."""

    cognito_identity_id: str | None = None
    cognito_identity_pool_id: str | None = None


class ClientContext:
    """Lambda's mobile client context, as a caller passed it."""

    def __init__(self, custom: Any = None, env: Any = None, client: Any = None) -> None:
        self.custom = custom
        self.env = env
        self.client = client


class Context:
    """What a handler may know about its attempt, and ask of the daemon while it runs.

    `deadline` and `scheduled_for` are seconds since the epoch. `attempt` counts from 1. In a batch, the
    values are those of its first invocation.
    """

    def __init__(
        self,
        function_name: str = "function",
        *,
        invocation_id: str = "00000000-0000-7000-8000-000000000000",
        attempt: int = 1,
        trigger: str = "invoke",
        scheduled_for: float | None = None,
        timeout_s: float = 60.0,
        memory_bytes: int = 256 * 2**20,
        function_version: str = "$LATEST",
        client_context: ClientContext | None = None,
        secrets: Mapping[str, str | bytes] | None = None,
        services: Services | None = None,
    ) -> None:
        self.function_name = function_name
        self.function_version = function_version
        self.invocation_id = invocation_id
        self.aws_request_id = invocation_id
        self.memory_limit_in_mb = str(memory_bytes // 2**20)  # A string, as in Lambda.
        self.invoked_function_arn = (
            f"arn:aws:lambda:us-east-1:000000000000:function:{function_name}"
        )
        self.log_group_name = f"/aws/lambda/{function_name}"
        self.identity = Identity()
        self.client_context = client_context
        self.tenant_id: str | None = None
        self.attempt = attempt
        self.trigger = trigger
        self.scheduled_for = scheduled_for
        self._begun_at = time.time()
        self.deadline = self._begun_at + timeout_s
        self._deadline_monotonic = time.monotonic() + timeout_s
        self._secrets = dict(secrets or {})
        self._services = services

    @functools.cached_property
    def log_stream_name(self) -> str:
        """The name of Lambda's log stream; made when somebody asks, which few do."""
        date = time.strftime("%Y/%m/%d", time.localtime(self._begun_at))
        return f"{date}/[{self.function_version}]{self.invocation_id}"

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds left until the soft signal; 0 afterwards."""
        return max(0, int((self._deadline_monotonic - time.monotonic()) * 1000))

    def log(self, message: object) -> None:
        """Print, as Lambda's context does."""
        print(message)  # noqa: T201 - output is the point.

    def secret(self, name: str) -> str:
        """Return a secret as text, without the newline at its end that editors leave.

        Raises SecretNotGiven, which is a KeyError, when the function's `secrets` does not name it.
        """
        try:
            text = self.secret_bytes(name).decode()
        except UnicodeDecodeError:
            # Not chained: the error that it would show holds the secret.
            message = f"the secret {name!r} is not UTF-8 text; use context.secret_bytes({name!r})"
            raise ValueError(message) from None
        return text[:-1].removesuffix("\r") if text.endswith("\n") else text

    def secret_bytes(self, name: str) -> bytes:
        """Return a secret exactly as its file holds it. Raises SecretNotGiven."""
        value = self._secrets.get(name)
        if value is None:
            given = ", ".join(sorted(self._secrets)) or "none"
            raise errors.SecretNotGiven(
                f"the function {self.function_name!r} is not given the secret {name!r} (given: {given}); "
                f'add it to the function\'s settings: secrets = ["{name}"]'
            )
        return value.encode() if isinstance(value, str) else value

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
        """Put an event on a queue; when this returns its id, the event is on disk.

        `delay` and `expires` are durations such as "30s", or seconds; `key` names a group that keeps
        its order; `dedup` is a deduplication key. Raises EventRefused (UnknownQueue, PayloadTooLarge …).
        """
        fields = {
            "queue": queue,
            "body": body,
            "delay": delay,
            "key": key,
            "dedup": dedup,
            "priority": priority,
            "expires": expires,
        }
        return str(self._request("enqueue", fields)["id"])

    def invoke(self, name: str, event: Any = None, wait: bool = True) -> Any:
        """Run another function: returns its result, or with `wait=False` the id of an invocation on disk.

        Raises FaasdError with the outcome when it did not succeed.
        """
        reply = self._request("invoke", {"function": name, "event": event, "wait": wait})
        return reply.get("result") if wait else reply.get("id")

    def progress(self, value: Any) -> None:
        """Say how far the work is, for whoever watches `faasd top`: any JSON value; only the last one is kept.

        Raises ValueError when it is longer than 1,000 bytes of JSON.
        """
        if (length := len(encode_json(value))) > PROGRESS_BYTES_MAX:
            raise ValueError(
                f"context.progress takes {PROGRESS_BYTES_MAX:,} bytes of JSON, and this is {length:,}: "
                "tell how far the work is, and print or return the rest"
            )
        self._daemon().notify("progress", {"value": value})

    def _request(self, op: str, fields: dict[str, Any]) -> dict[str, Any]:
        reply = self._daemon().request(op, fields)
        error = reply.get("error")
        if error is not None:
            raise _error_from(error)
        return reply

    def _daemon(self) -> Services:
        if self._services is None:
            raise RuntimeError(
                "this context has no daemon behind it; in a unit test pass "
                "Context(services=…), an object with request(op, fields) and notify(op, fields)"
            )
        return self._services


def _error_from(error: dict[str, Any]) -> errors.FaasdError:
    """Return the error of faasd that a reply names, or a plain FaasdError naming any other."""
    kind, message = str(error.get("type")), str(error.get("message"))
    plain = ("EventRefused", "UnknownFunction", "UnknownQueue", "PayloadTooLarge", "NotAccepting")
    if kind in (*plain, "NotFound", "Conflict", "InvalidSetting", "StoreError", "StoreFull"):
        found: errors.FaasdError = getattr(errors, kind)(message)
        return found
    return errors.FaasdError(f"{kind}: {message}")
