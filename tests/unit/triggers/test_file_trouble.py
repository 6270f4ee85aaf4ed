"""Directories that are missing, unreadable, replaced or unmounted; lost hints; and self-feeding."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD

from faasd.model.function import Function
from faasd.model.invocation import NewEvent
from faasd.model.trigger import FilesTrigger
from faasd.triggers.file_hints import HintInbox
from faasd.triggers.file_loop import GENERATIONS_MAX, ROUNDS_MAX
from faasd.triggers.file_names import name_rules
from faasd.triggers.file_settle import Hint
from faasd.triggers.file_watch import DirectoryWatches
from tests.fakes.files_fixtures import RigMaker, make_rig
from tests.fakes.files_rig import FilesRig, wait_for

__all__ = ["make_rig"]


# ---- the root


async def test_a_missing_directory_is_said_and_watched_for(make_rig: RigMaker) -> None:
    """It is not made: a typing error in a path should be seen, and a mount may be late."""
    rig = make_rig()
    rig.inbox.rmdir()
    await rig.start()
    await wait_for(lambda: "does not exist" in rig.problem())
    assert not rig.inbox.exists()
    rig.inbox.mkdir()
    rig.drop("a")
    assert await rig.accepted(1) == ["a"]
    await wait_for(lambda: not rig.problem())


async def test_a_directory_removed_and_made_again_is_watched_again(make_rig: RigMaker) -> None:
    """The kernel's watch dies with the old one."""
    rig = make_rig()
    await rig.start_and_scan()
    rig.inbox.rmdir()
    await wait_for(lambda: "does not exist" in rig.problem())
    rig.inbox.mkdir()
    await wait_for(lambda: not rig.problem())
    rig.drop("a")
    assert await rig.accepted(1) == ["a"]


async def test_a_directory_renamed_away_is_not_followed(make_rig: RigMaker) -> None:
    """The kernel's watch follows it; the new directory at the path is what counts."""
    rig = make_rig(settle_s=30.0)
    await rig.start_and_scan()
    rig.inbox.rename(rig.base / "away")
    rig.inbox.mkdir()
    (rig.outside / "wrong").write_bytes(b"x")
    (rig.outside / "wrong").rename(rig.base / "away" / "wrong")
    await rig.quiet()
    rig.drop("right")
    assert await rig.accepted(1) == ["right"]


async def test_a_file_where_the_directory_should_be_is_said(make_rig: RigMaker) -> None:
    """Another mistake than a missing one, with another thing to do."""
    rig = make_rig()
    rig.inbox.rmdir()
    rig.inbox.write_bytes(b"")
    await rig.start()
    await wait_for(lambda: "not a directory" in rig.problem())


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Capabilities(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


@contextmanager
def permissions_count() -> Iterator[None]:
    """Let this thread, and threads that it starts, be bound by permissions although it is root."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = _CapabilityHeader(0x20080522, 0)
    now = (_Capabilities * 2)()
    assert libc.capget(ctypes.byref(header), ctypes.byref(now)) == 0
    effective = now[0].effective
    now[0].effective = effective & ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
    assert libc.capset(ctypes.byref(header), ctypes.byref(now)) == 0
    try:
        yield
    finally:
        now[0].effective = effective
        assert libc.capset(ctypes.byref(header), ctypes.byref(now)) == 0


async def test_an_unreadable_directory_is_said(make_rig: RigMaker) -> None:
    """Inotify would be silent about it for ever."""
    rig = make_rig()
    rig.inbox.chmod(0)
    try:
        with permissions_count():
            await rig.start()
            await wait_for(lambda: "cannot be read" in rig.problem())
            assert "permission" in rig.problem()
    finally:
        rig.inbox.chmod(0o755)
    rig.drop("a")
    assert await rig.accepted(1) == ["a"]
    await wait_for(lambda: not rig.problem())


async def test_an_unreadable_sub_directory_is_said_and_its_files_are_remembered(
    make_rig: RigMaker,
) -> None:
    """That it cannot be read does not mean that its files are gone."""
    rig = make_rig(recursive=True, settle_s=0.1)
    path = rig.write_old("sub/a")
    with permissions_count():
        await rig.start()
        await rig.accepted(1)
        rig.end(path)
        await rig.in_ledger(path, "done")
        (rig.inbox / "sub").chmod(0)
        try:
            await rig.quiet()
            await wait_for(lambda: "cannot read" in rig.problem())
            await rig.in_ledger(path, "done")
        finally:
            (rig.inbox / "sub").chmod(0o755)
    await rig.quiet()
    assert not rig.problem()
    assert len(rig.intake.events) == 1


async def test_a_file_system_that_hangs_does_not_hold_up_the_stop(
    make_rig: RigMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dead NFS server blocks a thread for ever; the daemon must still end, and say why."""
    monkeypatch.setattr("faasd.triggers.file_directory._STOP_S", 0.1)
    rig = make_rig()
    triggers = await rig.start_and_scan()
    answers = threading.Event()
    hanging = triggers._directories["inbox"]._executor.submit(answers.wait)
    try:
        rig.drop("a")
        await rig.stop()
        assert "does not answer" in rig.reports[-1][1]["problem"]
    finally:
        answers.set()
        await asyncio.to_thread(hanging.result)


# ---- mounts


def renumber(rig: FilesRig, device: int) -> None:
    """Let the ledger tell of another device, as after an unmount or a remount."""
    for key, row in rig.ledger.rows.items():
        rig.ledger.rows[key] = replace(row, device=device)


async def processed(rig: FilesRig, *names: str) -> None:
    paths = [rig.write_old(name) for name in names]
    await rig.start()
    await rig.accepted(len(paths))
    for path in paths:
        rig.end(path)
        await rig.in_ledger(path, "done")
    await rig.stop()


async def test_a_vanished_mount_is_no_empty_directory(make_rig: RigMaker) -> None:
    """Its files are remembered, and its return is not a thousand new files."""
    rig = make_rig()
    await processed(rig, "a", "b", "c")
    renumber(rig, device=7)
    (rig.base / "mounted").mkdir()
    for name in ("a", "b", "c"):
        (rig.inbox / name).rename(rig.base / "mounted" / name)
    await rig.start_and_scan()
    await wait_for(lambda: "is gone" in rig.problem())
    assert "3 files" in rig.problem()
    await rig.quiet()
    assert len(rig.ledger.rows) == 3
    for name in ("a", "b", "c"):
        (rig.base / "mounted" / name).rename(rig.inbox / name)
    await rig.quiet()
    assert not rig.problem()
    assert len(rig.intake.events) == 3


async def test_a_remount_under_another_number_changes_nothing(make_rig: RigMaker) -> None:
    """Network file systems get a new device number at every mount."""
    rig = make_rig()
    await processed(rig, "a", "b")
    renumber(rig, device=7)
    (rig.inbox / "b").unlink()
    await rig.start_and_scan()
    await rig.quiet()
    assert not rig.problem()
    assert len(rig.intake.events) == 2
    # The one file that was recognised proves which device it is, so the other is really gone.
    assert [path for _, path in rig.ledger.rows] == [os.fsencode(rig.inbox / "a")]


async def test_the_control_files_gone_from_their_own_device_are_forgotten(
    make_rig: RigMaker,
) -> None:
    """What the two tests above must not do, and this one must."""
    rig = make_rig()
    await processed(rig, "a", "b")
    (rig.inbox / "a").unlink()
    (rig.inbox / "b").unlink()
    await rig.start_and_scan()
    await wait_for(lambda: not rig.ledger.rows)
    assert not rig.problem()


# ---- hints that are not to be had


class LimitedReader(InotifyFD):
    """An inotify whose user has no watches left."""

    number = errno.ENOSPC

    def add_callback(self, *_: object) -> int:  # type: ignore[override]
        raise OSError(self.number, "inotify watch limit reached")


def no_instances() -> InotifyFD:
    raise OSError(errno.EMFILE, "inotify instance limit reached")


@pytest.mark.parametrize(
    ("reader", "sysctl"),
    [(LimitedReader, "max_user_watches"), (no_instances, "max_user_instances")],
)
async def test_an_inotify_limit_is_said_and_polling_takes_over(
    make_rig: RigMaker, reader: type[InotifyFD], sysctl: str
) -> None:
    """With the very setting to raise; and files are still processed."""
    rig = make_rig(poll_interval_s=0.1)
    rig.watches = DirectoryWatches(reader)
    await rig.start_and_scan()
    assert rig.status().mode == "polling"
    assert f"fs.inotify.{sysctl}" in rig.problem()
    rig.drop("a")
    assert await rig.accepted(1) == ["a"]


async def test_polling_sees_without_any_hint(make_rig: RigMaker) -> None:
    """For file systems that other hosts write to."""
    rig = make_rig(polling=True, poll_interval_s=0.1, settle_s=0.1)
    await rig.start_and_scan()
    assert rig.status().mode == "polling"
    assert rig.triggers is not None
    assert rig.triggers._watches.count == 0
    path = rig.drop("a")
    assert await rig.accepted(1) == ["a"]
    rig.end(path)
    await rig.in_ledger(path, "done")


async def test_an_overflow_leads_to_a_scan(make_rig: RigMaker) -> None:
    """The kernel says that it dropped events; what was dropped is found all the same."""
    rig = make_rig(settle_s=0.1, rescan_interval_s=3600.0)
    triggers = await rig.start_and_scan()
    reader = triggers._watches._reader
    assert reader is not None
    real = InotifyFD.handle_event
    try:
        InotifyFD.handle_event = lambda *_: None  # type: ignore[method-assign,assignment]
        for number in range(50):
            rig.drop(f"f{number}")
        with (rig.inbox / "closed").open("wb"):
            pass
        await rig_hears_nothing(rig)
    finally:
        InotifyFD.handle_event = real  # type: ignore[method-assign]
    reader.handle_event(InotifyEvent(-1, InotifyConstants.IN_Q_OVERFLOW, 0, b""))  # type: ignore[arg-type]
    assert len(set(await rig.accepted(51))) == 51
    assert ("files_hints_lost", {"trigger": "inbox"}) in rig.reports


async def rig_hears_nothing(rig: FilesRig) -> None:
    """Wait until the reader has read what the kernel had to say, and told nobody."""
    assert rig.triggers is not None
    reader = rig.triggers._watches._reader
    assert reader is not None
    pending = ctypes.c_int(1)
    libc = ctypes.CDLL(None)

    def is_drained() -> bool:
        libc.ioctl(reader._inotify_fd, 0x541B, ctypes.byref(pending))  # FIONREAD
        return pending.value == 0

    await wait_for(is_drained, "the reader to drain")
    assert rig.intake.events == []


async def test_a_dead_reader_is_replaced(make_rig: RigMaker) -> None:
    """Whatever ends watchdog's thread, hints come back without a restart."""
    rig = make_rig(settle_s=30.0)
    triggers = await rig.start_and_scan()
    reader = triggers._watches._reader
    assert reader is not None
    reader.stop()
    reader.join()
    triggers._directories["inbox"]._root_check_due_s = 0.0
    triggers._directories["inbox"]._wake.set()
    await wait_for(triggers._watches.is_alive, "a new reader")
    await rig.quiet()
    rig.drop("a")
    assert await rig.accepted(1) == ["a"]


async def test_a_root_covered_by_another_directory_is_noticed(make_rig: RigMaker) -> None:
    """A mount over the path makes no event at all; the check of the root finds it."""
    rig = make_rig(settle_s=30.0, rescan_interval_s=3600.0)
    triggers = await rig.start_and_scan()
    directory = triggers._directories["inbox"]
    triggers._watches.keep_only(set(), directory._hints)  # No event tells of what follows.
    rig.inbox.rename(rig.base / "away")
    rig.inbox.mkdir()
    directory._root_check_due_s = 0.0
    directory._wake.set()
    await wait_for(lambda: triggers._watches.count == 1, "the new directory to be watched")
    rig.drop("a")
    assert await rig.accepted(1) == ["a"]


def open_in_child() -> str:
    """Return what a child has open whose parent closed nothing for it."""
    program = "import os,glob; print([os.path.realpath(fd) for fd in glob.glob('/proc/self/fd/*')])"
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, close_fds=False, check=True
    ).stdout


async def test_the_inotify_descriptor_is_not_inherited(make_rig: RigMaker) -> None:
    """It would live on in every sandbox and keep the instance alive."""
    rig = make_rig()
    await rig.start_and_scan()
    assert "inotify" not in await asyncio.to_thread(open_in_child)
    assert rig.triggers is not None
    reader = rig.triggers._watches._reader
    assert reader is not None
    os.set_inheritable(reader._inotify_fd, True)  # The control.
    assert "inotify" in await asyncio.to_thread(open_in_child)


def test_a_hint_after_the_end_of_the_loop_raises_nothing() -> None:
    """An exception would end the reader's thread for every trigger."""
    loop = asyncio.new_event_loop()
    inbox = HintInbox(name_rules(FilesTrigger("t", "/in")), asyncio.Event(), loop)
    loop.close()
    inbox.file_hint(b"/in/a", Hint.CLOSED)
    inbox.overflowed()
    taken = inbox.take(10)
    assert taken.files == {b"/in/a": Hint.CLOSED}
    assert taken.overflowed


# ---- a function that feeds itself


class Feeding:
    """A function whose every invocation drops a file into its own trigger's directory."""

    def __init__(self, rig: FilesRig, is_over: Callable[[], bool] = lambda: False) -> None:
        self._rig = rig
        self._is_over = is_over
        self.running: list[tuple[str, Path | None]] = []  # With the file that it has written.
        rig.intake.on_accept = self._run

    def _run(self, event: NewEvent) -> None:
        count = len(self._rig.intake.events)
        wrote = None if self._is_over() else self._rig.drop(f"f{count}")
        self.running.append((event.id or "", wrote))

    def end_old(self, keep: int) -> None:
        """Let all but the youngest invocations end."""
        while len(self.running) > keep:
            invocation_id, _ = self.running.pop(0)
            assert self._rig.triggers is not None
            self._rig.triggers.settled(invocation_id, self._rig.intake.end(invocation_id))

    def step(self) -> None:
        """Let the invocations end whose files have been seen."""
        assert self._rig.triggers is not None
        backlog = self._rig.triggers._directories["inbox"].backlog
        while self.running:
            path = self.running[0][1]
            is_unseen = path and os.fsencode(path) not in backlog._generations
            if is_unseen and str(path) not in self._rig.intake.paths():
                return
            self.end_old(keep=len(self.running) - 1)


async def test_a_function_that_feeds_its_own_trigger_is_stopped_loudly(
    make_rig: RigMaker,
) -> None:
    """It would run for ever; nothing that it wrote is lost."""
    rig = make_rig(settle_s=0.0)
    triggers = await rig.start_and_scan()
    feeding = Feeding(rig)
    rig.drop("first")

    def is_stopped() -> bool:
        feeding.step()
        return "feed its own trigger" in rig.problem()

    await wait_for(is_stopped, "the guard to stop the trigger", 20)
    ran = len(rig.intake.events)
    # Invocations overlap here, so that there are a few files in a generation.
    assert GENERATIONS_MAX <= ran <= 5 * (GENERATIONS_MAX + ROUNDS_MAX)
    path = rig.drop("later")
    await rig.quiet()
    assert len(rig.intake.events) == ran
    assert "the trigger is stopped" in (await triggers.explain(str(path)))[0]
    rig.intake.on_accept = lambda _: None
    assert triggers.start_again(rig.functions[0].name) == ["inbox"]
    await wait_for(lambda: "later" in rig.intake.names())
    assert not rig.problem()


@pytest.mark.parametrize("way", ["resume", "reload"])
async def test_a_stopped_trigger_goes_on_without_a_restart(make_rig: RigMaker, way: str) -> None:
    """A daemon serves others too, so mending one function must not need a restart of it."""
    rig = make_rig(settle_s=0.0)
    triggers = await rig.start_and_scan()
    feeding = Feeding(rig)
    rig.drop("first")

    def is_stopped() -> bool:
        feeding.step()
        return "feed its own trigger" in rig.problem()

    await wait_for(is_stopped, "the guard to stop the trigger", 20)
    path = rig.drop("later")
    [function] = rig.functions
    # A reload for the sake of others brings back what feeds itself, so it stays stopped.
    await triggers.reload([function, Function("other")])
    await rig.quiet()
    assert "the trigger is stopped" in (await triggers.explain(str(path)))[0]
    assert triggers.start_again("other") == []
    rig.intake.on_accept = lambda _: None
    if way == "resume":
        assert triggers.start_again(function.name) == ["inbox"]
        assert triggers.start_again(function.name) == []
    else:
        await triggers.reload([replace(function, code_version="mended")])
    await wait_for(lambda: "later" in rig.intake.names())
    assert not rig.problem()


async def test_a_function_that_rewrites_its_own_file_is_stopped_too(make_rig: RigMaker) -> None:
    """The same loop with one file: each run changes what triggered it."""
    rig = make_rig(settle_s=0.0, polling=True, poll_interval_s=0.02)
    await rig.start_and_scan()
    running: list[str] = []

    def rewrite(event: NewEvent) -> None:
        (rig.inbox / "a").write_bytes(b"x" * len(rig.intake.events) * 2)
        running.append(event.id or "")

    rig.intake.on_accept = rewrite
    rig.drop("a")

    def is_stopped() -> bool:
        while running:
            invocation_id = running.pop(0)
            assert rig.triggers is not None
            rig.triggers.settled(invocation_id, rig.intake.end(invocation_id))
        return "feed its own trigger" in rig.problem()

    await wait_for(is_stopped, "the guard to stop the trigger", 20)


async def test_somebody_else_who_writes_all_the_time_is_no_loop(make_rig: RigMaker) -> None:
    """A busy drop box looks like a loop, until a file appears while nothing runs."""
    rig = make_rig(settle_s=0.0)
    rig.silence_s = 0.4
    triggers = await rig.start_and_scan()
    directory = triggers._directories["inbox"]
    outsider = Feeding(rig, is_over=lambda: True)  # It drops nothing; the files come from here.
    count = 100

    def is_time_for_the_next(number: int, dropped_at_s: float) -> bool:
        if directory.backlog.held:  # The outsider goes on, a little slower, in the silence.
            outsider.end_old(keep=0)
            return time.monotonic() > dropped_at_s + 0.03
        outsider.end_old(keep=1)  # One always runs: every file appears beside an invocation.
        return len(rig.intake.events) > number

    for number in range(count):
        rig.drop(f"f{number}")
        at_s = time.monotonic()
        await wait_for(lambda n=number, at=at_s: is_time_for_the_next(n, at))

    def is_all_accepted() -> bool:
        outsider.end_old(keep=0)
        return len(rig.intake.events) == count

    await wait_for(is_all_accepted)
    assert not rig.problem()
    assert directory.guard._limit > GENERATIONS_MAX  # The test did come, and was passed.


async def test_a_chain_that_ends_by_itself_is_not_stopped(make_rig: RigMaker) -> None:
    """Some more steps of one function through one directory are strange, and allowed."""
    rig = make_rig(settle_s=0.0)
    triggers = await rig.start_and_scan()
    guard = triggers._directories["inbox"].guard
    last: list[str] = []

    def is_over() -> bool:
        last.extend(["x"] * (guard.rounds >= 2))
        return bool(last)

    feeding = Feeding(rig, is_over)
    rig.drop("first")

    def is_ended() -> bool:
        feeding.step()
        if last:
            feeding.end_old(keep=0)
        now_s = time.monotonic()
        return bool(last) and guard.generation_of_new(now_s, by_scan=False) == 0

    await wait_for(is_ended, "the chain to end", 20)
    assert guard.rounds >= 2
    rig.drop("another day")
    await wait_for(lambda: rig.intake.names()[-1] == "another day")
    assert not rig.problem()
    assert guard.rounds == 0
