"""What the parts of one files trigger share."""

from __future__ import annotations

from dataclasses import dataclass

from faasd.model.trigger import FilesTrigger
from faasd.triggers.file_backlog import Backlog
from faasd.triggers.file_loop import LoopGuard
from faasd.triggers.file_names import NameRules, name_rules
from faasd.triggers.file_rows import FileRows
from faasd.triggers.file_services import FileServices

__all__ = ["TriggerState", "new_state"]


@dataclass(frozen=True)
class TriggerState:
    """The declaration of one trigger, and everything that is known about its files.

    Written to by the trigger's own task only.
    """

    trigger: FilesTrigger
    names: NameRules
    services: FileServices
    rows: FileRows
    guard: LoopGuard
    backlog: Backlog


def new_state(trigger: FilesTrigger, services: FileServices, *, grace_s: float) -> TriggerState:
    """Return the state of a trigger that has not begun."""
    guard = LoopGuard(grace_s=grace_s)
    rows = FileRows(services.ledger, trigger.name)
    return TriggerState(trigger, name_rules(trigger), services, rows, guard, Backlog(guard))
