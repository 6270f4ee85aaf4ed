"""What an attempt has to itself: a private temporary directory and a cgroup, each as good as new.

Making and removing them costs more than the attempt's own work where a disk or the kernel's cgroup
locks are busy. So what an attempt leaves untouched goes to a later one, and only what it did touch is
removed, in a thread, so that the event loop waits for no disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from faasd.model.limits import Limits
from faasd.sandbox.cgroup_slot import CgroupSlot, CgroupSlots, SlotLimits
from faasd.sandbox.identity import Identity

__all__ = ["Workspace", "Workspaces"]

#: How many of each are kept for later. More attempts at once make theirs anew.
_KEPT_MAX = 64


@dataclass(frozen=True)
class Workspace:
    """One attempt's own place."""

    tmp_dir: str | None  # None: in memory, and the zygote's to make and clean.
    slot: CgroupSlot | None
    key: SlotLimits
    as_made: os.stat_result | None


class Workspaces:
    """Hands out workspaces; used from one event loop."""

    def __init__(self, tmp_root: str, slots: CgroupSlots | None, numbers: Iterator[int]) -> None:
        self._tmp_root = tmp_root
        self._slots = slots
        self._numbers = numbers
        self._directories: dict[str, list[tuple[str, os.stat_result]]] = {}
        self._directories_kept = 0
        self._groups: dict[SlotLimits, list[CgroupSlot]] = {}
        self._groups_kept = 0
        self._to_remove: list[CgroupSlot] = []  # Touched by the janitor alone.
        self._janitor = ThreadPoolExecutor(1, thread_name_prefix="faasd-janitor")

    def take(
        self,
        limits: Limits,
        private_dir: str | None,
        identity: Identity | None = None,
        *,
        counts_cpu: bool = False,
    ) -> Workspace:
        """Return a place for one sandbox, its directory below `private_dir` if it is on disk. Raises OSError.

        The directory belongs to another user where one is named.
        What is below one `private_dir` the attempts of one zygote have in turn, and no others.
        """
        # One more process for the sandbox's own first one.
        counts_cpu = counts_cpu or limits.cpu_time_s is not None
        key = SlotLimits(limits.memory_bytes, limits.processes + 1, limits.cpu, counts_cpu)
        tmp_dir: str | None = None
        as_made: os.stat_result | None = None
        if private_dir is not None:
            tmp_dir, as_made = self._take_directory(private_dir, identity)
        try:
            return Workspace(tmp_dir, self._take_group(key), key, as_made)
        except OSError:
            if tmp_dir is not None:
                os.rmdir(tmp_dir)
            raise

    def give_back(self, workspace: Workspace, *, ended_by_itself: bool) -> asyncio.Future[None]:
        """Take a place back, once its attempt's processes are gone: keep what is as new, remove the rest.

        The future is done when that has been removed: at once, where nothing had to be.
        """
        tmp_dir, as_made = workspace.tmp_dir, workspace.as_made
        has_room = self._directories_kept < _KEPT_MAX
        if has_room and tmp_dir and as_made and _is_untouched(tmp_dir, as_made):
            kept = self._directories.setdefault(os.path.dirname(tmp_dir), [])
            kept.append((tmp_dir, as_made))
            self._directories_kept += 1
            tmp_dir = None
        slot = workspace.slot
        if slot is not None and ended_by_itself and self._groups_kept < _KEPT_MAX and slot.renew():
            self._groups.setdefault(workspace.key, []).append(slot)
            self._groups_kept += 1
            slot = None
        loop = asyncio.get_running_loop()
        if tmp_dir is not None or slot is not None:
            return loop.run_in_executor(self._janitor, self._remove, tmp_dir, slot)
        removed: asyncio.Future[None] = loop.create_future()
        removed.set_result(None)
        return removed

    async def close(self) -> None:
        """Remove everything; for after the last one was given back."""
        for groups in self._groups.values():
            self._to_remove += groups
        self._groups.clear()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._janitor, self._remove, None, None)
        await loop.run_in_executor(self._janitor, shutil.rmtree, self._tmp_root, True)
        self._janitor.shutdown()

    def _take_directory(
        self, private_dir: str, identity: Identity | None
    ) -> tuple[str, os.stat_result]:
        if kept := self._directories.get(private_dir):
            self._directories_kept -= 1
            return kept.pop()
        path = os.path.join(private_dir, str(next(self._numbers)))
        os.mkdir(path, 0o700)
        if identity is not None:
            os.chown(path, identity.uid, identity.gid)
        return path, os.lstat(path)

    def _take_group(self, key: SlotLimits) -> CgroupSlot | None:
        if self._slots is None:
            return None
        if groups := self._groups.get(key):
            self._groups_kept -= 1
            return groups.pop()
        return self._slots.make(f"a{next(self._numbers)}", key)

    def _remove(self, tmp_dir: str | None, slot: CgroupSlot | None) -> None:
        """Remove; a group that the kernel still holds is tried again the next time."""
        if slot is not None:
            self._to_remove.append(slot)
        self._to_remove = [slot for slot in self._to_remove if not slot.remove()]
        if tmp_dir is not None:
            try:
                os.rmdir(tmp_dir)
            except OSError:
                _remove_tree(tmp_dir)


def _is_untouched(path: str, then: os.stat_result) -> bool:
    """Whether the directory is exactly as it was made: what is done to it or in it changes its times."""
    try:
        now = os.lstat(path)
        return (
            (now.st_dev, now.st_ino, now.st_mode, now.st_uid, now.st_gid)
            == (then.st_dev, then.st_ino, then.st_mode, then.st_uid, then.st_gid)
            and (now.st_mtime_ns, now.st_ctime_ns) == (then.st_mtime_ns, then.st_ctime_ns)
            and not os.listdir(path)  # Where a file system's clock is coarse.
        )
    except OSError:
        return False


def _remove_tree(path: str) -> None:
    """Remove a directory whatever its owner did to its modes, never following a link."""
    for base, names, _ in os.walk(path):
        for name in [base, *(os.path.join(base, name) for name in names)]:
            if not os.path.islink(name):
                with contextlib.suppress(OSError):
                    os.chmod(name, 0o700)
    shutil.rmtree(path, ignore_errors=True)
