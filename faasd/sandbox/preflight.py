"""What this host lets us build, for people: `faasd doctor` and `faasd check`."""

from __future__ import annotations

import dataclasses
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from faasd import wire
from faasd.errors import SandboxError, WireError
from faasd.linux import cgroup_v1, cgroup_v2
from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions, Ports
from faasd.model.walls import WALLS, MissingWall
from faasd.sandbox.cgroup_slot import CgroupSlots, find_cgroups
from faasd.sandbox.identity import identity_of, is_own_user
from faasd.sandbox.missing_walls import missing_walls
from faasd.sandbox.policy import Walls, walls_of_user
from faasd.sandbox.zygote_process import BOOTSTRAP

__all__ = ["WallReport", "inspect_functions", "inspect_host", "walls_from_json"]

_PROBE_TIMEOUT_S = 60.0
#: Between them they ask for every wall.
_ASKERS = (
    Function("plain", "m:h"),
    Function("cpu", "m:h", limits=Limits(cpu=1.0)),
    Function("user", "m:h", permissions=Permissions(user="nobody")),
    Function("offline", "m:h", permissions=Permissions(network=False)),
    Function("ports", "m:h", permissions=Permissions(network=Ports())),
)


@dataclass(frozen=True)
class WallReport:
    """One wall: whether it can be built here, how, and what would help where it cannot."""

    wall: str  # A key of model.walls.WALLS.
    available: bool
    how: str
    remedy: str = ""


def inspect_host(python: str | None = None) -> list[WallReport]:
    """Try out every wall, as this process's user; leaves nothing behind. Blocks for some 100 ms."""
    problem, refusal = "", ""
    walls = Walls(uid=os.geteuid())
    with _Cgroups() as cgroups:
        try:
            walls = _probe(python or sys.executable, cgroups.found)
        except (OSError, SandboxError, WireError) as error:
            problem = str(error)
        refusal = cgroups.refusal
    missing: dict[str, MissingWall] = {}
    for function in _ASKERS:
        for one in missing_walls(function, walls):
            missing.setdefault(one.wall, one)
    return [_report(name, walls, missing.get(name), problem, refusal) for name in WALLS]


def inspect_functions(
    functions: Iterable[Function], known: Mapping[str, Walls]
) -> dict[str, tuple[MissingWall, ...] | str]:
    """Return by function which walls it lacks, or why its interpreter does not answer.

    `known` holds walls by interpreter that somebody has found already; the others are tried out here, as this
    process's user. Blocks for some 100 ms for each of those.
    """
    found: dict[str, Walls | str] = dict(known)
    answers: dict[str, tuple[MissingWall, ...] | str] = {}
    with _Cgroups() as cgroups:
        for function in functions:
            python = function.python or sys.executable
            if python not in found:
                try:
                    found[python] = _probe(python, cgroups.found)
                except (OSError, SandboxError, WireError) as error:
                    found[python] = str(error)
            answers[function.name] = _judge(function, found[python])
    return answers


def _judge(function: Function, walls: Walls | str) -> tuple[MissingWall, ...] | str:
    if isinstance(walls, str) or function.permissions.user is None:
        return walls if isinstance(walls, str) else missing_walls(function, walls)
    try:
        identity = identity_of(function) if os.geteuid() == 0 else None
    except SandboxError as error:
        return str(error)
    if identity is not None and walls.uid == 0:
        return missing_walls(function, walls_of_user(walls, identity))
    return missing_walls(function, dataclasses.replace(walls, is_own_user=is_own_user(function)))


def walls_from_json(value: Mapping[str, Any]) -> Walls:
    """Read what another process has found; fields that we do not know are left out."""
    names = {field.name for field in dataclasses.fields(Walls)}
    known: dict[str, Any] = {
        name: tuple(each) if isinstance(each, list) else each
        for name, each in value.items()
        if name in names
    }
    return Walls(**known)


class _Cgroups:
    """The cgroups that we may write, for the length of a block."""

    def __enter__(self) -> Self:
        self.found, self.refusal = find_cgroups("doctor", secrets.token_hex(4))
        return self

    def __exit__(self, *_: object) -> None:
        if self.found is not None:
            self.found.remove()


def _probe(python: str, cgroups: CgroupSlots | None) -> Walls:
    """Have a root zygote try out what it can build. Raises OSError, SandboxError or WireError."""
    hello = _hello_of(python)
    return Walls(
        tuple(hello["namespaces"]),
        cgroups.version if cgroups is not None else None,
        cgroup_caps_processes=cgroups is not None and cgroups.caps_processes,
        cgroup_caps_cpu=cgroups is not None and cgroups.caps_cpu,
        cgroup_counts_anew=cgroups is not None and cgroups.counts_anew,
        uid=int(hello["uid"]),
        **hello["walls"],
    )


def _hello_of(python: str) -> dict[str, Any]:
    ours, theirs = socket.socketpair()
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        ours.settimeout(_PROBE_TIMEOUT_S)
        actions = [(os.POSIX_SPAWN_DUP2, null, fd) for fd in (0, 1, 2)]
        actions.append((os.POSIX_SPAWN_DUP2, theirs.fileno(), 3))
        argv = [python, "-I", BOOTSTRAP, "root_zygote", "3", "namespaces"]
        try:
            pid = os.posix_spawnp(
                python, argv, {"LC_ALL": "C.UTF-8"}, file_actions=actions, setsid=True
            )
        except OSError as error:
            raise SandboxError(f"{python}: {error.strerror}") from error
        theirs.close()
        try:
            hello = wire.receive(ours, wire.CONTROL_BYTES_MAX)
        finally:
            ours.close()
            os.waitpid(pid, 0)
        if not hello:
            raise SandboxError(f"{python} does not answer; is it a CPython 3.9 or newer?")
        return wire.decode(hello)
    finally:
        ours.close()
        theirs.close()
        os.close(null)


def _report(
    name: str, walls: Walls, missing: MissingWall | None, problem: str, refusal: str
) -> WallReport:
    if missing is None:
        return WallReport(name, True, _HOW[name](walls))
    reason = missing.reason
    remedy = missing.remedy
    if name == "memory-cgroup":
        reason = refusal or reason
        if cgroup_v2.own_group() is None and cgroup_v1.own_group("memory") is None:
            remedy = "mount cgroups into this container, writable"
    elif problem:
        reason, remedy = problem, "use a CPython 3.9 or newer that this user can run"
    return WallReport(name, False, reason, remedy)


def _pid_namespace(walls: Walls) -> str:
    inside = " inside a user namespace" if "user" in walls.namespaces else ""
    return f"one per attempt{inside}; its end kills the whole tree"


def _network(walls: Walls) -> str:
    own = "a network namespace" if walls.network_namespace else "no internet sockets"
    return f"{own} for network = false; Landlock for lists of ports"


def _process_cap(walls: Walls) -> str:
    if walls.cgroup_caps_processes:
        return "pids cgroup, one group per attempt"
    if "user" in walls.namespaces:
        return "RLIMIT_NPROC, counted in the sandbox's user namespace"
    return "RLIMIT_NPROC, counted over all of this user's processes"


#: How each wall is built, where it can be.
_HOW: dict[str, Callable[[Walls], str]] = {
    "files": lambda walls: f"Landlock, ABI {walls.landlock}",
    "tmp-quota": lambda _: "a file system in memory for each attempt, of tmp_size",
    "private-proc": lambda _: "a /proc of the zygote's own",
    "pid-namespace": _pid_namespace,
    "system-calls": lambda _: "a seccomp filter",
    "network": _network,
    "memory-cgroup": lambda walls: f"cgroup {walls.cgroup}, one group per attempt",
    "process-cap": _process_cap,
    "cpu-cap": lambda walls: f"cgroup {walls.cgroup}, for functions that set `cpu`",
    "user": lambda _: "faasd runs as root, so functions may name users",
    "signals": lambda walls: (
        "PID namespaces" if "pid" in walls.namespaces else f"Landlock, ABI {walls.landlock}"
    ),
    "abstract-sockets": lambda walls: f"Landlock, ABI {walls.landlock}",
    "local-sockets": lambda _: "/run, /tmp and /dev/shm covered but for what was given",
}
