"""What is kept, and for how long."""

from __future__ import annotations

import asyncio

from faasd.clock import FakeClock
from faasd.interfaces import InvocationFilter
from faasd.model.retry import DeadLetter
from faasd.store.open import Store
from faasd.store.retention import PORTION, Retention
from tests.conformance.making import LANE, START, a_finish, an_invocation, some_invocations

FOR_EVER = Retention(finished_s=None, finished_count_max=None, dead_s=None, origin_keys_s=None)
ALL = InvocationFilter(limit=None)


async def finished(store: Store, count: int) -> list[str]:
    new = some_invocations(count)
    await store.invocations.enqueue(new)
    claims = await store.invocations.claim(LANE, count, 30)
    await store.invocations.finish([a_finish(claim) for claim in claims])
    return [each.id for each in new]


async def test_finished_invocations_go_by_age_and_everything_else_stays(
    store: Store, clock: FakeClock
) -> None:
    """What waits, runs or is dead is not history yet."""
    [done] = await finished(store, 1)
    await store.invocations.enqueue(some_invocations(2))
    running, dead = await store.invocations.claim(LANE, 2, 30)
    await store.invocations.finish([a_finish(dead, "error", DeadLetter("x"))])
    skipped, waiting = an_invocation(skip_reason="missed"), an_invocation()
    await store.invocations.enqueue([skipped, waiting])
    clock.advance(100)
    assert await store.retain(FOR_EVER) == 0
    assert await store.retain(Retention(finished_s=98, dead_s=None)) == 2
    left = {each.id for each in await store.history.invocations(ALL)}
    assert left == {running.invocation.id, dead.invocation.id, waiting.id}
    assert await store.history.attempts(done) == []
    assert await store.retain(Retention(finished_s=None, dead_s=98)) == 1


async def test_finished_invocations_go_by_count_oldest_first(store: Store) -> None:
    """Whatever their age; ties may take a few more."""
    await store.invocations.enqueue(
        [an_invocation(id=f"{n:02}", created_at=START + n, skip_reason="missed") for n in range(20)]
    )
    keep = Retention(finished_s=None, finished_count_max=5, dead_s=None)
    assert await store.retain(keep) == 15
    left = [each.id for each in await store.history.invocations(ALL)]
    assert left == ["19", "18", "17", "16", "15"]


async def test_a_long_clean_up_lets_others_in_between(store: Store, clock: FakeClock) -> None:
    """A claim must not wait until ten thousand rows are gone."""
    for _ in range(4):
        await finished(store, PORTION)
    clock.advance(100)
    order: list[str] = []
    cleaning = asyncio.create_task(store.retain(Retention(finished_s=50)))
    cleaning.add_done_callback(lambda _: order.append("cleaned"))
    await asyncio.sleep(0)
    await store.invocations.enqueue([an_invocation()])
    order.append("enqueued")
    assert await cleaning == 4 * PORTION
    assert order == ["enqueued", "cleaned"]


async def test_keys_outlive_their_invocations_as_long_as_they_promise(
    store: Store, clock: FakeClock
) -> None:
    """An origin key must still be known when the invocation is long forgotten."""
    await store.invocations.enqueue([an_invocation(origin_key="tick", skip_reason="missed")])
    await store.invocations.enqueue([an_invocation(dedup_key="k", dedup_window_s=10)])
    clock.advance(100)
    assert await store.retain(Retention(finished_s=50)) == 1
    [again, later] = await store.invocations.enqueue(
        [an_invocation(origin_key="tick"), an_invocation(dedup_key="k")]
    )
    assert (again.state, later.state) == ("duplicate", "waiting")
    await store.retain(Retention(origin_keys_s=50))
    [after] = await store.invocations.enqueue([an_invocation(origin_key="tick")])
    assert after.state == "waiting"


def test_the_keys_of_ticks_and_files_outlive_a_long_time_without_a_daemon() -> None:
    """A machine that was off for a month finds them after its start; one that runs forgets them next day."""
    assert Retention().while_up(3599).origin_keys_s is None
    assert Retention().while_up(3600) == Retention()
    assert Retention().origin_keys_s == 86400
    assert Retention(finished_s=5).while_up(0).finished_s == 5
