"""What happened, read beside the writer."""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from faasd.clock import FakeClock
from faasd.errors import Conflict, StoreError
from faasd.interfaces import InvocationFilter, QueueCounts
from faasd.model.invocation import NewInvocation
from faasd.model.retry import DeadLetter, RetryAt
from faasd.store.open import Store
from tests.conformance.making import LANE, START, a_finish, an_invocation, some_invocations


async def test_an_invocation_is_found_by_a_prefix_that_is_unique(store: Store) -> None:
    """People copy the first characters of an id."""
    await store.invocations.enqueue([an_invocation(id=each) for each in ("abc1", "abc2", "abc")])

    async def found(text: str) -> str | None:
        invocation = await store.history.invocation(text)
        return invocation and invocation.id

    assert await found("abc1") == "abc1"
    assert await found("abc") == "abc"  # Whole ids win over prefixes.
    assert await found("abc2") == "abc2"
    assert await found("x") is None
    assert await found("") is None
    with pytest.raises(Conflict, match="abc and abc1"):
        await found("ab")


async def test_a_prefix_is_no_pattern(store: Store) -> None:
    """Wildcards of SQL mean themselves."""
    await store.invocations.enqueue([an_invocation(id="abc1")])
    assert await store.history.invocation("a%") is None
    assert await store.history.invocation("a_c") is None


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ({}, "dcba"),
        ({"limit": 2}, "dc"),
        ({"limit": None}, "dcba"),
        ({"ids": ("a", "c", "z")}, "ca"),
        ({"ids": ()}, ""),
        ({"function": "other"}, "b"),
        ({"queue": "mail", "trigger": "queue"}, "dca"),
        ({"source": "s"}, "c"),
        ({"group_key": "k"}, "a"),
        ({"states": ("skipped",)}, "d"),
        ({"outcomes": ("missed", "ok")}, "d"),
        ({"since": START + 1, "until": START + 2}, "cb"),
        ({"path": "/in/a.txt"}, ""),
    ],
)
async def test_a_listing_shows_what_the_filter_means_newest_first(
    store: Store, which: dict[str, object], expected: str
) -> None:
    """The same filter serves listings and bulk verbs."""
    a, b, c, d = (an_invocation(id=name, created_at=START + at) for at, name in enumerate("abcd"))
    b = replace(b, function="other", queue="other", trigger="cron")
    a = replace(a, group_key="k")
    c = replace(c, source="s")
    d = replace(d, skip_reason="missed")
    await store.invocations.enqueue([a, b, c, d])
    found = await store.history.invocations(InvocationFilter(**which))  # type: ignore[arg-type]
    assert "".join(each.id for each in found) == expected


async def test_queues_are_counted_by_what_their_invocations_do(
    store: Store, clock: FakeClock
) -> None:
    """One look says whether a queue keeps up; an empty queue is shown as such."""
    due = some_invocations(4, due_at=START - 7)
    await store.invocations.enqueue([*due, an_invocation(due_at=START + 60)])
    claims = await store.invocations.claim(LANE, 3, 30)
    await store.invocations.finish(
        [a_finish(claims[0]), a_finish(claims[1], "error", DeadLetter("x"))]
    )
    await store.invocations.known_queues([("empty", "f")])
    await store.invocations.begin(an_invocation(queue=""), 30)
    assert await store.history.queue_counts() == [
        QueueCounts("empty"),
        QueueCounts("mail", 1, 1, 1, 1, START - 7),
    ]


async def test_what_of_a_queue_comes_next_is_what_a_claim_takes(
    store: Store, clock: FakeClock
) -> None:
    """`faasd why QUEUE` tells of it, however long others have waited and however many there are."""

    async def next_id() -> str | None:
        found = await store.history.next_waiting("mail")
        return found and found.id

    async def claimed() -> str:
        [claim] = await store.invocations.claim(LANE, 1, 30)
        return claim.invocation.id

    assert await next_id() is None
    delayed = an_invocation(id="delayed", due_at=START + 60, priority=9)
    await store.invocations.enqueue([delayed])
    assert await next_id() == "delayed"
    first, second = (an_invocation(id=each, group_key="k") for each in ("first", "second"))
    await store.invocations.enqueue([first, second, an_invocation(id="urgent", priority=5)])
    for _ in range(2):
        assert await next_id() == await claimed()
    assert await next_id() == "second"  # Held back by its group, and due; the delayed one is not.
    clock.advance(60)
    assert await next_id() == await claimed() == "delayed"


async def test_the_last_attempts_of_many_invocations_come_in_one_look(store: Store) -> None:
    """A listing shows how long each took, and there may be thousands in it."""
    names = ["twice", "once", "never"]
    await store.invocations.enqueue([an_invocation(id=each) for each in names])
    first, second = await store.invocations.claim(LANE, 2, 30)
    again = a_finish(first, "error", RetryAt(START))
    await store.invocations.finish([again, a_finish(second, "ok")])
    [claim] = await store.invocations.claim(LANE, 1, 30)
    assert claim.invocation.id == "twice"
    await store.invocations.finish([a_finish(claim, "ok")])
    found = await store.history.last_attempts(names)
    assert {id_: (one.number, one.outcome) for id_, one in found.items()} == {
        "twice": (2, "ok"),
        "once": (1, "ok"),
    }
    assert found["twice"] == (await store.history.attempts("twice"))[-1]
    assert await store.history.last_attempts([]) == {}


async def test_attempts_are_counted_by_function_and_outcome_since_a_time(store: Store) -> None:
    """For the dashboard's bars."""
    await store.invocations.enqueue([*some_invocations(3), an_invocation(function="other")])
    claims = await store.invocations.claim(LANE, 4, 30)
    await store.invocations.finish(
        [a_finish(c, w) for c, w in zip(claims, ("ok", "ok", "error", "ok"), strict=True)]
    )
    assert await store.history.function_counts(START) == {
        "send": {"ok": 2, "error": 1},
        "other": {"ok": 1},
    }
    assert await store.history.function_counts(START + 2) == {}


async def test_reading_waits_for_no_transaction_of_the_writer(store: Store) -> None:
    """Somebody watching the dashboard must not slow the queue, nor be slowed by it."""
    await store.invocations.enqueue([an_invocation(id="a")])
    go = threading.Event()
    held = asyncio.create_task(store._writer.submit(lambda _: go.wait(20)))
    assert len(await store.history.invocations(InvocationFilter())) == 1
    assert (await store.invocations.waiting_since("mail"))[0] == 1
    go.set()
    await held


async def test_readers_cannot_write(store: Store) -> None:
    """There is one writer."""
    with pytest.raises(StoreError, match="readonly"):
        await store._readers.read(lambda c: c.exec_driver_sql("DELETE FROM invocations"))


async def test_a_backup_writes_over_nothing(store: Store, tmp_path: Path) -> None:
    """A typing error must not cost an older backup."""
    path = tmp_path / "copy.db"
    path.write_text("precious")
    with pytest.raises(Conflict, match="it exists"):
        await store.history.backup(str(path))
    assert path.read_text() == "precious"
    with pytest.raises(StoreError, match="No such file"):
        await store.history.backup(str(tmp_path / "none" / "copy.db"))


async def test_history_keeps_the_error_of_the_last_attempt(store: Store) -> None:
    """An invocation between two attempts says what went wrong."""
    await store.invocations.enqueue([an_invocation(id="a")])
    [claim] = await store.invocations.claim(LANE, 1, 30)
    await store.invocations.finish([a_finish(claim, "error", RetryAt(START + 9))])
    found = await store.history.invocation("a")
    assert found is not None
    assert found.error is not None
    assert (found.state, found.outcome, found.due_at) == ("waiting", "error", START + 9)
    assert (found.error.type, found.error.stack) == ("Boom", ("line 1",))


async def test_the_invocation_of_a_file_is_found_by_its_path(store: Store) -> None:
    """The ledger forgets a file that is moved away; history does not."""

    def of(name: str, trigger: str, path: str) -> NewInvocation:
        body = json.dumps({"path": path, "body": {"path": "/in/b"}})
        return an_invocation(id=name, trigger=trigger, event_json=body)

    await store.invocations.enqueue(
        [of("a", "files", "/in/a"), of("b", "queue", "/in/a"), of("c", "files", "/in/c")]
    )
    found = await store.history.invocations(InvocationFilter(path="/in/a"))
    assert [one.id for one in found] == ["a"]
    assert await store.history.invocations(InvocationFilter(path="/in/b")) == []
