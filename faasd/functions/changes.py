"""What a new reading of the configuration changes, function by function: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from faasd.model.function import Function
from faasd.model.reload import CHANGES, FunctionChange

__all__ = ["NewReading", "Settled", "settle"]


@dataclass(frozen=True)
class NewReading:
    """What has been read: whole functions, and why others are not among them."""

    functions: Sequence[Function]
    left_out: Mapping[str, str]  # Function → its first mistake.
    #: Module and its directory → why it could not be imported.
    broken: Mapping[tuple[str, str], str]


@dataclass(frozen=True)
class Settled:
    """The functions that are in service from now on, and what has become of each."""

    functions: tuple[Function, ...]
    changes: tuple[FunctionChange, ...]


def settle(before: Sequence[Function], reading: NewReading) -> Settled:
    """Decide what is in service after a reload.

    A function whose new code or settings are broken stays as it was; all others become what was read.
    What has not changed stays the same object, so that whoever compares by identity sees no change.
    """
    old = {one.name: one for one in before}
    new = {one.name: one for one in reading.functions}
    functions: list[Function] = []
    changes: list[FunctionChange] = []
    for name in sorted({*old, *new, *reading.left_out}):
        was, now = old.get(name), new.get(name)
        if now is not None:
            stays = was is not None and _is_same(was, now)
            functions.append(was if was is not None and stays else now)
            word = "added" if was is None else "unchanged" if stays else "changed"
            changes.append(_change(word, name, was, now))
            continue
        reason = reading.left_out.get(name) or _why_broken(was, reading.broken)
        if was is None:
            changes.append(FunctionChange(name, "refused", reason=reason))
        elif reason is not None:
            functions.append(was)
            changes.append(replace(_change("kept", name, was, was), reason=reason))
        else:
            changes.append(_change("removed", name, was, None))
    order = list(CHANGES)
    changes.sort(key=lambda one: (order.index(one.change), one.function))
    return Settled(tuple(functions), tuple(changes))


def _is_same(was: Function, now: Function) -> bool:
    """Whether nothing that runs has changed; where it was declared does not count."""
    return replace(was, origin=now.origin) == now


def _change(word: str, name: str, was: Function | None, now: Function | None) -> FunctionChange:
    return FunctionChange(
        name,
        word,
        code_version=None if now is None else now.code_version,
        before=None if was is None else was.code_version,
    )


def _why_broken(was: Function | None, broken: Mapping[tuple[str, str], str]) -> str | None:
    """Say why a function was not found: its module could not be imported. None: it was removed."""
    if was is None or was.handler is None:
        return None
    module = was.handler.partition(":")[0]
    directory = was.source_dir or was.code_dir
    for (name, code_dir), why in broken.items():
        if code_dir == directory and (module == name or module.startswith(name + ".")):
            return why
    return None
