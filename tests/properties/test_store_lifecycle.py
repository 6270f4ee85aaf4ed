"""Random lives of invocations, beside a model that is too simple to be wrong."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from faasd.interfaces import InvocationFilter
from faasd.model.attempt import Claim, Lease
from faasd.model.function import Lane
from faasd.model.invocation import may_become
from faasd.model.retry import DeadLetter, Done, RetryAt
from faasd.store.cancelling import cancel
from faasd.store.claiming import claim, expire
from faasd.store.database import driver_of, open_writer
from faasd.store.enqueueing import enqueue
from faasd.store.filters import drop, redrive
from faasd.store.finishing import finish
from faasd.store.leases import last_token, release, renew, take_over
from faasd.store.migrations import migrate
from faasd.store.usage import UsageSums
from tests.conformance.making import START, a_finish, an_invocation

ENDS = st.sampled_from(["ok", "retry", "retry later", "dead", "cancelled"])
ANY_OF_THEM = st.integers(0, 1000)  # Modulo how many there are.


@dataclass
class Modelled:
    """What the model knows of one invocation."""

    id: str
    seq: int
    priority: int
    due_at: float
    expires_at: float | None
    group: str | None
    source: str
    state: str = "waiting"
    token: int | None = None
    lease_until: float = 0.0
    attempts: int = 0


class Lives(RuleBasedStateMachine):
    """One queue; every step is checked against the model, and every change against the table."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        path = self.directory / "faasd.db"
        self.connection = open_writer(path)
        migrate(self.connection, path)
        # Power cuts are another test's business; this one wants many steps.
        driver_of(self.connection).execute("PRAGMA synchronous = OFF")
        self.now = START
        self.model: dict[str, Modelled] = {}
        self.claims: list[Claim] = []  # All that were ever handed out.
        self.states: dict[str, str] = {}

    @initialize(key_concurrency=st.integers(1, 3), is_batch=st.booleans())
    def choose_lane(self, key_concurrency: int, is_batch: bool) -> None:
        self.lane = Lane("mail", "send", key_concurrency=key_concurrency, is_batch=is_batch)

    def teardown(self) -> None:
        self.connection.close()
        shutil.rmtree(self.directory)

    def work(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """Run one work as the writer does, and see that all that it changed is in the table."""
        with self.connection.begin():
            result = function(self.connection, *arguments, **named)
        rows = driver_of(self.connection).execute("SELECT id, state FROM invocations").fetchall()
        for each, state in rows:
            before = self.states.get(each)
            assert before == state or may_become(before, state)
        self.states = dict(rows)
        return result

    @rule(
        count=st.integers(1, 3),
        priority=st.sampled_from([0, 0, 1]),
        group=st.sampled_from([None, "a", "a", "b"]),
        delay=st.sampled_from([0, 0, 0, 5]),
        expires=st.sampled_from([None, None, 8]),
        source=st.sampled_from(["s", "t"]),
        overlap=st.sampled_from(["allow", "allow", "allow", "skip", "replace"]),
    )
    def enqueue(self, count: int, overlap: str, expires: float | None, **chosen: Any) -> None:
        due_at = self.now + chosen.pop("delay")
        expires_at = None if expires is None else self.now + expires
        group = chosen.pop("group")
        for _ in range(count):
            new = an_invocation(
                due_at=due_at, expires_at=expires_at, group_key=group, overlap=overlap, **chosen
            )
            others = [m for m in self.open() if m.source == new.source]
            [accepted] = self.work(enqueue, [new], self.now)
            one = Modelled(
                new.id, len(self.model), new.priority, due_at, expires_at, group, new.source
            )
            self.model[new.id] = one
            if overlap == "skip" and others:
                one.state = "skipped"
            if overlap == "replace":
                assert set(accepted.replaced) == {m.id for m in others if m.state == "running"}
                for other in others:
                    other.state = "cancelled"
            assert accepted.state == one.state

    @rule(
        seconds=st.sampled_from([1, 3, 10]),
        then=st.sampled_from(["nothing", "expire", "return_expired", "return_unheld"]),
    )
    def let_time_pass(self, seconds: float, then: str) -> None:
        self.now += seconds
        if then == "expire":
            assert set(self.work(expire, 100, self.now)) == self.model_expiry()
        elif then != "nothing":
            self.take_over(expired_only=then == "return_expired")

    @rule(count_max=st.integers(1, 5), ends=st.lists(ENDS, max_size=5))
    def claim_and_finish_some(self, count_max: int, ends: list[str]) -> None:
        """Most of a real life."""
        claims = self.claim(count_max)
        for each, how in zip(claims, ends, strict=False):
            self.finish(each, how)

    @precondition(lambda self: self.claims)
    @rule(which=ANY_OF_THEM, how=ENDS, is_held=st.sampled_from([True, True, False]))
    def finish_one(self, which: int, how: str, is_held: bool) -> None:
        claims = [each for each in self.claims if self.is_held(each.lease) or not is_held]
        if claims:
            self.finish(claims[which % len(claims)], how)

    def claim(self, count_max: int) -> list[Claim]:
        self.model_expiry()
        expected = self.model_claim(count_max)
        claims: list[Claim] = self.work(claim, self.lane, count_max, 6.0, self.now)
        assert [each.invocation.id for each in claims] == [m.id for m in expected]
        highest = max((each.lease.token for each in self.claims), default=0)
        for each, m in zip(claims, expected, strict=True):
            assert m.state == "waiting", "claimed what another lease holds"
            assert each.lease.token > highest
            m.state, m.token, m.lease_until = "running", each.lease.token, self.now + 6
            m.attempts += 1
            assert each.number == m.attempts
        self.claims += claims
        return claims

    def finish(self, each: Claim, how: str) -> None:
        m = self.model[each.invocation.id]
        at = self.now + (5 if how == "retry later" else 0)
        verdict = {"dead": DeadLetter("used up"), "ok": Done(), "cancelled": Done()}.get(
            how, RetryAt(at)
        )
        word = how if how in ("ok", "cancelled") else "error"
        [settled] = self.work(finish, [a_finish(each, word, verdict)], self.now, UsageSums())
        is_ours = m.state == "running" and m.token == each.lease.token
        assert settled.lease_lost is not is_ours
        if is_ours:
            m.state = {"ok": "done", "cancelled": "cancelled", "dead": "dead"}.get(how, "waiting")
            m.due_at = at if m.state == "waiting" else m.due_at
        assert settled.state == m.state

    @precondition(lambda self: self.claims)
    @rule(which=st.lists(ANY_OF_THEM, min_size=1, max_size=4))
    def renew(self, which: list[int]) -> None:
        leases = [self.claims[index % len(self.claims)].lease for index in which]
        ours = [lease for lease in leases if self.is_held(lease)]
        renewed = self.work(renew, leases, 6.0, self.now)
        assert [(r.invocation_id, r.token) for r in renewed] == [
            (lease.invocation_id, lease.token) for lease in ours
        ]
        for lease in ours:
            self.model[lease.invocation_id].lease_until = self.now + 6

    @precondition(lambda self: self.claims)
    @rule(which=st.lists(ANY_OF_THEM, min_size=1, max_size=4))
    def release(self, which: list[int]) -> None:
        places = dict.fromkeys(i % len(self.claims) for i in which)
        leases = [self.claims[place].lease for place in places]
        ours = [lease for lease in leases if self.is_held(lease)]
        assert self.work(release, leases) == ours
        for lease in ours:
            m = self.model[lease.invocation_id]
            m.state, m.attempts = "waiting", m.attempts - 1

    @precondition(lambda self: self.model)
    @rule(which=st.lists(ANY_OF_THEM, min_size=1, max_size=3))
    def cancel(self, which: list[int]) -> None:
        ids = self.ids(which)
        changed = self.work(cancel, ids, "no", self.now)
        expected = {each for each in ids if self.model[each].state in ("waiting", "running")}
        assert set(changed) == expected
        for each in expected:
            self.model[each].state = "cancelled"

    @precondition(lambda self: self.model)
    @rule(is_redrive=st.booleans(), which=st.lists(ANY_OF_THEM, min_size=1, max_size=8))
    def redrive_or_drop(self, is_redrive: bool, which: list[int]) -> None:
        ids = self.ids(which)
        changed = self.work(
            redrive if is_redrive else drop, InvocationFilter(ids=tuple(ids)), self.now
        )
        expected = {each for each in ids if self.model[each].state == "dead"}
        assert set(changed) == expected
        for each in expected:
            m = self.model[each]
            m.state = "waiting" if is_redrive else "dropped"
            m.due_at, m.expires_at = self.now, None

    def take_over(self, expired_only: bool) -> None:
        expired_by = self.now if expired_only else float("inf")
        token_max = self.work(last_token)
        taken = self.work(
            take_over,
            token_max=token_max,
            expired_by=expired_by,
            count_max=50,
            lease_s=6.0,
            now=self.now,
        )
        running = [m for m in self.model.values() if m.state == "running"]
        expected = [m for m in running if not expired_only or m.lease_until <= self.now]
        assert {each.invocation.id for each in taken} == {m.id for m in expected}
        for each in taken:
            m = self.model[each.invocation.id]
            m.token, m.lease_until = each.lease.token, self.now + 6
        self.claims += taken

    @invariant()
    def the_store_says_what_the_model_says(self) -> None:
        assert self.states == {m.id: m.state for m in self.model.values()}

    @invariant()
    def no_group_has_more_than_it_may(self) -> None:
        if not hasattr(self, "lane") or (self.lane.is_batch and self.lane.key_concurrency == 1):
            return
        groups = [m.group for m in self.model.values() if m.state == "running" and m.group]
        assert all(groups.count(group) <= self.lane.key_concurrency for group in groups)

    def ids(self, which: list[int]) -> list[str]:
        known = list(self.model)
        return sorted({known[index % len(known)] for index in which})

    def open(self) -> list[Modelled]:
        return [m for m in self.model.values() if m.state in ("waiting", "running")]

    def is_held(self, lease: Lease) -> bool:
        m = self.model[lease.invocation_id]
        return m.state == "running" and m.token == lease.token

    def model_expiry(self) -> set[str]:
        expired = {
            m.id
            for m in self.model.values()
            if m.state == "waiting"
            and m.attempts == 0  # Afterwards it runs, or is a dead letter.
            and m.expires_at is not None
            and m.expires_at <= self.now
        }
        for each in expired:
            self.model[each].state = "skipped"
        return expired

    def model_claim(self, count_max: int) -> list[Modelled]:
        """Walk everything, every time."""
        waiting = [m for m in self.model.values() if m.state == "waiting"]
        due = [m for m in waiting if m.due_at <= self.now]
        chosen: list[Modelled] = []
        for m in sorted(due, key=lambda m: (-m.priority, m.seq)):
            if len(chosen) >= count_max:
                break
            if m in chosen:
                continue
            if m.group is None:
                chosen.append(m)
                continue
            held = [o for o in self.model.values() if o.group == m.group and o.state == "running"]
            held += [o for o in chosen if o.group == m.group]
            if len(held) >= self.lane.key_concurrency:
                continue
            members = sorted((o for o in waiting if o.group == m.group), key=lambda o: o.seq)
            if self.lane.key_concurrency > 1:
                chosen.append(m)
            elif members[0] is m:
                chosen.append(m)
                for following in members[1:] if self.lane.is_batch else ():
                    if len(chosen) >= count_max or following.due_at > self.now:
                        break
                    chosen.append(following)
        return chosen


TestLives = Lives.TestCase
TestLives.settings = settings(
    max_examples=20,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_long_and_busy_lives_agree_with_the_model(seed: int) -> None:
    """Hypothesis finds short examples; this one finds what takes many claims to go wrong."""
    chance = random.Random(seed)
    lives = Lives()
    try:
        lives.choose_lane(chance.randint(1, 3), chance.random() < 0.5)
        for _ in range(120):
            one_step(lives, chance)
            lives.the_store_says_what_the_model_says()
            lives.no_group_has_more_than_it_may()
    finally:
        lives.teardown()


def one_step(lives: Lives, chance: random.Random) -> None:
    def indexes(count: int) -> list[int]:
        return [chance.randrange(1000) for _ in range(count)]

    ends = ["ok", "retry", "retry later", "dead", "cancelled"]
    match chance.randrange(20):
        case 0 | 1 | 2 | 3 | 4:
            lives.enqueue(
                count=chance.randint(1, 3),
                priority=chance.randint(0, 1),
                group=chance.choice([None, "a", "a", "b"]),
                delay=chance.choice([0, 0, 5]),
                expires=chance.choice([None, None, 8]),
                source=chance.choice(["s", "t"]),
                overlap=chance.choice(["allow"] * 20 + ["skip", "replace"]),
            )
        case 5 | 6 | 7 | 8 | 9:
            some = chance.choices(ends, k=chance.randint(0, 3))
            lives.claim_and_finish_some(count_max=chance.randint(1, 4), ends=some)
        case 10 | 11 | 12 | 13 if lives.claims:
            lives.finish_one(
                which=chance.randrange(1000), how=chance.choice(ends), is_held=chance.random() < 0.8
            )
        case 14 if lives.claims:
            chance.choice([lives.renew, lives.release])(which=indexes(3))
        case 15 if lives.model:
            lives.cancel(which=indexes(2))
        case 16 if lives.model:
            lives.redrive_or_drop(is_redrive=chance.random() < 0.7, which=indexes(20))
        case _:
            then = chance.choice(
                ["nothing", "nothing", "expire", "return_expired", "return_unheld"]
            )
            lives.let_time_pass(seconds=chance.choice([1, 1, 3, 10]), then=then)
