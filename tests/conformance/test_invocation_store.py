"""What every InvocationStore promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from faasd.clock import FakeClock
from faasd.errors import Conflict
from faasd.interfaces import Finish, InvocationFilter
from faasd.model.attempt import Claim
from faasd.model.outcome import Outcome
from faasd.model.retry import DeadLetter, Done, RetryAt, Spent
from faasd.store.open import Store
from tests.conformance.making import (
    BATCHES,
    LANE,
    START,
    a_finish,
    a_record,
    an_invocation,
    some_invocations,
)

ANY = InvocationFilter(limit=None)


async def state_of(store: Store, invocation_id: str) -> str:
    found = await store.history.invocation(invocation_id)
    assert found is not None
    return found.state


async def claim_ids(store: Store, count_max: int = 10, lane=LANE) -> list[str]:
    claims = await store.invocations.claim(lane, count_max, 30)
    return [claim.invocation.id for claim in claims]


async def test_what_was_accepted_is_read_back_as_it_was(store: Store) -> None:
    """History shows exactly what the trigger said."""
    new = an_invocation(
        priority=3, group_key="g", parent_id="p", scheduled_for=START - 5, expires_at=START + 60
    )
    [accepted] = await store.invocations.enqueue([new])
    assert (accepted.id, accepted.state) == (new.id, "waiting")
    found = await store.history.invocation(new.id)
    assert found is not None
    for name in [
        "id",
        "function",
        "queue",
        "trigger",
        "source",
        "event_json",
        "priority",
        "created_at",
        "due_at",
        "expires_at",
        "group_key",
        "scheduled_for",
        "parent_id",
    ]:
        assert getattr(found, name) == getattr(new, name), name
    assert (found.state, found.attempts, found.spent, found.outcome) == (
        "waiting",
        0,
        Spent(),
        None,
    )


async def test_claims_go_by_priority_and_then_by_order_of_acceptance(store: Store) -> None:
    """Priority acts in the store, on everything that waits: what the dispatcher holds is a moment of work."""
    new = [an_invocation(priority=priority) for priority in (0, 5, 0, 9, 5)]
    await store.invocations.enqueue(new)
    expected = [new[index].id for index in (3, 1, 4, 0, 2)]
    assert await claim_ids(store, 3) + await claim_ids(store, 3) == expected


async def test_a_claim_takes_only_what_is_due_in_its_own_queue(
    store: Store, clock: FakeClock
) -> None:
    """Delayed work stays on disk, not in anybody's memory, until its time."""
    other = an_invocation(queue="other")
    later = an_invocation(due_at=START + 10)
    await store.invocations.enqueue([other, later])
    assert await claim_ids(store) == []
    assert await store.invocations.waiting_since("mail") == (0, None, START + 10)
    clock.advance(10)
    assert await store.invocations.waiting_since("mail") == (1, START + 10, None)
    assert await claim_ids(store) == [later.id]


async def test_no_invocation_is_claimed_twice_at_once(store: Store) -> None:
    """Whatever number of claims run at the same time."""
    await store.invocations.enqueue(some_invocations(50))
    claimed = await asyncio.gather(*(claim_ids(store, 7) for _ in range(12)))
    flat = [each for ids in claimed for each in ids]
    assert len(flat) == len(set(flat)) == 50


async def test_the_attempt_is_counted_when_it_is_claimed(store: Store) -> None:
    """A crash in the middle must leave a trace of the attempt that caused it."""
    await store.invocations.enqueue([an_invocation()])
    [claim] = await store.invocations.claim(LANE, 1, 30)
    assert claim.number == claim.invocation.attempts == 1
    assert claim.invocation.state == "running"
    assert claim.lease.expires_at == START + 30


async def test_a_batch_of_new_invocations_is_kept_all_or_none(store: Store) -> None:
    """One that cannot be stored takes the others with it, and only those of its own call."""
    bad = an_invocation(priority=2**70)
    beside = an_invocation()
    refused, accepted = await asyncio.gather(
        store.invocations.enqueue([an_invocation(), bad]),
        store.invocations.enqueue([beside]),
        return_exceptions=True,
    )
    assert isinstance(refused, OverflowError)
    assert [each.id for each in accepted] == [beside.id]
    assert [each.id for each in await store.history.invocations(ANY)] == [beside.id]


async def test_an_id_or_origin_key_is_accepted_once(store: Store) -> None:
    """A tick that is offered again after a crash must not run again."""
    first = an_invocation(origin_key="tick 1")
    again = [replace(first), an_invocation(origin_key="tick 1"), replace(first, origin_key=None)]
    accepted = await store.invocations.enqueue([first, *again])
    assert [each.state for each in accepted] == ["waiting", "duplicate", "duplicate", "duplicate"]
    assert {each.id for each in accepted} == {first.id}
    assert all(each.reason for each in accepted[1:])
    assert len(await store.history.invocations(ANY)) == 1


async def test_a_dedup_key_holds_for_its_window_on_its_queue(
    store: Store, clock: FakeClock
) -> None:
    """Measured from the first acceptance, so that a steady stream cannot stretch it for ever."""
    first = an_invocation(dedup_key="k", dedup_window_s=10)
    await store.invocations.enqueue([first])
    clock.advance(6)
    again, elsewhere = await store.invocations.enqueue(
        [an_invocation(dedup_key="k"), an_invocation(dedup_key="k", queue="other")]
    )
    assert (again.state, again.id) == ("duplicate", first.id)
    assert elsewhere.state == "waiting"
    clock.advance(4)
    [after] = await store.invocations.enqueue([an_invocation(dedup_key="k")])
    assert after.state == "waiting"


async def test_a_dropped_duplicate_leaves_a_record_that_names_the_first(store: Store) -> None:
    """Somebody will ask where their event went."""
    first, second = some_invocations(2, dedup_key="k")
    await store.invocations.enqueue([first, second])
    found = await store.history.invocation(second.id)
    assert found is not None
    assert (found.state, found.outcome) == ("skipped", "duplicate")
    assert first.id in str(found.reason)


async def test_overlap_skip_records_the_tick_that_found_another_at_work(store: Store) -> None:
    """And runs again as soon as the other is through."""
    ticks = some_invocations(3, source="nightly", overlap="skip")
    first, second = await store.invocations.enqueue(ticks[:2])
    assert (first.state, second.state, second.reason) == ("waiting", "skipped", "skipped-overlap")
    found = await store.history.invocation(second.id)
    assert found is not None
    assert (found.state, found.outcome) == ("skipped", "skipped-overlap")
    assert first.id in str(found.reason)
    [claim] = await store.invocations.claim(LANE, 5, 30)
    await store.invocations.finish([a_finish(claim)])
    [third] = await store.invocations.enqueue(ticks[2:])
    assert third.state == "waiting"


async def test_overlap_replace_cancels_the_others_and_names_the_running_ones(store: Store) -> None:
    """The dispatcher must stop their sandboxes; what only waited needs nothing more."""
    running, waiting, new = some_invocations(3, source="nightly")
    await store.invocations.enqueue([running])
    [claim] = await store.invocations.claim(LANE, 1, 30)
    await store.invocations.enqueue([waiting])
    [accepted] = await store.invocations.enqueue([replace(new, overlap="replace")])
    assert (accepted.state, accepted.replaced) == ("waiting", (running.id,))
    assert await state_of(store, running.id) == await state_of(store, waiting.id) == "cancelled"
    [settled] = await store.invocations.finish([a_finish(claim)])
    assert settled.lease_lost
    assert await store.invocations.unfinished("nightly") == 1


async def test_an_event_that_never_runs_is_a_record_with_its_reason(store: Store) -> None:
    """A missed tick is history, and is recorded once."""
    missed = an_invocation(skip_reason="missed", skip_detail="3 h late", origin_key="t")
    accepted, again = await store.invocations.enqueue([missed, an_invocation(origin_key="t")])
    assert (accepted.state, accepted.reason, again.state) == ("skipped", "missed", "duplicate")
    found = await store.history.invocation(missed.id)
    assert found is not None
    assert (found.state, found.outcome, found.reason) == ("skipped", "missed", "3 h late")
    assert await claim_ids(store) == []


async def test_a_direct_invoke_begins_as_claimed(store: Store) -> None:
    """Nobody else may claim it, and a crash leaves it to be found."""
    new = an_invocation()
    claim = await store.invocations.begin(new, 30)
    assert (claim.number, claim.invocation.state) == (1, "running")
    assert await claim_ids(store) == []
    with pytest.raises(Conflict, match=new.id):
        await store.invocations.begin(new, 30)
    [settled] = await store.invocations.finish([a_finish(claim)])
    assert (settled.state, settled.lease_lost) == ("done", False)


async def test_a_success_keeps_result_attempt_and_counts(store: Store) -> None:
    """Everything that `faasd why` and the dashboard show."""
    await store.invocations.enqueue([an_invocation()])
    [claim] = await store.invocations.claim(LANE, 1, 30)
    await store.invocations.finish([a_finish(claim)])
    found = await store.history.invocation(claim.invocation.id)
    assert found is not None
    assert (found.state, found.outcome, found.result_json) == ("done", "ok", '{"sent":1}')
    assert (found.spent, found.attempts, found.ended_at) == (Spent(attempts=1), 1, START + 1.5)
    assert await store.history.attempts(found.id) == [a_record(claim)]


async def test_a_retry_waits_until_its_time_and_counts_what_was_spent(
    store: Store, clock: FakeClock
) -> None:
    """Uncharged outcomes have counters of their own."""
    await store.invocations.enqueue([an_invocation()])
    words = ["error", "lost", "sandbox-failed", "drained"]
    for word in words:
        [claim] = await store.invocations.claim(LANE, 1, 30)
        await store.invocations.finish([a_finish(claim, word, RetryAt(clock.now() + 10))])
        assert await claim_ids(store) == []
        clock.advance(10)
    [claim] = await store.invocations.claim(LANE, 1, 30)
    assert claim.invocation.spent == Spent(1, 1, 1, 1)
    assert claim.number == 5
    history = await store.history.attempts(claim.invocation.id)
    assert [(each.number, each.outcome) for each in history] == list(enumerate(words, 1))


async def test_a_lost_lease_among_many_stops_none_of_the_others(store: Store) -> None:
    """What ends in one moment is written together, and yet each by itself."""
    await store.invocations.enqueue(some_invocations(45))
    claims = await store.invocations.claim(LANE, 45, 30)
    [cancelled] = await store.invocations.cancel([claims[7].invocation.id], "not wanted")
    words = ["error" if place % 5 == 0 else "ok" for place in range(45)]
    verdicts = [DeadLetter("gave up") if word == "error" else Done() for word in words]
    settled = await store.invocations.finish(
        [a_finish(*each) for each in zip(claims, words, verdicts, strict=True)]
    )
    wanted = ["dead" if word == "error" else "done" for word in words]
    wanted[7] = "cancelled"
    assert [one.state for one in settled] == wanted
    assert [one.invocation_id for one in settled] == [one.invocation.id for one in claims]
    assert [place for place, one in enumerate(settled) if one.lease_lost] == [7]
    for claim, state, word in zip(claims, wanted, words, strict=True):
        assert await state_of(store, claim.invocation.id) == state
        [record] = await store.history.attempts(claim.invocation.id)
        assert record.outcome == word
    assert (await store.history.invocation(cancelled)).spent.attempts == 0
    again = await store.invocations.finish([a_finish(claim) for claim in claims])
    assert all(one.lease_lost for one in again)


async def test_many_retries_keep_their_own_times(store: Store, clock: FakeClock) -> None:
    """A statement for many writes to each row what is its own."""
    await store.invocations.enqueue(some_invocations(9))
    claims = await store.invocations.claim(LANE, 9, 30)
    await store.invocations.finish(
        [
            a_finish(claim, "error", RetryAt(START + 10 * place))
            for place, claim in enumerate(claims, 1)
        ]
    )
    clock.advance(45)
    due, next_at = await store.invocations.claim_due(LANE, 20, 30)
    assert [one.invocation.id for one in due] == [one.invocation.id for one in claims[:4]]
    assert all(one.invocation.spent.attempts == 1 for one in due)
    assert next_at == START + 50


async def test_a_claim_says_when_the_next_is_due(store: Store) -> None:
    """So that nobody has to look again, or wakes in vain, while more may be there."""
    await store.invocations.enqueue(
        [an_invocation(), an_invocation(), an_invocation(due_at=START + 60)]
    )
    claims, next_at = await store.invocations.claim_due(LANE, 2, 30)
    assert (len(claims), next_at) == (2, None)
    assert await store.invocations.claim_due(LANE, 2, 30) == ([], START + 60)


async def test_an_id_that_comes_twice_among_many_is_stored_once(store: Store) -> None:
    """Within a request, across requests of one moment, and against what was there before."""
    before = an_invocation()
    await store.invocations.enqueue([before])
    new = some_invocations(70)
    twice = replace(new[3], event_json='{"to":"b"}')
    both = await asyncio.gather(
        store.invocations.enqueue([*new, twice, before]), store.invocations.enqueue([new[5]])
    )
    states = [one.state for one in both[0]]
    assert states == ["waiting"] * 70 + ["duplicate"] * 2
    assert [one.state for one in both[1]] == ["duplicate"]
    assert len(await store.history.invocations(InvocationFilter(limit=None))) == 71
    assert (await store.history.invocation(new[3].id)).event_json == '{"to":"a"}'


async def test_a_stale_lease_writes_nothing(store: Store, clock: FakeClock) -> None:
    """A daemon that stalled past its visibility timeout must not overwrite the newer attempt."""
    await store.invocations.enqueue([an_invocation()])
    [stale] = await store.invocations.claim(LANE, 1, 30)
    clock.advance(31)
    await store.invocations.return_expired(lambda c: a_finish(c, "lost", RetryAt(clock.now())))
    [fresh] = await store.invocations.claim(LANE, 1, 30)
    assert fresh.lease.token > stale.lease.token
    assert await store.invocations.renew([stale.lease], 30) == []
    settled = await store.invocations.finish(
        [a_finish(stale, "error", DeadLetter("old")), a_finish(fresh)]
    )
    assert [each.lease_lost for each in settled] == [True, False]
    assert await state_of(store, fresh.invocation.id) == "done"
    words = [each.outcome for each in await store.history.attempts(fresh.invocation.id)]
    assert words == ["lost", "ok"]


async def test_a_renewed_lease_does_not_expire(store: Store, clock: FakeClock) -> None:
    """Renewal counts from now; a long attempt holds its invocation as long as its sandbox lives."""
    await store.invocations.enqueue(some_invocations(2))
    kept, left = await store.invocations.claim(LANE, 2, 30)
    clock.advance(20)
    [renewed] = await store.invocations.renew([kept.lease], 30)
    assert renewed.expires_at == clock.now() + 30
    clock.advance(11)
    settled = await store.invocations.return_expired(
        lambda c: a_finish(c, "lost", RetryAt(clock.now()))
    )
    assert [each.invocation_id for each in settled] == [left.invocation.id]


async def test_a_released_claim_is_as_if_it_had_never_been(store: Store) -> None:
    """What is claimed ahead and not begun counts for nothing: no attempt, no time, no place lost."""
    new = some_invocations(3)
    await store.invocations.enqueue(new)
    claims = await store.invocations.claim(LANE, 2, 30)
    leases = [claim.lease for claim in claims]
    assert await store.invocations.release(leases) == leases
    found = await store.history.invocation(new[0].id)
    assert found is not None
    assert (found.state, found.attempts, found.started_at, found.spent) == (
        "waiting",
        0,
        None,
        Spent(),
    )
    assert await store.history.attempts(new[0].id) == []
    assert await claim_ids(store) == [one.id for one in new]


async def test_what_is_claimed_ahead_has_not_begun(store: Store, clock: FakeClock) -> None:
    """After a crash that tells it from what ran for certain; the end of its attempt says when it began."""
    await store.invocations.enqueue(some_invocations(3))
    claims, _ = await store.invocations.claim_due(LANE, 3, 30, 1)
    assert [one.invocation.started_at for one in claims] == [clock.now(), None, None]
    await store.invocations.finish([a_finish(one) for one in claims])
    for one in claims:
        found = await store.history.invocation(one.invocation.id)
        assert found is not None
        assert (found.state, found.started_at) == ("done", START)


async def test_only_the_holder_of_a_lease_releases_it(store: Store, clock: FakeClock) -> None:
    """A release that comes late must not take the invocation from who has claimed it since."""
    await store.invocations.enqueue(some_invocations(1))
    [stale] = await store.invocations.claim(LANE, 1, 30)
    clock.advance(31)
    await store.invocations.return_expired(lambda c: a_finish(c, "lost", RetryAt(clock.now())))
    [fresh] = await store.invocations.claim(LANE, 1, 30)
    assert await store.invocations.release([stale.lease]) == []
    [settled] = await store.invocations.finish([a_finish(fresh)])
    assert (settled.state, settled.lease_lost) == ("done", False)


async def test_a_released_member_of_a_group_keeps_its_turn(store: Store) -> None:
    """Order within a group holds, also when its first was claimed and given back."""
    new = some_invocations(3, group_key="g")
    await store.invocations.enqueue(new)
    [first] = await store.invocations.claim(LANE, 3, 30)
    assert await claim_ids(store) == []  # The others are held back by it.
    await store.invocations.release([first.lease])
    assert await claim_ids(store) == [new[0].id]


async def test_a_start_returns_everything_that_a_predecessor_held(store: Store) -> None:
    """More than fit one portion, each once, and with the number of the attempt that was lost."""
    await store.invocations.enqueue(some_invocations(450))
    claims = await store.invocations.claim(LANE, 450, 3600)
    seen: list[str] = []

    def record(claim: Claim) -> Finish:
        seen.append(claim.invocation.id)
        assert claim.number == 1
        return a_finish(claim, "lost", RetryAt(START))

    settled = await store.invocations.return_unheld(record)
    assert {each.state for each in settled} == {"waiting"}
    assert sorted(seen) == sorted(claim.invocation.id for claim in claims)
    [late] = await store.invocations.finish([a_finish(claims[0])])
    assert late.lease_lost


async def test_follow_ups_are_committed_with_the_finish(store: Store) -> None:
    """A destination is never told of something that did not happen, nor forgotten."""
    await store.invocations.enqueue([an_invocation()])
    [claim] = await store.invocations.claim(LANE, 1, 30)
    told, never = an_invocation(queue="after"), an_invocation(queue="after")
    await store.invocations.finish([a_finish(claim, follow_ups=(told,))])
    await store.invocations.finish([a_finish(claim, follow_ups=(never,))])
    found = await store.history.invocations(InvocationFilter(queue="after"))
    assert [each.id for each in found] == [told.id]


async def test_a_cancelled_attempt_is_recorded_and_changes_nothing_else(store: Store) -> None:
    """It did run, so history must show it; but the invocation stays cancelled."""
    running, waiting, done = some_invocations(3)
    await store.invocations.enqueue([done])
    [finished] = await store.invocations.claim(LANE, 1, 30)
    await store.invocations.finish([a_finish(finished)])
    await store.invocations.enqueue([running])
    [claim] = await store.invocations.claim(LANE, 1, 30)
    await store.invocations.enqueue([waiting])
    changed = await store.invocations.cancel([waiting.id, running.id, done.id, "none"], "not now")
    assert sorted(changed) == sorted([running.id, waiting.id])
    for _ in range(2):  # The dispatcher may say it twice.
        [settled] = await store.invocations.finish([a_finish(claim, "cancelled")])
        assert (settled.lease_lost, settled.state) == (True, "cancelled")
    found = await store.history.invocation(running.id)
    assert found is not None
    assert (found.state, found.outcome, found.reason) == ("cancelled", "cancelled", "not now")
    assert [each.outcome for each in await store.history.attempts(running.id)] == ["cancelled"]
    assert await claim_ids(store) == []


async def test_a_finish_that_says_cancelled_ends_as_cancelled(store: Store) -> None:
    """A caller that hangs up cancels its attempt without the store being asked first."""
    claim = await store.invocations.begin(an_invocation(), 30)
    [settled] = await store.invocations.finish([a_finish(claim, "cancelled")])
    assert (settled.state, settled.lease_lost) == ("cancelled", False)


async def test_expired_invocations_are_skipped_and_never_claimed(
    store: Store, clock: FakeClock
) -> None:
    """With the reason on record."""
    stale, good = an_invocation(expires_at=START + 5), an_invocation()
    held = an_invocation(queue="paused", expires_at=START + 5)
    await store.invocations.enqueue([stale, good, held])
    clock.advance(5)
    assert await store.invocations.expire_due(1) == [stale.id]
    assert await claim_ids(store) == [good.id]
    for each in (stale, held):
        found = await store.history.invocation(each.id)
        assert found is not None
        assert (found.state, found.outcome, found.attempts) == ("skipped", "expired", 0)


async def dead_letters(store: Store, count: int, **changes: object) -> list[str]:
    await store.invocations.enqueue(some_invocations(count, **changes))
    claims = await store.invocations.claim(LANE, count, 30)
    await store.invocations.finish([a_finish(c, "error", DeadLetter("used up")) for c in claims])
    return [claim.invocation.id for claim in claims]


async def test_redrive_gives_dead_letters_fresh_attempts(store: Store, clock: FakeClock) -> None:
    """Their history stays, and the numbers of their attempts go on."""
    [redriven, left] = await dead_letters(store, 2, expires_at=START + 5)
    clock.advance(100)
    found = await store.history.invocation(redriven)
    assert found is not None
    assert (found.state, found.reason, found.outcome) == ("dead", "used up", "error")
    assert await store.invocations.redrive(InvocationFilter(ids=(redriven,))) == [redriven]
    [claim] = await store.invocations.claim(LANE, 5, 30)
    assert (claim.invocation.id, claim.number, claim.invocation.spent) == (redriven, 2, Spent())
    assert await state_of(store, left) == "dead"


async def test_redrive_and_drop_touch_dead_letters_only(store: Store) -> None:
    """A filter that means everything must not move what waits, runs or is done."""
    [dead] = await dead_letters(store, 1)
    await store.invocations.enqueue([an_invocation()])
    assert await store.invocations.drop(ANY) == [dead]
    assert await state_of(store, dead) == "dropped"
    assert await store.invocations.redrive(ANY) == []
    assert await store.invocations.drop(ANY) == []


async def test_a_group_runs_in_order_one_at_a_time(store: Store, clock: FakeClock) -> None:
    """An earlier member that waits for its retry holds back the later ones, and no other group."""
    a = some_invocations(3, group_key="a")
    b = some_invocations(2, group_key="b")
    free = an_invocation()
    await store.invocations.enqueue([*a, *b, free])
    claims = await store.invocations.claim(LANE, 10, 30)
    assert [c.invocation.id for c in claims] == [a[0].id, b[0].id, free.id]
    await store.invocations.finish([a_finish(claims[0], "error", RetryAt(START + 10))])
    await store.invocations.finish([a_finish(claims[1])])
    assert await claim_ids(store) == [b[1].id]
    clock.advance(10)
    [again] = await store.invocations.claim(LANE, 10, 30)
    assert again.invocation.id == a[0].id
    await store.invocations.finish([a_finish(again, "error", DeadLetter("used up"))])
    assert await claim_ids(store) == [a[1].id]


@pytest.mark.parametrize("how", ["cancel", "expire", "replace", "return"])
async def test_a_group_goes_on_however_its_first_member_ends(
    store: Store, clock: FakeClock, how: str
) -> None:
    """A key that is blocked for ever is work that is lost."""
    first = an_invocation(group_key="a", source="s", expires_at=START + 5)
    second = an_invocation(group_key="a")
    await store.invocations.enqueue([first, second])
    if how != "expire":
        assert await claim_ids(store) == [first.id]
    assert await claim_ids(store, lane=replace(LANE, queue="other")) == []
    if how == "cancel":
        await store.invocations.cancel([first.id], "no")
    elif how == "replace":
        await store.invocations.enqueue(
            [an_invocation(source="s", overlap="replace", queue="other")]
        )
    elif how == "return":
        await store.invocations.return_unheld(lambda c: a_finish(c, "lost", DeadLetter("often")))
    else:
        clock.advance(5)
    assert await claim_ids(store) == [second.id]


async def test_a_batch_may_hold_several_of_one_group_in_order(store: Store) -> None:
    """A batch is handled one after the other, so order within it is kept; other batches must wait."""
    a = some_invocations(4, group_key="a")
    await store.invocations.enqueue([a[0], an_invocation(group_key="b"), *a[1:]])
    claims = await store.invocations.claim(BATCHES, 3, 30)
    assert [c.invocation.id for c in claims] == [each.id for each in a[:3]]
    others = await store.invocations.claim(BATCHES, 10, 30)
    assert [c.invocation.group_key for c in others] == ["b"]
    await store.invocations.finish([a_finish(claim) for claim in claims])
    assert await claim_ids(store, lane=BATCHES) == [a[3].id]


async def test_key_concurrency_bounds_a_group(store: Store) -> None:
    """Several at a time, never more, whether claimed together or apart."""
    lane = replace(LANE, key_concurrency=2)
    await store.invocations.enqueue(some_invocations(5, group_key="a"))
    claims = await store.invocations.claim(lane, 1, 30) + await store.invocations.claim(lane, 5, 30)
    assert len(claims) == 2
    await store.invocations.finish([a_finish(claims[1])])
    assert len(await store.invocations.claim(lane, 5, 30)) == 1


async def test_text_that_utf_8_cannot_hold_is_kept_with_escapes(store: Store) -> None:
    """JSON and file names may carry lone surrogates; no event is refused or lost for that."""
    odd = an_invocation(group_key="\udcff", dedup_key="k\udcff", event_json='"\\udcff"')
    accepted, again = await store.invocations.enqueue([odd, an_invocation(dedup_key="k\udcff")])
    assert (accepted.state, again.state) == ("waiting", "duplicate")
    [claim] = await store.invocations.claim(LANE, 1, 30)
    outcome = Outcome("error", error=None)
    record = a_record(claim, "error", log_tail="tail \udcff", error_json='"\udcff"')
    finish = Finish(claim.lease, record, outcome, DeadLetter("because \udcff"))
    [settled] = await store.invocations.finish([finish])
    assert settled.state == "dead"
    [attempt] = await store.history.attempts(odd.id)
    assert attempt.log_tail == "tail \\udcff"


async def test_an_empty_call_does_nothing(store: Store) -> None:
    """Callers need not check first."""
    assert await store.invocations.enqueue([]) == []
    assert await store.invocations.finish([]) == []
    assert await store.invocations.renew([], 30) == []
    assert await store.invocations.cancel([], "") == []
    assert await store.invocations.redrive(InvocationFilter(ids=())) == []
    assert await store.invocations.claim(LANE, 0, 30) == []


@pytest.mark.parametrize("group_key", [None, "g"])
async def test_what_killed_a_sandbox_is_claimed_apart_from_the_rest_of_a_batch(
    store: Store, clock: FakeClock, group_key: str | None
) -> None:
    """One event of a batch that died is to blame; alone, each shows whether it is the one."""
    new = some_invocations(3, group_key=group_key)
    await store.invocations.enqueue(new)
    claims = await store.invocations.claim(BATCHES, 10, 30)
    assert len(claims) == 3
    await store.invocations.finish([a_finish(one, "crashed", RetryAt(START)) for one in claims])
    fresh = some_invocations(2, group_key=group_key)
    await store.invocations.enqueue(fresh)
    clock.advance(1)
    for one in new:
        [claim] = await store.invocations.claim(BATCHES, 10, 30)
        assert claim.invocation.id == one.id
        assert claim.invocation.spent == Spent(attempts=1, died=1)
        await store.invocations.finish([a_finish(claim)])
    assert await claim_ids(store, lane=BATCHES) == [one.id for one in fresh]


async def test_what_only_failed_stays_in_its_batch(store: Store, clock: FakeClock) -> None:
    """The control: an error is told per member, so nobody need be found out."""
    await store.invocations.enqueue(some_invocations(3))
    claims = await store.invocations.claim(BATCHES, 10, 30)
    await store.invocations.finish([a_finish(one, "error", RetryAt(START)) for one in claims])
    clock.advance(1)
    assert len(await claim_ids(store, lane=BATCHES)) == 3


async def test_a_quarantined_dead_letter_says_so_until_it_is_redriven(store: Store) -> None:
    """People must be able to tell the poison from what merely failed."""
    await store.invocations.enqueue([an_invocation()])
    [claim] = await store.invocations.claim(LANE, 1, 30)
    verdict = DeadLetter("quarantined: 5 of its 5 attempts killed their sandbox")
    await store.invocations.finish([a_finish(claim, "crashed", verdict)])
    [found] = await store.history.invocations(ANY)
    assert (found.state, found.is_quarantined, found.spent.died) == ("dead", True, 1)
    await store.invocations.redrive(ANY)
    [found] = await store.history.invocations(ANY)
    assert (found.state, found.is_quarantined, found.spent.died) == ("waiting", False, 0)
