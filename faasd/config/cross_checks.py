"""Checks that need to see every function: names that must be unique, and names that must exist."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from faasd.config.assemble import Assembled
from faasd.model.declaration import Problem
from faasd.model.suggest import did_you_mean

__all__ = ["cross_check"]


def cross_check(everything: Sequence[Assembled], other_names: Iterable[str]) -> list[Problem]:
    """Return what is wrong between functions.

    `other_names` are functions that exist but could not be assembled: a destination may name them.
    """
    names = {one.function.name for one in everything} | set(other_names)
    return [
        *_shared(everything, "queue", "queue"),
        *_shared(everything, "schedule", "schedule"),
        *_shared(everything, "files", "files trigger"),
        *_queues_named_like_functions(everything, names),
        *_unknown_destinations(everything, names),
    ]


def _shared(everything: Sequence[Assembled], kind: str, what: str) -> list[Problem]:
    """A queue has one consumer; schedules and files triggers are remembered under their names."""
    owners: dict[str, Assembled] = {}
    problems = []
    for one in everything:
        for (trigger_kind, name), index in one.triggers.indexes.items():
            if trigger_kind != kind:
                continue
            first = owners.setdefault(name, one)
            if first is one:
                continue
            other = f"function {first.function.name!r} ({first.function.origin})"
            if kind == "queue":
                message = f"queue {name!r} is consumed by {other} already; a queue has one consumer"
            else:
                message = f"{what} {name!r} belongs to {other} already; give this one a name"
            problems.append(one.merged.problem("triggers", message, index, "name"))
    return problems + _repeated(everything, kind, what)


def _repeated(everything: Sequence[Assembled], kind: str, what: str) -> list[Problem]:
    """Find two triggers of one name in the same function."""
    problems = []
    for one in everything:
        names = {
            "queue": [trigger.name for trigger in one.function.queues],
            "schedule": [trigger.name for trigger in one.function.schedules],
            "files": [trigger.name for trigger in one.function.files],
        }[kind]
        for name in sorted(name for name in set(names) if names.count(name) > 1):
            message = f"two triggers of this function are {what} {name!r}"
            index = one.triggers.indexes[kind, name]
            problems.append(one.merged.problem("triggers", message, index, "name"))
    return problems


def _queues_named_like_functions(everything: Sequence[Assembled], names: set[str]) -> list[Problem]:
    problems = []
    for one in everything:
        for queue in one.function.queues:
            if queue.name in names and queue.name != one.function.name:
                message = (
                    f"queue {queue.name!r} is named like a function, whose own queue has that name; "
                    "give it another name"
                )
                index = one.triggers.indexes["queue", queue.name]
                problems.append(one.merged.problem("triggers", message, index, "name"))
    return problems


def _unknown_destinations(everything: Sequence[Assembled], names: set[str]) -> list[Problem]:
    queues = {queue.name for one in everything for queue in one.function.queues} | names
    problems = []
    for one in everything:
        for setting in ("on_success", "on_failure"):
            for destination in getattr(one.function, setting):
                known = names if destination.kind == "function" else queues
                if destination.name not in known:
                    hint = did_you_mean(destination.name, known)
                    message = f"there is no {destination.kind} {destination.name!r}{hint}"
                    problems.append(one.merged.problem(setting, message))
    return problems
