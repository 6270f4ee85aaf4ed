"""Each complete file once, none missed: a real directory and real inotify."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import replace
from pathlib import Path

import pytest

from faasd.clock import from_iso
from faasd.errors import NotAccepting, NotFound, StoreError
from faasd.model.function import Function
from faasd.model.trigger import FilesTrigger
from tests.fakes.files_fixtures import RigMaker, make_rig
from tests.fakes.files_rig import wait_for

__all__ = ["make_rig"]


# ---- the event


async def test_the_event_tells_what_the_handler_needs(make_rig: RigMaker) -> None:
    """The envelope is the same for every trigger; path, name, size and times are at the top level."""
    rig = make_rig()
    await rig.start_and_scan()
    path = rig.drop("photo.jpg", b"12345")
    await rig.accepted(1)
    [event] = rig.intake.events
    assert event.function == "thumbnail"
    assert event.queue == "thumbnail"
    assert (event.trigger, event.source) == ("files", "inbox")
    body = event.body
    assert body["id"] == event.id
    assert body["path"] == str(path)
    assert (body["name"], body["relative_path"], body["size"]) == ("photo.jpg", "photo.jpg", 5)
    assert abs(from_iso(body["modified_at"]) - path.stat().st_mtime) < 0.002
    await rig.in_ledger(path, "accepted")


async def test_a_batching_trigger_feeds_its_own_queue(make_rig: RigMaker) -> None:
    """The dispatcher makes the batches; the trigger only says where its files wait."""
    rig = make_rig(batch_size=10)
    await rig.start_and_scan()
    rig.drop("a")
    await rig.accepted(1)
    assert rig.intake.events[0].queue == "thumbnail/inbox"


async def test_any_name_that_the_kernel_allows_works(make_rig: RigMaker) -> None:
    """Newlines, quotes, bytes that are no text, and all of 255 bytes."""
    rig = make_rig()
    names = [b"two\nlines", b"qu'o\"te \\ $x", b"caf\xe9\xff", b"n" * 255, "日本".encode(), b"-rf"]
    root = os.fsencode(rig.inbox)
    for name in names[:3]:
        os.close(os.open(os.path.join(root, name), os.O_CREAT | os.O_WRONLY, 0o644))
    await rig.start()
    await rig.accepted(3)
    for name in names[3:]:
        rig.drop("new.part").rename(os.fsdecode(os.path.join(root, name)))
    await rig.accepted(6)
    assert {os.fsencode(name) for name in rig.intake.names()} == set(names)
    await wait_for(lambda: len(rig.ledger.rows) == 6)


async def test_an_absurd_mtime_does_not_stop_a_file(make_rig: RigMaker) -> None:
    """Anybody can set one; the event then has none."""
    rig = make_rig()
    path = rig.write_old("a")
    os.utime(path, ns=(0, 2**62))
    os.utime(rig.write_old("b"), ns=(0, -(2**60)))
    await rig.start()
    assert sorted(await rig.accepted(2)) == ["a", "b"]


# ---- when a file is complete


async def test_a_rename_in_is_accepted_at_once(make_rig: RigMaker) -> None:
    """The target is 10 ms to the handler's first line; settle must not apply."""
    rig = make_rig(settle_s=30.0)
    await rig.start_and_scan()
    took = []
    for number in range(20):
        (rig.outside / f"f{number}").write_bytes(b"x")
        began = time.perf_counter()
        (rig.outside / f"f{number}").rename(rig.inbox / f"f{number}")
        await rig.accepted(number + 1)
        took.append(rig.intake.accepted_at[str(rig.inbox / f"f{number}")] - began)
    assert sorted(took)[10] < 0.010


async def test_a_rename_within_the_directory_completes_a_file(make_rig: RigMaker) -> None:
    """Upload tools write name.part and rename it."""
    rig = make_rig(settle_s=30.0)
    await rig.start_and_scan()
    part = rig.write_old("a.csv.part")
    part.rename(rig.inbox / "a.csv")
    assert await rig.accepted(1) == ["a.csv"]


async def test_a_closed_file_is_accepted_after_settle_and_not_before(make_rig: RigMaker) -> None:
    """A second of stillness is what tells a finished writer from one that reopens."""
    rig = make_rig(settle_s=0.3)
    await rig.start_and_scan()
    began = time.perf_counter()
    path = rig.write_old("a")
    await rig.accepted(1)
    assert 0.28 < rig.intake.accepted_at[str(path)] - began < 2.0


async def test_a_slow_writer_is_waited_for(make_rig: RigMaker) -> None:
    """Its pauses are longer than settle, but it has not closed the file."""
    rig = make_rig(settle_s=0.1)
    await rig.start_and_scan()
    with (rig.inbox / "scan.pdf").open("wb") as file:
        for _ in range(3):
            file.write(b"page")
            file.flush()
            await wait_for(lambda: rig.status().pending == 1)
            await asyncio.to_thread(time.sleep, 0.25)  # The writer's own pause.
            await rig.quiet()
        assert rig.intake.events == []
    await rig.accepted(1)
    assert rig.intake.events[0].body["size"] == 12


async def test_a_writer_that_closes_and_reopens_is_not_read_half_way(make_rig: RigMaker) -> None:
    """Each close starts the wait anew; one event tells of the whole."""
    rig = make_rig(settle_s=0.3)
    await rig.start_and_scan()
    for number in range(6):
        with (rig.inbox / "log").open("ab") as file:
            file.write(b"%d" % number)
        await asyncio.to_thread(time.sleep, 0.1)  # The writer's own pause.
    await rig.accepted(1)
    await rig.quiet()
    assert [event.body["size"] for event in rig.intake.events] == [6]


async def test_settle_zero_takes_a_file_at_its_close(make_rig: RigMaker) -> None:
    """For whoever knows that writers write in one go."""
    rig = make_rig(settle_s=0.0)
    await rig.start_and_scan()
    with (rig.inbox / "a").open("wb") as file:
        file.write(b"1")
        file.flush()
        await wait_for(lambda: rig.status().pending == 1)
        await rig.quiet()
        assert rig.intake.events == []
        file.write(b"2")
    await rig.accepted(1)
    assert rig.intake.events[0].body["size"] == 2


async def test_a_hard_link_is_a_file_like_any_other(make_rig: RigMaker) -> None:
    """Inotify tells only of its creation; no close ever comes."""
    rig = make_rig(settle_s=0.1)
    await rig.start_and_scan()
    (rig.outside / "a").write_bytes(b"x")
    os.link(rig.outside / "a", rig.inbox / "a")
    assert await rig.accepted(1) == ["a"]


async def test_files_present_before_start_are_processed(make_rig: RigMaker) -> None:
    """They were dropped while the daemon was down."""
    rig = make_rig()
    rig.write_old("a")
    rig.write_old("b")
    await rig.start()
    assert await rig.accepted(2) == ["a", "b"]


async def test_with_a_marker_a_file_is_complete_when_the_marker_exists(make_rig: RigMaker) -> None:
    """Whatever happens to the file itself, and whichever of the two comes first."""
    rig = make_rig(marker=".ready", settle_s=0.0)
    rig.write_old("early.csv")
    rig.write_old("early.csv.ready")
    await rig.start_and_scan()
    rig.drop("a.csv")
    rig.drop("b.csv")
    (rig.inbox / "c.csv.ready").write_bytes(b"")
    await wait_for(lambda: rig.status().pending == 2)
    await rig.quiet()
    assert rig.intake.names() == ["early.csv"]
    (rig.inbox / "b.csv.ready").write_bytes(b"")
    rig.drop("c.csv")
    assert sorted(await rig.accepted(3)) == ["b.csv", "c.csv", "early.csv"]
    await rig.quiet()
    assert len(rig.intake.events) == 3


# ---- what never counts


async def test_what_is_not_a_regular_file_is_never_followed(make_rig: RigMaker) -> None:
    """A link into /etc, a FIFO that would block for ever, a socket, a directory."""
    rig = make_rig(recursive=True)
    secret = rig.outside / "secret"
    secret.write_bytes(b"s")
    (rig.outside / "tree").mkdir()
    (rig.outside / "tree" / "below").write_bytes(b"s")

    def litter(prefix: str) -> None:
        (rig.inbox / f"{prefix}link").symlink_to(secret)
        (rig.inbox / f"{prefix}dangling").symlink_to(rig.outside / "nowhere")
        (rig.inbox / f"{prefix}tree").symlink_to(rig.outside / "tree")
        os.mkfifo(rig.inbox / f"{prefix}fifo")
        (rig.inbox / f"{prefix}directory").mkdir()
        here = os.getcwd()
        os.chdir(rig.inbox)  # The path of a socket may have 107 bytes.
        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(f"{prefix}socket")
        os.chdir(here)

    litter("before-")
    await rig.start_and_scan()
    litter("after-")
    os.rename(rig.inbox / "after-link", rig.inbox / "renamed-link")
    os.mkfifo(rig.outside / "fifo")
    os.rename(rig.outside / "fifo", rig.inbox / "renamed-fifo")
    rig.drop("real")
    await rig.accepted(1)
    await rig.quiet()
    assert rig.intake.names() == ["real"]


async def test_temporary_names_wait_for_their_real_one(make_rig: RigMaker) -> None:
    """rsync, browsers and editors all write under another name first."""
    rig = make_rig(settle_s=0.0)
    rig.write_old(".data.csv.Xy12Zz")
    await rig.start_and_scan()
    for name in (".hidden", "a.part", "b.tmp", "c.swp", "d~", "e.filepart", "f.crdownload"):
        rig.drop(name)
    (rig.inbox / ".data.csv.Xy12Zz").rename(rig.inbox / "data.csv")
    await rig.accepted(1)
    await rig.quiet()
    assert rig.intake.names() == ["data.csv"]


async def test_pattern_and_exclude_are_kept(make_rig: RigMaker) -> None:
    """By hint and by scan alike."""
    rig = make_rig(pattern=("*.jpg", "*.png"), exclude=("draft*",))
    for name in ("a.jpg", "draft.jpg", "a.txt"):
        rig.write_old(name)
    await rig.start_and_scan()
    for name in ("b.png", "draft2.png", "b.txt"):
        rig.drop(name)
    await rig.accepted(2)
    await rig.quiet()
    assert sorted(rig.intake.names()) == ["a.jpg", "b.png"]


# ---- trees


async def test_without_recursive_sub_directories_are_left_alone(make_rig: RigMaker) -> None:
    """Whoever wants them says so."""
    rig = make_rig()
    rig.write_old("sub/a")
    await rig.start_and_scan()
    rig.drop("b")
    await rig.accepted(1)
    await rig.quiet()
    assert rig.intake.names() == ["b"]


async def test_a_new_tree_is_seen_to_its_depth(make_rig: RigMaker) -> None:
    """Mkdir -p and a write at once: the files are there before any watch could be."""
    rig = make_rig(recursive=True, settle_s=0.1)
    await rig.start_and_scan()
    for number in range(10):
        deep = rig.inbox / f"x{number}" / "y" / "z"
        deep.mkdir(parents=True)
        (deep / "f").write_bytes(b"x")
    await rig.accepted(10)
    (rig.inbox / "x3" / "y" / "z" / "late").write_bytes(b"x")
    assert (await rig.accepted(11))[-1] == "late"
    assert rig.intake.events[-1].body["relative_path"] == "x3/y/z/late"


async def test_a_tree_renamed_in_is_seen(make_rig: RigMaker) -> None:
    """Only one event tells of it; then it is watched like the rest."""
    rig = make_rig(recursive=True, settle_s=0.1)
    await rig.start_and_scan()
    (rig.outside / "tree" / "sub").mkdir(parents=True)
    (rig.outside / "tree" / "sub" / "a").write_bytes(b"x")
    (rig.outside / "tree").rename(rig.inbox / "tree")
    await rig.accepted(1)
    rig.drop("tree/sub/b")
    assert await rig.accepted(2) == ["a", "b"]


async def test_own_targets_and_dot_directories_are_not_descended_into(make_rig: RigMaker) -> None:
    """What was moved to done inside the tree must not come back as new."""
    rig = make_rig(recursive=True, on_success="move:done", settle_s=0.1)
    rig.write_old(".git/a")
    rig.write_old("done/b")
    await rig.start_and_scan()
    path = rig.drop("c")
    await rig.accepted(1)
    rig.end(path)
    await wait_for((rig.inbox / "done" / "c").exists)
    await rig.quiet()
    assert rig.intake.names() == ["c"]


# ---- once, and in order


async def test_files_of_one_look_are_accepted_in_order(make_rig: RigMaker) -> None:
    """By name, or by time."""
    rig = make_rig(order="mtime")
    for number, name in enumerate(["c", "a", "b"]):
        os.utime(rig.write_old(name), ns=(0, 10**18 + number))
    await rig.start()
    assert await rig.accepted(3) == ["c", "a", "b"]


async def test_a_kept_file_is_not_run_again_by_a_restart_or_a_scan(make_rig: RigMaker) -> None:
    """on_success = keep leaves it in place for ever."""
    rig = make_rig()
    path = rig.write_old("a")
    await rig.start()
    await rig.accepted(1)
    rig.end(path)
    await rig.in_ledger(path, "done")
    await rig.quiet()
    await rig.stop()
    await rig.start_and_scan()
    rig.drop("b")
    assert await rig.accepted(2) == ["a", "b"]


async def test_a_crash_between_accept_and_ledger_runs_a_file_once(make_rig: RigMaker) -> None:
    """The row is lost; the origin key leads to the first invocation again."""
    rig = make_rig()
    path = rig.write_old("a")
    rig.ledger.fail_with = StoreError("the disk is full")
    await rig.start()
    await rig.accepted(1)
    await wait_for(lambda: "disk is full" in rig.problem())
    first = rig.intake.id_of(path)
    await rig.stop()
    rig.ledger.fail_with = None
    await rig.start()
    await rig.in_ledger(path, "accepted")
    assert len(rig.intake.events) == 1
    assert rig.ledger.rows["inbox", os.fsencode(path)].invocation_id == first


async def test_a_name_dropped_again_is_a_new_event(make_rig: RigMaker) -> None:
    """The same name with another identity is another file, even while the first one runs."""
    rig = make_rig()
    await rig.start_and_scan()
    path = rig.drop("a", b"1")
    await rig.accepted(1)
    rig.drop("a", b"2")
    await rig.accepted(2)
    rig.intake.end(rig.intake.events[0].id or "")
    rig.end(path)
    await rig.in_ledger(path, "done")
    assert rig.ledger.rows["inbox", os.fsencode(path)].invocation_id == rig.intake.events[1].id


async def test_a_file_changed_in_place_is_a_new_event(make_rig: RigMaker) -> None:
    """A kept file that is written again wants to be processed again."""
    rig = make_rig(settle_s=0.1)
    await rig.start_and_scan()
    path = rig.drop("a", b"1")
    await rig.accepted(1)
    rig.end(path)
    path.write_bytes(b"22")
    await rig.accepted(2)
    assert rig.intake.events[1].body["size"] == 2


async def test_a_file_moved_away_and_back_after_a_scan_is_a_new_drop(make_rig: RigMaker) -> None:
    """Whoever puts it back wants it processed; its identity alone could not tell."""
    rig = make_rig()
    await rig.start_and_scan()
    path = rig.drop("a")
    await rig.accepted(1)
    rig.end(path)
    await rig.in_ledger(path, "done")
    path.rename(rig.outside / "a")
    await rig.quiet()
    assert rig.ledger.rows == {}
    (rig.outside / "a").rename(path)
    assert await rig.accepted(2) == ["a", "a"]


async def test_the_ledger_forgets_what_is_gone_but_not_what_still_runs(make_rig: RigMaker) -> None:
    """It is bounded by what lies in the directory."""
    rig = make_rig()
    await rig.start_and_scan()
    done, running = rig.drop("done"), rig.drop("running")
    await rig.accepted(2)
    rig.end(done)
    await rig.in_ledger(done, "done")
    done.unlink()
    running.unlink()
    await rig.quiet()
    assert rig.ledger.state_of(done) is None
    assert rig.ledger.state_of(running) == "accepted"
    rig.end(running)
    await rig.in_ledger(running, "done")
    await rig.quiet()
    assert rig.ledger.rows == {}


# ---- many


async def test_a_burst_of_ten_thousand_loses_none_and_doubles_none(make_rig: RigMaker) -> None:
    """The promise in one number."""
    rig = make_rig()
    await rig.start_and_scan()
    for number in range(10_000):
        (rig.outside / f"f{number}").write_bytes(b"")

    def burst() -> None:
        for number in range(10_000):
            os.rename(rig.outside / f"f{number}", rig.inbox / f"f{number}")

    await asyncio.to_thread(burst)
    await rig.accepted(10_000, deadline_s=30)
    await rig.quiet()
    assert len(rig.intake.events) == len(set(rig.intake.paths())) == 10_000
    assert max(rig.intake.batch_sizes) <= 500


async def test_twenty_thousand_at_start_do_not_block_the_loop(make_rig: RigMaker) -> None:
    """Others are served meanwhile, and every file is accepted once."""
    rig = make_rig(settle_s=0.1)
    for number in range(20_000):
        os.close(os.open(rig.inbox / f"f{number}", os.O_CREAT | os.O_WRONLY, 0o644))
    gaps = [0.0]

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    ticker = asyncio.create_task(tick())
    await rig.start()
    await rig.accepted(20_000, deadline_s=30)
    ticker.cancel()
    assert len(set(rig.intake.paths())) == 20_000
    assert sorted(gaps)[int(len(gaps) * 0.98)] < 1.0


# ---- refusals and failures


async def test_one_refused_file_does_not_hold_up_the_others(make_rig: RigMaker) -> None:
    """accept_many takes all or none; the culprit is found and said."""
    rig = make_rig()
    rig.intake.refuse = lambda event: event.body["name"] == "bad"
    for name in ("a", "bad", "c"):
        rig.write_old(name)
    triggers = await rig.start()
    assert await rig.accepted(2) == ["a", "c"]
    await wait_for(lambda: "too large" in rig.problem())
    assert "too large" in (await triggers.explain(str(rig.inbox / "bad")))[0]
    assert rig.status().pending == 1


async def test_a_failing_store_is_tried_again(make_rig: RigMaker) -> None:
    """Nothing is lost by it, and the operator hears of it once."""
    rig = make_rig()
    rig.intake.fail_with = StoreError("the database is away")
    await rig.start_and_scan()
    rig.drop("a")
    await wait_for(lambda: "the database is away" in rig.problem())
    rig.intake.fail_with = None
    assert await rig.accepted(1) == ["a"]
    await wait_for(lambda: not rig.problem())
    assert [name for name, _ in rig.reports] == ["files_problem", "files_problem_over"]


async def test_a_stopping_daemon_leaves_the_files_for_its_next_start(make_rig: RigMaker) -> None:
    """NotAccepting is no problem of anybody's."""
    rig = make_rig()
    await rig.start_and_scan()
    rig.intake.fail_with = NotAccepting("stopping")
    rig.drop("a")
    await wait_for(lambda: rig.status().pending == 1)
    await rig.stop()
    assert rig.reports == []
    rig.intake.fail_with = None
    await rig.start()
    assert await rig.accepted(1) == ["a"]


# ---- reload, pause, several triggers


async def test_reload_keeps_unchanged_triggers_and_swaps_changed_ones(make_rig: RigMaker) -> None:
    """A watch that is not disturbed cannot miss anything."""
    rig = make_rig()
    triggers = await rig.start_and_scan()
    kept = triggers._directories["inbox"]
    other = FilesTrigger(name="other", path=str(rig.outside / "o"), settle_s=0.0)
    await triggers.reload([Function("thumbnail", files=(rig.trigger, other))])
    assert [status.trigger for status in triggers.statuses()] == ["inbox", "other"]
    assert triggers._directories["inbox"] is kept
    await triggers.reload([Function("convert", files=(rig.trigger,))])
    assert [status.function for status in triggers.statuses()] == ["convert"]
    rig.drop("a")
    await rig.accepted(1)
    assert rig.intake.events[0].function == "convert"
    await triggers.reload([])
    assert triggers.statuses() == []


async def test_two_triggers_on_one_directory_both_get_each_file(make_rig: RigMaker) -> None:
    """The kernel has one watch for both; neither may take the other's."""
    rig = make_rig()
    second = replace(rig.trigger, name="second", pattern=("*.jpg",))
    rig.functions = [Function("thumbnail", files=(rig.trigger,)), Function("b", files=(second,))]
    triggers = await rig.start()
    await wait_for(lambda: all(status.last_scan_at for status in triggers.statuses()))
    rig.drop("a.jpg")
    rig.drop("b.txt")
    await rig.accepted(3)
    await triggers.reload(rig.functions[:1])  # Ending one must not end the other's hints.
    rig.drop("c.jpg")
    await rig.accepted(4)
    seen = sorted((event.source, event.body["name"]) for event in rig.intake.events)
    assert seen == [
        ("inbox", "a.jpg"),
        ("inbox", "b.txt"),
        ("inbox", "c.jpg"),
        ("second", "a.jpg"),
    ]


async def test_files_and_statuses_say_what_is_known(make_rig: RigMaker) -> None:
    """What `faasd files list` shows."""
    rig = make_rig()
    triggers = await rig.start_and_scan()
    a, b, _ = rig.drop("a"), rig.drop("b"), rig.drop("c")
    await rig.accepted(3)
    rig.end(a)
    rig.end(b, "error")
    await rig.in_ledger(b, "failed")
    await rig.in_ledger(a, "done")
    status = rig.status()
    assert (status.mode, status.seen, status.in_flight, status.failed) == ("inotify", 3, 1, 1)
    assert [row.path for row in await triggers.files(state="failed")] == [os.fsencode(b)]
    assert len(await triggers.files("inbox")) == 3
    with pytest.raises(NotFound):
        await triggers.files("nobody")


async def test_stop_leaves_no_thread_and_no_descriptor(make_rig: RigMaker) -> None:
    """A daemon that reloads for a year must not grow."""
    rig = make_rig(recursive=True)
    rig.write_old("sub/a")

    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def threads() -> int:
        return len(list(Path("/proc/self/task").iterdir()))

    before = descriptors(), threads()
    for _ in range(3):
        await rig.start_and_scan()
        await rig.stop()
    await wait_for(lambda: (descriptors(), threads()) <= before, "threads to end")
