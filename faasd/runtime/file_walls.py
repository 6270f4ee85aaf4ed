"""The file walls of one zygote and its sandboxes: a view of its own, and Landlock, laid twice.

The zygote's own layer allows what the function may touch in general, and the private directories of all of its
attempts. A handler's process adds a second one, the same but for its own private directory alone.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from faasd.linux import landlock
from faasd.runtime.private_view import PrivateView, Slot, is_in
from faasd.runtime.slots import Slots

__all__ = ["PROC_OF_HOST", "FileWalls"]

#: What programs read of the whole host below /proc, where that is not the zygote's own.
PROC_OF_HOST = (
    "cpuinfo", "devices", "filesystems", "loadavg", "meminfo", "stat", "sys", "uptime", "version", "vmstat",
)  # fmt: skip
_DEVICE = landlock.READ | landlock.WRITE_FILE | landlock.TRUNCATE | landlock.IOCTL


class FileWalls:
    """What a zygote keeps at hand, so that a sandbox is closed in within microseconds.

    Made in the zygote before anything of the function's runs. Raises OSError when a wall cannot be built.
    """

    def __init__(self, policy: dict[str, Any]) -> None:
        self._abi = int(policy["landlock"])
        #: Open files and directories (O_PATH), and what may be done there.
        self._rules: list[tuple[int, int]] = []
        self._roots: list[int] = []
        self._rulesets: list[landlock.Ruleset] = []
        self.slots: Slots | None = None
        files = policy["files"]
        self._hidden = [os.path.realpath(path) for path in files["hidden"]]
        self._shown = [os.path.realpath(path) for path in files["shown"]]
        _make_missing(files["write"])
        read, write = self._existing(files["read"]), self._existing(files["write"])
        view = None
        #: For the import; without mounts that has none.
        self._directories: list[str] = []
        if policy["mounts"]:
            view = PrivateView(policy, read, write)
            view.build()
            self.slots = Slots(view.slots, view.kept)
            self._directories = view.directories
        if view is not None:
            self._hidden = []  # They are covered, and a rule on what is around them does not show them.
        if self._abi:
            for paths, rights in ((read, landlock.READ), (write, landlock.WRITE)):
                for path in paths:
                    self._open_around(path, rights)
            for path in files["devices"]:
                self._open(path, _DEVICE)
        if view is not None:
            for slot in view.slots:
                self._prepare(slot, policy)
        if self._abi:
            self._close_in_zygote(policy)
        if view is not None:
            self._close(self._rules)
        #: What a handler's process closes, with no more calls than it takes.
        self._kept = _ranges([*self._roots, *(one.fd for one in self._rulesets)])

    def _existing(self, paths: list[str]) -> list[str]:
        """Return where paths lead, without what does not exist or is out of reach whatever the lists say."""
        found = {os.path.realpath(path) for path in paths}
        return sorted(path for path in found if os.path.exists(path) and not self._is_hidden(path))

    def _is_hidden(self, path: str) -> bool:
        if any(is_in(path, place) for place in self._shown):
            return False
        return any(is_in(path, place) for place in self._hidden)

    def _open(self, path: str, rights: int) -> None:
        try:
            self._rules.append((os.open(path, os.O_PATH | os.O_CLOEXEC), rights))
        except OSError:
            pass  # It does not exist, or is not for this user's eyes; then it needs no wall.

    def _open_around(self, path: str, rights: int) -> None:
        """Allow a path, and where something hidden is in it, all that is beside that, one by one."""
        if self._is_hidden(path):
            return
        if not any(is_in(place, path) for place in self._hidden):
            self._open(path, rights)
            return
        # Names alone: without them nothing could be imported from here.
        self._open(path, landlock.READ_DIR)
        try:
            names = os.listdir(path)
        except OSError:
            return
        for name in names:
            beside = os.path.join(path, name)
            if not os.path.islink(beside):
                self._open_around(beside, rights)

    def _prepare(self, slot: Slot, policy: dict[str, Any]) -> None:
        """Keep what an attempt in this slot needs: its root, and its layer, made already."""
        self._roots.append(os.open(slot.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        if not self._abi:
            return
        ruleset = self._ruleset(policy)
        for path in slot.directories:
            ruleset.allow_path(path, landlock.WRITE)
        if policy["private_proc"]:
            ruleset.allow_path("/proc", landlock.READ)
        else:
            _allow_proc_of_host(ruleset)
        self._rulesets.append(ruleset)

    def _close_in_zygote(self, policy: dict[str, Any]) -> None:
        ruleset = self._ruleset(policy)
        if self.slots is None:
            ruleset.allow_path(policy["private_dir"], landlock.WRITE)
        else:
            for path in (*self._directories, *self.slots.directories()):
                ruleset.allow_path(path, landlock.WRITE)
        # A sandbox in a user namespace of its own writes its maps there.
        maps = landlock.WRITE_FILE if "user" in policy["namespaces"] else 0
        ruleset.allow_path("/proc", landlock.READ | maps)
        ruleset.restrict()
        ruleset.close()

    def close_in_handler(self, policy: dict[str, Any]) -> None:
        """Close the handler's process in, in the slot `policy["slot"]` where there are slots; close what that took."""
        ruleset = None
        if self.slots is not None:
            cwd = os.getcwd()
            os.fchdir(self._roots[policy["slot"]])
            os.chroot(".")
            os.chdir(cwd)
            ruleset = self._rulesets[policy["slot"]] if self._abi else None
        elif self._abi:
            ruleset = self._ruleset(policy)
            ruleset.allow_path(policy["tmp_dir"], landlock.WRITE)
            _allow_proc_of_host(ruleset)
        if ruleset is not None:
            if not policy["private_proc"]:
                ruleset.allow_path("/proc/self", landlock.READ)
            ruleset.restrict()
            if self.slots is None:
                ruleset.close()
        for low, high in self._kept:
            os.closerange(low, high)
        self._close(self._rules)

    def _ruleset(self, policy: dict[str, Any]) -> landlock.Ruleset:
        network = policy["network"]
        ports = network if isinstance(network, dict) else None
        ruleset = landlock.Ruleset(
            self._abi,
            limits_connect=ports is not None,
            limits_bind=ports is not None,
            scopes=True,
        )
        if ports is not None:
            ruleset.allow_ports(connect=ports["connect"], bind=ports["bind"])
        for fd, rights in self._rules:
            ruleset.allow_beneath(fd, rights)
        return ruleset

    @staticmethod
    def _close(rules: list[tuple[int, int]]) -> None:
        while rules:
            os.close(rules.pop()[0])


def _ranges(fds: list[int]) -> list[tuple[int, int]]:
    """Return descriptors as ranges, each with its first and the one after its last."""
    found: list[tuple[int, int]] = []
    for fd in sorted(fds):
        if found and found[-1][1] == fd:
            found[-1] = (found[-1][0], fd + 1)
        else:
            found.append((fd, fd + 1))
    return found


def _make_missing(paths: list[str]) -> None:
    """Make directories that the function may write and that do not exist: it could not do so itself.

    Raises OSError on a full disk: the walls name what is there, so for this zygote's life it would be missing.
    """
    for path in paths:
        try:
            os.mkdir(path, 0o755)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            # It is there, and may be a file; or the function will hear of it.


def _allow_proc_of_host(ruleset: landlock.Ruleset) -> None:
    for name in PROC_OF_HOST:
        ruleset.allow_path(f"/proc/{name}", landlock.READ)
