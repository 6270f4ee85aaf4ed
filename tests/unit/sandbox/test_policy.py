"""What is asked of the walls follows from the function and the host alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions, Ports
from faasd.sandbox.missing_walls import names_of_missing_walls
from faasd.sandbox.policy import Walls, attempt_policy, zygote_key, zygote_policy

HERE: dict[str, Any] = {
    "landlock": 7,
    "mounts": True,
    "private_proc": True,
    "seccomp": True,
    "network_namespace": True,
}
FULL = Walls(
    ("pid", "ipc", "uts"), "v2", cgroup_caps_processes=True, cgroup_caps_cpu=True, uid=0, **HERE
)
USER = Walls(("user", "pid", "ipc", "uts"), None, uid=1000, **HERE)
BARE = Walls((), None, uid=1000, **HERE)
BARE_ROOT = Walls((), None, uid=0, **HERE)
OLD = dataclasses.replace(FULL, landlock=5)
NO_FILES = dataclasses.replace(FULL, landlock=0)
NO_MOUNTS = dataclasses.replace(FULL, mounts=False)
FUNCTION = Function("f", "pkg/mod.Class.method", limits=Limits(processes=10))


@pytest.mark.parametrize(
    ("walls", "missing"),
    [
        (FULL, ()),
        (USER, ("memory-cgroup",)),
        (BARE, ("pid-namespace", "memory-cgroup")),
        (BARE_ROOT, ("pid-namespace", "memory-cgroup", "process-cap")),
        (OLD, ("abstract-sockets",)),
        (NO_FILES, ("files", "abstract-sockets")),
        (NO_MOUNTS, ("tmp-quota", "private-proc")),
    ],
)
def test_walls_that_this_host_lacks_are_named(walls: Walls, missing: tuple[str, ...]) -> None:
    """Nobody should believe in a wall that is not there."""
    assert names_of_missing_walls(FUNCTION, walls) == missing
    if not walls.cgroup_caps_cpu:
        capped = Function("f", "m:h", limits=Limits(cpu=1.0))
        assert "cpu-cap" in names_of_missing_walls(capped, walls)


@pytest.mark.parametrize(
    ("walls", "limit"), [(FULL, None), (USER, 11), (BARE, 111), (BARE_ROOT, None)]
)
def test_processes_are_counted_where_the_kernel_counts_them(
    walls: Walls, limit: int | None
) -> None:
    """In the cgroup, in the user namespace, or together with all of the user's."""
    assert attempt_policy(FUNCTION, walls, uid_tasks=100)["processes_rlimit"] == limit


def test_handlers_are_named_our_way_or_lambdas() -> None:
    """`module:attribute`, or `dir/module.attribute`."""
    ours = zygote_policy(Function("f", "pkg.mod:Class.method"), FULL, {})
    lambdas = zygote_policy(Function("f", "pkg/mod.method"), FULL, {})
    assert (ours["module"], ours["attribute"]) == ("pkg.mod", "Class.method")
    assert (lambdas["module"], lambdas["attribute"]) == ("pkg.mod", "method")


def test_a_zygote_is_shared_by_nobody_with_another_code_version_or_policy() -> None:
    """And a timeout, which the daemon keeps, needs no new one."""

    def key(function: Function) -> str:
        return zygote_key(function, zygote_policy(function, FULL, {}))

    plain = Function("f", "m:h", code_version="1")
    assert key(plain) == key(Function("f", "m:h", code_version="1", limits=Limits(timeout_s=1)))
    others = [
        Function("f", "m:h", code_version="2"),
        Function("f", "m:h", code_version="1", python="/usr/bin/python3"),
        Function("f", "m:h", code_version="1", limits=Limits(memory_bytes=1)),
        Function("g", "m:h", code_version="1"),
    ]
    assert len({key(function) for function in [plain, *others]}) == 5


def test_commands_share_a_zygote() -> None:
    """It has imported nothing of theirs."""
    one, two = (Function(name, command=("true",)) for name in "ab")
    assert zygote_key(one, zygote_policy(one, FULL, {})) == zygote_key(
        two, zygote_policy(two, FULL, {})
    )


@pytest.mark.parametrize(
    ("network", "walls", "is_missing"),
    [
        (True, Walls(), False),
        (False, Walls(), True),
        (False, Walls(seccomp=True), False),
        (False, Walls(network_namespace=True), False),
        (Ports(connect=(443,)), Walls(landlock=4, seccomp=True), False),
        (Ports(connect=(443,)), Walls(landlock=4), True),
        (Ports(connect=(443,)), Walls(landlock=3, seccomp=True, network_namespace=True), True),
    ],
)
def test_a_network_that_cannot_be_restricted_is_named(
    network: bool | Ports, walls: Walls, is_missing: bool
) -> None:
    """No network has two walls, either of which is enough; ports need two together."""
    function = Function("f", "m:h", permissions=Permissions(network=network))
    assert ("network" in names_of_missing_walls(function, walls)) is is_missing


def test_only_a_function_without_network_gets_a_network_namespace() -> None:
    """Its zygote does; the attempts share it."""
    for network, names in ((True, []), (Ports(bind=(80,)), []), (False, ["net"])):
        function = Function("f", "m:h", permissions=Permissions(network=network))
        assert zygote_policy(function, FULL, {})["zygote_namespaces"] == names
        assert zygote_policy(function, BARE, {})["zygote_namespaces"] == []
