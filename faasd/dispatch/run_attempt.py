"""The spine: what happens to one attempt, from its sandbox to what is written about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from faasd.clock import Clock
from faasd.dispatch.batching import outcomes_by_member
from faasd.dispatch.breakers import Breakers
from faasd.dispatch.conclude import conclude
from faasd.dispatch.trailing import Trailing
from faasd.errors import StoreError
from faasd.interfaces import (
    AttemptServices,
    Catalog,
    Finish,
    InvocationLogs,
    InvocationStore,
    Sandboxes,
    Settled,
)
from faasd.logs import get_logger, info_each
from faasd.model.attempt import Attempt
from faasd.model.outcome import Outcome

__all__ = ["Slot", "Spine", "run_attempt", "run_attempts"]

_log = get_logger("dispatch")
_STORE_RETRY_S = 1.0


class Slot(Protocol):
    """The slot of one attempt."""

    def free(self) -> None:
        """Let another attempt have it; does nothing the second time."""

    def take_back(self) -> None:
        """Hold it again until `free`, even when that makes one too many."""


@dataclass(frozen=True)
class Spine:
    """What an attempt needs on its way: the rooms behind it, and the clock and jitter they share."""

    sandboxes: Sandboxes
    services: AttemptServices
    store: InvocationStore
    logs: InvocationLogs
    catalog: Catalog
    breakers: Breakers
    clock: Clock
    noise: Callable[[], float]
    on_lost: Callable[[str], None] | None = (
        None  # Hears the function of each attempt that died with its daemon.
    )
    trailing: Trailing = field(default_factory=Trailing)


async def run_attempt(
    attempt: Attempt, spine: Spine, stop: asyncio.Future[str], slot: Slot
) -> tuple[Outcome, list[Settled]]:
    """Run one leased attempt and record what became of it. When this returns, it is on disk."""
    outcome = await spine.sandboxes.run(attempt, spine.services, stop)
    spine.breakers.ended(attempt, outcome)  # Before the slot is free: another must not slip in.
    is_trailing = False
    if attempt.is_sync:
        spine.services.answer(attempt, outcome)  # Who waits need not wait for the disk,
        await asyncio.sleep(0)  # nor for what is still to be done here.
        is_trailing = spine.trailing.is_answered(attempt.id)
        if is_trailing:
            slot.free()  # It is in no queue, so no claim needs to see its end.
    finishes = _conclude_all(attempt, outcome, spine)
    settled = await _finish_until_written(finishes, spine.store, slot, is_trailing=is_trailing)
    spine.logs.forget(attempt)
    _announce([(attempt, outcome, settled)])
    return outcome, settled


async def run_attempts(
    attempts: Sequence[Attempt], spine: Spine, stops: Sequence[asyncio.Future[str]], slot: Slot
) -> list[tuple[Outcome, list[Settled]] | None]:
    """Run leased attempts one after another in one slot; as `run_attempt` for each.

    None for those that did not begin: they wait again, as if they had not been claimed.
    """
    outcomes = await spine.sandboxes.run_all(attempts, spine.services, stops)
    ended = [
        (attempt, outcome)
        for attempt, outcome in zip(attempts, outcomes, strict=True)
        if outcome is not None
    ]
    finishes: list[Finish] = []
    for attempt, outcome in ended:
        spine.breakers.ended(attempt, outcome)
        finishes += _conclude_all(attempt, outcome, spine)
    left = attempts[len(ended) :]
    if left:
        await _release_until_written(left, spine.store)
    settled = await _finish_until_written(finishes, spine.store, slot) if finishes else []
    told = [(*one, [its]) for one, its in zip(ended, settled, strict=True)]
    for attempt, _ in ended:
        spine.logs.forget(attempt)
    _announce(told)
    return [*[(outcome, its) for _, outcome, its in told], *[None] * len(left)]


async def _release_until_written(attempts: Sequence[Attempt], store: InvocationStore) -> None:
    leases = [claim.lease for attempt in attempts for claim in attempt.claims]
    while True:
        try:
            await store.release(leases)
        except StoreError as error:
            _log.error("finish_delayed", invocations=len(leases), error=str(error))
            await asyncio.sleep(_STORE_RETRY_S)
        else:
            return


def _conclude_all(attempt: Attempt, outcome: Outcome, spine: Spine) -> list[Finish]:
    now = spine.clock.now()
    tail = "" if outcome.is_ok else spine.logs.tail(attempt)
    consumers = {}
    if attempt.function.on_success or attempt.function.on_failure:
        consumers = {lane.queue: lane.function for lane in spine.catalog.lanes()}
    return [
        conclude(
            attempt,
            claim,
            of_claim,
            consumers,
            now,
            0.0 if of_claim.is_ok else spine.noise(),  # Nothing is tried again.
            tail,
        )
        for claim, of_claim in zip(
            attempt.claims, outcomes_by_member(attempt, outcome), strict=True
        )
    ]


async def _finish_until_written(
    finishes: list[Finish], store: InvocationStore, slot: Slot, *, is_trailing: bool = False
) -> list[Settled]:
    """Write until it is written: with a full disk the outcome waits here, and its lease is renewed.

    Meanwhile it keeps its slot, so that outcomes which cannot be written do not pile up.
    """
    # When it is taken and not after the commit: the claim that the free slot allows goes to the writer
    # behind our finish, sees what it changes, and is most often committed together with it.
    when_taken = slot.free
    while True:
        try:
            return await store.finish(finishes, when_taken, is_trailing=is_trailing)
        except StoreError as error:
            slot.take_back()
            when_taken = _nothing
            _log.error("finish_delayed", invocations=len(finishes), error=str(error))
            await asyncio.sleep(_STORE_RETRY_S)


def _nothing() -> None: ...


def _announce(ended: Sequence[tuple[Attempt, Outcome, list[Settled]]]) -> None:
    """Log the one canonical line, for each, that an operator asks for."""
    if all(outcome.is_ok for _, outcome, _ in ended):
        info_each("dispatch", "attempt_finished", [_line_of(*one) for one in ended])
        return
    for one in ended:
        log = _log.info if one[1].is_ok else _log.warning
        log("attempt_finished", **_line_of(*one))


def _line_of(attempt: Attempt, outcome: Outcome, settled: list[Settled]) -> dict[str, Any]:
    usage = outcome.usage
    claim = attempt.claims[0]
    return {
        "function": attempt.function.name,
        "invocation": claim.invocation.id,
        "attempt": claim.number,
        "outcome": outcome.word,
        "state": settled[0].state,
        "duration_ms": round(usage.wall_s * 1000, 1),
        "memory_peak_bytes": usage.memory_peak_bytes,
        **({"batch_size": len(settled)} if attempt.is_batch else {}),
        **({"error": str(outcome.error)[:500]} if outcome.error else {}),
        **({"degraded": list(outcome.degraded)} if outcome.degraded else {}),
    }
