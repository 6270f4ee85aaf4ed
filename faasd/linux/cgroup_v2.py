"""Control groups, version 2: one tree, controllers switched on from above, a group killed in one write."""

from __future__ import annotations

import contextlib
import errno
import os

__all__ = ["Group", "enable_controllers", "is_withheld", "own_group"]


def own_group() -> str | None:
    """Return the directory of our own group in the unified tree, or None when it is not mounted."""
    mount = None
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields, _, after = line.partition(" - ")
            if after.startswith("cgroup2 "):
                mount = fields.split(" ")[3:5]
                break
    if mount is None:
        return None
    root, point = mount
    with open("/proc/self/cgroup") as file:
        for line in file:
            if line.startswith("0::"):
                path = line.rstrip("\n")[3:]
                inner = path[len(root) :] if root != "/" and path.startswith(root) else path
                own = (point + inner).rstrip("/")
                return own if os.path.isdir(own) else point
    return None


def is_withheld(path: str) -> bool:
    """Whether systemd manages this group and has not delegated it: even root is to leave it alone then.

    systemd marks the groups of its units; what bears no mark was made by somebody else. Before version 251
    only root can see the marks, but there everybody else is held off by the directory's owner and mode.
    """
    is_managed = is_delegated = False
    for space in ("user", "trusted"):
        is_managed |= _attribute(path, f"{space}.invocation_id") is not None
        is_delegated |= _attribute(path, f"{space}.delegate") == b"1"
    return is_managed and not is_delegated


def _attribute(path: str, name: str) -> bytes | None:
    try:
        return os.getxattr(path, name)
    except OSError:
        return None


def enable_controllers(path: str, names: tuple[str, ...], leaf: str) -> None:
    """Let the children of our own group be limited, moving ourselves out of the way into its child `leaf`.

    A group with controllers for its children may hold no process of its own (the root excepted).
    Raises OSError when the group is not delegated to us, lacks a controller, or holds other processes;
    then everything is as it was.
    """
    group = Group(path)
    missing = set(names) - set(group.read("cgroup.controllers").split())
    if missing:
        raise OSError(f"{path} has no controller {', '.join(sorted(missing))}")
    if set(names) <= set(group.read("cgroup.subtree_control").split()):
        return
    shelter = Group(f"{path}/{leaf}")
    with contextlib.suppress(FileExistsError):
        shelter.create()
    try:
        shelter.write("cgroup.procs", os.getpid())
        group.write("cgroup.subtree_control", " ".join(f"+{name}" for name in names))
    except OSError as error:
        with contextlib.suppress(OSError):
            group.write("cgroup.procs", os.getpid())
            shelter.remove()
        if error.errno == errno.EBUSY:
            raise OSError(error.errno, f"{path} holds other processes too") from error
        raise


class Group:
    """One group. Methods raise OSError."""

    def __init__(self, path: str) -> None:
        self.path = path

    def create(self) -> None:
        """Make the directory."""
        os.mkdir(self.path)

    def limit_memory(self, size_bytes: int) -> None:
        """Cap memory, allow no swap, and have everything killed together."""
        self.write("memory.max", size_bytes)
        with contextlib.suppress(FileNotFoundError):
            self.write("memory.swap.max", 0)
        self.write("memory.oom.group", 1)

    def limit_processes(self, count: int) -> None:
        """Cap the number of processes and threads."""
        self.write("pids.max", count)

    def limit_cpu(self, cores: float) -> None:
        """Cap processor time per wall time."""
        self.write("cpu.max", f"{max(1000, round(cores * 100_000))} 100000")

    def cpu_s(self) -> float:
        """Return the processor time used in the group; counted even without the controller cpu."""
        for line in self.read("cpu.stat").splitlines():
            if line.startswith("usage_usec "):
                return int(line.split()[1]) / 1e6
        raise OSError(f"{self.path}/cpu.stat has no usage_usec")

    def directory_fd(self) -> int:
        """Open the directory, for a clone into it."""
        return os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def procs_fd(self) -> int:
        """Open `cgroup.procs`; who writes "0" to it moves into the group, as if we did it."""
        return os.open(f"{self.path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)

    def oom_kills(self) -> int:
        """Return how many processes the kernel has killed for want of memory."""
        for line in self.read("memory.events").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def memory_peak_bytes(self) -> int | None:
        """Return the most memory that was ever charged; None before Linux 5.19."""
        try:
            return int(self.read("memory.peak"))
        except FileNotFoundError:
            return None

    def can_forget_peak(self) -> bool:
        """Whether this kernel counts the most memory anew for who writes to the file (since Linux 6.12)."""
        try:
            os.close(os.open(f"{self.path}/memory.peak", os.O_RDWR | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    def is_childless(self) -> bool:
        """Whether no group is below it."""
        return os.stat(self.path).st_nlink == 2

    def pids(self) -> list[int]:
        """Return the processes in the group."""
        return [int(pid) for pid in self.read("cgroup.procs").split()]

    def kill(self) -> None:
        """Kill every process of the group and below it, even while they fork."""
        self.write("cgroup.kill", 1)

    def remove(self) -> None:
        """Remove the directory. Raises OSError (EBUSY) while a process is in it."""
        os.rmdir(self.path)

    def write(self, name: str, value: object) -> None:
        """Write one of the group's files."""
        fd = os.open(f"{self.path}/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, str(value).encode())
        finally:
            os.close(fd)

    def read(self, name: str) -> str:
        """Read one of the group's files."""
        with open(f"{self.path}/{name}") as file:
            return file.read()
