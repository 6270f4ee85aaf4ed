"""A slot on version 2 of cgroups: one directory, killed in one write."""

from __future__ import annotations

import contextlib
import os

from faasd.linux import cgroup_v2
from faasd.sandbox.cgroup_account import Account
from faasd.sandbox.cgroup_ending import kill_all
from faasd.sandbox.slot_limits import INHABITED_BYTES_MAX, SlotLimits

__all__ = ["SlotV2"]

#: What an account reads: its name for it, and the kernel's.
_FILES = {
    "tasks": "pids.current",
    "memory": "memory.current",
    "peak": "memory.peak",
    "cpu_stat": "cpu.stat",
}


class SlotV2:
    """See cgroup_slot.CgroupSlot."""

    oom_fd: int | None = None  # memory.oom.group kills all at once, so nobody has to be told.

    def __init__(self, group: cgroup_v2.Group, limits: SlotLimits) -> None:
        self._group = group
        self._limits = limits
        self._set_limits()
        # The second is for sandboxes of another user, who may not be forked into our directory.
        self.fds = [group.directory_fd(), group.procs_fd()]
        self.account = Account({name: f"{group.path}/{file}" for name, file in _FILES.items()})

    def close_fds(self) -> None:
        """Close `fds`."""
        while self.fds:
            os.close(self.fds.pop())

    def oom_kills(self) -> int:
        """How many processes the kernel killed for want of memory."""
        with contextlib.suppress(OSError):
            return self._group.oom_kills()
        return 0

    def memory_peak_bytes(self) -> int | None:
        """The most memory that was charged."""
        with contextlib.suppress(OSError):
            return self._group.memory_peak_bytes()
        return None

    def cpu_s(self) -> float | None:
        """The processor time that was used."""
        with contextlib.suppress(OSError):
            return self._group.cpu_s()
        return None

    def processes(self) -> int:
        """How many processes are in the group."""
        with contextlib.suppress(OSError):
            return len(self._group.pids())
        return 0

    def kill(self) -> bool:
        """Kill what is in the group; True when it was found empty."""
        with contextlib.suppress(OSError):
            self._group.kill()
        return kill_all(self._group)

    def is_empty(self) -> bool:
        """Whether no process is in the group."""
        try:
            return not self._group.pids()
        except OSError:
            return True

    def renew(self) -> bool:
        """Refuse: its peak stays, and it is one directory where version 1 has two or three."""
        return False

    def renew_inhabited(self) -> bool:
        """Count anew, from Linux 6.12 on, with one process in it that stays."""
        try:
            is_alone = self.account.tasks() == 1 and self._group.is_childless()
            left_bytes = self.account.memory_bytes()
            if not is_alone or left_bytes is None or left_bytes > INHABITED_BYTES_MAX:
                return False
            if self._group.oom_kills() or not self.account.begin():
                return False
            self._set_limits()
        except OSError:
            return False
        return True

    def _set_limits(self) -> None:
        limits = self._limits
        self._group.limit_memory(limits.memory_bytes)
        if limits.processes:
            self._group.limit_processes(limits.processes)
        if limits.cpu is not None:
            self._group.limit_cpu(limits.cpu)

    def remove(self) -> bool:
        """Remove the group; False while something is still in it."""
        self.close_fds()
        self.account.close()
        try:
            self._group.remove()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True
