"""How a zygote and a sandbox close themselves in: two ordered lists, and the fork that begins both.

`policy` is the JSON of faasd/sandbox/policy.py. A step that fails raises, and nothing runs.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from typing import Any, Callable

from faasd.linux import (
    clone,
    landlock,
    loopback,
    mounts,
    namespaces,
    process,
    rlimits,
    seccomp,
    users,
)
from faasd.runtime import report, system_call_filter
from faasd.runtime.file_walls import FileWalls

__all__ = [
    "contain_handler",
    "contain_sandbox",
    "contain_zygote",
    "fork",
    "fork_and",
    "join_cgroups",
    "limit_cpu_time",
    "namespaces_of_attempts",
    "probe_namespaces",
    "probe_walls",
]

_OWN_DIR = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: What a zygote of root's keeps, in its user namespace if it has one: to give its sandboxes their namespaces.
_CAP_SYS_CHROOT, _CAP_SYS_ADMIN = 18, 21
#: Zero would not stop a core dump where the host pipes them to a program; this stops both kinds.
_CORE_BYTES = 1

_FLAGS = {
    "pid": clone.NEWPID,
    "ipc": clone.NEWIPC,
    "uts": clone.NEWUTS,
    "user": clone.NEWUSER,
    "net": clone.NEWNET,
    "mnt": clone.NEWNS,
}


def fork(
    policy: dict[str, Any],
    cgroup_fds: Sequence[int],
    *,
    besides: Sequence[str] = (),
    is_plain: bool = False,
) -> tuple[int, int]:
    """Fork a process into the policy's namespaces and cgroups; returns (pid, pidfd), or (0, -1) in the child.

    The child is itself in its user namespace, and in its cgroups, before anything else happens in it. Where
    that fails it returns all the same, as the child that it is, and `contain_zygote` or `contain_handler`
    raises: an exception from here would have it go on as a second copy of its parent.
    `besides` names namespaces for this child that those it forks will share.
    `is_plain` is for a child that runs only our code; see `clone.fork`.
    """
    flags = 0
    for name in (*policy["namespaces"], *besides):
        flags |= _FLAGS[name]
    into = cgroup_fds if policy["cgroup"] == "v2" else ()
    uid, gid = os.geteuid(), os.getegid()  # Asked here: in the child they are unmapped at first.
    identity = policy.get("identity")
    if identity is not None and identity["uid"] != uid:
        return _fork_another_user(policy, identity, flags, into, cgroup_fds)
    if identity is not None:
        into = ()  # The group is the daemon's; `cgroup.procs`, which that opened, lets us in.
    pid, pidfd = clone.fork(flags, into, is_plain=is_plain)
    if pid == 0:
        try:
            if "user" in policy["namespaces"]:
                namespaces.map_ourselves(uid, gid)
            if policy["cgroup"] == "v1":
                join_cgroups(cgroup_fds)
            elif identity is not None:
                join_cgroups(cgroup_fds[1:])
        except OSError as error:
            policy["failure"] = f"cannot enter its namespaces and cgroups: {error}"
    return pid, pidfd


def _fork_another_user(
    policy: dict[str, Any],
    identity: dict[str, Any],
    flags: int,
    into: Sequence[int],
    cgroup_fds: Sequence[int],
) -> tuple[int, int]:
    """Fork a process that is another user from its first moment on; for the root zygote of a daemon that is root.

    In a user namespace that user may be there alone, and only its creator's side may say who that is: the
    child waits for it. It is as contained as if a daemon of that user had forked it.
    """
    gate, opener = os.pipe()
    try:
        pid, pidfd = clone.fork(flags, into)
    except OSError:
        os.close(gate)
        os.close(opener)
        raise
    if pid == 0:
        os.close(opener)
        _become(policy, identity, gate, cgroup_fds)
        return pid, pidfd
    os.close(gate)
    try:
        if "user" in policy["namespaces"]:
            namespaces.map_child(pid, identity["uid"], [identity["gid"], *identity["groups"]])
        os.write(opener, b"x")
    except OSError:
        os.close(opener)  # It sees that without a word, and ends.
        os.close(pidfd)
        os.waitpid(pid, 0)
        raise
    os.close(opener)
    return pid, pidfd


def _become(
    policy: dict[str, Any], identity: dict[str, Any], gate: int, cgroup_fds: Sequence[int]
) -> None:
    try:
        is_mapped = os.read(gate, 1)
        os.close(gate)
        if not is_mapped:
            os._exit(1)
        if policy["cgroup"] == "v1":
            join_cgroups(cgroup_fds)  # While we are root still.
        users.become(identity["uid"], identity["gid"], identity["groups"])
    except OSError as error:
        policy["failure"] = f"cannot become user {identity['name']!r}: {error}"


def _raise_failure_of_fork(policy: dict[str, Any]) -> None:
    if "failure" in policy:
        raise OSError(policy["failure"])


def join_cgroups(procs_fds: Sequence[int]) -> None:
    """Move ourselves into cgroups, given their open `cgroup.procs`."""
    for fd in procs_fds:
        os.write(fd, b"0")


def contain_zygote(policy: dict[str, Any]) -> None:
    """Close a zygote in before it imports the handler. What is set here, its sandboxes inherit."""
    _raise_failure_of_fork(policy)
    _check_reading(policy)
    process.raise_oom_score(policy["oom_score"])  # The daemon must never be the victim.
    rlimits.lower("CORE", _CORE_BYTES)
    rlimits.lower("FSIZE", policy["file_size_bytes"])
    rlimits.lower("NOFILE", rlimits.open_files_within())
    _limit_data(policy)
    process.forbid_new_privileges()
    if "net" in policy["zygote_namespaces"]:
        loopback.bring_up()
    os.chdir(policy["code_dir"])
    # From here on nothing can be mounted, nor opened but what the function was given.
    policy["file_walls"] = FileWalls(policy)
    # Again: as it is in the view, with nothing of the host's around it.
    os.chdir(policy["code_dir"])
    _drop_zygotes_capabilities(policy)
    if policy["system_calls"]:
        system_call_filter.for_attempt()  # Made here once, for all that is forked from here.
        # Last: it forbids what the above is made of.
        system_call_filter.for_zygote(
            policy["network"],
            has_own_network="net" in policy["zygote_namespaces"],
            guards_truncation=0 < policy["landlock"] < landlock.SINCE_TRUNCATE
            and not policy["mounts"],
        ).load()


def _check_reading(policy: dict[str, Any]) -> None:
    """See that another user can read what an import needs. Raises InitFailed."""
    identity = policy.get("identity")
    if identity is None:
        return
    needed = [policy["code_dir"]]
    if policy["module"] is not None:
        needed.append(os.path.realpath(os.__file__))  # Where the standard library is.
    closed = users.closed_part(needed)
    if closed is not None:
        path, part = closed
        hint = "chmod o+rx" if os.path.isdir(part) else "chmod o+r"
        message = (
            f"user {identity['name']!r} may not read {path}: {part} is closed to him; run: {hint} {part}, "
            "or keep it elsewhere"
        )
        raise report.InitFailed({"type": "PermissionError", "message": message, "stack": []})


def contain_handler(policy: dict[str, Any]) -> None:
    """Close in the process that runs the handler. The order is the argument."""
    _raise_failure_of_fork(policy)
    os.setsid()  # A group of its own, which a soft signal can reach as a whole.
    _limit_data(policy)  # Again: it is counted from what this process has now.
    if not policy["serves_many"]:
        limit_cpu_time(policy)
    if not policy["renews"]:  # Else its sandbox's first process is behind these, and so are we.
        _enter_file_walls(policy)
    # Not before: the walls are many open files.
    rlimits.lower("NOFILE", min(policy["open_files"], rlimits.open_files_within()))
    if not policy["renews"]:
        _give_up_the_rest(policy)


def contain_sandbox(policy: dict[str, Any]) -> None:
    """Close in the first process of a sandbox that renews, with all that its handlers' processes have in common."""
    _raise_failure_of_fork(policy)
    # Of all in an IPC namespace only a POSIX queue cannot be seen from outside: so there is none.
    rlimits.lower("MSGQUEUE", 0)
    _enter_file_walls(policy)
    _give_up_the_rest(policy)


def _enter_file_walls(policy: dict[str, Any]) -> None:
    if policy["processes_rlimit"] is not None:
        rlimits.lower("NPROC", policy["processes_rlimit"])
    policy["file_walls"].close_in_handler(policy)


def _give_up_the_rest(policy: dict[str, Any]) -> None:
    process.drop_capabilities()  # Those of root, or of the user namespace: they were for the above.
    if policy["system_calls"]:
        system_call_filter.for_attempt().load()  # Last: it forbids what the above is made of.


def limit_cpu_time(policy: dict[str, Any]) -> None:
    """Limit the processor time of this attempt's process.

    Behind the daemon's watch over the whole tree: for each process, and only to the second. One that serves
    many attempts calls this for each, so that its hard limit has to stay where it is.
    """
    if policy["cpu_time_s"] is None:
        return
    limit_s = math.ceil(policy["cpu_time_s"]) + 1
    if policy["serves_many"]:
        limit_s += math.ceil(rlimits.cpu_s())
    else:
        rlimits.lower("CPU", limit_s + 1)
    rlimits.set_soft("CPU", limit_s)  # SIGXCPU, which says why; with a hard limit SIGKILL later.


def _drop_zygotes_capabilities(policy: dict[str, Any]) -> None:
    """Leave no more than what forking sandboxes takes; with user namespaces for them that is nothing."""
    if "user" in namespaces_of_attempts(policy) or os.geteuid() != 0:
        process.drop_capabilities()
    else:
        process.keep_capabilities((_CAP_SYS_CHROOT, _CAP_SYS_ADMIN))


def namespaces_of_attempts(policy: dict[str, Any]) -> list[str]:
    """Return the namespaces of a zygote's sandboxes: its own, but a user namespace only where we are not root.

    To nest one that holds uid 0, the zygote would have to keep CAP_SETFCAP while it imports the function's
    module, which could then give a program of root's any capability, for whoever runs it on the host.
    """
    names: list[str] = policy["namespaces"]
    return [name for name in names if name != "user" or os.geteuid() != 0]


def _limit_data(policy: dict[str, Any]) -> None:
    if policy["data_bytes"] is not None:
        rlimits.set_soft("DATA", rlimits.data_bytes() + policy["data_bytes"])


def probe_walls(namespaces_found: Sequence[str]) -> dict[str, Any]:
    """Return what else this host lets us build: fields of faasd/sandbox/policy.py's Walls."""
    names = list(namespaces_found)
    has_mounts = _gives(names, "mnt", _try_view)
    return {
        "landlock": landlock.abi(),
        "python_paths": _python_paths(),
        "mounts": has_mounts,
        "private_proc": has_mounts and _gives(names, "mnt", lambda: mounts.mount_proc("/proc")),
        "seccomp": seccomp.is_available(),
        "user_namespaces": _can_be_others(namespaces_found),
        "network_namespace": _gives(names, "net", loopback.bring_up),
    }


def _gives(names: list[str], kind: str, attempt: Callable[[], None]) -> bool:
    """Try something out in one more namespace, of this kind, beside those that were found."""

    def works() -> bool:
        try:
            attempt()
        except OSError:
            return False
        return True

    try:
        return bool(names) and _forks({"namespaces": names, "cgroup": None}, works, (kind,))
    except OSError:
        return False


def _try_view() -> None:
    """Do once what private_view.py does for every slot."""
    mounts.detach_from_host()
    mounts.mount_tmpfs("/proc", 2**16, 64, 0o755, unbindable=True)  # Wherever: it ends with us.
    os.mkdir("/proc/root")
    mounts.bind("/", "/proc/root", recursive=True)
    mounts.make_read_only("/proc/root")
    os.chroot("/proc/root")


def _python_paths() -> list[str]:
    """Return where this interpreter is, and where it looks for modules."""
    program = os.path.dirname(os.path.realpath(sys.executable or ""))
    prefixes = {sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix}
    # The directory of an editable installation of our own holds more than us; the rules name us apart.
    paths = prefixes.union(path for path in sys.path if path != _OWN_DIR)
    return sorted({os.path.abspath(path) for path in (*paths, program) if path})


def _can_be_others(namespaces_found: Sequence[str]) -> bool:
    """Whether other users can be forked into namespaces of theirs, and nest these as zygotes do."""
    if os.geteuid() != 0 or not namespaces_found:
        return False
    names = ["user", "pid", "ipc", "uts"]
    nobody = {"name": "nobody", "uid": 65534, "gid": 65534, "groups": [65534]}
    outer = {"namespaces": names, "cgroup": None, "identity": nobody}
    try:
        return _forks(outer, lambda: _forks({**outer, "identity": None}, lambda: True))
    except OSError:
        return False


def probe_namespaces() -> list[str]:
    """Return the namespaces that this host lets us nest twice, as zygote and sandbox need it; empty for none."""
    plain = ["pid", "ipc", "uts"]
    # With a user namespace first, as root too: its capabilities are worth nothing outside.
    for names in [["user", *plain]] + ([plain] if os.geteuid() == 0 else []):
        policy = {"namespaces": names, "cgroup": None}
        try:
            if _forks(policy, lambda policy=policy: _forks(policy, lambda: True)):
                return names
        except OSError:
            continue
    return []


def _forks(policy: dict[str, Any], then: Any, besides: Sequence[str] = ()) -> bool:
    pid, pidfd = fork_and(policy, then, besides)
    os.close(pidfd)
    return os.waitpid(pid, 0)[1] == 0


def fork_and(policy: dict[str, Any], then: Any, besides: Sequence[str] = ()) -> tuple[int, int]:
    """Fork a child that calls `then`, exits 0 when that is true and 1 otherwise."""
    pid = -1
    try:
        pid, pidfd = fork(policy, (), besides=besides, is_plain=True)
        if pid == 0:
            os._exit(0 if "failure" not in policy and then() else 1)
    except OSError:
        if pid == 0:
            os._exit(1)
        raise
    return pid, pidfd
