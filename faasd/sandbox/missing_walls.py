"""Which walls a function is promised and its host does not build: pure, from the function and its host."""

from __future__ import annotations

from collections.abc import Callable

from faasd.model.function import Function
from faasd.model.permissions import Ports
from faasd.model.walls import WALLS, MissingWall
from faasd.sandbox.policy import Walls

__all__ = [
    "ALLOW_USER_NAMESPACES",
    "missing_walls",
    "names_of_missing_walls",
    "walls_asked_for",
]

#: The Landlock ABI that brought a rule, and the kernel that brought the ABI.
_LANDLOCK_TCP, _LANDLOCK_SCOPES = 4, 6
ALLOW_USER_NAMESPACES = (
    "allow user namespaces: `sysctl user.max_user_namespaces=10000`, on older Debian also "
    "`sysctl kernel.unprivileged_userns_clone=1`, and on Ubuntu packaging/apparmor/faasd"
)
_NEEDS_SECCOMP = "use a kernel with CONFIG_SECCOMP_FILTER, on x86-64 or aarch64"
_DELEGATE = "run faasd as a systemd service with Delegate=yes"

_Check = Callable[[Function, Walls], "tuple[str, str] | None"]


def missing_walls(function: Function, walls: Walls) -> tuple[MissingWall, ...]:
    """Return the walls that are missing for this function, in the order of WALLS."""
    found = []
    for name in WALLS:
        answer = _CHECKS[name](function, walls)
        if answer is not None:
            found.append(MissingWall(name, *answer))
    return tuple(found)


def walls_asked_for(function: Function) -> tuple[str, ...]:
    """Return the walls that the function is promised: all but those that only a setting asks for."""
    left_out = set()
    if function.permissions.network is True:
        left_out.add("network")
    if function.limits.cpu is None:
        left_out.add("cpu-cap")
    if function.permissions.user is None:
        left_out.add("user")
    return tuple(name for name in WALLS if name not in left_out)


def names_of_missing_walls(function: Function, walls: Walls) -> tuple[str, ...]:
    """Return their names, as an attempt's record keeps them under `degraded`."""
    return tuple(one.wall for one in missing_walls(function, walls))


def _files(_: Function, walls: Walls) -> tuple[str, str] | None:
    if walls.landlock:
        return None
    return (
        "this kernel has no Landlock, or it is switched off",
        "use Linux 5.13 or newer and start it with landlock among `lsm=`",
    )


def _tmp_quota(_: Function, walls: Walls) -> tuple[str, str] | None:
    return None if walls.mounts else ("no mount namespace of its own", ALLOW_USER_NAMESPACES)


def _private_proc(_: Function, walls: Walls) -> tuple[str, str] | None:
    if walls.private_proc and walls.mounts:
        return None
    return "no /proc of its own can be mounted here", ALLOW_USER_NAMESPACES


def _pid_namespace(_: Function, walls: Walls) -> tuple[str, str] | None:
    if "pid" in walls.namespaces:
        return None
    return "this host refuses process namespaces to us", ALLOW_USER_NAMESPACES


def _system_calls(_: Function, walls: Walls) -> tuple[str, str] | None:
    if walls.seccomp:
        return None
    return "no system-call filter can be loaded here", _NEEDS_SECCOMP


def _network(function: Function, walls: Walls) -> tuple[str, str] | None:
    network = function.permissions.network
    if network is False and not (walls.network_namespace or walls.seccomp):
        reason = "network = false needs a network namespace or a system-call filter"
        return reason, ALLOW_USER_NAMESPACES
    if isinstance(network, Ports) and not walls.seccomp:
        # It keeps all but TCP from going around.
        return "a list of ports needs a system-call filter", _NEEDS_SECCOMP
    if isinstance(network, Ports) and walls.landlock < _LANDLOCK_TCP:
        has = f"ABI {walls.landlock}" if walls.landlock else "none"
        return (
            f"a list of ports needs Landlock ABI {_LANDLOCK_TCP}, and this kernel has {has}",
            "use Linux 6.7 or newer, or set network to true or false",
        )
    return None


def _memory_cgroup(_: Function, walls: Walls) -> tuple[str, str] | None:
    return None if walls.cgroup else ("no cgroup that we may write", _DELEGATE)


def _process_cap(function: Function, walls: Walls) -> tuple[str, str] | None:
    if walls.cgroup_caps_processes or walls.uid != 0:
        return None
    if function.permissions.user not in (None, "root", "0"):
        return None  # Of whom the kernel does count the processes.
    return (
        "the kernel exempts root from RLIMIT_NPROC, and no pids cgroup is writable",
        f'{_DELEGATE}, or as an ordinary user, or give the function a `user = "…"`',
    )


def _cpu_cap(function: Function, walls: Walls) -> tuple[str, str] | None:
    if function.limits.cpu is None or walls.cgroup_caps_cpu:
        return None
    return "`cpu` needs a writable cpu cgroup", f"{_DELEGATE}, or leave `cpu` out"


def _user(function: Function, walls: Walls) -> tuple[str, str] | None:
    user = function.permissions.user
    if user is None or walls.uid == 0 or walls.identity is not None or walls.is_own_user:
        return None
    return (
        f"only root may start processes as user {user!r}, and the daemon is not root",
        "run the daemon as root, or leave `user` out",
    )


def _signals(_: Function, walls: Walls) -> tuple[str, str] | None:
    if "pid" in walls.namespaces or walls.landlock >= _LANDLOCK_SCOPES:
        return None
    return (
        f"no process namespace, and no Landlock ABI {_LANDLOCK_SCOPES}",
        f"use Linux 6.12 or newer, or {ALLOW_USER_NAMESPACES}",
    )


def _abstract_sockets(function: Function, walls: Walls) -> tuple[str, str] | None:
    has_own_network = function.permissions.network is False and walls.network_namespace
    if has_own_network or walls.landlock >= _LANDLOCK_SCOPES:
        return None
    return (
        f"the host's network is shared, and there is no Landlock ABI {_LANDLOCK_SCOPES}",
        "use Linux 6.12 or newer, or set network = false",
    )


def _local_sockets(_: Function, walls: Walls) -> tuple[str, str] | None:
    if walls.mounts:
        return None
    return (
        "no mount namespace of its own to cover /run, /tmp and /dev/shm in",
        ALLOW_USER_NAMESPACES,
    )


_CHECKS: dict[str, _Check] = {
    "files": _files,
    "tmp-quota": _tmp_quota,
    "private-proc": _private_proc,
    "pid-namespace": _pid_namespace,
    "system-calls": _system_calls,
    "network": _network,
    "memory-cgroup": _memory_cgroup,
    "process-cap": _process_cap,
    "cpu-cap": _cpu_cap,
    "user": _user,
    "signals": _signals,
    "abstract-sockets": _abstract_sockets,
    "local-sockets": _local_sockets,
}
