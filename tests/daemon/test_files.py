"""Watched directories and a real daemon: each complete file once, whatever happens to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.harness import DaemonProcess, tmpfs, wait_for, write_project

FUNCTIONS = """
    import os, time
    from faasd import files, function

    HERE = os.environ["HERE"]

    def note(text):
        fd = os.open(os.path.join(HERE, "notes"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, (text + "\\n").encode("utf-8", "surrogateescape"))
        os.close(fd)

    def told(event):
        with open(event["path"], "rb") as file:
            return f"{time.time()} {event['relative_path']!a} {event['size']} {len(file.read())}"

    @function(triggers=[files("kept", name="kept")])
    def keeps(event, context):
        note(told(event))

    @function(triggers=[files("moved", name="moved", on_success="move:done", on_failure="move:failed")],
              retry={"attempts": 1})
    def moves(event, context):
        note(told(event))
        while os.path.exists(event["path"] + ".wait.tmp"):
            time.sleep(0.01)
        if open(event["path"]).read().startswith("bad"):
            raise ValueError("it is bad")

    @function(triggers=[files("deleted", name="deleted", on_success="delete")])
    def deletes(event, context):
        note(told(event))

    @function(triggers=[files("marked", name="marked", marker=".ready", on_success="delete")])
    def marked(event, context):
        note(told(event))

    @function(triggers=[files("deep", name="deep", recursive=True)])
    def deep(event, context):
        note(told(event))

    @function(triggers=[files("batched", name="batched", batch_size=5, batch_window="300ms")])
    def batched(event, context):
        note(f"batch {len(event['records'])} " + " ".join(one["name"] for one in event["records"]))

    @function(triggers=[files("fed", name="fed", settle="0s")], write=["notes", "fed"])
    def feeds(event, context):
        note(told(event))
        with open(event["path"] + "x", "w") as file:
            file.write("more")
"""
DIRECTORIES = ("kept", "moved", "deleted", "marked", "deep", "batched", "fed")


class Box:
    """A daemon and its watched directories."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes = root / "notes"
        self.daemon = DaemonProcess(
            write_project(root, FUNCTIONS, f'[defaults]\nenv = {{ HERE = "{root}" }}\n')
        )
        for name in DIRECTORIES:
            (root / name).mkdir()

    def lines(self) -> list[str]:
        """Return what the handlers noted."""
        if not self.notes.exists():
            return []
        return self.notes.read_bytes().decode("utf-8", "surrogateescape").splitlines()

    def handled(self) -> Counter[str]:
        """Return how often each file was handled, by the relative path's Python literal."""
        lines = [line for line in self.lines() if not line.startswith("batch ")]
        return Counter(line.split(" ", 1)[1].rsplit(" ", 2)[0] for line in lines)

    def wait_for_file(self, name: str | bytes, count: int = 1) -> None:
        """Wait until a file has been handled so often."""
        key = ascii(os.fsdecode(name))
        wait_for(lambda: self.handled()[key] >= count, f"{key} to be handled {count} times")
        assert self.handled()[key] == count

    def watch(self, trigger: str) -> dict[str, Any]:
        """Return a trigger's status as the API shows it."""
        rows = self.daemon.client.request("GET", "/api/v1/watches")["watches"]
        return next(row for row in rows if row["trigger"] == trigger)

    def why(self, path: Path) -> str:
        """Return what `faasd why` says."""
        return self.daemon.cli("why", str(path)).stdout


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """One daemon for tests that do not hurt it. Two files were there before it."""
    box = Box(tmp_path_factory.mktemp("shared"))
    (box.root / "kept" / "before").write_text("early")
    (box.root / "moved" / "early").write_text("early")
    with box.daemon.running():
        yield box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A daemon that is not started yet."""
    return Box(tmp_path)


def test_a_file_that_was_there_before_the_start_is_taken(shared: Box) -> None:
    """A directory scan is the truth."""
    shared.wait_for_file("before")
    shared.wait_for_file("early")
    wait_for((shared.root / "done" / "early").exists, "the move")


def test_a_file_that_is_still_written_is_not_taken(shared: Box) -> None:
    """Neither while it is open, nor between closes that follow each other."""
    path = shared.root / "kept" / "slow"
    written = 0
    began = time.monotonic()
    while time.monotonic() - began < 3:
        with path.open("ab") as file:  # Closed and opened again all the time.
            for _ in range(5):
                written += file.write(b"0123456789")
                file.flush()
                time.sleep(0.05)
    shared.wait_for_file("slow")
    line = next(line for line in shared.lines() if "'slow'" in line)
    assert line.endswith(f" {written} {written}")


def test_a_writer_that_pauses_with_the_file_open_is_waited_for(shared: Box) -> None:
    """It was seen to be created and not to be closed."""
    path = shared.root / "kept" / "pausing"
    with path.open("wb", buffering=0) as file:
        file.write(b"first")
        shared_control = shared.root / "kept" / "control"
        shared_control.write_text("x")
        shared.wait_for_file("control")  # Settled and handled meanwhile.
        file.write(b" second")
    shared.wait_for_file("pausing")
    assert next(line for line in shared.lines() if "'pausing'" in line).endswith(" 12 12")


@pytest.mark.parametrize(
    "name",
    [b"new\nline", b"'\"$(reboot) `x`", b"\xff\xfe\x80", b"n" * 255, b" ", "\u202e日本".encode()],
    ids=["newline", "quotes", "not-utf-8", "255-bytes", "space", "unicode"],
)
def test_any_name_that_the_kernel_allows_is_handled_and_moved(shared: Box, name: bytes) -> None:
    """People's file names are data. Nothing may break on them, the command line included."""
    source = os.fsencode(shared.root / "staging")
    Path(os.fsdecode(source)).write_text("x")
    os.rename(source, os.path.join(os.fsencode(shared.root / "moved"), name))
    shared.wait_for_file(name)
    moved = os.path.join(os.fsencode(shared.root / "done"), name)
    wait_for(lambda: os.path.exists(moved), "the move")
    listed = shared.daemon.cli("files", "list")
    assert listed.returncode == 0, listed.stderr
    assert shared.daemon.cli("files", "list", "--json").returncode == 0


def test_a_failed_file_with_the_longest_name_is_moved_and_has_a_sidecar(shared: Box) -> None:
    """`NAME.error.json` does not fit behind 255 bytes; the file must still leave the drop box."""
    staged = shared.root / "staging"
    staged.write_text("bad")
    name = "b" * 255
    staged.rename(shared.root / "moved" / name)
    shared.wait_for_file(name)
    wait_for((shared.root / "failed" / name).exists, "the move")
    assert shared.watch("moved")["problem"] is None


def test_a_file_that_is_replaced_while_it_is_processed_is_a_new_one(shared: Box) -> None:
    """The new one gets its own event; the old invocation's on_success does not touch it."""
    moved = shared.root / "moved"
    (moved / "a.wait.tmp").touch()
    (moved / "new.part").write_text("old content")
    (moved / "new.part").rename(moved / "a")
    shared.wait_for_file("a")
    (moved / "new.part").write_text("new")
    (moved / "new.part").rename(moved / "a")
    shared.wait_for_file("a", 2)
    (moved / "a.wait.tmp").unlink()
    done = shared.root / "done" / "a"
    wait_for(done.exists, "the new one to be moved")
    assert done.read_text() == "new"
    assert not (shared.root / "done" / "a.1").exists()
    assert not (moved / "a").exists()


def test_what_is_no_regular_file_is_left_alone(shared: Box) -> None:
    """Links, FIFOs, sockets and devices are neither opened nor followed. A hard link is a file."""
    kept = shared.root / "kept"
    secret = shared.root / "secret"
    secret.write_text("secret")
    (kept / "link").symlink_to(secret)
    os.mkfifo(kept / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        cwd = os.open(kept, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{cwd}/socket")
        os.close(cwd)
    if os.geteuid() == 0:
        with contextlib.suppress(PermissionError):  # Some containers may not.
            os.mknod(kept / "device", 0o600 | 0o020000, os.makedev(1, 3))
    os.link(secret, kept / "hard")
    shared.wait_for_file("hard")
    (kept / "after").write_text("x")
    shared.wait_for_file("after")
    for name in ("link", "fifo", "socket", "device"):
        assert shared.handled()[ascii(name)] == 0
    assert "symbolic link" in shared.why(kept / "link")


def test_delete_and_marker(shared: Box) -> None:
    """Nothing but the marker makes the file complete, and it goes with its file."""
    (shared.root / "deleted" / "d").write_text("x")
    marked = shared.root / "marked"
    (marked / "m.csv").write_text("x")
    shared.wait_for_file("d")
    wait_for(lambda: not os.listdir(shared.root / "deleted"), "the deletion")
    assert shared.handled()[ascii("m.csv")] == 0
    assert ".ready" in shared.why(marked / "m.csv")
    (marked / "m.csv.ready").touch()
    shared.wait_for_file("m.csv")
    wait_for(lambda: not os.listdir(marked), "both to be deleted")


def test_a_failed_file_gets_a_sidecar_and_can_be_retried(shared: Box) -> None:
    """From the failed directory back to where it was dropped, and through it again."""
    (shared.root / "moved" / "job").write_text("bad one")
    failed = shared.root / "failed" / "job"
    sidecar = shared.root / "failed" / "job.error.json"
    wait_for(sidecar.exists, "the sidecar")
    told = json.loads(sidecar.read_text())
    assert (told["outcome"], told["error"]["message"]) == ("error", "it is bad")
    failed.write_text("good now")  # Somebody has mended it in place.
    retried = shared.daemon.cli("files", "retry", str(failed))
    assert retried.returncode == 0, retried.stderr
    wait_for((shared.root / "done" / "job").exists, "it to go through")
    assert (shared.root / "done" / "job").read_text() == "good now"
    assert not sidecar.exists()
    assert not failed.exists()


def test_a_file_in_directories_that_were_made_just_now_is_found(shared: Box) -> None:
    """`mkdir -p x/y/z && echo > x/y/z/f` is over before anything can watch x."""
    deep = shared.root / "deep"
    for n in range(10):
        (deep / f"x{n}/y/z").mkdir(parents=True)
        (deep / f"x{n}/y/z/f").write_text("x")
    for n in range(10):
        shared.wait_for_file(f"x{n}/y/z/f")


def test_files_come_in_batches(shared: Box) -> None:
    """Full, or when the window is over."""
    for n in range(7):
        (shared.root / "batched" / f"b{n}").write_text("x")

    def batches() -> list[int]:
        return [int(line.split()[1]) for line in shared.lines() if line.startswith("batch ")]

    wait_for(lambda: sum(batches()) >= 7, "all seven")
    assert sum(batches()) == 7
    assert max(batches()) == 5


def test_a_directory_that_is_removed_and_made_again_is_watched_again(shared: Box) -> None:
    """Its absence is said, its return is noticed."""
    directory = shared.root / "deleted"
    directory.rmdir()
    wait_for(lambda: shared.watch("deleted")["problem"], "the problem to be said")
    assert "does not exist" in shared.daemon.cli("files", "list").stderr
    directory.mkdir()
    (directory / "again").write_text("x")
    shared.wait_for_file("again")
    wait_for(lambda: shared.watch("deleted")["problem"] is None, "the problem to be over")


def test_a_restart_does_not_take_kept_files_again(box: Box) -> None:
    """Also not after a kill, and also not the failed one."""
    for n in range(20):
        (box.root / "kept" / f"k{n}").write_text("x")
    box.daemon.start()
    for n in range(20):
        box.wait_for_file(f"k{n}")
    # Until the last outcome is written: an attempt that is killed before is lost, and runs again.
    wait_for(lambda: not box.daemon.client.request("GET", "/api/v1/status")["running"], "the ends")
    box.daemon.kill9()
    with box.daemon.running():
        (box.root / "kept" / "new").write_text("x")
        box.wait_for_file("new")
        assert set(box.handled().values()) == {1}
    with box.daemon.running():
        (box.root / "kept" / "newer").write_text("x")
        box.wait_for_file("newer")
        assert set(box.handled().values()) == {1}


def test_a_function_that_feeds_itself_is_stopped_and_says_so(box: Box) -> None:
    """Each run writes a new file into the directory that it came from."""
    with box.daemon.running():
        (box.root / "fed" / "a").write_text("x")
        wait_for(lambda: box.watch("fed")["problem"], "the guard", 60.0)
        assert "feeds" in box.watch("fed")["problem"]
        count = len(box.lines())
        (box.root / "kept" / "other").write_text("x")
        box.wait_for_file("other")
        assert len(box.lines()) == count + 1
        assert "functions resume feeds" in box.daemon.cli("why", "feeds").stdout
        assert "functions resume feeds" in box.daemon.cli("status").stdout
        resumed = box.daemon.cli("functions", "resume", "feeds").stdout
        assert "files trigger fed goes on" in resumed
        wait_for(lambda: len(box.lines()) > count + 1, "what it wrote to be handled")
        wait_for(lambda: box.watch("fed")["problem"], "the guard again", 60.0)


def test_a_mount_that_vanishes_is_no_empty_directory_and_its_return_brings_nothing_new(
    box: Box, tmp_path: Path
) -> None:
    """What was in it is remembered; what lies in the bare mount point is a file like others."""
    kept = box.root / "kept"
    store = box.root / "disk"
    store.mkdir()
    with tmpfs(store) as unmount, contextlib.ExitStack() as stack:
        for n in range(3):
            (store / f"on-disk-{n}").write_text("x")
        bind = ["mount", "--bind", str(store), str(kept)]
        unbind = ["umount", str(kept)]
        subprocess.run(bind, check=True)
        stack.callback(subprocess.run, ["umount", "-l", str(kept)], capture_output=True)
        with box.daemon.running():
            for n in range(3):
                box.wait_for_file(f"on-disk-{n}")
            subprocess.run(unbind, check=True)
            (kept / "bare").write_text("x")
            box.wait_for_file("bare")
            wait_for(lambda: "is gone" in (box.watch("kept")["problem"] or ""), "the problem")
            assert "on-disk-0" in box.daemon.cli("files", "list", "--trigger", "kept").stdout
            subprocess.run(bind, check=True)
            (store / "new-after-return").write_text("x")
            box.wait_for_file("new-after-return")
            wait_for(lambda: box.watch("kept")["problem"] is None, "the problem to be over")
        with box.daemon.running():  # And a restart changes nothing about that.
            (kept / "last").write_text("x")
            box.wait_for_file("last")
        assert set(box.handled().values()) == {1}
        subprocess.run(unbind, check=True)
        unmount()


def test_when_the_kernel_drops_notices_no_file_is_missed(box: Box) -> None:
    """More than its queue holds, while the daemon cannot read it."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if limit > 20_000:
        pytest.skip(f"fs.inotify.max_queued_events is {limit}, too many to overflow in a test")
    kept = box.root / "kept"
    with box.daemon.running():
        (kept / "first").write_text("x")
        box.wait_for_file("first")
        assert box.daemon.process is not None
        box.daemon.process.send_signal(signal.SIGSTOP)
        for n in range(limit // 2 + 1000):  # Two notices each.
            (kept / f".noise{n % 2}").write_text("x")
            (kept / f".noise{n % 2}").unlink()
        for n in range(30):
            (kept / f"lost{n}").write_text("x")
        box.daemon.process.send_signal(signal.SIGCONT)
        for n in range(30):
            box.wait_for_file(f"lost{n}")
        assert "files_hints_lost" in box.daemon.log()
        assert set(box.handled().values()) == {1}


def test_a_burst_and_three_kills_lose_no_file_and_repeat_only_what_was_lost(box: Box) -> None:
    """Each run beyond the first is an attempt after one that ended as `lost`."""
    count = 160
    box.daemon.start()
    for n in range(count):
        (box.root / "kept" / f"f{n:04}").write_text("x")
        if n % 40 == 39 and n < count - 1:
            wait_for(lambda third=n // 3: len(box.lines()) > third, "some to run")
            box.daemon.kill9()
            box.daemon.start()
    with contextlib.ExitStack() as stack:
        stack.callback(box.daemon.stop)
        wait_for(lambda: len(box.handled()) == count, "all files", 60.0)
        wait_for(lambda: not box.watch("kept")["in_flight"], "all to be settled", 30.0)
        rows = box.daemon.client.request(
            "GET", "/api/v1/invocations", query={"source": "kept", "limit": "1000"}
        )["invocations"]
        assert len(rows) == count  # Accepted once each.
        attempts = {
            json.loads(json.dumps(box.daemon.invocation(row["id"])["event"]))["name"]: row
            for row in rows
            if row["attempts"] > 1
        }
        for name, times in box.handled().items():
            if times > 1:
                records = box.daemon.invocation(attempts[name.strip("'")]["id"])["attempt_records"]
                assert [one["outcome"] for one in records].count("lost") >= times - 1
    assert not box.daemon.leftovers()


def test_a_sender_that_waits_for_each_file_to_be_gone_is_no_loop(box: Box) -> None:
    """One file at a time, the next as soon as the last is done: all come while something just ran."""
    directory = box.root / "deleted"
    with box.daemon.running():
        began = time.monotonic()
        for n in range(40):
            (box.root / "staging").write_text("x")
            (box.root / "staging").rename(directory / f"f{n}")
            wait_for(lambda: not os.listdir(directory), "it to be handled and deleted")
        assert len(box.handled()) == 40
        assert box.watch("deleted")["problem"] is None
        assert time.monotonic() - began < 20  # Without the guard's silences of two seconds each.


def test_a_burst_that_is_not_the_functions_own_doing_is_never_stopped(box: Box) -> None:
    """Files arrive all the time while others are handled: the guard must tell that from a loop."""
    with box.daemon.running():
        (box.root / "staging").mkdir()
        for n in range(250):
            (box.root / "staging" / f"f{n}").write_text("x")
            (box.root / "staging" / f"f{n}").rename(box.root / "kept" / f"f{n}")
            time.sleep(0.005)
        wait_for(lambda: len(box.handled()) == 250, "all of them", 40.0)
        assert box.watch("kept")["problem"] is None
