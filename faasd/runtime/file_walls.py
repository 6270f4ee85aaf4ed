"""The file walls of one zygote and its sandboxes: Landlock, laid twice.

The zygote's own layer allows what the function may touch in general, and the private directories of all of its
attempts. A handler's process adds a second one, the same but for its own private directory alone.
"""

from __future__ import annotations

import os
from typing import Any

from faasd.linux import landlock

__all__ = ["FileWalls", "close_in_zygote"]

#: What programs read of the whole host below /proc, where that is not the zygote's own.
_PROC_OF_HOST = (
    "cpuinfo", "devices", "filesystems", "loadavg", "meminfo", "stat", "sys", "uptime", "version", "vmstat",
)  # fmt: skip


class FileWalls:
    """What a zygote keeps at hand, so that a sandbox is closed in within microseconds."""

    def __init__(self, policy: dict[str, Any]) -> None:
        self._abi = int(policy["landlock"])
        #: Open files and directories (O_PATH), and what may be done there.
        self._rules: list[tuple[int, int]] = []

    def open_rules(self, policy: dict[str, Any]) -> None:
        """Open everything that the function may touch; what does not exist is left out."""
        files = policy["files"]
        hidden = [os.path.realpath(path) for path in files["hidden"]]
        for names, rights in (
            (files["read"], landlock.READ),
            (files["write"], landlock.WRITE),
        ):
            for path in names:
                self._open_around(os.path.realpath(path), rights, hidden)
        for path in files["devices"]:
            self._open(
                path, landlock.READ | landlock.WRITE_FILE | landlock.TRUNCATE | landlock.IOCTL
            )

    def _open(self, path: str, rights: int) -> None:
        try:
            self._rules.append((os.open(path, os.O_PATH | os.O_CLOEXEC), rights))
        except OSError:
            pass  # It does not exist, or is not for this user's eyes; then it needs no wall.

    def _open_around(self, path: str, rights: int, hidden: list[str]) -> None:
        """Allow a path, and where something hidden is in it, all that is beside that, one by one."""
        if any(_is_in(path, place) for place in hidden):
            return
        if not any(_is_in(place, path) for place in hidden):
            self._open(path, rights)
            return
        try:
            names = os.listdir(path)
        except OSError:
            return
        # Names alone: without them nothing could be imported from here.
        self._open(path, landlock.READ_DIR)
        for name in names:
            beside = os.path.join(path, name)
            if not os.path.islink(beside):
                self._open_around(beside, rights, hidden)

    def close_in_zygote(self, policy: dict[str, Any]) -> None:
        """Lay the zygote's layer."""
        if not self._abi:
            return
        ruleset = self._ruleset(policy)
        ruleset.allow_path(policy["private_dir"], landlock.WRITE)
        # A sandbox in a user namespace of its own writes its maps there.
        maps = landlock.WRITE_FILE if "user" in policy["namespaces"] else 0
        ruleset.allow_path("/proc", landlock.READ | maps)
        ruleset.restrict()
        ruleset.close()

    def close_in_handler(self, policy: dict[str, Any]) -> None:
        """Lay the attempt's layer, and close what was kept open for it."""
        if self._abi:
            ruleset = self._ruleset(policy)
            ruleset.allow_path(policy["tmp_dir"], landlock.WRITE)
            ruleset.allow_path("/proc/self", landlock.READ)
            for name in _PROC_OF_HOST:
                ruleset.allow_path(f"/proc/{name}", landlock.READ)
            ruleset.restrict()
            ruleset.close()
        for fd, _ in self._rules:
            os.close(fd)

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


def close_in_zygote(policy: dict[str, Any]) -> FileWalls:
    """Close a zygote in, and return what its sandboxes need for the same."""
    walls = FileWalls(policy)
    walls.open_rules(policy)
    walls.close_in_zygote(policy)
    return walls


def _is_in(path: str, directory: str) -> bool:
    """Whether an absolute path is a directory or below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
