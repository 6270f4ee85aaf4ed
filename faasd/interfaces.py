"""The seams: what the rooms of faasd promise each other, a promise per method.

Every implementation of the store passes the same suite, tests/conformance.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from faasd.errors import EventRefused
from faasd.model.attempt import Attempt, AttemptRecord, Claim, Lease, OutputLine
from faasd.model.function import Function, Lane
from faasd.model.invocation import Acceptance, Invocation, NewEvent, NewInvocation
from faasd.model.outcome import Outcome
from faasd.model.retry import DeadLetter, Done, RetryAt
from faasd.model.usage import Usage

__all__ = [
    "Accept",
    "AttemptServices",
    "BreakerStatus",
    "Catalog",
    "FileDrops",
    "FileLedger",
    "FileRow",
    "Finish",
    "History",
    "InvocationFilter",
    "InvocationLogs",
    "InvocationStore",
    "Invoker",
    "LogLine",
    "Pauses",
    "QueueCounts",
    "Sandboxes",
    "ScheduleCursor",
    "ScheduleCursors",
    "ScheduleStatus",
    "Schedules",
    "Settled",
    "WatchStatus",
]


class Catalog(Protocol):
    """Which functions exist now. A reload swaps the whole catalogue at once."""

    def get(self, name: str) -> Function | None:
        """Return the function of that name."""

    def all(self) -> Sequence[Function]:
        """Return every function, ordered by name."""

    def lanes(self) -> Sequence[Lane]:
        """Return every lane of every function."""

    def consumer_of(self, queue: str) -> Function | None:
        """Return the function that consumes this queue."""


class Accept(Protocol):
    """The single way in: known, bounded, not a duplicate, committed."""

    async def accept(self, event: NewEvent) -> Acceptance:
        """Accept one event; when this returns, the event is on disk.

        Raises EventRefused (nothing stored) or StoreError.
        """

    async def accept_many(self, events: Sequence[NewEvent]) -> list[Acceptance]:
        """Accept events in one transaction, all or none, with the same promise."""

    async def accept_each(
        self, requests: Sequence[Sequence[NewEvent]]
    ) -> list[list[Acceptance] | EventRefused]:
        """Accept the events of many requests in one transaction; each request all or none.

        One that is refused keeps none of the others out. Raises StoreError, for all of them.
        """


@dataclass(slots=True)
class Finish:
    """What one attempt at one invocation came to, written under its lease. Not frozen, as NewEvent.

    `follow_ups` (destinations) are committed in the same transaction.
    """

    lease: Lease
    record: AttemptRecord
    outcome: Outcome
    verdict: Done | RetryAt | DeadLetter
    follow_ups: tuple[NewInvocation, ...] = ()
    memory_limit_bytes: int = 0  # What the attempt could have used; for the record of usage.
    invocation: Invocation | None = None  # As it was claimed; who knows it lets it be found sooner.


@dataclass(slots=True)
class Settled:
    """What the store made of a Finish. `lease_lost` means that nothing was written for it. Not frozen, as NewEvent."""

    invocation_id: str
    state: str
    lease_lost: bool = False


@dataclass(frozen=True)
class InvocationFilter:
    """Which invocations a listing or a bulk verb means; None means any. Newest first."""

    ids: tuple[str, ...] | None = None
    function: str | None = None
    queue: str | None = None
    trigger: str | None = None
    source: str | None = None
    states: tuple[str, ...] | None = None
    outcomes: tuple[str, ...] | None = None
    group_key: str | None = None
    since: float | None = None  # created_at at or after
    until: float | None = None
    path: str | None = None  # Of the file that a files trigger has seen.
    limit: int | None = 100


@dataclass(frozen=True)
class QueueCounts:
    """How full a queue is."""

    queue: str
    waiting: int = 0  # Due now.
    delayed: int = 0  # Due later.
    in_flight: int = 0
    dead: int = 0
    oldest_waiting_at: float | None = None


class InvocationStore(Protocol):
    """The durable core. Every method is one transaction; when it returns, the change is on disk.

    All of them raise StoreFull when the disk is full and StoreError when the database fails.
    """

    async def enqueue(self, new: Sequence[NewInvocation]) -> list[Acceptance]:
        """Commit invocations in order, all or none.

        An id or `origin_key` seen before, or a `dedup_key` seen on the same queue within its
        window, answers with state `duplicate` and the first one's id. Overlap rules are decided
        here, in the same transaction: with `skip`, a record in state `skipped` is written when
        another invocation of the same source waits or runs; `replace` cancels those.
        """

    async def begin(self, new: NewInvocation, lease_s: float) -> Claim:
        """Commit one invocation as running, already claimed: a direct invoke with a waiting caller."""

    async def claim(self, lane: Lane, count_max: int, lease_s: float) -> list[Claim]:
        """Claim up to `count_max` due invocations of a lane's queue: priority first, then order of acceptance.

        Never hands out one that another lease holds; of a group never more than `key_concurrency`,
        and with a `key_concurrency` of 1 only in order (a batch may hold several of one group, in order).
        Expired ones are set to `skipped` instead, with reason `expired`.
        """

    async def claim_due(
        self, lane: Lane, count_max: int, lease_s: float, begin_max: int | None = None
    ) -> tuple[list[Claim], float | None]:
        """Claim, and return also when to ask again if nobody wakes us.

        That is when the next one that is not due yet will be; None when none waits so, or when as many as
        were asked for came, since there may be more. Those beyond `begin_max` do not begin yet, and have no
        `started_at` until their attempt is finished.
        """

    async def waiting_since(self, queue: str) -> tuple[int, float | None, float | None]:
        """Return (due now, when the oldest due one became due, when the next not yet due one will be)."""

    async def renew(self, leases: Sequence[Lease], lease_s: float) -> list[Lease]:
        """Extend leases from now; returns the renewed ones, leaving out those that were lost."""

    async def finish(
        self,
        finishes: Sequence[Finish],
        when_taken: Callable[[], None] = lambda: None,
        *,
        is_trailing: bool = False,
    ) -> list[Settled]:
        """Record the ends of attempts, each only while its lease is ours.

        `when_taken` is called, at most once and before the commit, when whatever is asked of the store from
        then on will see what these finishes change. With `is_trailing` nobody waits: they are written with whatever is
        asked of the store next, or a moment later, or when somebody is in a `hurry`.
        """

    def hurry(self) -> None:
        """Have everything that was asked for by now written without waiting for more."""

    async def release(self, leases: Sequence[Lease]) -> list[Lease]:
        """Send claimed invocations back to waiting, as if they had not been claimed: nothing of them has begun.

        Returns those that were still ours. No attempt is recorded, and none is counted.
        """

    async def return_unheld(self, record: Callable[[Claim], Finish]) -> list[Settled]:
        """Return to waiting, or bury, everything a predecessor held: every invocation in state `running`.

        For the start of the daemon, before anything is claimed; `record` says what each comes to.
        """

    async def return_expired(self, record: Callable[[Claim], Finish]) -> list[Settled]:
        """Do the same for leases that have run out (a stalled daemon, several daemons on one store)."""

    async def cancel(self, ids: Sequence[str], reason: str) -> list[str]:
        """Cancel waiting and running invocations; returns the ids that changed. Running ones lose their lease."""

    async def redrive(self, which: InvocationFilter) -> list[str]:
        """Send dead letters back to waiting with fresh attempts; returns their ids."""

    async def drop(self, which: InvocationFilter) -> list[str]:
        """Set dead letters to dropped; returns their ids."""

    async def unfinished(self, source: str) -> int:
        """Return how many invocations of this source wait or run."""

    async def known_queues(self, queues: Sequence[tuple[str, str]]) -> None:
        """Publish (queue, function) pairs, so that an enqueue without a daemon can tell a typing error."""


class History(Protocol):
    """What happened. Reading never blocks writing; answers are at most a moment old."""

    async def invocation(self, id_or_prefix: str) -> Invocation | None:
        """Return one invocation by id, or by a prefix of it that is unique. Raises Conflict when ambiguous."""

    async def invocations(self, which: InvocationFilter) -> list[Invocation]:
        """Return invocations, newest first."""

    async def next_waiting(self, queue: str) -> Invocation | None:
        """Return what of a queue is claimed next: of what is due the most urgent, then the oldest.

        Where nothing may be claimed now, it is what its group holds back, or what is due first.
        """

    async def attempts(self, invocation_id: str) -> list[AttemptRecord]:
        """Return an invocation's attempts, oldest first."""

    async def last_attempts(self, invocation_ids: Sequence[str]) -> dict[str, AttemptRecord]:
        """Return the last finished attempt of each of these that has one, by the invocation's id."""

    async def queue_counts(self) -> list[QueueCounts]:
        """Return the counts of every queue that holds or held anything."""

    async def function_counts(self, since: float) -> dict[str, dict[str, int]]:
        """Return, by function, how many attempts ended with which outcome since then."""

    async def usage(self, month: str | None = None, function: str | None = None) -> list[Usage]:
        """Return what functions used, by month (such as 2026-11, in UTC); newest first, then by function."""

    async def backup(self, path: str) -> int:
        """Write a backup of the whole state, but for logs, to a new file while running; returns its size in bytes.

        Raises Conflict if the file exists, and StoreError; then no file is left.
        """


@dataclass(frozen=True)
class ScheduleCursor:
    """How far a schedule has been walked.

    Every fire time up to and including `seen_until` has been accepted or recorded. `fingerprint`
    tells a changed expression from the same one.
    """

    name: str
    seen_until: float
    fingerprint: str
    paused: bool = False


class ScheduleCursors(Protocol):
    """Where schedules stand, across restarts."""

    async def load(self) -> dict[str, ScheduleCursor]:
        """Return every cursor by schedule name."""

    async def save(self, cursor: ScheduleCursor) -> None:
        """Write one cursor."""

    async def newest_keys(self, spans: Sequence[tuple[str, str]]) -> list[str | None]:
        """Return, for each span, the greatest origin key that was accepted in it, the first end left out.

        A crash may come after the ticks were accepted and before their cursor was saved: the keys know.
        """


class Pauses(Protocol):
    """What people have paused, across restarts. `kind` says what `name` names: today always a function."""

    async def load(self) -> dict[tuple[str, str], float]:
        """Return (kind, name) of everything paused, with the time since when."""

    async def set(self, kind: str, name: str, paused: bool) -> bool:
        """Pause or resume; returns whether that changed anything."""


@dataclass(frozen=True)
class FileRow:
    """One file that a files trigger has seen complete.

    `path` is bytes, as the kernel has it. `state` is `accepted` (its invocation may still run),
    `done` or `failed` (final, and on_success or on_failure has been carried out).
    """

    trigger: str
    path: bytes
    device: int
    inode: int
    mtime_ns: int
    size: int
    state: str
    invocation_id: str | None
    seen_at: float
    detail: str | None = None


class FileLedger(Protocol):
    """Which files have been seen. Makes hint and scan idempotent."""

    async def load(self, trigger: str) -> list[FileRow]:
        """Return all rows of one trigger."""

    async def put(self, rows: Sequence[FileRow]) -> None:
        """Insert or replace rows; the key is (trigger, path)."""

    async def forget(self, trigger: str, paths: Sequence[bytes]) -> None:
        """Remove rows."""


@dataclass(frozen=True)
class LogLine:
    """One captured line with its place."""

    at: float
    function: str
    invocation_id: str
    attempt: int
    stream: str
    text: str
    level: str | None = None


class InvocationLogs(Protocol):
    """What attempts printed: JSON lines in per-function files with byte budgets."""

    def append(self, attempt: Attempt, lines: Sequence[OutputLine]) -> None:
        """Write lines. Never raises for a full disk: it counts what it dropped and says so later."""

    def tail(self, attempt: Attempt, bytes_max: int = 4096) -> str:
        """Return the end of what this attempt printed, one line per line."""

    def forget(self, attempt: Attempt) -> None:
        """Let go of what was kept in memory for `tail`."""

    async def read(
        self,
        function: str | None = None,
        invocation_id: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[LogLine]:
        """Return lines in time order; with `limit` the newest ones."""

    def subscribe(self, sink: Callable[[LogLine], None]) -> Callable[[], None]:
        """Call `sink` for each new line until the returned function is called. `sink` must not block."""


class AttemptServices(Protocol):
    """What a sandbox may ask of the daemon while its attempt runs. Everything that arrives is hostile input."""

    def output(self, attempt: Attempt, lines: Sequence[OutputLine]) -> None:
        """Take captured lines, in order."""

    async def enqueue(self, attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
        """Serve `context.enqueue`; returns {"id": …} or {"error": {"type": …, "message": …}}."""

    async def invoke(self, attempt: Attempt, request: dict[str, Any]) -> dict[str, Any]:
        """Serve `context.invoke`: {"result": …}, or {"id": …} with wait false, or {"error": …}."""

    def progress(self, attempt: Attempt, value: dict[str, Any]) -> None:
        """Take what `context.progress` said; only the last value is kept."""

    def answer(self, attempt: Attempt, outcome: Outcome) -> None:
        """Hear how an attempt for which a caller waits ends, as soon as that is certain. The first time counts.

        Its sandbox may still have to be ended and its outcome to be written, but neither changes any more.
        """


class Sandboxes(Protocol):
    """Where attempts run. One implementation makes real processes."""

    async def start(self) -> None:
        """Start what is needed to fork; ends every leftover process of a predecessor first."""

    async def run(
        self, attempt: Attempt, services: AttemptServices, stop: asyncio.Future[str]
    ) -> Outcome:
        """Run one attempt to its end and say how it ended.

        Never raises for anything the handler or the host did: what is not the handler's fault is
        `sandbox-failed`. Resolving `stop` with `cancelled`, `drained` or another outcome word ends
        the attempt early with that word: soft signal, grace, kill. When this returns, every process
        of the attempt is gone, but for the two of a sandbox that waits for the next one.
        """

    async def run_all(
        self,
        attempts: Sequence[Attempt],
        services: AttemptServices,
        stops: Sequence[asyncio.Future[str]],
    ) -> list[Outcome | None]:
        """Run attempts of one function one after another, each with its own `stop`, with what `run` promises.

        None for those that have not begun, which are the last ones: it goes no further after one that did not
        succeed and took the sandbox with it.
        """

    async def warm(self, function: Function) -> None:
        """Start the function's zygote now, and have a spare wait. Raises ZygoteInitFailed or SandboxError."""

    async def retire(self, keep: Sequence[Function]) -> None:
        """Hear which functions there are, and end the zygotes of all others, each after its last attempt."""

    async def stop(self) -> None:
        """End every process. When this returns, none is left."""


@dataclass(frozen=True)
class ScheduleStatus:
    """Where one schedule stands, for people."""

    name: str
    function: str
    kind: str
    expression: str  # As written: the cron text, the interval or the time.
    timezone: str
    next_at: float | None  # None when it will not fire again or is paused.
    last_at: float | None  # The last fire time that was walked.
    paused: bool
    catch_up: str
    overlap: str
    jitter_s: float
    note: str | None = None  # A sentence when something is odd.


class Schedules(Protocol):
    """The schedules that are in force. All raise NotFound for an unknown name."""

    def statuses(self) -> list[ScheduleStatus]:
        """Return every schedule, ordered by name."""

    def firing_before(self, at: float) -> list[str]:
        """Return the functions whose schedules fire before this time, the next one first."""

    def next_times(self, name: str, count: int, after: float | None = None) -> list[float]:
        """Return the next fire times, jitter included."""

    async def pause(self, name: str) -> bool:
        """Stop firing; ticks that pass are recorded as missed on resume. Returns whether it changed."""

    async def resume(self, name: str) -> bool:
        """Fire again from now on. Returns whether it changed."""

    async def run(self, name: str) -> Acceptance:
        """Fire once now, beside the schedule, which stays as it is."""


@dataclass(frozen=True)
class WatchStatus:
    """One watched directory, for people."""

    trigger: str
    function: str
    path: str
    mode: str  # inotify, polling
    seen: int
    pending: int  # Present but not complete yet.
    in_flight: int  # Accepted and not yet done.
    failed: int
    last_scan_at: float | None
    problem: str | None  # A sentence: missing, unreadable, vanished mount …


class FileDrops(Protocol):
    """The watched directories that are in force."""

    def statuses(self) -> list[WatchStatus]:
        """Return every watch, ordered by trigger name."""

    async def files(self, trigger: str | None = None, state: str | None = None) -> list[FileRow]:
        """Return ledger rows, newest first."""

    async def retry(self, path: str) -> list[Acceptance]:
        """Take a file, or every failed file below a directory, as new. Raises NotFound."""

    async def explain(self, path: str) -> list[str]:
        """Say in sentences what each watch that could see this path thinks of it; empty if none could."""

    def start_again(self, function: str) -> list[str]:
        """Start the triggers of a function that the guard against self-feeding has stopped; return their names."""


@dataclass(frozen=True)
class BreakerStatus:
    """Where a function's crash-loop breaker stands: `state` is closed, open or half-open.

    `deaths` in a row have been counted, `outcome` is how the last one ended. While it is open,
    `retry_at` is when one attempt is let through; half-open, that attempt runs.
    """

    state: str = "closed"
    deaths: int = 0
    openings: int = 0  # In a row, without a closing between them.
    opened_at: float | None = None
    retry_at: float | None = None
    outcome: str | None = None


class Invoker(Protocol):
    """Direct invokes."""

    async def invoke(
        self,
        event: NewEvent,
        on_output: Callable[[OutputLine], None] | None = None,
        function: Function | None = None,
    ) -> tuple[str, Outcome]:
        """Run one event now and wait; returns (invocation id, outcome). Cancelling the task cancels the attempt.

        Raises EventRefused, FunctionRefused, or Conflict when the function is paused or held back by its
        breaker.
        """

    async def cancel(self, ids: Sequence[str], reason: str) -> list[str]:
        """Cancel waiting and running invocations and stop their sandboxes; returns those that changed."""

    async def pause(self, function: str) -> bool:
        """Hold a function's queue: accepted events wait. Raises NotFound. Returns whether it changed."""

    async def resume(self, function: str) -> bool:
        """Let it run again: end its pause and close its breaker. Returns whether that changed anything."""

    def breaker(self, function: str) -> BreakerStatus:
        """Return where the function's crash-loop breaker stands."""

    async def written(self) -> None:
        """Wait until what callers were answered by now is on disk, but not for ever: a full disk may keep it."""

    def running(self) -> list[Attempt]:
        """Return the attempts that run now."""

    def progress_of(self, attempt: Attempt) -> Any:
        """Return what the handler of a running attempt last said about how far it is, or None."""
