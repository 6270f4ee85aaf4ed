"""What is asked of the walls follows from the function and the host alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions, Ports
from faasd.sandbox.file_rules import Premises
from faasd.sandbox.identity import Identity
from faasd.sandbox.missing_walls import names_of_missing_walls
from faasd.sandbox.policy import (
    Walls,
    attempt_environment,
    attempt_header,
    attempt_policy,
    shares_process_cap,
    walls_of_user,
    zygote_key,
    zygote_policy,
)
from tests.containment.bench import an_attempt

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
OLD = replace(FULL, landlock=5)
NO_FILES = replace(FULL, landlock=0)
NO_MOUNTS = replace(FULL, mounts=False)
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
        (NO_MOUNTS, ("tmp-quota", "private-proc", "local-sockets")),
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


def test_another_user_has_a_zygote_of_his_own_as_a_daemon_of_his_would_make_it() -> None:
    """In a user namespace, or in none at all; and processes are counted as his."""
    somebody = Identity("somebody", 1234, 1234, (1234, 7))
    with_others = replace(FULL, user_namespaces=True)
    walls = walls_of_user(with_others, somebody)
    policy = zygote_policy(FUNCTION, walls, {})
    assert policy["identity"] == {
        "name": "somebody", "uid": 1234, "gid": 1234, "groups": [1234, 7],
    }  # fmt: skip
    assert policy["namespaces"] == ["user", "pid", "ipc", "uts"]
    assert policy["env"]["USER"] == policy["env"]["LOGNAME"] == "somebody"
    assert "USER" not in zygote_policy(FUNCTION, FULL, {})["env"]
    assert zygote_key(FUNCTION, policy) != zygote_key(
        FUNCTION, zygote_policy(FUNCTION, with_others, {})
    )
    bare = walls_of_user(FULL, somebody)
    assert "pid-namespace" in names_of_missing_walls(FUNCTION, bare)
    assert "pid-namespace" not in names_of_missing_walls(FUNCTION, walls)
    uncounted = replace(bare, cgroup_caps_processes=False)
    assert attempt_policy(FUNCTION, uncounted, uid_tasks=100)["processes_rlimit"] == 111


def test_a_user_that_cannot_be_had_is_a_missing_wall() -> None:
    """The daemon is not root, and the function runs all the same."""
    theirs = Function("f", "m:h", permissions=Permissions(user="somebody"))
    assert "user" in names_of_missing_walls(theirs, USER)
    built = walls_of_user(FULL, Identity("somebody", 1234, 1234, (1234,)))
    for walls in (FULL, built, replace(USER, is_own_user=True)):
        assert "user" not in names_of_missing_walls(theirs, walls)


def test_secrets_are_in_the_header_and_only_their_place_is_in_the_environment() -> None:
    """And without secrets there is neither."""
    given = Permissions(secrets=("pw",))
    attempt = an_attempt(Function("f", "m:h", permissions=given), {})
    env = attempt_environment(attempt, {}, "/tmp/7", 0.0)
    assert env["CREDENTIALS_DIRECTORY"] == "/tmp/7/.credentials"
    header = attempt_header(attempt, env, 1.0, 2, {"pw": b"\xffsecret"})
    assert header["secrets"] == {"pw": "/3NlY3JldA=="}
    assert "secret" not in repr(header["env"])
    plain = an_attempt(Function("f", "m:h"), {})
    assert "CREDENTIALS_DIRECTORY" not in attempt_environment(plain, {}, "/tmp/7", 0.0)


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
        assert zygote_policy(function, NO_MOUNTS, {})["zygote_namespaces"] == names
        without = replace(NO_MOUNTS, network_namespace=False)
        assert zygote_policy(function, without, {})["zygote_namespaces"] == []


def test_a_zygote_has_no_more_slots_than_it_can_bear() -> None:
    """Each is a copy of all the host's mounts, and the daemon may have ten thousand."""
    made = [
        zygote_policy(FUNCTION, FULL, {}, Premises(slots=slots))["slots"]
        for slots in (3, 64, 10_000)
    ]
    assert made == [3, 64, 64]


def test_where_a_cap_counts_all_of_a_users_no_sandbox_waits() -> None:
    """It is right only for the moment in which it is set."""
    counts = {FULL: False, USER: False, BARE: True, BARE_ROOT: False}
    assert {walls: shares_process_cap(walls) for walls in counts} == counts
