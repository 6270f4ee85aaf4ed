"""Groups: which waiting invocations of one key may be claimed now.

Those that may not are set to BLOCKED when a claim meets them, so that no later claim walks over
them again, and the next of them is made READY each time an invocation of their group stops waiting or
running. A thousand invocations behind one key then cost a claim as little as one.
"""

from __future__ import annotations

from sqlalchemy import Connection, bindparam, or_, select, text, update

from faasd.model.function import Lane
from faasd.store.statements import Hot
from faasd.store.tables import BLOCKED, READY, invocations

__all__ = ["GroupGate", "block", "unblock", "unblock_all"]

_i = invocations.c
_IN_GROUP = (_i.queue == bindparam("q"), _i.group_key == bindparam("g"))

_RUNNING = Hot(
    select(text("count(*)")).select_from(invocations).where(*_IN_GROUP, text("state = 'running'"))
)
_EARLIER = Hot(
    select(_i.seq)
    .where(*_IN_GROUP, text("state = 'waiting'"), _i.seq < bindparam("before"))
    .limit(1)
)
_FOLLOWING = Hot(
    select(_i.seq, _i.due_at, _i.expires_at, _i.attempts)
    .where(*_IN_GROUP, text("state = 'waiting'"), _i.seq > bindparam("after"))
    .order_by(_i.seq)
    .limit(bindparam("count_max"))
)
_BLOCK = Hot(
    update(invocations)
    .where(text("seq IN (SELECT value FROM json_each(:seqs))"), text("state = 'waiting'"))
    .values(readiness=BLOCKED)
)
_BLOCKED = select(_i.seq).where(*_IN_GROUP, text("state = 'waiting' AND readiness = 2")).limit(1)
_FIRST = _BLOCKED.order_by(_i.seq)  # Who goes next in a group that keeps its order,
_FOREMOST = _BLOCKED.order_by(_i.priority.desc(), _i.seq)  # and in one that goes by priority.
_UNBLOCK = Hot(
    update(invocations)
    .where(or_(_i.seq == _FIRST.scalar_subquery(), _i.seq == _FOREMOST.scalar_subquery()))
    .values(readiness=READY)
)
_ALL_BLOCKED = select(_i.seq).where(text("state = 'waiting' AND readiness = 2"))
_UNBLOCK_ALL = Hot(update(invocations).where(_i.seq.in_(_ALL_BLOCKED)).values(readiness=READY))


class GroupGate:
    """Decides, during one claim, which members of groups may go.

    With a `key_concurrency` of 1 a group goes strictly in order of acceptance: also an earlier
    member that is not due yet holds back the later ones. One claim of a batching lane is one
    batch, which may take several members, as they will be handled one after the other.
    """

    def __init__(self, connection: Connection, lane: Lane, now: float) -> None:
        self._connection = connection
        self._lane = lane
        self._now = now
        self._held: dict[str, int] = {}  # Of each group met: running, and admitted in this claim.

    def admit(self, seq: int, group_key: str, count_max: int) -> list[int]:
        """Return which members may go now that this one was met: none, it, or it and some after it."""
        if group_key not in self._held:
            row = _RUNNING.row(self._connection, q=self._lane.queue, g=group_key)
            self._held[group_key] = row[0]
        if self._held[group_key] >= self._lane.key_concurrency:
            return []
        admitted = [seq]
        if self._lane.key_concurrency == 1:
            if _EARLIER.row(self._connection, q=self._lane.queue, g=group_key, before=seq):
                return []
            if self._lane.is_batch:
                admitted += self._following(seq, group_key, count_max - 1)
        self._held[group_key] += len(admitted)
        return admitted

    def _following(self, seq: int, group_key: str, count_max: int) -> list[int]:
        following: list[int] = []
        for after, due_at, expires_at, attempts in _FOLLOWING.rows(
            self._connection, q=self._lane.queue, g=group_key, after=seq, count_max=count_max
        ):
            is_expired = not attempts and expires_at is not None and expires_at <= self._now
            if due_at > self._now or is_expired:
                break
            following.append(after)
        return following


def block(connection: Connection, seqs: list[int]) -> None:
    """Set aside members that a claim has met and must not take."""
    if seqs:
        _BLOCK.run(connection, seqs=str(seqs))


def unblock(connection: Connection, queue: str, group_key: str | None) -> None:
    """Make those ready that may be next. Due whenever a member stops waiting or running.

    Whether the group keeps its order is the lane's to know, so both candidates are woken; the next
    claim sets the wrong one aside again.
    """
    if group_key is not None:
        _UNBLOCK.run(connection, q=queue, g=group_key)


def unblock_all(connection: Connection) -> None:
    """Let every claim decide anew, as after a change of `key_concurrency`."""
    _UNBLOCK_ALL.run(connection)
