"""The attempt: one try, in one sandbox, at one invocation or one batch of them."""

from __future__ import annotations

from dataclasses import dataclass

from faasd.model.function import Function
from faasd.model.invocation import Invocation

__all__ = ["Attempt", "AttemptRecord", "Claim", "Lease", "OutputLine"]


@dataclass
class Lease:
    """The right to finish an invocation. A stale token writes nothing and raises LeaseLost. Not frozen, as NewEvent."""

    invocation_id: str
    token: int
    expires_at: float


@dataclass
class Claim:
    """One claimed invocation with its lease. `number` counts all its attempts from 1. Not frozen, as NewEvent."""

    invocation: Invocation
    lease: Lease
    number: int


@dataclass
class Attempt:
    """One try, in one sandbox, at one claimed invocation or a batch of them.

    `id` names the sandbox's records. Everything in a batch shares function, queue and sandbox. Not frozen, as NewEvent.
    """

    id: str
    function: Function
    claims: tuple[Claim, ...]
    started_at: float
    is_batch: bool = False  # The handler receives {"records": [...]}, even for a batch of one.
    is_sync: bool = False  # A caller waits; a failure is not tried again.


@dataclass(frozen=True)
class OutputLine:
    """One captured line. `stream` is stdout, stderr, log or faasd."""

    at: float
    stream: str
    text: str
    level: str | None = None  # Of `logging` records only.


@dataclass
class AttemptRecord:
    """One finished attempt at one invocation, as history shows it. Not frozen, for speed, as NewEvent."""

    invocation_id: str
    number: int
    attempt_id: str  # Equal for all members of a batch.
    function: str
    code_version: str
    outcome: str
    started_at: float
    ended_at: float
    queue_wait_s: float
    wall_s: float
    cpu_s: float | None
    memory_peak_bytes: int | None
    init_s: float | None
    error_json: str | None
    log_tail: str
    batch_size: int
    output_truncated: bool = False
    degraded: tuple[str, ...] = ()
