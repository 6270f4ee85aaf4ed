"""The functions that exist now: an immutable snapshot, swapped whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from faasd.model.function import Function, Lane

__all__ = ["Registry"]


@dataclass(frozen=True)
class _Snapshot:
    functions: dict[str, Function]
    lanes: tuple[Lane, ...]
    consumers: dict[str, Function]


class Registry:
    """Implements the seam Catalog. Safe to read from any thread, also while it is replaced."""

    def __init__(self, functions: Iterable[Function] = ()) -> None:
        self._snapshot = _snapshot(functions)

    def replace(self, functions: Iterable[Function]) -> None:
        """Swap the whole catalogue at once; readers see the old one or the new one, never a mixture."""
        self._snapshot = _snapshot(functions)

    def get(self, name: str) -> Function | None:
        """Return the function of that name."""
        return self._snapshot.functions.get(name)

    def all(self) -> Sequence[Function]:
        """Return every function, ordered by name."""
        return tuple(self._snapshot.functions.values())

    def lanes(self) -> Sequence[Lane]:
        """Return every lane of every function."""
        return self._snapshot.lanes

    def consumer_of(self, queue: str) -> Function | None:
        """Return the function that consumes this queue."""
        return self._snapshot.consumers.get(queue)


def _snapshot(functions: Iterable[Function]) -> _Snapshot:
    """Raises ValueError for what the loader never lets through: two functions, or lanes, of one name."""
    by_name: dict[str, Function] = {}
    for function in sorted(functions, key=lambda function: function.name):
        if function.name in by_name:
            raise ValueError(f"two functions are named {function.name!r}")
        by_name[function.name] = function
    lanes = tuple(lane for function in by_name.values() for lane in function.lanes())
    consumers: dict[str, Function] = {}
    for lane in lanes:
        if lane.queue in consumers:
            raise ValueError(f"queue {lane.queue!r} has two consumers")
        consumers[lane.queue] = by_name[lane.function]
    return _Snapshot(by_name, lanes, consumers)
