"""Enqueue without a daemon."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from faasd.clock import FakeClock
from faasd.errors import StateDirectoryInUse, UnknownQueue
from faasd.interfaces import InvocationFilter
from faasd.store.offline_enqueue import enqueue_offline
from faasd.store.open import open_store
from tests.conformance.making import an_invocation


async def test_what_was_enqueued_without_a_daemon_is_there_when_it_starts(
    state_dir: Path, clock: FakeClock
) -> None:
    """A script never loses an event, not even on a machine where faasd never ran."""
    new = [an_invocation(), an_invocation()]
    accepted = await asyncio.to_thread(enqueue_offline, state_dir, lambda _: new, clock)
    assert [(each.id, each.state) for each in accepted] == [
        (new[0].id, "waiting"),
        (new[1].id, "waiting"),
    ]
    store = await open_store(state_dir, clock)
    found = await store.history.invocations(InvocationFilter())
    await store.close()
    assert {each.id for each in found} == {each.id for each in new}


async def test_a_running_daemon_is_not_bypassed(state_dir: Path, clock: FakeClock) -> None:
    """It would not notice the event; the caller must speak to it."""
    store = await open_store(state_dir, clock)
    with pytest.raises(StateDirectoryInUse):
        await asyncio.to_thread(enqueue_offline, state_dir, lambda _: [an_invocation()], clock)
    await store.close()


async def test_a_typing_error_in_a_queue_is_caught_without_a_daemon(
    state_dir: Path, clock: FakeClock
) -> None:
    """The queues that the daemon last consumed are on disk, with their functions."""
    store = await open_store(state_dir, clock)
    await store.invocations.known_queues([("old", "f"), ("mail", "f")])
    await store.invocations.known_queues([("mail", "send_mail"), ("reports", "report")])
    await store.close()
    for queue, hint in (("mial", 'did you mean "mail"'), ("old", "there is mail, reports")):
        new = [an_invocation(), an_invocation(queue=queue)]
        with pytest.raises(UnknownQueue, match=hint):
            enqueue_offline(state_dir, lambda _, new=new: new, clock)
    enqueue_offline(state_dir, lambda _: [an_invocation(id="a", function="?")], clock)
    store = await open_store(state_dir, clock)
    found = await store.history.invocations(InvocationFilter())
    await store.close()
    assert [(each.id, each.function) for each in found] == [("a", "send_mail")]


def test_many_scripts_at_once_wait_for_each_other(state_dir: Path) -> None:
    """Cron may start several in the same second."""
    started = time.monotonic()

    async def all_at_once() -> None:
        await asyncio.gather(
            *(
                asyncio.to_thread(
                    enqueue_offline, state_dir, lambda _: [an_invocation()], None, 20.0
                )
                for _ in range(5)
            )
        )

    asyncio.run(all_at_once())
    assert time.monotonic() - started < 20
