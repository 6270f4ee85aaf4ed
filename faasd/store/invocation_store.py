"""The InvocationStore on SQLite: each method is one work for the writer, so one transaction."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, bindparam, func, select, text
from sqlalchemy.dialects.sqlite import insert

from faasd.clock import Clock
from faasd.interfaces import Finish, InvocationFilter, Settled
from faasd.model.attempt import Claim, Lease
from faasd.model.function import Lane
from faasd.model.invocation import Acceptance, NewInvocation
from faasd.store.cancelling import cancel
from faasd.store.claiming import Expired, claim, expire, next_due_at
from faasd.store.enqueueing import begin, enqueue
from faasd.store.filters import drop, redrive
from faasd.store.finishing import finish
from faasd.store.groups import unblock_all
from faasd.store.leases import last_token, release, renew, take_over
from faasd.store.readers import Readers
from faasd.store.statements import Hot, storable
from faasd.store.tables import DELAYED, IS_OPEN, READY, invocations, queues
from faasd.store.usage import UsageSums
from faasd.store.writer import Together, Writer

__all__ = ["SqliteInvocationStore"]

T = TypeVar("T")

_i = invocations.c

#: `waiting_since` counts no further: its caller compares the count with the size of a batch.
COUNT_MAX = 10_000
#: A predecessor's invocations are taken over in portions, each under a lease of this length.
TAKE_OVER_MAX = 200
TAKE_OVER_LEASE_S = 60.0
#: How long the end of an attempt waits for others to be written with; those that ended together have less to gain
#: from an early commit, and more from a common one.
FINISH_PATIENCE_S = 0.002
MANY_PATIENCE_S = 0.010
#: What a caller knows already waits so long for his next call.
TRAILING_PATIENCE_S = 0.005

_WAITING = (_i.queue == bindparam("q"), text("state = 'waiting'"))
_DUE_COUNT = Hot(
    select(func.count()).select_from(
        select(_i.seq)
        .where(*_WAITING, text(f"readiness IN ({DELAYED}, {READY})"), _i.due_at <= bindparam("now"))
        .limit(COUNT_MAX)
        .subquery()
    )
)
_OLDEST_DUE = Hot(
    select(func.min(_i.due_at)).where(
        *_WAITING, _i.readiness == bindparam("how"), _i.due_at <= bindparam("now")
    )
)
_UNFINISHED = Hot(
    select(func.count()).select_from(invocations).where(_i.source == bindparam("s"), text(IS_OPEN))
)


class SqliteInvocationStore:
    """See `faasd.interfaces.InvocationStore` for what each method promises."""

    def __init__(self, writer: Writer, readers: Readers, clock: Clock, sums: UsageSums) -> None:
        """`sums` is written by the writer at the end of each transaction."""
        self._writer = writer
        self._sums = sums
        self._readers = readers
        self._clock = clock
        #: Hears, after the commit, function and trigger of each invocation that has expired.
        self.on_expired: Callable[[Sequence[Expired]], None] | None = None
        self._queues_known: set[str] = set()  # Noted on disk already.
        # Bound once: the writer knows by the object which works may go together.
        self._enqueue_all: Together[Sequence[NewInvocation], list[Acceptance]] = self._enqueue_many
        self._finish_all: Together[Sequence[Finish], list[Settled]] = self._finish_many

    async def enqueue(self, new: Sequence[NewInvocation]) -> list[Acceptance]:
        """Commit invocations in order, all or none."""
        accepted = await self._writer.submit_together(self._enqueue_all, new)
        self._queues_known.update(one.queue for one in new)
        return accepted

    async def begin(self, new: NewInvocation, lease_s: float) -> Claim:
        """Commit one invocation as running. Raises Conflict if its id was accepted before."""
        return await self._writer.submit(lambda c: begin(c, new, lease_s, self._clock.now()))

    async def claim(self, lane: Lane, count_max: int, lease_s: float) -> list[Claim]:
        """Claim up to `count_max` due invocations of a lane's queue.

        For a batching lane (`is_batch`) the claims of one call are one batch: they may hold several
        of one group, in order, and must be handled one after the other.
        """
        expired: list[Expired] = []
        claims = await self._writer.submit(
            lambda c: claim(c, lane, count_max, lease_s, self._clock.now(), expired)
        )
        self._tell_expired(expired)
        return claims

    async def claim_due(
        self, lane: Lane, count_max: int, lease_s: float, begin_max: int | None = None
    ) -> tuple[list[Claim], float | None]:
        """Claim, and return also when the next one will be due, unless as many as were asked for came.

        Those beyond `begin_max` are claimed ahead, and have no `started_at`.
        """
        expired: list[Expired] = []

        def work(connection: Connection) -> tuple[list[Claim], float | None]:
            now = self._clock.now()
            claims = claim(connection, lane, count_max, lease_s, now, expired, begin_max)
            is_all = len(claims) < count_max
            return claims, next_due_at(connection, lane.queue, now) if is_all else None

        found = await self._writer.submit(work)
        self._tell_expired(expired)
        return found

    async def expire_due(self, count_max: int = 500) -> list[str]:
        """Skip up to `count_max` waiting invocations that have expired; returns their ids.

        Claims do the same in passing; this is for queues from which nothing is claimed.
        """
        expired: list[Expired] = []
        ids = await self._writer.submit(lambda c: expire(c, count_max, self._clock.now(), expired))
        self._tell_expired(expired)
        return ids

    async def waiting_since(self, queue: str) -> tuple[int, float | None, float | None]:
        """Return (due now, when the oldest due one became due, when the next will be due).

        What a claim has found held back by its group is left out; the count stops at 10,000.
        """
        return await self._readers.read(lambda c: _waiting_since(c, queue, self._clock.now()))

    async def renew(self, leases: Sequence[Lease], lease_s: float) -> list[Lease]:
        """Extend leases from now; returns the renewed ones."""
        return await self._writer.submit(lambda c: renew(c, leases, lease_s, self._clock.now()))

    async def finish(
        self,
        finishes: Sequence[Finish],
        when_taken: Callable[[], None] = lambda: None,
        *,
        is_trailing: bool = False,
    ) -> list[Settled]:
        """Record the ends of attempts, each only while its lease is ours.

        The attempt of a cancelled invocation is recorded too, although its lease is lost.
        """
        if is_trailing:
            return await self._writer.submit_together(
                self._finish_all,
                finishes,
                patience_s=TRAILING_PATIENCE_S,
                size=len(finishes),
                waits_alone=True,
                when_taken=when_taken,
            )
        # A caller waits for the end of a direct invoke, which has no queue.
        is_awaited = any(one.invocation and not one.invocation.queue for one in finishes)
        is_many = len(finishes) > 1 and not any(one.follow_ups for one in finishes)
        patience_s = FINISH_PATIENCE_S if not is_many else MANY_PATIENCE_S
        return await self._writer.submit_together(
            self._finish_all,
            finishes,
            patience_s=0.0 if is_awaited else patience_s,
            size=len(finishes),
            when_taken=when_taken,
        )

    def hurry(self) -> None:
        """Have what waits for others written now."""
        self._writer.hurry()

    async def release(self, leases: Sequence[Lease]) -> list[Lease]:
        """Undo claims of which nothing has begun; returns those that were still ours."""
        return await self._writer.submit(lambda c: release(c, leases))

    async def return_unheld(self, record: Callable[[Claim], Finish]) -> list[Settled]:
        """Settle every invocation in state `running`; each is first leased to us, which fences its holder."""
        return await self._return(record, expired_only=False)

    async def return_expired(self, record: Callable[[Claim], Finish]) -> list[Settled]:
        """Settle those whose lease has run out."""
        return await self._return(record, expired_only=True)

    async def cancel(self, ids: Sequence[str], reason: str) -> list[str]:
        """Cancel waiting and running invocations; returns the ids that changed."""
        return await self._writer.submit(lambda c: cancel(c, ids, reason, self._clock.now()))

    async def redrive(self, which: InvocationFilter) -> list[str]:
        """Send dead letters back to waiting with fresh attempts; returns their ids, newest first."""
        return await self._writer.submit(lambda c: redrive(c, which, self._clock.now()))

    async def drop(self, which: InvocationFilter) -> list[str]:
        """Set dead letters to dropped; returns their ids, newest first."""
        return await self._writer.submit(lambda c: drop(c, which, self._clock.now()))

    async def unfinished(self, source: str) -> int:
        """Return how many invocations of this source wait or run."""
        row = await self._readers.read(lambda c: _UNFINISHED.row(c, s=storable(source)))
        return int(row[0])

    async def known_queues(self, queues: Sequence[tuple[str, str]]) -> None:
        """Publish which queues have a consumer; those published before and not named now have none."""
        await self._writer.submit(lambda c: _publish(c, queues))

    def _enqueue_many(
        self, connection: Connection, parts: Sequence[Sequence[NewInvocation]]
    ) -> list[list[Acceptance]]:
        new = [one for part in parts for one in part]
        return _apart(parts, enqueue(connection, new, self._clock.now(), self._queues_known))

    def _finish_many(
        self, connection: Connection, parts: Sequence[Sequence[Finish]]
    ) -> list[list[Settled]]:
        finishes = [one for part in parts for one in part]
        return _apart(parts, finish(connection, finishes, self._clock.now(), self._sums))

    def _tell_expired(self, expired: Sequence[Expired]) -> None:
        if expired and self.on_expired is not None:
            self.on_expired(expired)

    async def _return(self, record: Callable[[Claim], Finish], expired_only: bool) -> list[Settled]:
        token_max = await self._writer.submit(last_token)
        settled: list[Settled] = []
        while True:
            # Taking over gives tokens above `token_max`, so no invocation comes round twice.
            claims = await self._writer.submit(
                lambda c: _take_over(c, token_max, expired_only, self._clock.now())
            )
            if not claims:
                return settled
            settled += await self.finish([record(each) for each in claims])


def _apart(parts: Sequence[Sequence[Any]], results: Sequence[T]) -> list[list[T]]:
    """Give each part its own of all the results, which are in the parts' order."""
    given, begin = [], 0
    for part in parts:
        given.append(list(results[begin : begin + len(part)]))
        begin += len(part)
    return given


def _take_over(
    connection: Connection, token_max: int, expired_only: bool, now: float
) -> list[Claim]:
    expired_by = now if expired_only else math.inf
    return take_over(
        connection,
        token_max=token_max,
        expired_by=expired_by,
        count_max=TAKE_OVER_MAX,
        lease_s=TAKE_OVER_LEASE_S,
        now=now,
    )


def _waiting_since(
    connection: Connection, queue: str, now: float
) -> tuple[int, float | None, float | None]:
    q = storable(queue)
    count = _DUE_COUNT.row(connection, q=q, now=now)[0]
    # Asked apart, each is one step into the index.
    oldest = [
        at
        for how in (DELAYED, READY)
        if (at := _OLDEST_DUE.row(connection, q=q, how=how, now=now)[0]) is not None
    ]
    return count, min(oldest, default=None), next_due_at(connection, queue, now)


def _publish(connection: Connection, published: Sequence[tuple[str, str]]) -> None:
    connection.execute(queues.update().values(function=None))
    statement = insert(queues)
    statement = statement.on_conflict_do_update(
        index_elements=["queue"], set_={"function": statement.excluded.function}
    )
    if published:
        rows = [{"queue": queue, "function": function} for queue, function in published]
        connection.execute(statement, rows)
    # Configuration may have changed with it, the groups' `key_concurrency` too.
    unblock_all(connection)
