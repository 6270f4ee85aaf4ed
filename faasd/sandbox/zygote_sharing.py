"""Which functions may share a zygote, as far as it is known before their module is imported; and which may not after all."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from faasd.model.function import Function
from faasd.sandbox.policy import SLOTS_MAX, Walls, has_own_network, shared_zygote_key
from faasd.sandbox.zygote_frames import ALONE

__all__ = ["Sharing"]

_ALONE_MAX = 1000


class Sharing:
    """Knows the functions in force by the module that they are in."""

    def __init__(self, slots: int) -> None:
        """`slots` is how many attempts the daemon runs at once."""
        self._slots = slots
        self._modules: dict[Hashable, list[Function]] = {}
        self._room: dict[
            Hashable, int
        ] = {}  # How many attempts at all of a module's may run at once.
        self._alone: dict[
            str, str
        ] = {}  # By the key of what would have been shared: why it is not.

    def know(self, functions: Sequence[Function]) -> None:
        """Take these to be all functions that there are."""
        self._modules.clear()
        self._room.clear()
        if len(self._alone) > _ALONE_MAX:
            self._alone.clear()  # Each is found out anew.
        for function in functions:
            if function.handler is not None:
                module = _module(function)
                self._modules.setdefault(module, []).append(function)
                room = min(self._slots, function.concurrency or self._slots)
                self._room[module] = self._room.get(module, 0) + room

    def others(self, function: Function) -> list[Function]:
        """Return the other functions of its module."""
        known = self._modules.get(_module(function), ())
        return [one for one in known if one.name != function.name]

    def slots(self, function: Function) -> int:
        """Return how many attempts its module's zygote can run at once; 0 where there is nobody to share it with.

        Twice what the daemon runs at once is enough for all: others may wait there for their next attempt.
        """
        module = _module(function)
        wanted = self._room.get(module, 0)
        # With fewer than the daemon runs, functions would wait for each other.
        is_enough = min(wanted, self._slots) <= SLOTS_MAX
        is_one_of_many = len(self._modules.get(module, ())) > 1
        return min(wanted, 2 * self._slots, SLOTS_MAX) if is_one_of_many and is_enough else 0

    def key(self, function: Function, walls: Walls, policy: Mapping[str, Any]) -> str | None:
        """Return what tells the zygote apart that it may share; None when it is to have its own."""
        key = self._key(function, policy)
        return None if key is None or self._why_not(function, walls, key) else key

    def why_not(self, function: Function, walls: Walls, policy: Mapping[str, Any]) -> str:
        """Return why it is to have its own, though other functions are in its module."""
        return self._why_not(function, walls, self._key(function, policy) or "")

    def _why_not(self, function: Function, walls: Walls, key: str) -> str:
        if has_own_network(function, walls):
            return (
                "it has no network but a loopback of its own, on which others could connect to it"
            )
        if walls.private_proc and not walls.landlock:
            return "without Landlock its /proc would show the processes of other functions"
        return ALONE[self._alone.get(key, "")]

    def found_alone(self, key: str, reason: str) -> None:
        """Remember that an import cannot be shared."""
        self._alone[key] = reason

    def _key(self, function: Function, policy: Mapping[str, Any]) -> str | None:
        return shared_zygote_key(function, policy) if self.slots(function) else None


def _module(function: Function) -> Hashable:
    """Return what functions that share a zygote have in common, and few others; no more than a first look."""
    handler = function.handler or ""
    module = handler.partition(":")[0] if ":" in handler else handler.rpartition(".")[0]
    limits, given = function.limits, function.permissions
    return (
        module.replace("/", "."),
        function.code_dir,
        function.code_version,
        function.python,
        given.user,
        given.secrets,
        limits.memory_bytes,
        limits.tmp_size_bytes,
    )
