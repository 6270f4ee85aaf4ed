"""What a function may touch and use, in plain words: pure, from the function and the walls that it lacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from faasd.model.function import Function
from faasd.model.permissions import Permissions, Ports
from faasd.model.units import format_duration, format_size
from faasd.model.walls import WALLS, MissingWall

__all__ = ["policy_words"]


def policy_words(function: Function, missing: Sequence[MissingWall]) -> list[str]:
    """Return the effective policy as sentences; for a wall that is missing, what is left of its promise."""
    permissions = function.permissions
    said = [
        *_files(function),
        _network(permissions),
        _environment(permissions),
        f"It runs as user {permissions.user!r}."
        if permissions.user
        else "It runs as the daemon's user.",
        _limits(function),
        _containment(permissions, missing),
    ]
    return [*said, *(_missing(permissions, one) for one in missing)]


def _files(function: Function) -> list[str]:
    permissions = function.permissions
    watched = [trigger.path for trigger in function.files]
    layers = [f"the layer {layer.name}" for layer in function.layers]
    readable = dict.fromkeys([*layers, *permissions.read, *watched])
    code = ", ".join(function.readable_code)
    code = f"its code in {code}, " if code else ""
    size = format_size(function.limits.tmp_size_bytes)
    return [
        (
            f"It may read {code}its interpreter, the system's libraries and programs, "
            f"and {_listed(readable, 'no other file')}."
        ),
        (
            f"It may write its private temporary directory, {size} at most, and "
            f"{_listed(permissions.write, 'nowhere else')}."
        ),
    ]


def _network(permissions: Permissions) -> str:
    network = permissions.network
    if network is True:
        return "It may use the network as the host does."
    if not isinstance(network, Ports):
        return "It may not use the network: it has a loopback of its own and nothing else."
    connect = _listed(map(str, network.connect), "none")
    bind = _listed(map(str, network.bind), "none")
    return f"Of TCP ports it may connect to {connect}, and listen on {bind}."


def _environment(permissions: Permissions) -> str:
    names = _listed(sorted({*permissions.env, *permissions.pass_env}), "no variables of yours")
    secrets = _listed(permissions.secrets, "no secrets")
    return f"Its environment is a clean one with {names}. It gets {secrets}."


def _limits(function: Function) -> str:
    limits = function.limits
    cpu = f"{limits.cpu:g} processors" if limits.cpu is not None else "no cap on processors"
    if limits.cpu_time_s is not None:
        cpu += f", {format_duration(limits.cpu_time_s)} of processor time"
    return (
        f"An attempt has {format_duration(limits.timeout_s)}, {format_size(limits.memory_bytes)} of memory, "
        f"{limits.processes} processes, {limits.open_files} open files and {cpu}."
    )


def _containment(permissions: Permissions, missing: Sequence[MissingWall]) -> str:
    if not missing:
        return "This host builds every wall that it is promised."
    if permissions.containment == "best-effort":
        return 'With containment = "best-effort" it runs without walls that this host cannot build.'
    if any(one.refuses for one in missing):
        return "It is refused: with containment = \"strict\" it does not run without a wall that nothing replaces."  # fmt: skip
    return "Walls that this host cannot build have something in their place."


def _missing(permissions: Permissions, one: MissingWall) -> str:
    wall = WALLS[one.wall]
    head = f"Missing wall {one.wall!r}: {one.reason}. To get it, {one.remedy}."
    if one.refuses and permissions.containment == "strict":
        return head
    return f"{head} Without it: {wall.instead}"


def _listed(names: Iterable[str], nothing: str) -> str:
    return ", ".join(names) or nothing
