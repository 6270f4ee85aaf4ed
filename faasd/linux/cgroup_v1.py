"""Control groups, version 1: one tree of directories per controller."""

from __future__ import annotations

import contextlib
import os

__all__ = ["Group", "own_group"]


def own_group(controller: str) -> str | None:
    """Return the directory of our own group in a controller's tree, or None when it is not mounted."""
    mount = _mount_of(controller)
    if mount is None:
        return None
    root, point = mount
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controller in controllers.split(","):
                inner = path[len(root) :] if root != "/" and path.startswith(root) else path
                own = (point + inner).rstrip("/")
                # In a container the path may be the host's, and the mount shows only our part.
                return own if os.path.isdir(own) else point
    return None


def _mount_of(controller: str) -> tuple[str, str] | None:
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields, _, after = line.partition(" - ")
            kind, _, options = after.split(" ", 2)
            if kind == "cgroup" and controller in options.rstrip("\n").rpartition(" ")[2].split(
                ","
            ):
                root, point = fields.split(" ")[3:5]
                return root, point
    return None


class Group:
    """One group of one controller. Methods raise OSError.

    With `keeps_open`, which is for groups that are used again, files are opened once and kept until `close`:
    asking an open one costs a tenth of opening it.
    """

    def __init__(self, path: str, *, is_of_pids: bool = False) -> None:
        self.path = path
        self.is_of_pids = is_of_pids  # Of the controller that counts processes.
        self.keeps_open = False
        self._fds: dict[tuple[str, int], int] = {}

    def create(self) -> None:
        """Make the directory."""
        os.mkdir(self.path)

    def limit_memory(self, size_bytes: int) -> None:
        """Cap memory; swap counts as well where the kernel accounts for it."""
        self._write("memory.limit_in_bytes", size_bytes)
        with contextlib.suppress(FileNotFoundError, PermissionError):
            self._write("memory.memsw.limit_in_bytes", size_bytes)

    def limit_processes(self, count: int) -> None:
        """Cap the number of processes and threads."""
        self._write("pids.max", count)

    def limit_cpu(self, cores: float) -> None:
        """Cap processor time per wall time."""
        self._write("cpu.cfs_quota_us", max(1000, round(cores * 100_000)))

    def cpu_s(self) -> float:
        """Return the processor time used in a group of the controller cpuacct. For any thread."""
        # Not through a kept descriptor, which may be closed, and be another's, before it is read.
        return int(self._read_anew("cpuacct.usage", 32)) / 1e9

    def forget_cpu(self) -> None:
        """Count processor time anew."""
        self._write("cpuacct.usage", 0)

    def can_limit_cpu(self) -> bool:
        """Whether this kernel was built with bandwidth control."""
        return os.path.exists(f"{self.path}/cpu.cfs_quota_us")

    def procs_fd(self) -> int:
        """Open `cgroup.procs`; who writes "0" to it moves into the group."""
        return os.open(f"{self.path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def watch_oom(self) -> int:
        """Return an eventfd that becomes readable when the group runs out of memory."""
        event_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)  # type: ignore[attr-defined, unused-ignore]
        try:
            control_fd = os.open(f"{self.path}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._write("cgroup.event_control", f"{event_fd} {control_fd}")
            finally:
                os.close(control_fd)
        except OSError:
            os.close(event_fd)
            raise
        return int(event_fd)

    def oom_kills(self) -> int:
        """Return how many processes the kernel has killed for want of memory."""
        for line in self._read("memory.oom_control").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def memory_peak_bytes(self) -> int:
        """Return the most memory that was ever charged."""
        return int(self._read("memory.max_usage_in_bytes"))

    def memory_bytes(self) -> int:
        """Return what is charged now."""
        return int(self._read("memory.usage_in_bytes"))

    def forget_peak(self) -> None:
        """Count the most memory anew, from what is charged now."""
        self._write("memory.max_usage_in_bytes", 0)

    def is_empty(self) -> bool:
        """Whether no process is in the group."""
        if self.is_of_pids and self._read("pids.current") == "0\n":
            return True  # Else what has ended may not be waited for yet.
        # The kernel shows through a kept descriptor for a second what it has listed there once.
        return not self._read_anew("cgroup.procs", 16)

    def is_childless(self) -> bool:
        """Whether no group is below it."""
        return os.stat(self.path).st_nlink == 2

    def pids(self) -> list[int]:
        """Return the processes in the group; a process of a PID namespace we cannot see is 0."""
        with open(f"{self.path}/cgroup.procs") as file:
            return [int(pid) for pid in file.read().split()]

    def remove(self) -> None:
        """Close what is open and remove the directory. Raises OSError (EBUSY) while a process is in it."""
        self.close()
        os.rmdir(self.path)

    def close(self) -> None:
        """Close the files."""
        while self._fds:
            os.close(self._fds.popitem()[1])

    def _write(self, name: str, value: object) -> None:
        fd = self._open(name, os.O_WRONLY)
        try:
            os.pwrite(fd, str(value).encode(), 0)
        finally:
            self._let_go(fd)

    def _read(self, name: str) -> str:
        fd = self._open(name, os.O_RDONLY)
        try:
            # Not through a file object, which asks four things of a file that has no answers.
            return os.pread(fd, 4096, 0).decode()
        finally:
            self._let_go(fd)

    def _read_anew(self, name: str, size: int) -> bytes:
        fd = os.open(f"{self.path}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, size)
        finally:
            os.close(fd)

    def _open(self, name: str, flags: int) -> int:
        fd = self._fds.get((name, flags))
        if fd is None:
            fd = os.open(f"{self.path}/{name}", flags | os.O_CLOEXEC)
            if self.keeps_open:
                self._fds[name, flags] = fd
        return fd

    def _let_go(self, fd: int) -> None:
        if not self.keeps_open:
            os.close(fd)
