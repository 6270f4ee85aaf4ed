"""What this host builds around a function: of its interpreter's kernel, our cgroups, and the user that it asks for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from faasd.model.function import Function
from faasd.sandbox import policy
from faasd.sandbox.cgroup_slot import CgroupSlots
from faasd.sandbox.identity import Identity, identity_of, is_own_user
from faasd.sandbox.policy import Walls
from faasd.sandbox.zygote_process import RootZygote

__all__ = ["HostWalls"]

_KNOWN_MAX = 1000


class HostWalls:
    """Answers for each function; whose user it names is looked up once. `without` names fields of Walls to leave off."""

    def __init__(self, slots: CgroupSlots | None, without: Collection[str]) -> None:
        self._slots = slots
        self._without = without
        self._identities: dict[int, tuple[Function, Identity | None]] = {}  # By its identity.

    def of(self, root: RootZygote) -> Walls:
        """Return what the host builds around functions that name no user."""
        slots = self._slots
        return Walls(
            root.namespaces,
            slots.version if slots else None,
            cgroup_caps_processes=slots.caps_processes if slots else False,
            cgroup_caps_cpu=slots.caps_cpu if slots else False,
            cgroup_counts_anew=slots.counts_anew if slots else False,
            uid=root.uid,
            **{name: value for name, value in root.walls.items() if name not in self._without},
        )

    def around(self, function: Function, root: RootZygote) -> Walls:
        """Return what the host builds around a function. Raises SandboxError where its user cannot be had."""
        walls = self.of(root)
        if function.permissions.user is None:
            return walls
        if walls.uid != 0:  # Where somebody else is wanted, the wall `user` is missing.
            return replace(walls, is_own_user=is_own_user(function))
        identity = self._identity(function)
        if identity is not None:
            return policy.walls_of_user(walls, identity)
        return replace(walls, is_own_user=True)

    def forget(self) -> None:
        """Look users up anew."""
        self._identities.clear()

    def _identity(self, function: Function) -> Identity | None:
        found = self._identities.get(id(function))
        if found is None or found[0] is not function:
            if len(self._identities) >= _KNOWN_MAX:
                self._identities.clear()
            found = self._identities[id(function)] = (function, identity_of(function))
        return found[1]
