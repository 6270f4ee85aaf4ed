"""The single way in: an event becomes a committed invocation, or is refused and stays the sender's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from faasd.clock import Clock
from faasd.errors import EventRefused, NotAccepting, PayloadTooLarge, UnknownFunction, UnknownQueue
from faasd.interfaces import Catalog, InvocationStore
from faasd.model.event import encode_json
from faasd.model.function import Function
from faasd.model.ids import new_id
from faasd.model.invocation import Acceptance, NewEvent, NewInvocation
from faasd.model.pattern import matches
from faasd.model.suggest import did_you_mean
from faasd.model.units import format_size

__all__ = ["Intake"]


class Intake:
    """Implements the seam `Accept`.

    `on_accepted` hears, after each commit, which queues have new work and which running
    invocations an overlap rule has replaced. `count` hears what became of each event. `check_room`
    raises StoreFull while there is room left only for what was accepted before.
    """

    def __init__(
        self,
        catalog: Catalog,
        store: InvocationStore,
        clock: Clock,
        on_accepted: Callable[[set[str], tuple[str, ...]], None],
        count: Callable[[Sequence[NewInvocation], Sequence[Acceptance]], None] | None = None,
        check_room: Callable[[], None] | None = None,
    ) -> None:
        self._catalog = catalog
        self._store = store
        self._clock = clock
        self._on_accepted = on_accepted
        self._count = count
        self._check_room = check_room
        self._closed = False

    def close(self) -> None:
        """Refuse every event from now on: the daemon is stopping."""
        self._closed = True

    async def accept(self, event: NewEvent) -> Acceptance:
        """Accept one event; when this returns, the event is on disk. Raises EventRefused or StoreError."""
        [acceptance] = await self.accept_many([event])
        return acceptance

    async def accept_many(self, events: Sequence[NewEvent]) -> list[Acceptance]:
        """Accept events in one transaction, all or none. Raises EventRefused or StoreError."""
        self._check_open()
        return await self._commit([self.prepare(event) for event in events])

    async def accept_each(
        self, requests: Sequence[Sequence[NewEvent]]
    ) -> list[list[Acceptance] | EventRefused]:
        """Accept many requests in one transaction, each all or none. Raises StoreError, for all of them."""
        self._check_open()
        new: list[NewInvocation] = []
        #: Where in `new` each request ends, or why it is refused.
        ends: list[int | EventRefused] = []
        for events in requests:
            try:
                new += [self.prepare(event) for event in events]
            except EventRefused as error:
                ends.append(error)
            else:
                ends.append(len(new))
        acceptances = await self._commit(new) if new else []
        answers: list[list[Acceptance] | EventRefused] = []
        begin = 0
        for end in ends:
            if isinstance(end, EventRefused):
                answers.append(end)
            else:
                answers.append(acceptances[begin:end])
                begin = end
        return answers

    def _check_open(self) -> None:
        if self._closed:
            raise NotAccepting(
                "the daemon is stopping and takes no new events; send it again later"
            )

    async def _commit(self, new: Sequence[NewInvocation]) -> list[Acceptance]:
        acceptances = await self._store.enqueue(new)
        if self._count is not None:
            self._count(new, acceptances)
        queues = {one.queue for one in new if one.skip_reason is None}
        replaced = tuple(id_ for acceptance in acceptances for id_ in acceptance.replaced)
        self._on_accepted(queues, replaced)
        return acceptances

    def prepare(self, event: NewEvent) -> NewInvocation:
        """Check one event and give it its identity and times. Stores nothing.

        Raises EventRefused, and StoreFull where `check_room` does.
        """
        if self._check_room is not None:
            self._check_room()
        function = self._function_for(event)
        now = self._clock.now()
        due_at = now if event.due_at is None else event.due_at
        expires_s = function.expires_s if event.expires_s is None else event.expires_s
        reason, detail = event.skip_reason, event.skip_detail
        if reason is None and not _passes_filter(function, event):
            reason, detail = "filtered", "the event matches none of the trigger's filter patterns"
        return NewInvocation(
            id=event.id or new_id(),
            function=function.name,
            queue=event.queue,
            trigger=event.trigger,
            source=event.source,
            event_json=_encode(function, event),
            created_at=now,
            due_at=due_at,
            expires_at=None if expires_s is None else max(now, due_at) + expires_s,
            priority=event.priority,
            group_key=event.group_key,
            dedup_key=event.dedup_key,
            dedup_window_s=event.dedup_window_s,
            origin_key=event.origin_key,
            overlap=event.overlap,
            scheduled_for=event.scheduled_for,
            parent_id=event.parent_id,
            skip_reason=reason,
            skip_detail=detail,
        )

    def _function_for(self, event: NewEvent) -> Function:
        if event.function:
            function = self._catalog.get(event.function)
            if function is None:
                names = [each.name for each in self._catalog.all()]
                raise UnknownFunction(
                    f"no function is named {event.function!r}{did_you_mean(event.function, names, or_list=True)}"
                )
            return function
        consumer = self._catalog.consumer_of(event.queue)
        if consumer is None:
            queues = [lane.queue for lane in self._catalog.lanes()]
            raise UnknownQueue(
                f"no function consumes a queue named {event.queue!r}{did_you_mean(event.queue, queues, or_list=True)}"
            )
        return consumer


def _passes_filter(function: Function, event: NewEvent) -> bool:
    patterns = event.filter
    if not patterns and event.trigger == "queue":
        for queue in function.queues:
            if queue.name == event.queue:
                patterns = queue.filter
                break
    return not patterns or any(matches(pattern, event.body) for pattern in patterns)


def _encode(function: Function, event: NewEvent) -> str:
    try:
        text = encode_json(event.body)
    except (TypeError, ValueError, RecursionError) as error:
        raise EventRefused(
            f"cannot accept the event for {function.name!r}: it is not JSON: {error}"
        ) from error
    limit_bytes = function.limits.payload_limit_bytes
    if len(text) > limit_bytes:
        raise PayloadTooLarge(
            f"cannot accept the event for {function.name!r}: it has {format_size(len(text))} as JSON and "
            f"payload_limit is {format_size(limit_bytes)}; pass a path instead, or raise payload_limit"
        )
    return text
