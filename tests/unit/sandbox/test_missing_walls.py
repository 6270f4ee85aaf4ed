"""Which walls are missing, what that means, and what helps: from the function and the host alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions, Ports
from faasd.model.walls import WALLS, MissingWall, refusal
from faasd.sandbox.missing_walls import missing_walls, names_of_missing_walls
from faasd.sandbox.policy import Walls

FULL = Walls(
    ("user", "pid", "ipc", "uts"),
    "v2",
    cgroup_caps_processes=True,
    cgroup_caps_cpu=True,
    uid=0,
    landlock=7,
    mounts=True,
    private_proc=True,
    seccomp=True,
    network_namespace=True,
)
#: Asks for every wall that only some functions ask for.
EVERYTHING = Function(
    "f", "m:h", limits=Limits(cpu=1.0), permissions=Permissions(network=False, user="nobody")
)
PLAIN = Function("f", "m:h")


@pytest.mark.parametrize("function", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_a_host_that_builds_everything_lacks_nothing(function: Function) -> None:
    """The control of all that follows."""
    assert missing_walls(function, FULL) == ()


@pytest.mark.parametrize(
    ("changes", "function", "missing"),
    [
        ({"landlock": 0}, PLAIN, ("files", "abstract-sockets")),
        ({"landlock": 0}, EVERYTHING, ("files",)),
        ({"landlock": 5}, PLAIN, ("abstract-sockets",)),
        ({"mounts": False}, PLAIN, ("tmp-quota", "private-proc", "local-sockets")),
        ({"private_proc": False}, PLAIN, ("private-proc",)),
        ({"namespaces": ()}, PLAIN, ("pid-namespace",)),
        ({"namespaces": (), "landlock": 5}, EVERYTHING, ("pid-namespace", "signals")),
        ({"seccomp": False}, PLAIN, ("system-calls",)),
        ({"network_namespace": False}, PLAIN, ()),
        ({"network_namespace": False}, EVERYTHING, ()),
        ({"network_namespace": False, "seccomp": False}, EVERYTHING, ("system-calls", "network")),
        ({"cgroup": None, "cgroup_caps_processes": False}, PLAIN, ("memory-cgroup", "process-cap")),
        ({"cgroup_caps_processes": False}, EVERYTHING, ()),
        ({"cgroup_caps_processes": False, "uid": 1000}, PLAIN, ()),
        ({"cgroup_caps_cpu": False}, PLAIN, ()),
        ({"cgroup_caps_cpu": False}, EVERYTHING, ("cpu-cap",)),
        ({"uid": 1000}, EVERYTHING, ("user",)),
    ],
)
def test_each_thing_that_a_host_lacks_names_its_wall(
    changes: dict[str, Any], function: Function, missing: tuple[str, ...]
) -> None:
    """And only for the functions that are promised it."""
    assert names_of_missing_walls(function, dataclasses.replace(FULL, **changes)) == missing


@pytest.mark.parametrize(("abi", "missing"), [(3, ("network",)), (4, ())])
def test_a_list_of_ports_needs_a_kernel_that_can_tell_them_apart(
    abi: int, missing: tuple[str, ...]
) -> None:
    """Landlock has known TCP since its ABI 4."""
    function = Function("f", "m:h", permissions=Permissions(network=Ports(connect=(443,))))
    found = names_of_missing_walls(function, dataclasses.replace(FULL, landlock=abi))
    assert tuple(name for name in found if name == "network") == missing


def test_every_wall_can_be_missing_and_says_why_and_what_to_do() -> None:
    """The vocabulary is closed, and none of its words is without a host that lacks it."""
    bare = Walls((), None, uid=1000)
    bare_root = Walls((), None, uid=0)
    found = [*missing_walls(EVERYTHING, bare), *missing_walls(PLAIN, bare_root)]
    assert {one.wall for one in found} == set(WALLS)
    assert all(one.reason and one.remedy for one in found)


def test_only_a_strict_function_is_refused_and_only_for_what_nothing_else_keeps() -> None:
    """A weaker wall is marked; a missing one refuses, with everything that is needed to go on."""
    weaker = MissingWall("memory-cgroup", "no cgroup that we may write", "delegate one")
    gone = MissingWall("files", "no Landlock", "use a newer kernel")
    assert refusal("strict", [weaker]) is None
    assert refusal("best-effort", [weaker, gone]) is None
    said = refusal("strict", [weaker, gone])
    assert said == (
        "the wall 'files' cannot be built: no Landlock; use a newer kernel; "
        'or set containment = "best-effort" to run it without'
    )
