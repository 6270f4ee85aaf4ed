"""Makes a Function of a draft, or says everything that keeps it from being one."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faasd.config.command_code import code_paths
from faasd.config.found_layers import FindLayer, resolve_layers
from faasd.config.layers import Draft, Merged, merge
from faasd.config.trigger_values import CheckPattern, CheckSchedule, Triggers, read_triggers
from faasd.model.declaration import Problem
from faasd.model.function import Destination, Function
from faasd.model.layer import Layer
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions
from faasd.model.retry import RetryPolicy
from faasd.model.units import format_duration

__all__ = ["Assembled", "Surroundings", "absolute_paths", "assemble", "find_program"]


@dataclass(frozen=True)
class Surroundings:
    """What does not stand in the settings themselves."""

    base_dir: Path
    check_schedule: CheckSchedule
    check_pattern: CheckPattern
    find_layer: FindLayer


@dataclass(frozen=True)
class Assembled:
    """One function with where its settings came from, for checks across functions."""

    function: Function
    merged: Merged
    triggers: Triggers
    problems: tuple[Problem, ...]
    is_enabled: bool


def assemble(draft: Draft, code_dir: str, around: Surroundings) -> Assembled:
    """Lay the draft's layers over each other and read them; every problem is reported, none raised."""
    merged = merge(draft.layers)
    problems: list[Problem] = []
    triggers = read_triggers(
        draft.name,
        merged["triggers"],
        timeout_s=merged["timeout_s"],
        base_dir=around.base_dir,
        report=lambda path, message: merged.problem("triggers", message, *path[1:]),
        check_schedule=around.check_schedule,
        check_pattern=around.check_pattern,
    )
    problems += triggers.problems
    command = _command(merged, around, problems)
    function = Function(
        name=draft.name,
        handler=draft.declared.handler if draft.declared else merged["handler"],
        command=command,
        python=_python(merged, around, problems),
        code_dir=code_dir,
        layers=_layers(merged, around, problems),
        code_paths=code_paths(command, around.base_dir) if command else None,
        limits=Limits(**_fields(Limits, merged.values)),
        permissions=_permissions(merged, around.base_dir),
        retry=_retry(merged, problems),
        expires_s=merged["expires_s"],
        dead_letter=merged["dead_letter"],
        concurrency=merged["concurrency"],
        reuse=_reuse(merged, problems),
        recycle_memory_bytes=merged["recycle_memory_bytes"],
        spares=merged["spares"],
        keep_warm=merged["keep_warm"],
        schedules=tuple(triggers.schedules),
        files=tuple(triggers.files),
        queues=tuple(triggers.queues),
        on_success=_destinations("on_success", draft.name, merged, problems),
        on_failure=_destinations("on_failure", draft.name, merged, problems),
        origin=draft.origin,
    )
    return Assembled(function, merged, triggers, tuple(problems), merged["enabled"])


def _permissions(merged: Merged, base_dir: Path) -> Permissions:
    values = _fields(Permissions, merged.values)
    for name in ("read", "write"):
        values[name] = absolute_paths(values[name], base_dir)
    return Permissions(**values)


def absolute_paths(written: Sequence[str], base_dir: Path) -> tuple[str, ...]:
    """Return the paths that people wrote, relative to the configuration file or to a home."""
    return tuple(os.path.normpath(base_dir / Path(path).expanduser()) for path in written)


def find_program(written: str, base_dir: Path) -> tuple[str, str | None]:
    """Return the absolute path of a program, and what is wrong with it.

    One with a slash is relative to the configuration file; a bare name is looked up in PATH.
    """
    if "/" not in written:
        found = shutil.which(written)
        return (found, None) if found else (written, f"there is no program {written!r} in PATH")
    path = os.path.normpath(base_dir / Path(written).expanduser())
    if not Path(path).exists():
        return path, f"{path} does not exist"
    if not Path(path).is_file():
        return path, f"{path} is not a file"
    if not os.access(path, os.X_OK):
        return path, f"{path} is not executable; run: chmod +x {path}"
    return path, None


def _python(merged: Merged, around: Surroundings, problems: list[Problem]) -> str | None:
    if merged["python"] is None or merged["command"] is not None:
        if merged["command"] is not None and merged.is_given("python"):
            message = "has no effect on a command; name the interpreter in the command"
            problems.append(merged.problem("python", message))
        return None
    path, fault = find_program(merged["python"], around.base_dir)
    if fault is not None:
        problems.append(merged.problem("python", fault))
    return path


def _reuse(merged: Merged, problems: list[Problem]) -> int:
    if merged["command"] is None:
        return int(merged["reuse"])
    if merged.is_given("reuse") and merged["reuse"] != 1:
        message = "has no effect on a command, which is a process of its own for every attempt"
        problems.append(merged.problem("reuse", message))
    return 1


def _layers(merged: Merged, around: Surroundings, problems: list[Problem]) -> tuple[Layer, ...]:
    layers, faults = resolve_layers(merged["layers"], around.find_layer)
    problems += [merged.problem("layers", fault, index) for index, fault in faults]
    return tuple(layers)


def _command(
    merged: Merged, around: Surroundings, problems: list[Problem]
) -> tuple[str, ...] | None:
    if merged["command"] is None:
        return None
    program, fault = find_program(merged["command"][0], around.base_dir)
    if fault is not None:
        problems.append(merged.problem("command", fault, 0))
    return (program, *merged["command"][1:])


def _retry(merged: Merged, problems: list[Problem]) -> RetryPolicy:
    policy = RetryPolicy(**merged["retry"])
    if policy.first_s > policy.max_s:
        longest, first = format_duration(policy.max_s), format_duration(policy.first_s)
        message = f"{longest} is shorter than the first wait, {first}"
        problems.append(merged.problem("retry", message, "max"))
    return policy


def _fields(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: value for name, value in values.items() if name in names}


def _destinations(
    name: str, function: str, merged: Merged, problems: list[Problem]
) -> tuple[Destination, ...]:
    found = []
    for written in merged[name]:
        kind, _, target = written.partition(":")
        if target == function:
            if merged.is_given(name):
                message = f"{written!r} is the function itself, which would never end"
                problems.append(merged.problem(name, message))
            continue  # One that stands in [defaults] is meant for all the others.
        found.append(Destination(kind, target))
    return tuple(found)
