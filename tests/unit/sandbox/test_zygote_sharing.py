"""Functions share a zygote when their module's import sees and may do the same for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions
from faasd.sandbox.policy import SLOTS_MAX, Walls, in_shared_zygote, zygote_policy
from faasd.sandbox.zygote_sharing import Sharing
from tests.unit.sandbox.test_policy import FULL, NO_FILES, NO_MOUNTS

A = Function("a", "m:a")


def key(function: Function, *others: Function, walls: Walls = FULL, slots: int = 4) -> str | None:
    sharing = Sharing(slots)
    sharing.know([function, *others])
    return sharing.key(function, walls, zygote_policy(function, walls, {}))


def are_together(one: Function, other: Function, **given: Any) -> bool:
    keys = {key(one, other, **given), key(other, one, **given)}
    return len(keys) == 1 and keys != {None}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"limits": Limits(timeout_s=1.0, grace_s=1.0, open_files=10, payload_limit_bytes=1000)},
        {"reuse": 100, "spares": 3, "keep_warm": True, "concurrency": 1},
        {"handler": "m.b"},
        {"permissions": Permissions(containment="best-effort")},
    ],
)
def test_what_concerns_attempts_alone_keeps_nobody_apart(changes: dict[str, Any]) -> None:
    """It is told to each sandbox."""
    assert are_together(A, replace(A, **{"name": "b", "handler": "m:b", **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"handler": "n:b"},
        {"code_dir": "/elsewhere"},
        {"code_version": "2"},
        {"python": "/usr/bin/python3"},
        {"limits": Limits(memory_bytes=2**20)},
        {"limits": Limits(tmp_size_bytes=2**20)},
        {"limits": Limits(processes=3)},
        {"limits": Limits(cpu=1.0)},
        {"limits": Limits(init_timeout_s=1.0)},
        {"limits": Limits(output_limit_bytes=1000)},
        {"permissions": Permissions(env={"A": "b"})},
        {"permissions": Permissions(secrets=("key",))},
        {"permissions": Permissions(read=("/srv",))},
        {"permissions": Permissions(write=("/srv",))},
        {"permissions": Permissions(network=False)},
    ],
)
def test_what_an_import_sees_or_may_do_keeps_functions_apart(changes: dict[str, Any]) -> None:
    """And secrets do: what an import has left running could pass them on."""
    assert not are_together(A, replace(A, **{"name": "b", "handler": "m:b", **changes}))


def test_a_loopback_of_ones_own_is_not_shared() -> None:
    """What one function listens on there is not for another one to connect to; without such a loopback all is as ever."""
    nowhere = Permissions(network=False)
    one, other = (Function(n, f"m:{n}", permissions=nowhere) for n in "ab")
    assert not are_together(one, other)
    assert are_together(one, other, walls=replace(FULL, network_namespace=False))


def test_processes_are_shown_to_nobody_else() -> None:
    """That takes Landlock, where a zygote has a /proc of its own."""
    b = Function("b", "m:b")
    assert not are_together(A, b, walls=NO_FILES)
    assert are_together(A, b, walls=NO_MOUNTS)


def test_slots_are_enough_for_all() -> None:
    """No function waits for another one; where that cannot be had, each has a zygote of its own."""
    sharing = Sharing(4)
    assert sharing.slots(A) == 0
    sharing.know([A])
    assert sharing.slots(A) == 0
    some = [replace(A, name=str(n), concurrency=1) for n in range(3)]
    sharing.know(some)
    assert sharing.slots(some[0]) == 3
    sharing.know([*some, A, replace(A, name="c")])
    assert sharing.slots(A) == 8
    assert are_together(A, replace(A, name="b"), slots=SLOTS_MAX)
    assert not are_together(A, replace(A, name="b"), slots=SLOTS_MAX + 1)


def test_functions_without_a_module_are_not_concerned() -> None:
    """Commands share already; and one function alone has nobody to share with."""
    assert not are_together(Function("x", command=("a",)), Function("y", command=("b",)))
    assert key(A) is None


def test_a_sandbox_is_told_what_is_its_functions_own() -> None:
    """All that differs between the environments of functions that share a zygote."""
    told = in_shared_zygote(Function("b", "m.b"))
    one, other = (zygote_policy(f, FULL, {}) for f in (A, Function("b", "m.b")))
    assert {**one["env"], **told["own_env"]} == other["env"]
    assert told["attribute"] == other["attribute"] == "b"
