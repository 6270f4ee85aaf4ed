"""Hands complete files to intake in batches and writes their ledger rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from faasd.errors import EventRefused, NotAccepting
from faasd.interfaces import FileRow
from faasd.model.function import Function
from faasd.model.ids import new_id
from faasd.model.invocation import Acceptance, NewEvent
from faasd.triggers.file_events import file_event, file_row
from faasd.triggers.file_settle import Seen
from faasd.triggers.file_state import TriggerState

__all__ = ["Accepted", "FileAcceptor"]


@dataclass
class Accepted:
    """What became of one batch."""

    acceptances: list[Acceptance] = field(default_factory=list)
    refused: list[tuple[Seen, int, str]] = field(default_factory=list)  # With a sentence.
    to_check: list[str] = field(default_factory=list)  # Invocations that may be final already.


class FileAcceptor:
    """The way of one trigger's complete files into the store."""

    def __init__(self, function: Function, state: TriggerState) -> None:
        self.function = function
        self._trigger = state.trigger
        self._root = state.names.root
        self._accept = state.services.accept
        self._rows = state.rows
        self._guard = state.guard
        self._clock = state.services.clock

    async def accept(
        self, files: Sequence[tuple[Seen, int]], *, is_retry: bool = False
    ) -> Accepted:
        """Accept files in order, then write their rows.

        A crash between the two is harmless: the same file has the same origin key again. Files that
        intake refuses come back with the reason. Raises NotAccepting or StoreError, and then no
        row has been written for what was not accepted.
        """
        result = Accepted()
        now = self._clock.now()
        events = [self._event(seen, now, is_retry) for seen, _ in files]
        # Before accepting: a warm function may be done before `accept_many` returns to us.
        for event, (_, generation) in zip(events, files, strict=True):
            self._guard.accepted(event.id or "", generation)
        answers: list[Acceptance | EventRefused] = []
        try:
            answers = await self._answers(events)
        finally:
            for event in events[len(answers) :]:
                self._guard.finished(event.id or "", self._clock.monotonic())
        rows: list[FileRow] = []
        for event, (seen, generation), answer in zip(events, files, answers, strict=True):
            if isinstance(answer, EventRefused):
                self._guard.finished(event.id or "", self._clock.monotonic())
                result.refused.append((seen, generation, str(answer)))
            else:
                rows.append(
                    self._row(
                        event=event,
                        seen=seen,
                        generation=generation,
                        answer=answer,
                        result=result,
                        now=now,
                    )
                )
        # A claim of what was accepted goes to the writer first, and not behind the commit of the rows.
        await asyncio.sleep(0)
        await self._rows.put(rows)
        return result

    async def _answers(self, events: Sequence[NewEvent]) -> list[Acceptance | EventRefused]:
        try:
            return list(await self._accept.accept_many(events))
        except NotAccepting:
            raise
        except EventRefused as error:
            if len(events) == 1:
                return [error]
        # One of them is refused, and all or none were stored: find out which.
        answers: list[Acceptance | EventRefused] = []
        for event in events:
            try:
                answers.append(await self._accept.accept(event))
            except NotAccepting:
                raise
            except EventRefused as error:
                answers.append(error)
        return answers

    def _row(
        self,
        *,
        event: NewEvent,
        seen: Seen,
        generation: int,
        answer: Acceptance,
        result: Accepted,
        now: float,
    ) -> FileRow:
        result.acceptances.append(answer)
        if answer.id != event.id:  # A predecessor accepted it and died before it wrote the row.
            self._guard.finished(event.id or "", self._clock.monotonic())
            self._guard.accepted(answer.id, generation)
        if answer.state != "waiting":
            result.to_check.append(answer.id)
        return file_row(self._trigger.name, seen, answer.id, now)

    def _event(self, seen: Seen, now: float, is_retry: bool) -> NewEvent:
        event_id = new_id()
        return file_event(
            self.function,
            self._trigger,
            self._root,
            seen,
            event_id=event_id,
            at=now,
            retry=f":{event_id}" if is_retry else "",
        )
