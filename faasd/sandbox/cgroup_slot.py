"""Cgroup slots: one short-lived group per zygote and per attempt, on whichever cgroups this host has.

`<our own group>/faasd-<hash of the state directory>/<instance>-<name>`: two daemons never meet, and a
successor on the same state directory finds what a killed one has left.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Protocol

from faasd.linux import cgroup_v1, cgroup_v2
from faasd.sandbox.cgroup_account import Account
from faasd.sandbox.cgroup_ending import end_group, kill_all, others
from faasd.sandbox.cgroup_slot_v2 import SlotV2
from faasd.sandbox.slot_limits import INHABITED_BYTES_MAX, SlotLimits

__all__ = ["CgroupSlot", "CgroupSlots", "SlotLimits", "find_cgroups"]

#: What the kernel may still charge to an empty group that is used again: its own bookkeeping, per processor.
_LEFT_BYTES_MAX = 2**20
#: What an account reads: its name for it, and the kernel's.
_FILES_V1 = (
    ("tasks", "pids", "pids.current"),
    ("memory", "memory", "memory.usage_in_bytes"),
    ("peak", "memory", "memory.max_usage_in_bytes"),
    ("cpu", "cpuacct", "cpuacct.usage"),
)


class CgroupSlot(Protocol):
    """The group of one process tree. Its methods never raise for a group that is gone."""

    fds: list[int]  # What a fork needs to place its child inside.
    oom_fd: int | None  # Readable when memory ran out.
    account: Account  # What it uses, attempt by attempt.

    def close_fds(self) -> None:
        """Close `fds`, when nothing more will be placed inside; `remove` does so as well."""

    def oom_kills(self) -> int:
        """How many processes the kernel killed for want of memory."""

    def memory_peak_bytes(self) -> int | None:
        """The most memory that was charged."""

    def cpu_s(self) -> float | None:
        """The processor time that was used, of all processes that ever were in it; None where nobody counts."""

    def processes(self) -> int:
        """How many processes are in the group."""

    def is_empty(self) -> bool:
        """Whether no process is in the group."""

    def kill(self) -> bool:
        """Kill what is in the group; True when it was found empty."""

    def renew(self) -> bool:
        """Make an empty group as good as new, under the same limits; when False, it can only be removed."""

    def renew_inhabited(self) -> bool:
        """Do the same for one that holds one process, which stays; when False, nobody else is to be put beside it."""

    def remove(self) -> bool:
        """Remove the group; False while something is still in it."""


class CgroupSlots(Protocol):
    """Makes slots below one directory per state directory."""

    version: str  # "v1" or "v2", as policies and the fork know it.
    caps_processes: bool
    caps_cpu: bool
    counts_anew: bool  # Whether `renew_inhabited` can work.

    def make(self, name: str, limits: SlotLimits) -> CgroupSlot:
        """Make a group. Raises OSError."""

    def end_leftovers(self) -> int:
        """Kill and remove what other instances left below our directory; returns how many processes."""

    def remove(self) -> None:
        """Remove our directory if nothing is in it."""


def find_cgroups(state_hash: str, instance: str) -> tuple[CgroupSlots | None, str]:
    """Return slots on cgroup v2 if it is delegated to us with a memory controller, else on v1, else None and why."""
    problems = []
    for kind in (_SlotsV2, _SlotsV1):
        try:
            return kind(state_hash, instance), ""
        except OSError as error:
            where = f" ({os.fsdecode(error.filename)})" if error.filename else ""
            problems.append(f"cgroup {kind.version}: {error.strerror or error}{where}")
    return None, "; ".join(problems)


class _SlotsV1:
    version = "v1"
    counts_anew = True

    def __init__(self, state_hash: str, instance: str) -> None:
        self._instance = instance
        self._roots: dict[str, str] = {}
        for controller in ("memory", "pids", "cpu", "cpuacct"):
            own = cgroup_v1.own_group(controller)
            if own is None:
                continue
            root = f"{own}/faasd-{state_hash}"
            try:
                os.makedirs(root, exist_ok=True)
            except OSError:
                continue
            # One that another user's daemon on this directory has left is there, and not ours to use or to end.
            if os.access(root, os.W_OK, effective_ids=True):
                self._roots[controller] = root
        if "memory" not in self._roots:
            self.remove()
            raise OSError("no writable memory cgroup")
        self.caps_processes = "pids" in self._roots
        self.caps_cpu = "cpu" in self._roots and cgroup_v1.Group(self._roots["cpu"]).can_limit_cpu()

    def make(self, name: str, limits: SlotLimits) -> CgroupSlot:
        wanted = {
            "memory": True,
            "pids": bool(limits.processes),
            "cpu": limits.cpu is not None and self.caps_cpu,
            "cpuacct": limits.counts_cpu,
        }
        groups: dict[str, cgroup_v1.Group] = {}
        try:
            for controller, root in self._roots.items():
                if wanted[controller]:
                    is_of_pids = controller == "pids"
                    path = f"{root}/{self._instance}-{name}"
                    group = cgroup_v1.Group(path, is_of_pids=is_of_pids)
                    # Some controllers are mounted together, cpu and cpuacct nearly always.
                    if group.path not in [one.path for one in groups.values()]:
                        group.create()
                    groups[controller] = group
            return _SlotV1(groups, limits)
        except OSError:
            for group in groups.values():
                with contextlib.suppress(OSError):
                    group.remove()
            raise

    def end_leftovers(self) -> int:
        ended: set[int] = set()
        for root in self._roots.values():
            for path in others(root, self._instance):
                ended |= end_group(cgroup_v1.Group(path))
        return len(ended)

    def remove(self) -> None:
        for root in self._roots.values():
            with contextlib.suppress(OSError):
                os.rmdir(root)


class _SlotV1:
    def __init__(self, groups: dict[str, cgroup_v1.Group], limits: SlotLimits) -> None:
        self._groups = groups
        self._memory = groups["memory"]
        self._limits = limits
        self._is_left = False  # By all that was in it; nobody comes after them.
        self._set_limits()
        self.oom_fd: int | None = self._memory.watch_oom()
        by_path = {group.path: group for group in groups.values()}
        self.fds = [group.procs_fd() for group in by_path.values()]
        self.account = Account(_files_of_v1(groups))

    def _set_limits(self) -> None:
        limits = self._limits
        self._memory.limit_memory(limits.memory_bytes)
        if limits.processes and "pids" in self._groups:
            self._groups["pids"].limit_processes(limits.processes)
        if limits.cpu is not None and "cpu" in self._groups:
            self._groups["cpu"].limit_cpu(limits.cpu)

    def close_fds(self) -> None:
        while self.fds:
            os.close(self.fds.pop())

    def oom_kills(self) -> int:
        with contextlib.suppress(OSError):
            return self._memory.oom_kills()
        return 0

    def memory_peak_bytes(self) -> int | None:
        with contextlib.suppress(OSError):
            return self._memory.memory_peak_bytes()
        return None

    def cpu_s(self) -> float | None:
        with contextlib.suppress(OSError, KeyError):
            return self._groups["cpuacct"].cpu_s()
        return None

    def processes(self) -> int:
        with contextlib.suppress(OSError):
            return len(self._memory.pids())
        return 0

    def kill(self) -> bool:
        pids_group = self._groups.get("pids")
        with contextlib.suppress(OSError):
            if pids_group is not None:
                pids_group.limit_processes(0)  # Nobody forks from here on.
        return kill_all(self._memory)

    def is_empty(self) -> bool:
        try:
            self._is_left = self._is_left or self._memory.is_empty()
        except OSError:
            return True
        return self._is_left

    def renew(self) -> bool:
        """Only if it never ran out of memory, and what it is still charged for would falsify no peak."""
        try:
            if not (self.is_empty() and self._is_as_made()):
                return False
            if not self._forget(_LEFT_BYTES_MAX):
                return False
        except OSError:
            return False
        self._is_left = False
        return True

    def renew_inhabited(self) -> bool:
        try:
            is_alone = self.account.tasks() == 1
            is_childless = all(group.is_childless() for group in self._groups.values())
            return is_alone and is_childless and self._forget(INHABITED_BYTES_MAX)
        except OSError:
            return False

    def _forget(self, left_bytes_max: int) -> bool:
        """Count everything anew, if it never ran out of memory and is not charged for more than this."""
        if self.oom_fd is None or _is_readable(self.oom_fd):
            return False
        for group in self._groups.values():
            group.keeps_open = True
        if self._memory.memory_bytes() > left_bytes_max:
            return False  # Files that it wrote are cached at its expense.
        self._memory.forget_peak()
        if "cpuacct" in self._groups:
            self._groups["cpuacct"].forget_cpu()
        self._set_limits()  # A handler that runs as root may have changed them.
        return True

    def _is_as_made(self) -> bool:
        """Whether nobody made a group below its own, or went to one of them alone, as root may."""
        others = [group for group in self._groups.values() if group is not self._memory]
        groups = [self._memory, *others]
        return all(one.is_childless() for one in groups) and all(one.is_empty() for one in others)

    def remove(self) -> bool:
        self.close_fds()
        self.account.close()
        if self.oom_fd is not None:
            os.close(self.oom_fd)
            self.oom_fd = None
        for controller, group in list(self._groups.items()):
            try:
                group.remove()
            except FileNotFoundError:
                pass
            except OSError:
                continue
            del self._groups[controller]
        return not self._groups


class _SlotsV2:
    version = "v2"
    caps_processes = True

    def __init__(self, state_hash: str, instance: str) -> None:
        own = cgroup_v2.own_group()
        if own is None:
            raise OSError("cgroup v2 is not mounted")
        if os.path.basename(own) == "faasd-daemon":
            own = os.path.dirname(own)  # A predecessor in this very process had moved us.
        if cgroup_v2.is_withheld(own):
            raise OSError(f"{own} is not delegated to us by systemd (Delegate=yes)")
        cgroup_v2.enable_controllers(own, ("memory", "pids"), "faasd-daemon")
        self.caps_cpu = True
        try:
            cgroup_v2.enable_controllers(own, ("cpu",), "faasd-daemon")
        except OSError:
            self.caps_cpu = False
        self._instance = instance
        self._root = f"{own}/faasd-{state_hash}"
        os.makedirs(self._root, exist_ok=True)
        self.counts_anew = cgroup_v2.Group(self._root).can_forget_peak()
        names = ["memory", "pids"] + (["cpu"] if self.caps_cpu else [])
        cgroup_v2.Group(self._root).write(
            "cgroup.subtree_control", " ".join(f"+{n}" for n in names)
        )

    def make(self, name: str, limits: SlotLimits) -> CgroupSlot:
        group = cgroup_v2.Group(f"{self._root}/{self._instance}-{name}")
        group.create()
        try:
            cpu = limits.cpu if self.caps_cpu else None
            limits = limits._replace(cpu=cpu)
            return SlotV2(group, limits)
        except OSError:
            group.remove()
            raise

    def end_leftovers(self) -> int:
        ended: set[int] = set()
        for path in others(self._root, self._instance):
            group = cgroup_v2.Group(path)
            with contextlib.suppress(OSError):
                ended.update(pid for pid in group.pids() if pid > 0)
                group.kill()  # At once, so that nobody forks away from what follows.
            ended |= end_group(group)
        return len(ended)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            os.rmdir(self._root)


def _files_of_v1(groups: Mapping[str, cgroup_v1.Group]) -> dict[str, str]:
    return {
        name: f"{groups[controller].path}/{file}"
        for name, controller, file in _FILES_V1
        if controller in groups
    }


def _is_readable(event_fd: int) -> bool:
    try:
        os.read(event_fd, 8)
    except BlockingIOError:
        return False
    return True
