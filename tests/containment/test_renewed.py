"""A sandbox whose first process serves attempt after attempt: each finds it as if it were the first.

What an attempt leaves is removed, or ends its sandbox. Each row shows beside that what it would have left: the
attempt itself sees it there.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from faasd.model.function import Function
from faasd.model.outcome import Outcome
from faasd.model.permissions import Permissions
from faasd.sandbox import policy, renewal, spares
from faasd.sandbox.sandbox import Sandbox
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import Bench, an_attempt, processes_with
from tests.patience import patient

MIB = 2**20
#: System V's calls and POSIX's queues, which Python has none of.
CALLS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def checked(value):
    if value < 0:
        raise OSError(ctypes.get_errno(), "")
    return value
"""
#: How many objects of System V there are, as the kernel lists them.
COUNT = """
out = sum(len(open(f"/proc/sysvipc/{name}").readlines()) - 1 for name in ("shm", "sem", "msg"))
"""
#: The sandbox's first process as /proc has it, which counts in the zygote's PID namespace.
FIRST = """
lines = open("/proc/self/status").read().splitlines()
first = next(line.split()[1] for line in lines if line.startswith("PPid"))
own = os.readlink("/proc/self")
"""
PENDING = f"""{FIRST}
lines = open(f"/proc/{{first}}/status").read().splitlines()
out = sum(int(line.split()[1], 16) & ~(1 << 16) for line in lines if line.startswith(("ShdPnd", "SigPnd")))
"""
IO_PRIORITY = """
import ctypes, platform
get, set_ = {"x86_64": (252, 251), "aarch64": (31, 30)}[platform.machine()]
call = ctypes.CDLL(None, use_errno=True).syscall
"""


class Renewed:
    """One function with nothing said about `reuse` and `spares`, and attempts at it; nobody prepares sandboxes."""

    def __init__(self, bench: Bench, handler: str = "probes:try_all", **settings: Any) -> None:
        self.bench = bench
        bench.sandboxes._spares = None
        self.function: Function = bench.function(handler, **{"spares": None, **settings})

    async def skip_where_none_is(self) -> None:
        walls = await self.bench.sandboxes._the_pool().walls_of(self.function)
        if not policy.renews(self.function, walls):
            pytest.skip("this host lacks a wall without which no sandbox is renewed")

    async def run(self, event: Any = None, **changes: Any) -> Outcome:
        await self.skip_where_none_is()
        return await self.bench.run_attempt(an_attempt(self.function, event, **changes))

    async def found(self, code: str) -> Any:
        """Run code in an attempt; returns what it leaves as `out`."""
        outcome = await self.run({"it": code})
        assert outcome.word == "ok", outcome.error
        return json.loads(outcome.result_json or "")["it"]

    @property
    def waiting(self) -> list[Sandbox]:
        shelf = self.bench.sandboxes._waiting._shelves.get(id(self.function))
        return list(shelf.sandboxes) if shelf else []


async def test_one_sandbox_serves_every_attempt_each_in_a_process_of_its_own(bench: Bench) -> None:
    """The numbers of processes go on; nothing else tells that somebody was there before."""
    renewed = Renewed(bench)
    pids = [await renewed.found("out = os.getpid()") for _ in range(3)]
    assert len(set(pids)) == 3
    [sandbox] = renewed.waiting
    await renewed.found("os.environ['X'] = 'y'")
    assert await renewed.found("out = os.environ.get('X')") is None
    assert renewed.waiting == [sandbox]


async def test_attempts_at_once_have_a_sandbox_each(bench: Bench) -> None:
    """And each of them is there for a later one."""
    renewed = Renewed(bench)
    found = await asyncio.gather(*(renewed.found("out = os.getpid()") for _ in range(3)))
    assert found == [found[0]] * 3, "the first handler's process in each PID namespace"
    assert len(renewed.waiting) == 3


async def test_an_error_leaves_a_sandbox_as_new_as_a_result_does(bench: Bench) -> None:
    """Its handler's process ended by itself."""
    renewed = Renewed(bench, "warm_handlers:do")
    assert (await renewed.run({"do": "fail"})).word == "error"
    [sandbox] = renewed.waiting
    told = json.loads((await renewed.run()).result_json or "")
    assert told["attempts"] == 1
    assert renewed.waiting == [sandbox]


REMOVED = {
    "a file in /tmp": (
        "open('/tmp/left', 'w').close(); out = os.listdir('/tmp')",
        "out = os.listdir('/tmp')",
        ["left"],
        [],
    ),
    "a file in /dev/shm": (
        "open('/dev/shm/left', 'w').close(); out = os.listdir('/dev/shm')",
        "out = os.listdir('/dev/shm')",
        ["left"],
        [],
    ),
    "directories closed to everybody": (
        "os.makedirs('/tmp/a/b'); os.chmod('/tmp/a/b', 0); os.chmod('/tmp/a', 0); out = os.listdir('/tmp')",
        "out = os.listdir('/tmp')",
        ["a"],
        [],
    ),
    "the mode of /tmp": (
        "os.chmod('/tmp', 0o700); out = oct(os.stat('/tmp').st_mode)",
        "out = oct(os.stat('/tmp').st_mode)",
        "0o40700",
        "0o41777",
    ),
    "the mode of /tmp, closed to everybody": (
        "os.chmod('/tmp', 0); out = oct(os.stat('/tmp').st_mode)",
        "out = oct(os.stat('/tmp').st_mode)",
        "0o40000",
        "0o41777",
    ),
    "the times of /tmp": (
        "os.utime('/tmp', ns=(7, 7)); out = os.stat('/tmp').st_mtime_ns == 7",
        "out = os.stat('/tmp').st_mtime_ns == 7",
        True,
        False,
    ),
    "signals for the first process": (
        "os.kill(1, 10); os.kill(1, 40)" + PENDING,
        PENDING,
        1 << 9 | 1 << 39,
        0,
    ),
}


@pytest.mark.parametrize(("leave", "look", "there", "gone"), REMOVED.values(), ids=list(REMOVED))
async def test_what_can_be_removed_is_gone_when_the_next_attempt_begins(
    bench: Bench, leave: str, look: str, there: Any, gone: Any
) -> None:
    """In the same sandbox."""
    renewed = Renewed(bench)
    before = await renewed.found(look)
    [sandbox] = renewed.waiting
    assert await renewed.found(leave) == there
    assert await renewed.found(look) == gone == before
    assert renewed.waiting == [sandbox]


FOUND = {
    "a shared segment": (CALLS + "checked(libc.shmget(0, 4096, 0o600))" + COUNT, COUNT, 1),
    "semaphores": (CALLS + "checked(libc.semget(0, 1, 0o600))" + COUNT, COUNT, 1),
    "a message queue": (CALLS + "checked(libc.msgget(0, 0o600))" + COUNT, COUNT, 1),
    "its niceness": (
        "os.setpriority(os.PRIO_PROCESS, 1, 19); out = os.getpriority(os.PRIO_PROCESS, 1)",
        "out = os.getpriority(os.PRIO_PROCESS, 0)",
        19,
    ),
    "the niceness of all of its user": (
        "os.setpriority(os.PRIO_USER, 0, 19); out = os.getpriority(os.PRIO_PROCESS, 1)",
        "out = os.getpriority(os.PRIO_PROCESS, 0)",
        19,
    ),
    "its scheduling policy": (
        "os.sched_setscheduler(1, os.SCHED_BATCH, os.sched_param(0)); out = os.sched_getscheduler(1)",
        "out = os.sched_getscheduler(0)",
        3,
    ),
    "its I/O priority": (
        IO_PRIORITY + "call(set_, 1, 1, 3 << 13); out = call(get, 1, 1)",
        IO_PRIORITY + "out = call(get, 1, 0)",
        3 << 13,
    ),
    "a limit": (
        "from resource import *; prlimit(1, RLIMIT_STACK, (65536, 65536)); out = prlimit(1, RLIMIT_STACK)[1]",
        "import resource; out = resource.getrlimit(resource.RLIMIT_STACK)[1]",
        65536,
    ),
    "the processors that it may run on": (
        "os.sched_setaffinity(1, {min(os.sched_getaffinity(1))}); out = len(os.sched_getaffinity(1))",
        "out = len(os.sched_getaffinity(0))",
        1,
    ),
    "many files": (
        "for n in range(2000): open(f'/tmp/{n}', 'w').close()\nout = len(os.listdir('/tmp'))",
        "out = len(os.listdir('/tmp'))",
        2000,
    ),
}


@pytest.mark.parametrize(("leave", "look", "there"), FOUND.values(), ids=list(FOUND))
async def test_what_cannot_be_removed_ends_its_sandbox(
    bench: Bench, leave: str, look: str, there: Any
) -> None:
    """The next attempt has another one, and finds what it would always find."""
    if "affinity" in leave and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("this host has one processor")
    renewed = Renewed(bench)
    before = await renewed.found(look)
    [sandbox] = renewed.waiting
    assert await renewed.found(leave) == there != before
    assert renewed.waiting == []
    assert await renewed.found(look) == before
    assert renewed.waiting != [sandbox]


async def test_no_attempt_leaves_a_posix_queue_behind(bench: Bench) -> None:
    """Elsewhere one is made, though the files wall lets nobody open it; and nobody can see from outside that it is there."""
    code = (
        CALLS + "checked(libc.mq_open(b'/left', os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600, None))"
    )
    renewed = Renewed(bench)
    assert [await renewed.found(code) for _ in range(2)] == ["EMFILE", "EMFILE"]
    warm = bench.function("probes:try_all", reuse=2)
    outcomes = [await bench.run_attempt(an_attempt(warm, {"it": code})) for _ in range(2)]
    found = [json.loads(one.result_json or "")["it"] for one in outcomes]
    assert found == ["EACCES", "EEXIST"]


@pytest.mark.parametrize("handler", ["escape_and_return", "hold_stdout_and_return"])
async def test_processes_that_an_attempt_leaves_are_gone_before_the_next(
    bench: Bench, handler: str, token: str
) -> None:
    """Sessions, groups and parents of their own help them nothing; the sandbox stays."""
    renewed = Renewed(bench, f"handlers:{handler}")
    assert (await renewed.run({"token": token})).word == "ok"
    assert processes_with(token) == []
    [sandbox] = renewed.waiting
    assert sandbox.slot is not None
    assert sandbox.slot.processes() == 1
    assert (await renewed.run({"token": token})).word == "ok"
    assert renewed.waiting == [sandbox]


async def test_who_waits_is_told_at_once_but_not_before_left_processes_are_gone(
    bench: Bench, token: str
) -> None:
    """As in a sandbox that ends with its attempt; both leave it as new."""
    renewed = Renewed(bench, "handlers:hold_stdout_and_return")
    quick = Renewed(bench, "handlers:echo")
    for number in range(1, 4):
        await renewed.skip_where_none_is()
        left = dataclasses.replace(an_attempt(renewed.function, {"token": token}), is_sync=True)
        assert (await bench.run_attempt(left)).word == "ok"
        assert len(bench.services.answers) == number - 1
        plain = dataclasses.replace(an_attempt(quick.function, number), is_sync=True)
        assert (await bench.run_attempt(plain)).word == "ok"
        assert bench.services.answers[-1].result_json == str(number)
    assert (len(renewed.waiting), len(quick.waiting)) == (1, 1)


@pytest.mark.parametrize("name", ["mem", "environ", "fd/0", "maps", "cwd"])
async def test_the_first_process_is_closed_to_its_handlers(bench: Bench, name: str) -> None:
    """The same walls are around both, so it keeps them out itself; their own they see."""
    is_link = name in ("fd/0", "cwd")
    look = "os.readlink({0})" if is_link else "open({0}).close()"
    renewed = Renewed(bench)
    found = [
        await renewed.found(FIRST + look.format(f"f'/proc/{{{who}}}/{name}'"))
        for who in ("first", "own")
    ]
    assert found[0] in ("EACCES", "EPERM")
    assert found[1] == "ok"


async def test_the_first_process_can_not_be_ended_or_stopped_by_its_handlers(bench: Bench) -> None:
    """As the first of its PID namespace; and a soft signal that one sends it is that one's own."""
    renewed = Renewed(bench)
    await renewed.found("")
    [sandbox] = renewed.waiting
    assert await renewed.found("os.kill(1, 9); os.kill(1, 19); out = 1") == 1
    assert await renewed.found("out = 2") == 2
    assert renewed.waiting == [sandbox]
    await renewed.run({"it": "os.kill(1, 15); time.sleep(0.01)"})
    assert await renewed.found("time.sleep(0.01); out = 3") == 3


#: One attempt has signals sent to who it likes by a descriptor that it gives to another sandbox's, and ends.
GIVE_AWAY = """
import fcntl, socket
def connected():
    while True:
        try:
            c = socket.socket(socket.AF_UNIX)
            c.connect({at!r})
            return c
        except OSError:
            time.sleep(0.01)
c = connected()
a, b = socket.socketpair()
fcntl.fcntl(a, fcntl.F_SETOWN, {owner})
fcntl.fcntl(a, 10, 15)  # F_SETSIG.
fcntl.fcntl(a, fcntl.F_SETFL, fcntl.fcntl(a, fcntl.F_GETFL) | os.O_ASYNC)
socket.send_fds(c, [b"x"], [a.fileno(), b.fileno()])
c.recv(1)
out = "given"
if {waits}:
    c.recv(1)
"""
KEEP_WRITING = """
import socket
l = socket.socket(socket.AF_UNIX)
l.bind({at!r})
l.listen()
c, _ = l.accept()
_, fds, _, _ = socket.recv_fds(c, 1, 2)
c.send(b"x")
until = time.monotonic() + 20
while time.monotonic() < until and not os.path.exists({over!r}):
    os.write(fds[1], b"x")
    time.sleep(0.01)
    os.read(fds[0], 1)
"""


@pytest.mark.parametrize("owner", ["1", "os.getpid()"], ids=["first process", "control"])
async def test_no_descriptor_that_an_attempt_has_given_away_ends_the_next_one(
    bench: Bench, tmp_path: Path, owner: str
) -> None:
    """A soft signal by way of the first process; the attempt itself it does end, as the control shows."""
    tmp_path.chmod(0o777)
    at, over = str(tmp_path / "at"), str(tmp_path / "over")
    renewed = Renewed(bench, permissions=Permissions(write=(str(tmp_path),)))
    await renewed.found("")
    [sandbox] = renewed.waiting
    is_control = owner != "1"
    give = GIVE_AWAY.format(at=at, owner=owner, waits=is_control)
    giving = asyncio.create_task(renewed.run({"it": give}))
    while sandbox in renewed.waiting:
        await asyncio.sleep(0)  # It has the one that waits.
    writing = asyncio.create_task(renewed.run({"it": KEEP_WRITING.format(at=at, over=over)}))
    given = await giving
    try:
        if is_control:
            # Signals go on coming, so it may not live to say what has stopped it.
            assert given.word == "crashed" or "SoftTimeout" in (
                given.result_json or str(given.error)
            ), given
        else:
            assert given.word == "ok", given.error
            assert renewed.waiting == [sandbox]
            assert await renewed.found("time.sleep(0.2); out = 'whole'") == "whole"
            assert renewed.waiting == [sandbox]
    finally:
        Path(over).touch()
        await writing


async def test_a_large_result_leaves_a_sandbox_as_new_as_a_small_one_does(bench: Bench) -> None:
    """Its handler's process may have ended before the last of it was read."""
    renewed = Renewed(bench)
    await renewed.found("")
    [sandbox] = renewed.waiting
    for _ in range(12):
        assert len(await renewed.found("out = 'x' * 190_000")) == 190_000
        assert renewed.waiting == [sandbox]


async def test_a_renewed_sandbox_of_a_function_that_is_out_of_use_is_given_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its attempt took so long that nobody remembers the function."""
    monkeypatch.setattr(spares, "_REVIEW_S", 0.01)
    keeper = bench.sandboxes._spares
    assert keeper is not None
    renewed = Renewed(bench)
    bench.sandboxes._spares = keeper
    running = asyncio.create_task(renewed.run({"it": "time.sleep(0.3)"}))
    async with asyncio.timeout(patient(10.0)):
        while not keeper._kept:
            await asyncio.sleep(0)
        for kept in list(keeper._kept.values()):
            spares._stop(kept)
        keeper._kept.clear()
        assert (await running).word == "ok"
        assert len(renewed.waiting) == 1
        while renewed.waiting:
            await asyncio.sleep(0.005)


@pytest.mark.parametrize(
    ("do", "word", "limits"),
    [
        ("hang", "timeout", {"timeout_s": patient(1.0), "grace_s": 0.05}),
        ("hang_politely", "timeout", {"timeout_s": patient(1.0), "grace_s": patient(20.0)}),
        ("fill", "oom", {"memory_bytes": 64 * MIB}),
        ("die", "crashed", {}),
        ("leave", "crashed", {}),
        ("exit_at_once", "crashed", {}),
        ("print_for_ever", "output-limit", {"output_limit_bytes": 65536}),
        ("garbage", "crashed", {}),
        ("half_a_frame", "crashed", {}),
    ],
)
async def test_all_but_a_result_or_an_error_ends_the_sandbox(
    bench: Bench, do: str, word: str, limits: dict[str, Any]
) -> None:
    """As it ends a fresh one: the outcome is the same, and the next attempt has another sandbox."""
    renewed = Renewed(bench, "warm_handlers:do", **limits)
    assert (await renewed.run()).word == "ok"
    assert len(renewed.waiting) == 1
    outcome = await asyncio.wait_for(renewed.run({"do": do}), patient(10.0))
    assert outcome.word == word, outcome
    assert renewed.waiting == []
    fresh = bench.function("warm_handlers:do", **limits)
    alone = await bench.run_attempt(an_attempt(fresh, {"do": do}))
    assert (alone.word, alone.error) == (outcome.word, outcome.error) or word == "oom"
    assert (await renewed.run()).word == "ok"


async def test_each_attempt_is_charged_for_what_it_used_itself(bench: Bench) -> None:
    """Neither the memory nor the processor time of the one before it."""
    renewed = Renewed(bench, "warm_handlers:do")
    large = await renewed.run({"do": "use", "bytes": 100 * MIB})
    [sandbox] = renewed.waiting
    busy = await renewed.run({"do": "spin", "s": patient(0.3)})
    small = await renewed.run()
    assert renewed.waiting == [sandbox]
    assert (large.usage.memory_peak_bytes or 0) > 100 * MIB
    assert 0 < (small.usage.memory_peak_bytes or 0) < 50 * MIB
    assert (busy.usage.cpu_s or 0) >= patient(0.3)
    assert 0 < (small.usage.cpu_s or 0) < patient(0.2)


async def test_a_limit_on_processor_time_counts_for_each_attempt(bench: Bench) -> None:
    """Attempts that together pass it go on; one that does is ended."""
    renewed = Renewed(bench, "warm_handlers:do", cpu_time_s=patient(1.0), timeout_s=patient(60.0))
    for _ in range(3):
        assert (await renewed.run({"do": "spin", "s": patient(0.6)})).word == "ok"
    assert (await renewed.run({"do": "spin", "s": patient(30)})).word == "timeout"


async def test_what_an_attempt_prints_is_its_own(bench: Bench) -> None:
    """Each has pipes that no other has ever seen."""
    renewed = Renewed(bench, "warm_handlers:do")
    for number in (1, 2):
        bench.services.lines.clear()
        await renewed.run({"do": "say", "number": number})
        told = ["attempt 1", f"from {number}", f"child of {number}"]
        assert sorted(bench.services.texts("stdout")) == sorted(told)


async def test_random_numbers_and_temporary_names_are_each_attempts_own(bench: Bench) -> None:
    """Every one is a fork of the same process, at the same place in it."""
    renewed = Renewed(bench)
    code = "import random, tempfile, uuid; out = [random.random(), tempfile.mktemp(), str(uuid.uuid4())]"
    found = [await renewed.found(code) for _ in range(3)]
    assert len(renewed.waiting) == 1
    assert all(len(set(of_all)) == 3 for of_all in zip(*found, strict=True))


async def test_secrets_are_given_to_each_attempt_as_they_are_then(tmp_path: Path) -> None:
    """And none stays in a sandbox that waits."""
    secrets = tmp_path / "secrets"
    secrets.mkdir(mode=0o700)
    sandboxes = ProcessSandboxes(tmp_path / "state", secrets_dir=str(secrets))
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        renewed = Renewed(bench, permissions=Permissions(secrets=("key",)))
        code = "out = open(os.environ['CREDENTIALS_DIRECTORY'] + '/key').read()"
        for value in ("one", "two"):
            (secrets / "key").write_text(value)
            (secrets / "key").chmod(0o600)
            assert await renewed.found(code) == value
            [sandbox] = renewed.waiting
            assert sandbox.secrets is None
    finally:
        await sandboxes.stop()


async def test_a_sandbox_that_has_died_while_it_waited_costs_no_attempt(bench: Bench) -> None:
    """Its successor takes the event."""
    renewed = Renewed(bench)
    await renewed.found("")
    [sandbox] = renewed.waiting
    assert sandbox.pid is not None
    os.kill(sandbox.pid, signal.SIGKILL)
    assert await renewed.found("out = 1") == 1
    assert renewed.waiting != [sandbox]


async def test_a_renewed_sandbox_becomes_a_spare_when_nobody_has_come(bench: Bench) -> None:
    """For a function in use: its next attempt finds a handler's process that has rehearsed."""
    spares = bench.sandboxes._spares
    assert spares is not None
    renewed = Renewed(bench)
    assert await renewed.found("out = 1") == 1
    [sandbox] = renewed.waiting
    assert not sandbox.has_handler
    spares.prepare(renewed.function)
    async with asyncio.timeout(patient(10.0)):
        while not bench.sandboxes._waiting.spares(renewed.function):
            await asyncio.sleep(0.005)
    assert renewed.waiting == [sandbox]
    assert sandbox.has_handler
    assert await renewed.found("out = 2") == 2
    assert renewed.waiting == [sandbox]


async def test_each_function_keeps_one_and_no_more_wait_than_the_daemon_has_slots(
    tmp_path: Path,
) -> None:
    """The only one stays, since the next attempt would have one made; one beside it finds no place, and ends."""
    sandboxes = ProcessSandboxes(tmp_path / "state", slots=1)
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        first, second = Renewed(bench), Renewed(bench, "warm_handlers:do")
        assert (await first.run({})).word == (await second.run({})).word == "ok"
        assert (len(first.waiting), len(second.waiting)) == (1, 1)
        gate = {"it": "time.sleep(0.2)"}
        outcomes = await asyncio.gather(first.run(gate), first.run(gate))
        assert [one.word for one in outcomes] == ["ok", "ok"]
        assert (len(first.waiting), len(second.waiting)) == (1, 1)
    finally:
        await sandboxes.stop()


async def test_no_sandbox_serves_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what nobody has thought of cannot heap up in it."""
    monkeypatch.setattr(renewal, "_ATTEMPTS_MAX", 2)
    renewed = Renewed(bench)
    await renewed.found("")
    assert len(renewed.waiting) == 1
    await renewed.found("")
    assert renewed.waiting == []


@pytest.mark.parametrize(
    ("settings", "walls"),
    [
        ({"spares": 0}, {}),
        ({"reuse": 2}, {}),
        ({}, {"cgroups": False}),
        ({}, {"pid_namespaces": False}),
        ({}, {"without": {"landlock"}}),
        ({}, {"without": {"seccomp"}}),
        ({}, {"without": {"mounts"}}),
    ],
)
async def test_none_is_renewed_without_every_wall_or_against_a_setting(
    tmp_path: Path, settings: dict[str, Any], walls: dict[str, Any]
) -> None:
    """Then each attempt has a sandbox of its own, or what `reuse` says."""
    sandboxes = ProcessSandboxes(tmp_path / "state", **walls)
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        function = bench.function("echo", **{"spares": None, **settings})
        known = await sandboxes._the_pool().walls_of(function)
        assert not policy.renews(function, known)
        assert (await bench.run_attempt(an_attempt(function, 1))).word == "ok"
    finally:
        await sandboxes.stop()


async def test_another_users_sandbox_is_renewed_as_well(bench: Bench) -> None:
    """His pipes are his at each attempt."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    user = Permissions(user="nobody")
    renewed = Renewed(bench, permissions=user, python="/usr/bin/python3")
    outcome = await renewed.run({"it": "open('/dev/stderr', 'w').close(); out = os.getuid()"})
    if outcome.word != "ok":
        pytest.skip(f"nobody cannot run here: {outcome.error}")
    assert json.loads(outcome.result_json or "") == {"it": 65534}
    [sandbox] = renewed.waiting
    assert await renewed.found("open('/dev/stderr', 'w').close(); out = os.getuid()") == 65534
    assert renewed.waiting == [sandbox]
