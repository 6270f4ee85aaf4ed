"""What this host lets us build, for people: `faasd doctor`."""

from __future__ import annotations

import ctypes
import os
import secrets
import socket
import sys
from dataclasses import dataclass

from faasd import wire
from faasd.linux import cgroup_v1, cgroup_v2
from faasd.sandbox.cgroup_slot import find_cgroups
from faasd.sandbox.zygote_process import BOOTSTRAP

__all__ = ["WallReport", "inspect_host"]

_SYS_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_CREATE_RULESET_VERSION = 1


@dataclass(frozen=True)
class WallReport:
    """One wall: whether it can be built here, how, and what would help where it cannot."""

    wall: str
    available: bool
    how: str
    remedy: str = ""


def inspect_host(python: str | None = None) -> list[WallReport]:
    """Try out every wall, as this process's user; leaves nothing behind. Blocks for some 100 ms."""
    namespaces, problem = _namespaces(python or sys.executable)
    cgroups, refusal = find_cgroups("doctor", secrets.token_hex(4))
    if cgroups is not None:
        cgroups.remove()
    version = cgroups.version if cgroups is not None else None
    caps_processes = cgroups is not None and cgroups.caps_processes
    return [
        _pid_namespace(namespaces, problem),
        _user_namespace(namespaces),
        _memory(version, refusal),
        _process_cap(caps_processes, namespaces),
        _landlock(),
        _seccomp(),
    ]


def _namespaces(python: str) -> tuple[list[str], str]:
    """Ask a root zygote what it can nest; returns (names, problem)."""
    ours, theirs = socket.socketpair()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        ours.settimeout(20)
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
        actions.append((os.POSIX_SPAWN_DUP2, theirs.fileno(), 3))
        argv = [python, "-I", BOOTSTRAP, "root_zygote", "3", "namespaces"]
        pid = os.posix_spawnp(
            python, argv, {"LC_ALL": "C.UTF-8"}, file_actions=actions, setsid=True
        )
        theirs.close()
        try:
            hello = wire.receive(ours, wire.CONTROL_BYTES_MAX)
        finally:
            ours.close()
            os.waitpid(pid, 0)
        return (
            (list(wire.decode(hello)["namespaces"]), "")
            if hello
            else ([], f"{python} did not answer")
        )
    except OSError as error:
        return [], f"{python}: {error}"
    finally:
        ours.close()
        theirs.close()
        os.close(null)


def _pid_namespace(namespaces: list[str], problem: str) -> WallReport:
    if "pid" in namespaces:
        inside = " inside a user namespace" if "user" in namespaces else ""
        return WallReport(
            "pid namespace", True, f"one per attempt{inside}; its end kills the whole tree"
        )
    how = "every zygote adopts and sweeps what its sandboxes leave" + (
        f" ({problem})" if problem else ""
    )
    remedy = "allow user namespaces: sysctl user.max_user_namespaces=10000, and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0"
    return WallReport("pid namespace", False, how, remedy)


def _user_namespace(namespaces: list[str]) -> WallReport:
    if "user" in namespaces:
        return WallReport(
            "user namespace", True, "one per sandbox; the process cap counts in it alone"
        )
    if namespaces:
        return WallReport(
            "user namespace", False, "not used: faasd runs as root", "run faasd as an ordinary user"
        )
    return WallReport("user namespace", False, "the kernel refuses it", "see pid namespace")


def _memory(version: str | None, refusal: str) -> WallReport:
    if version is not None:
        return WallReport("memory cap", True, f"cgroup {version}, one group per attempt")
    how = f"RLIMIT_DATA and a look at the tree's memory every 50 ms ({refusal})"
    remedy = "run faasd as a systemd service with Delegate=yes"
    if cgroup_v2.own_group() is None and cgroup_v1.own_group("memory") is None:
        remedy = "mount cgroups into this container, writable"
    return WallReport("memory cap", False, how, remedy)


def _process_cap(in_cgroup: bool, namespaces: list[str]) -> WallReport:
    if in_cgroup:
        return WallReport("process cap", True, "pids cgroup, one group per attempt")
    if os.geteuid() != 0:
        where = (
            "in the sandbox's user namespace"
            if "user" in namespaces
            else "over all of this user's processes"
        )
        return WallReport("process cap", True, f"RLIMIT_NPROC, counted {where}")
    how = "none: the kernel exempts root from RLIMIT_NPROC, and no pids cgroup is writable"
    return WallReport(
        "process cap", False, how, "run faasd as an ordinary user, or give it a delegated cgroup"
    )


def _landlock() -> WallReport:
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(
        ctypes.c_long(_SYS_LANDLOCK_CREATE_RULESET),
        None,
        ctypes.c_size_t(0),
        _LANDLOCK_CREATE_RULESET_VERSION,
    )
    if version > 0:
        return WallReport("landlock", True, f"ABI {version}; not used by this version")
    return WallReport(
        "landlock", False, "not in this kernel, or switched off", "boot with lsm=landlock,…"
    )


def _seccomp() -> WallReport:
    try:
        with open("/proc/sys/kernel/seccomp/actions_avail") as file:
            actions = file.read().split()
    except OSError:
        return WallReport(
            "seccomp", False, "not in this kernel", "use a kernel with CONFIG_SECCOMP_FILTER"
        )
    return WallReport(
        "seccomp", "errno" in actions, f"{len(actions)} actions; not used by this version"
    )
