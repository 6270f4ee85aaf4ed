"""After the invocation: carries out on_success and on_failure, and writes it into the ledger.

The order is file first, ledger second. A crash in between leaves a row in state `accepted` whose
invocation is final, which is what every start and every rescan looks for.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from faasd.clock import to_iso
from faasd.interfaces import FileRow, InvocationFilter
from faasd.model.attempt import AttemptRecord
from faasd.model.invocation import FINAL_STATES, Invocation
from faasd.triggers import file_actions
from faasd.triggers.file_events import identity_of_row, moved_detail, original_path
from faasd.triggers.file_look import DirectoryLook
from faasd.triggers.file_names import move_target, shown
from faasd.triggers.file_scan import identity_of
from faasd.triggers.file_state import TriggerState

__all__ = ["FileOutcomes", "Report"]

_IDS_MAX = 500
#: An invocation that history does not have yet is not one that it no longer has.
_FORGOTTEN_AFTER_S = 3600.0


@dataclass(frozen=True)
class Report:
    """What one round came to. `problems` are sentences."""

    final: list[str]
    problems: list[str]


@dataclass(frozen=True)
class _Plan:
    row: FileRow
    invocation: Invocation | None
    attempts: tuple[AttemptRecord, ...]
    is_success: bool | None  # None: it never ran, by somebody's wish; the file stays.


@dataclass(frozen=True)
class _Change:
    """The row to write instead; None to forget it."""

    path: bytes
    row: FileRow | None
    problem: str | None = None


class FileOutcomes:
    """Acts on the files of one trigger whose invocations are final."""

    def __init__(self, state: TriggerState, executor: Executor, look: DirectoryLook) -> None:
        self._trigger = state.trigger
        self._names = state.names
        self._rows = state.rows
        self._history = state.services.history
        self._clock = state.services.clock
        self._executor = executor
        self._look = look

    async def carry_out(self, invocation_ids: Collection[str]) -> Report:
        """Act for those of these invocations that are final. What fails is tried again at the next call."""
        final: list[str] = []
        problems: list[str] = []
        ids = list(invocation_ids)
        for first in range(0, len(ids), _IDS_MAX):
            chunk = ids[first : first + _IDS_MAX]
            known = {
                invocation.id: invocation
                for invocation in await self._history.invocations(
                    InvocationFilter(ids=tuple(chunk), limit=None)
                )
            }
            plans = []
            for invocation_id in chunk:
                plan = await self._plan(invocation_id, known.get(invocation_id))
                if plan is not None:
                    plans.append(plan)
                    final.append(invocation_id)
                elif self._is_over(known.get(invocation_id)):
                    final.append(invocation_id)
            problems += await self._apply(plans)
        return Report(final, problems)

    async def _plan(self, invocation_id: str, invocation: Invocation | None) -> _Plan | None:
        row = self._rows.of_invocation(invocation_id)
        if row is None or row.state == "done":
            return None
        if invocation is None:
            if self._clock.now() - row.seen_at < _FORGOTTEN_AFTER_S:
                return None
            return _Plan(row, None, (), None)
        if invocation.state not in FINAL_STATES:
            return None
        verdict = _is_success(invocation)
        if row.state == "failed" and verdict is not True:
            return None  # Acted on already; only a redrive that ends well changes that.
        attempts = [] if verdict else await self._history.attempts(invocation_id)
        return _Plan(row, invocation, tuple(attempts), verdict)

    @staticmethod
    def _is_over(invocation: Invocation | None) -> bool:
        return invocation is not None and invocation.state in FINAL_STATES

    async def _apply(self, plans: Sequence[_Plan]) -> list[str]:
        if not plans:
            return []
        loop = asyncio.get_running_loop()
        changes = await loop.run_in_executor(
            self._executor, lambda: [self._act(plan) for plan in plans]
        )
        # Rows first: where a file has a new path, a crash between the two leaves one row too many.
        await self._rows.put([change.row for change in changes if change.row is not None])
        moved_or_gone = [
            change.path
            for change in changes
            if change.row is None or change.row.path != change.path
        ]
        await self._rows.forget(moved_or_gone)
        return [change.problem for change in changes if change.problem is not None]

    def _act(self, plan: _Plan) -> _Change:
        """Do to one file what its trigger says. Blocks. Never raises."""
        row = plan.row
        if plan.is_success is None or plan.invocation is None:
            outcome = plan.invocation.outcome if plan.invocation else None
            note = f"never ran: {outcome}" if outcome else "its invocation is not kept any more"
            return _Change(row.path, replace(row, state="done", detail=note))
        action = self._trigger.on_success if plan.is_success else self._trigger.on_failure
        state = "done" if plan.is_success else "failed"
        if action == "keep":
            return _Change(row.path, replace(row, state=state, detail=_keep_detail(plan)))
        try:
            return self._delete_or_move(plan, action, state)
        except file_actions.Replaced:
            # Whatever is at the path now is another file, and the next look finds it.
            return _Change(row.path, None)
        except OSError as error:
            problem = (
                f"cannot {action.partition(':')[0]} {shown(row.path)} after it ended as"
                f" {plan.invocation.outcome}: {error.strerror or error}; tried again at the next rescan"
            )
            return _Change(row.path, replace(row, detail=problem), problem)

    def _delete_or_move(self, plan: _Plan, action: str, state: str) -> _Change:
        row, root = plan.row, self._names.root
        identity, marker = identity_of_row(row), self._names.marker
        if not self._look.has_stable_inodes:
            identity = identity._replace(inode=file_actions.ANY_INODE)
        if original_path(row) is not None:  # A failed file that was redriven and ended well.
            root = os.path.dirname(row.path)
        target = move_target(self._names.root, action)
        if target is None:
            file_actions.delete(root, row.path, identity, marker)
            file_actions.remove_sidecar(row.path)
            return _Change(row.path, None)
        if target == self._names.root:
            raise OSError(0, "it would be moved into the watched directory itself")
        moved = file_actions.move(root, row.path, identity, target, marker)
        file_actions.remove_sidecar(row.path)
        if plan.is_success:
            return _Change(row.path, None)
        original = original_path(row) or row.path
        file_actions.write_sidecar(moved, _sidecar_text(plan, original, moved, self._clock.now()))
        status = os.lstat(moved)
        detail = moved_detail(original)
        moved_row = FileRow(
            row.trigger, moved, *identity_of(status), state, row.invocation_id, row.seen_at, detail
        )
        return _Change(row.path, moved_row)


def _sidecar_text(plan: _Plan, original: bytes, moved: bytes, now: float) -> str:
    """Return what a sidecar says: everything that somebody who finds the file wants to know."""
    invocation = plan.invocation
    assert invocation is not None
    last = plan.attempts[-1] if plan.attempts else None
    record = {
        "path": os.fsdecode(original),
        "moved_to": os.fsdecode(moved),
        "trigger": plan.row.trigger,
        "function": invocation.function,
        "invocation_id": invocation.id,
        "state": invocation.state,
        "outcome": invocation.outcome,
        "reason": invocation.reason,
        "attempts": invocation.attempts,
        "error": invocation.error.to_json() if invocation.error else None,
        "log_tail": last.log_tail if last else "",
        "accepted_at": to_iso(invocation.created_at),
        "ended_at": to_iso(invocation.ended_at),
        "moved_at": to_iso(now),
        "again": f"faasd files retry {os.fsdecode(moved)}",
    }
    return json.dumps(record, ensure_ascii=True, indent=2) + "\n"


def _is_success(invocation: Invocation) -> bool | None:
    if invocation.state == "skipped" and invocation.outcome in {"filtered", "duplicate"}:
        return None
    return invocation.state == "done" and invocation.outcome == "ok"


def _keep_detail(plan: _Plan) -> str | None:
    if plan.is_success or plan.invocation is None:
        return None
    invocation = plan.invocation
    message = invocation.error.message if invocation.error else invocation.reason
    return f"{invocation.outcome}: {message}" if message else invocation.outcome
