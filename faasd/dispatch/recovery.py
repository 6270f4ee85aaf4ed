"""What a predecessor held is returned at once; what nobody renews any more, soon."""

from __future__ import annotations

import asyncio
import contextlib

from faasd.dispatch.conclude import lost
from faasd.dispatch.dispatcher import Dispatcher
from faasd.dispatch.run_attempt import Spine
from faasd.dispatch.running import Running
from faasd.errors import StoreError
from faasd.interfaces import Finish, Settled
from faasd.logs import get_logger
from faasd.model.attempt import Claim, Lease
from faasd.model.function import Function

__all__ = ["LeaseRenewal", "recover"]

_log = get_logger("dispatch")


async def recover(spine: Spine) -> list[Settled]:
    """Return everything that a dead predecessor held, uncharged, before anything is claimed."""
    settled = await spine.store.return_unheld(lambda claim: _lost(spine, claim))
    if settled:
        _log.warning(
            "lost_attempts_returned",
            invocations=len(settled),
            dead_letters=sum(one.state == "dead" for one in settled),
        )
    return settled


def _lost(spine: Spine, claim: Claim) -> Finish:
    if spine.on_lost is not None:
        spine.on_lost(claim.invocation.function)
    function = spine.catalog.get(claim.invocation.function) or Function(claim.invocation.function)
    consumers = {lane.queue: lane.function for lane in spine.catalog.lanes()}
    return lost(function, claim, consumers, spine.clock.now(), spine.noise())


class LeaseRenewal:
    """Renews the leases of what runs here, then returns those that nobody renews.

    The order matters: after a suspend every lease has run out by the wall clock although its
    sandbox lives, so ours are renewed before any is taken for abandoned.
    """

    def __init__(self, spine: Spine, running: Running, dispatcher: Dispatcher) -> None:
        self._spine = spine
        self._running = running
        self._dispatcher = dispatcher
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None]:
        """Begin to renew. The returned task ends only with `stop`, or by a mistake of ours."""
        self._task = asyncio.create_task(self._loop())
        return self._task

    async def stop(self) -> None:
        """Renew nothing any more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _loop(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s())
            try:
                await self.renew_once()
            except StoreError as error:
                _log.error("lease_renewal_failed", error=str(error))

    def _interval_s(self) -> float:
        """A third of the shortest visibility timeout in force, so that two renewals may fail."""
        shortest_s = min(
            (lane.visibility_timeout_s for lane in self._spine.catalog.lanes()), default=30.0
        )
        return min(max(shortest_s / 3.0, 1.0), 20.0)

    async def renew_once(self) -> None:
        """Renew all leases held here and return the abandoned ones."""
        visibility_s = {
            lane.queue: lane.visibility_timeout_s for lane in self._spine.catalog.lanes()
        }
        by_length: dict[float, list[Lease]] = {}
        for attempt in self._running.attempts():
            for claim in attempt.claims:
                queue = claim.invocation.queue
                lease_s = visibility_s.get(queue, attempt.function.limits.timeout_s + 60.0)
                by_length.setdefault(lease_s, []).append(claim.lease)
        for claim in self._running.stock.claims():  # Else they would be taken for abandoned.
            lease_s = visibility_s.get(claim.invocation.queue, 60.0)
            by_length.setdefault(lease_s, []).append(claim.lease)
        for lease_s, leases in by_length.items():
            await self._spine.store.renew(leases, lease_s)
        returned = await self._spine.store.return_expired(lambda claim: _lost(self._spine, claim))
        if returned:
            _log.warning("abandoned_leases_returned", invocations=len(returned))
            self._dispatcher.wake()
