"""What functions used, by month."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from faasd.clock import FakeClock
from faasd.interfaces import Finish
from faasd.model.attempt import Claim
from faasd.model.usage import Prices, Usage, cost
from faasd.store.open import Store, open_store
from faasd.store.retention import Retention
from tests.conformance.making import LANE, a_finish, some_invocations

MONTH = "2025-06"
LIMIT_BYTES = 512 * 2**20


def ended(claim: Claim, word: str = "ok", **record: object) -> Finish:
    made = a_finish(claim, word)
    changed = replace(made.record, **record)  # type: ignore[arg-type]
    return replace(made, record=changed, memory_limit_bytes=LIMIT_BYTES)


async def claims(store: Store, count: int) -> list[Claim]:
    await store.invocations.enqueue(some_invocations(count))
    return await store.invocations.claim(LANE, count, 30)


async def test_each_attempt_counts_with_its_duration_and_what_it_could_have_used(
    store: Store,
) -> None:
    """Whoever pays for a cloud pays for the limit and not for the peak."""
    first, second, third = await claims(store, 3)
    await store.invocations.finish([ended(first, wall_s=2.0, cpu_s=0.5)])
    await store.invocations.finish([ended(second, "timeout", wall_s=4.0, cpu_s=None)])
    await store.invocations.finish([ended(third, "sandbox-failed")])
    assert await store.history.usage() == [Usage(MONTH, "send", 2, 1, 6.0, 3.0, 0.5)]


async def test_a_batch_is_one_request(store: Store) -> None:
    """Its members share one attempt; ten of them did not take ten times as long."""
    batch = [
        ended(one, attempt_id="a1", wall_s=1.0, batch_size=3) for one in await claims(store, 3)
    ]
    await store.invocations.finish(batch)
    [used] = await store.history.usage()
    assert (used.requests, used.duration_s) == (1, 1.0)


async def test_months_begin_in_utc(store: Store) -> None:
    """On the last day of a month and on the first day of a year, as anywhere."""
    moments = [
        "2026-01-31T23:59:59",
        "2026-02-01T00:00:00",
        "2025-12-31T23:59:59",
        "2024-02-29T12:00:00",
    ]
    for claim, moment in zip(await claims(store, 4), moments, strict=True):
        at = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
        await store.invocations.finish([ended(claim, ended_at=at)])
    months = [used.month for used in await store.history.usage()]
    assert months == ["2026-02", "2026-01", "2025-12", "2024-02"]
    assert [used.month for used in await store.history.usage("2026-01")] == ["2026-01"]
    assert await store.history.usage("2026-01", "other") == []


async def test_it_outlives_the_history_and_a_restart(
    store: Store, state_dir: Path, clock: FakeClock
) -> None:
    """The history is kept for a week, and a year's use is asked for after a year."""
    [claim] = await claims(store, 1)
    await store.invocations.finish([ended(claim)])
    clock.advance(400 * 86400)
    assert await store.retain(Retention(finished_s=1.0)) == 1
    before = await store.history.usage()
    await store.close()
    again = await open_store(state_dir, clock)
    assert await again.history.usage() == before != []
    await again.close()


async def test_what_was_not_written_is_not_counted(store: Store) -> None:
    """A lease that was lost, and a transaction that was undone because another work in it failed."""
    one, other = await claims(store, 2)
    stale = replace(one, lease=replace(one.lease, token=one.lease.token - 1))
    await store.invocations.finish([ended(stale)])
    assert await store.history.usage() == []
    await store.invocations.cancel([one.invocation.id], "by a test")
    await store.invocations.finish([ended(one, "cancelled")])  # It ran until then.
    good = ended(other)
    bad = replace(good, record=None)  # type: ignore[arg-type]
    both = (store.invocations.finish([good]), store.invocations.finish([bad]))
    results = await asyncio.gather(*both, return_exceptions=True)  # In one transaction, at first.
    assert isinstance(results[1], AttributeError)
    [used] = await store.history.usage()
    assert (used.requests, used.errors) == (2, 0)


def test_the_cost_is_that_of_time_and_of_requests() -> None:
    """Either price may be left out; without any there is no cost, which is not a cost of nothing."""
    used = Usage("2026-11", "f", 2_000_000, 0, 8.0, 4.0, 1.0)
    assert cost(used, Prices(0.5, 0.25)) == 2.5
    assert cost(used, Prices(per_million_requests=0.25)) == 0.5
    assert cost(used, Prices(per_gb_second=0.0)) == 0.0
    assert cost(used, Prices()) is None
