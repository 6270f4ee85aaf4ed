"""What we ask of the walls: pure functions from a function and its host to the policy JSON of runtime/containment.py."""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from faasd.clock import to_iso
from faasd.model.attempt import Attempt
from faasd.model.function import Function
from faasd.model.layer import layer_directories
from faasd.sandbox.file_rules import Premises, file_rules, tmp_at
from faasd.sandbox.identity import Identity

__all__ = [
    "OWN_NAMES",
    "SLOTS_MAX",
    "Walls",
    "attempt_environment",
    "attempt_header",
    "attempt_policy",
    "environment",
    "event_json",
    "frame_bytes_max",
    "has_own_network",
    "in_shared_zygote",
    "renews",
    "shared_zygote_key",
    "shares_process_cap",
    "walls_of_user",
    "zygote_key",
    "zygote_policy",
]

#: How far a frame may exceed the payload limit: the envelope, a batch's brackets.
_FRAME_SLACK_BYTES = 64 * 2**10
#: Room for a burst between two looks of the memory watch. Generous, because a single refused
#: allocation in a child process shows to us only as that child's own failure, and because what
#: just-in-time compilers set aside counts, used or not: Node 24 needs half of this.
_DATA_SLACK_BYTES = 2**30
#: Attempts that one zygote runs at once, where each takes a copy of all the host's mounts. Others wait.
SLOTS_MAX = 64
#: What of a function's environment says which function it is: functions that share a zygote differ in these alone.
OWN_NAMES = (
    "AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_LOG_GROUP_NAME", "FAASD_FUNCTION", "_HANDLER",
)  # fmt: skip
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Walls:
    """What this host can build for one interpreter's zygotes."""

    namespaces: tuple[str, ...] = ()
    cgroup: str | None = None  # "v1" or "v2"
    cgroup_caps_processes: bool = False
    cgroup_caps_cpu: bool = False
    cgroup_counts_anew: bool = False  # The peak of memory, with processes in the group.
    uid: int = 0
    landlock: int = 0  # Its ABI; 0 where the kernel has none.
    mounts: bool = False  # A mount namespace of the zygote's own, with a tmpfs per attempt.
    seccomp: bool = False
    network_namespace: bool = False
    private_proc: bool = False  # A /proc of the zygote's own, which shows its processes alone.
    python_paths: tuple[str, ...] = ()  # Where the interpreter and its modules are.
    user_namespaces: bool = False  # For other users than the daemon's, which is root.
    identity: Identity | None = None  # Of the function, where it is not the daemon's own user.
    is_own_user: bool = False  # The function's `user` is the daemon's own.


def walls_of_user(walls: Walls, identity: Identity) -> Walls:
    """Return what this host builds around a function that runs as another user than a daemon that is root.

    Everything as for a daemon of that user: without a user namespace of his own he could make no other.
    """
    if walls.user_namespaces:
        names = ("user", "pid", "ipc", "uts")
        return replace(walls, namespaces=names, uid=identity.uid, identity=identity)
    return replace(
        walls,
        namespaces=(),
        mounts=False,
        private_proc=False,
        network_namespace=False,
        uid=identity.uid,
        identity=identity,
    )


def zygote_policy(
    function: Function,
    walls: Walls,
    environ: Mapping[str, str],
    premises: Premises = Premises(),  # noqa: B008 - frozen.
) -> dict[str, Any]:
    """Return the policy of the function's zygote; two functions with the same one share a zygote."""
    module, attribute = _handler_parts(function)
    limits = function.limits
    return {
        "namespaces": list(walls.namespaces),
        "cgroup": walls.cgroup,
        "oom_score": limits.oom_score_adj,
        "system_calls": walls.seccomp,
        "network": _network(function),
        "zygote_namespaces": _zygote_namespaces(function, walls),
        "file_size_bytes": limits.file_size_bytes,
        "data_bytes": _data_bytes(function, walls),
        "memory_bytes": limits.memory_bytes,
        # Of the import; an attempt has its own group. A command's zygote runs nothing of the function's.
        "cpu": None if module is None else limits.cpu,
        "processes": None if module is None else limits.processes,
        "code_dir": function.code_dir,
        "code_version": function.code_version,
        "layers": [layer.path for layer in function.layers],
        # Nothing is done with it, but another content means another zygote.
        "layer_digests": [layer.digest for layer in function.layers],
        "module": module,
        "attribute": attribute,
        # Another one serves several functions, of which each attempt brings what is its own; see in_shared_zygote.
        "is_shared": False,
        "own_names": list(OWN_NAMES),
        "own_env": {},
        # A command gets its environment with each attempt, so that commands can share a zygote.
        "env": {} if module is None else environment(function, environ, walls.identity),
        "identity": walls.identity.to_json() if walls.identity is not None else None,
        "landlock": walls.landlock,
        "mounts": walls.mounts,
        "private_proc": walls.private_proc and walls.mounts,
        "files": file_rules(function, walls.python_paths, premises),
        "tmp_at": tmp_at(function, premises),
        "tmp_size_bytes": limits.tmp_size_bytes,
        "slots": min(premises.slots, function.concurrency or premises.slots, SLOTS_MAX),
    }


def _network(function: Function) -> bool | dict[str, list[int]]:
    """Return `network` as JSON: a truth value, or the TCP ports to connect to and to listen on."""
    network = function.permissions.network
    if isinstance(network, bool):
        return network
    return {"connect": sorted(network.connect), "bind": sorted(network.bind)}


def _zygote_namespaces(function: Function, walls: Walls) -> list[str]:
    """Name the namespaces that the zygote has and all its sandboxes share."""
    network = ["net"] if has_own_network(function, walls) else []
    return ["mnt", *network] if walls.mounts else network


def has_own_network(function: Function, walls: Walls) -> bool:
    """Whether the function's attempts have a loopback of their own, which they share with each other."""
    return function.permissions.network is False and walls.network_namespace


def zygote_key(function: Function, policy: Mapping[str, Any]) -> str:
    """Return what tells zygotes apart."""
    return _digest([function.python or sys.executable, policy])


def shared_zygote_key(function: Function, policy: Mapping[str, Any]) -> str:
    """Return what tells apart zygotes that serve several functions of a module: all that its import sees and may do.

    Secrets are not there at the import. But what a module has left running in its zygote could pass on those of
    one function to another one's attempts, so functions with others have another zygote.
    """
    env = {name: value for name, value in policy["env"].items() if name not in OWN_NAMES}
    limits = function.limits
    at_import = [limits.init_timeout_s, limits.output_limit_bytes, limits.line_limit_bytes]
    same = {**policy, "attribute": None, "env": env, "slots": None}
    secrets = sorted(function.permissions.secrets)
    return _digest(["shared", function.python or sys.executable, same, at_import, secrets])


def _digest(what: list[Any]) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def in_shared_zygote(function: Function) -> dict[str, Any]:
    """Return what is added to an attempt's policy in a zygote that serves several functions."""
    env = environment(function, {})
    own = {name: env[name] for name in OWN_NAMES if name in env}
    return {"attribute": _handler_parts(function)[1], "own_env": own}


def attempt_policy(
    function: Function, walls: Walls, uid_tasks: int, tmp_dir: str = ""
) -> dict[str, Any]:
    """Return what is added to the zygote's policy for one attempt, whose private directory is `tmp_dir`.

    `uid_tasks` is how many tasks our uid has now: without a user namespace of its own, a sandbox is
    counted together with them.
    """
    limits = function.limits
    processes_rlimit: int | None = None
    if not walls.cgroup_caps_processes and walls.uid != 0:
        # One more for the sandbox's own first process.
        processes_rlimit = limits.processes + 1 + (0 if "user" in walls.namespaces else uid_tasks)
    return {
        "open_files": limits.open_files,
        "processes_rlimit": processes_rlimit,
        "cpu_time_s": limits.cpu_time_s,
        "data_bytes": _data_bytes(function, walls),
        "payload_bytes_max": limits.payload_limit_bytes,
        "frame_bytes_max": frame_bytes_max(function),
        "tmp_dir": tmp_dir,
        "secrets": list(function.permissions.secrets),
        "serves_many": function.reuse > 1,
        "renews": renews(function, walls),
    }


def renews(function: Function, walls: Walls) -> bool:
    """Whether a sandbox's first process forks a handler's process for one attempt after another.

    Only behind walls that keep each of them from leaving anything to the next, or show what it has left.
    """
    has_walls = walls.mounts and walls.private_proc and walls.landlock > 0 and walls.seccomp
    has_group = walls.cgroup_counts_anew and {"pid", "ipc"} <= set(walls.namespaces)
    # A command's exit code is its report, and `spares = 0` says that nothing is to wait.
    is_fresh = function.handler is not None and function.reuse == 1 and function.spares != 0
    return has_walls and has_group and is_fresh and not shares_process_cap(walls)


def shares_process_cap(walls: Walls) -> bool:
    """Whether a sandbox's cap on processes counts all of our user's.

    Then it is right only for the moment in which it is set: no sandbox may wait, before or between attempts.
    """
    is_counted = walls.uid != 0 and not walls.cgroup_caps_processes
    return is_counted and "user" not in walls.namespaces


def frame_bytes_max(function: Function) -> int:
    """Return the largest frame that this function's sandboxes may send or be sent, batches apart."""
    return function.limits.payload_limit_bytes + _FRAME_SLACK_BYTES


def _data_bytes(function: Function, walls: Walls) -> int | None:
    """Return the burst guard of the memory watch; none where a cgroup does the work."""
    return None if walls.cgroup else function.limits.memory_bytes + _DATA_SLACK_BYTES


def _handler_parts(function: Function) -> tuple[str | None, str | None]:
    """Split `module:attribute`, or Lambda's `dir/module.attribute`; (None, None) for a command."""
    if function.handler is None:
        return None, None
    module, separator, attribute = function.handler.partition(":")
    if not separator:
        module, _, attribute = function.handler.rpartition(".")
    return module.replace("/", "."), attribute


def environment(
    function: Function, environ: Mapping[str, str], identity: Identity | None = None
) -> dict[str, str]:
    """Return a function's environment: little of ours, what it was given, and the reserved names last."""
    env = {"PATH": _PATH, "LANG": "C.UTF-8"}
    if identity is not None:
        env.update(USER=identity.name, LOGNAME=identity.name)
    if "TZ" in environ:
        env["TZ"] = environ["TZ"]
    given = function.permissions
    env.update({name: environ[name] for name in given.pass_env if name in environ})
    env.update(given.env)
    _add_layers(env, function)
    env.update(
        AWS_EXECUTION_ENV="faasd",
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE=str(function.limits.memory_bytes // 2**20),
        AWS_LAMBDA_FUNCTION_NAME=function.name,
        AWS_LAMBDA_FUNCTION_VERSION="$LATEST",
        AWS_LAMBDA_INITIALIZATION_TYPE="on-demand",
        AWS_LAMBDA_LOG_GROUP_NAME=f"/aws/lambda/{function.name}",
        FAASD_FUNCTION=function.name,
        LAMBDA_TASK_ROOT=function.code_dir,
    )
    if function.handler is not None:
        env["_HANDLER"] = function.handler
    return env


def _add_layers(env: dict[str, str], function: Function) -> None:
    """Add what a deployment and layers bring to the variables that lead to programs and libraries, after all else."""
    if function.bundle_dir:  # The programs that came with its dependencies.
        env["PATH"] += f":{function.bundle_dir}/packages/bin"
    for layer in reversed(function.layers):  # Later ones win, so they come first.
        for name, directory in layer_directories(layer.path).items():
            env[name] = ":".join(filter(None, (env.get(name), directory)))
    if function.layers:
        env["FAASD_LAYERS"] = ":".join(layer.path for layer in function.layers)


def attempt_environment(
    attempt: Attempt,
    environ: Mapping[str, str],
    tmp_dir: str,
    deadline_at: float,
    identity: Identity | None = None,
) -> dict[str, str]:
    """Return what is added to the zygote's environment for one attempt."""
    function, claim = attempt.function, attempt.claims[0]
    env = environment(function, environ, identity) if function.handler is None else {}
    given = {*function.permissions.env, *function.permissions.pass_env}
    env.update({name: tmp_dir for name in ("TMPDIR", "HOME") if name not in given})
    if function.permissions.secrets:
        env["CREDENTIALS_DIRECTORY"] = f"{tmp_dir}/.credentials"
    env["FAASD_INVOCATION_ID"] = claim.invocation.id
    env["FAASD_ATTEMPT"] = str(claim.number)
    env["FAASD_TRIGGER"] = claim.invocation.trigger
    env["FAASD_DEADLINE"] = to_iso(deadline_at) or ""
    scheduled_for = to_iso(claim.invocation.scheduled_for)
    if scheduled_for is not None:
        env["FAASD_SCHEDULED_FOR"] = scheduled_for
    if claim.invocation.trigger == "files" and not attempt.is_batch:
        event = json.loads(claim.invocation.event_json)
        path = event.get("path") if isinstance(event, dict) else None
        if isinstance(path, str) and "\0" not in path:
            env["FAASD_PATH"] = path
    return env


def attempt_header(
    attempt: Attempt,
    env: Mapping[str, str],
    remaining_s: float,
    event_bytes: int,
    secrets: Mapping[str, bytes],
) -> dict[str, Any]:
    """Return the first frame of an attempt: what its context needs."""
    claim = attempt.claims[0]
    function = attempt.function
    return {
        "function": function.name,
        "invocation_id": claim.invocation.id,
        "attempt": claim.number,
        "trigger": claim.invocation.trigger,
        "scheduled_for": claim.invocation.scheduled_for,
        "remaining_s": remaining_s,
        "memory_bytes": function.limits.memory_bytes,
        "command": list(function.command or ()),
        "env": dict(env),
        "secrets": {name: base64.b64encode(value).decode() for name, value in secrets.items()},
        "event_bytes": event_bytes,
    }


def event_json(attempt: Attempt) -> bytes:
    """Return the second frame: the event, or {"records": [...]} for a batch."""
    events = [claim.invocation.event_json for claim in attempt.claims]
    text = '{"records":[' + ",".join(events) + "]}" if attempt.is_batch else events[0]
    return text.encode()
