"""What the containment tests share: attempts, recorded services, and looks at what is left."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import select
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faasd.errors import UnknownQueue
from faasd.model.attempt import Attempt, Claim, Lease, OutputLine
from faasd.model.event import encode_json
from faasd.model.function import Function
from faasd.model.invocation import Invocation
from faasd.model.limits import Limits
from faasd.model.outcome import Outcome
from faasd.model.retry import Spent
from faasd.sandbox.policy import shares_process_cap
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.patience import patient

FUNCTIONS = Path(__file__).parent / "functions"


class RecordingServices:
    """What a daemon would serve, kept for the test to look at."""

    def __init__(self) -> None:
        self.lines: list[OutputLine] = []
        self.requests: list[dict[str, Any]] = []
        self.progressed: list[dict[str, Any]] = []
        self.answers: list[Outcome] = []

    def output(self, attempt: Attempt, lines: Any) -> None:
        self.lines.extend(lines)

    async def enqueue(self, attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        if request["queue"] == "nowhere":
            raise UnknownQueue("no function consumes queue 'nowhere'")
        return {"id": "q1"}

    async def invoke(self, attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
        self.requests.append(request)
        return {"result": {"y": 2}} if request["wait"] else {"id": "i1"}

    def progress(self, attempt: Attempt, value: dict[str, Any]) -> None:
        self.progressed.append(value)

    def answer(self, attempt: Attempt, outcome: Outcome) -> None:
        self.answers.append(outcome)

    def texts(self, stream: str) -> list[str]:
        return [line.text for line in self.lines if line.stream == stream]


def an_invocation(event: Any = None, number: int = 1, **changes: Any) -> Invocation:
    plain = Invocation(
        id=f"01980000-0000-7000-8000-{number:012}", seq=number, function="f", queue="f",
        trigger="invoke", source="test", event_json=encode_json(event), state="running", outcome=None,
        priority=0, created_at=0.0, due_at=0.0, expires_at=None, group_key=None, scheduled_for=None,
        parent_id=None, spent=Spent(), attempts=1, started_at=None, ended_at=None, error=None,
        result_json=None, reason=None,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def an_attempt(function: Function, *events: Any, is_batch: bool = False, **changes: Any) -> Attempt:
    claims = tuple(
        Claim(an_invocation(event, number, **changes), Lease("x", 1, 0.0), 1)
        for number, event in enumerate(events or (None,), start=1)
    )
    return Attempt("a1", function, claims, time.time(), is_batch=is_batch)


#: Settings of functions that say how long sandboxes live.
_WARM = ("reuse", "recycle_memory_bytes", "spares", "keep_warm")


class Bench:
    """Runs handlers of functions/handlers.py and remembers what they printed."""

    def __init__(self, sandboxes: ProcessSandboxes) -> None:
        self.sandboxes = sandboxes
        self.services = RecordingServices()
        self.code_dir = str(FUNCTIONS)
        # Who leaves walls off on purpose says so, as an operator would have to.
        self.containment = "best-effort" if _leaves_walls_off(sandboxes) else "strict"

    def function(self, handler: str | None, **limits: Any) -> Function:
        kept = {
            name: limits.pop(name)
            for name in ("command", "permissions", "python", *_WARM)
            if name in limits
        }
        kept.setdefault("spares", 0)  # So that what is here at any moment is what a test made.
        name = (handler or "command").rpartition(":")[2]
        if handler is not None and ":" not in handler:
            handler = f"handlers:{handler}"
        limits = {"timeout_s": patient(20.0), **limits}
        function = Function(name, handler, code_dir=self.code_dir, limits=Limits(**limits), **kept)
        return self._contained(function)

    def _contained(self, function: Function) -> Function:
        if self.containment == "strict":
            return function
        permissions = dataclasses.replace(function.permissions, containment=self.containment)
        return dataclasses.replace(function, permissions=permissions)

    async def run(
        self,
        handler: str | None,
        event: Any = None,
        *,
        stop: asyncio.Future[str] | None = None,
        **limits: Any,
    ) -> Outcome:
        attempt = an_attempt(self.function(handler, **limits), event)
        return await self.run_attempt(attempt, stop)

    async def run_attempt(
        self, attempt: Attempt, stop: asyncio.Future[str] | None = None
    ) -> Outcome:
        stop = stop or asyncio.get_running_loop().create_future()
        function = attempt.function
        if function.permissions.containment != self.containment:
            attempt = dataclasses.replace(attempt, function=self._contained(function))
        return await self.sandboxes.run(attempt, self.services, stop)


def _leaves_walls_off(sandboxes: ProcessSandboxes) -> bool:
    uses_all = sandboxes._use_namespaces and sandboxes._use_cgroups
    return not uses_all or bool(sandboxes._without)


WALLS = {
    "namespaces+cgroups": {},
    "no-namespaces": {"pid_namespaces": False},
    "no-cgroups": {"cgroups": False},
    "neither": {"pid_namespaces": False, "cgroups": False},
}


def processes_with(token: str) -> list[int]:
    """Return the living processes with this word on their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    if token.encode() in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                continue
    return found


def cgroups_of(sandboxes: ProcessSandboxes) -> list[str]:
    found = []
    for base, names, _ in os.walk("/sys/fs/cgroup"):
        found += [f"{base}/{name}" for name in names if name == f"faasd-{sandboxes._state_hash}"]
    return found


def groups_below(sandboxes: ProcessSandboxes) -> list[str]:
    return [
        entry.path for path in cgroups_of(sandboxes) for entry in os.scandir(path) if entry.is_dir()
    ]


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Wait until a condition of other processes holds."""
    deadline = time.monotonic() + patient(timeout_s)
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        select.select([], [], [], 0.005)


def skip_without_ports(outcome: Outcome) -> None:
    """Where Landlock knows no ports, the function must be refused; then there is nothing more to see."""
    if outcome.word == "sandbox-failed":
        assert "a list of ports needs Landlock ABI 4" in str(outcome.error)
        pytest.skip("this host's Landlock does not know ports (it needs Linux 6.7)")


async def skip_where_none_waits(bench: Bench, function: Function) -> None:
    """On some hosts an ordinary user has a new sandbox for each attempt; see test_where_a_cap_counts."""
    walls = await bench.sandboxes._the_pool().walls_of(function)
    if shares_process_cap(walls):
        pytest.skip("the process cap counts all of this user's processes here, so no sandbox waits")
