"""Ending trees by looking at /proc, and forking with clone3."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faasd.linux import cgroup_v2, clone, proc_tree, process

ROOT = Path(__file__).parent.parent.parent.parent


def in_child(code: str) -> str:
    """Run code in a single-threaded process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, timeout=30
    )
    return done.stdout.decode().strip()


def test_end_all_ends_orphans_and_spares_what_is_to_be_kept() -> None:
    """A subreaper sees every orphan below it."""
    code = """
import os, time
from faasd.linux import proc_tree, process
process.become_subreaper()
kept = os.fork()
if kept == 0:
    os.fork(); time.sleep(600)
for _ in range(5):
    between = os.fork()
    if between == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.waitpid(between, 0)  # Else it might count as one that was ended.
while len(proc_tree.descendants([os.getpid()])) < 7: pass
print(proc_tree.end_all([os.getpid()], keep=[kept]), len(proc_tree.descendants([os.getpid()])))
proc_tree.end_all([os.getpid()])
"""
    assert in_child(code) == "5 2"


def test_a_name_with_brackets_does_not_confuse() -> None:
    """The name in /proc/PID/stat is the process's own choice."""
    code = """
from faasd.linux import proc_tree, process
import os
process.set_name(") R 1 (")
print(proc_tree.stat_of(os.getpid()).parent == os.getppid())
"""
    assert in_child(code) == "True"


def test_children_are_told_without_a_look_at_everybody() -> None:
    """Those of any thread count for whether there are some; another's child has no clock for us."""
    code = """
import os, threading, time
from faasd.linux import proc_tree
us = os.getpid()
print(proc_tree.children(us), proc_tree.has_children(us))
gate = os.pipe()
pid = os.fork()
if pid == 0:
    until = time.process_time() + 0.05
    while time.process_time() < until: pass
    os.write(gate[1], b"x")
    time.sleep(600)
os.read(gate[0], 1)
print(proc_tree.children(us) == [pid], 0.04 < proc_tree.cpu_s_of_child(pid, us) < 5)
try:
    proc_tree.cpu_s_of_child(pid, 1)
except ProcessLookupError:
    print("not its child")
os.kill(pid, 9)
os.waitpid(pid, 0)
forked, is_seen = [], threading.Event()
def fork():
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    forked.append(pid)
    is_seen.wait()
threading.Thread(target=fork).start()
while not forked: pass
print(proc_tree.children(us), proc_tree.has_children(us))
os.kill(forked[0], 9)
is_seen.set()
"""
    assert in_child(code).splitlines() == [
        "[] False",
        "True True",
        "not its child",
        "[] True",
    ]


def test_fork_hands_back_a_pidfd_of_a_sound_interpreter() -> None:
    """The child runs Python, threads included; the pidfd tells of its end."""
    code = """
import os, select, threading
from faasd.linux import clone
pid, pidfd = clone.fork()
if pid == 0:
    t = threading.Thread(target=lambda: None); t.start(); t.join()
    os._exit(7)
select.select([pidfd], [], [])
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), os.get_inheritable(pidfd))
"""
    assert in_child(code) == "7 False"


def test_where_clone3_is_refused_a_plain_fork_serves() -> None:
    """Some container engines filter the call; without namespaces nothing is lost."""
    code = """
import os
from faasd.linux import clone
clone._NUMBER.value = 100_000  # No such call: ENOSYS.
pid, pidfd = clone.fork()
if pid == 0: os._exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
try: clone.fork(clone.NEWPID)
except OSError as error: print(error.errno == 38)
"""
    assert in_child(code) == "5\nTrue"


def test_where_clone3_is_refused_the_child_still_starts_in_its_cgroup(tmp_path: Path) -> None:
    """systemd's RestrictNamespaces= hides clone3; a group that takes nobody lets no child run."""
    procs = tmp_path / "cgroup.procs"
    procs.touch()
    code = f"""
import os
from faasd.linux import clone
clone._NUMBER.value = 100_000  # No such call: ENOSYS.
directory = os.open({str(tmp_path)!r}, os.O_RDONLY)
pid, pidfd = clone.fork(0, (directory, os.open({str(procs)!r}, os.O_WRONLY)))
if pid == 0:
    os._exit(open({str(procs)!r}).read() == str(os.getpid()))
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
try: clone.fork(0, (directory, os.open({str(procs)!r}, os.O_RDONLY)))
except OSError: print("refused")
try: os.wait()
except ChildProcessError: print("nobody is left")
"""
    assert in_child(code) == "1\nrefused\nnobody is left"


def test_a_child_that_cannot_be_contained_says_so_instead_of_acting_as_its_parent() -> None:
    """A group that went away under a fork must not leave two root zygotes on one channel."""
    code = """
import os
from faasd.runtime import containment
policy = {"namespaces": [], "cgroup": "v1"}
pid, pidfd = containment.fork(policy, [os.open("/dev/null", os.O_RDONLY)])
if pid == 0:
    try: containment.contain_zygote(policy)
    except OSError as error: os._exit(7 if "cannot enter" in str(error) else 8)
    os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), policy.get("failure"))
"""
    assert in_child(code) == "7 None"


@pytest.mark.parametrize(
    ("marks", "is_withheld"),
    [
        ({}, False),
        ({"invocation_id": b"1f"}, True),
        ({"invocation_id": b"1f", "delegate": b"1"}, False),
        ({"invocation_id": b"1f", "delegate": b"0"}, True),
    ],
    ids=["nobodys", "systemds", "delegated", "undelegated"],
)
def test_a_group_that_systemd_keeps_for_itself_is_known_by_its_marks(
    tmp_path: Path, marks: dict[str, bytes], is_withheld: bool
) -> None:
    """Root could write there all the same, and would have systemd undo it one day."""
    try:
        for name, value in marks.items():
            os.setxattr(tmp_path, f"user.{name}", value)
    except OSError as error:
        pytest.skip(f"no user extended attributes below {tmp_path}: {error.strerror}")
    assert cgroup_v2.is_withheld(str(tmp_path)) is is_withheld


def test_the_parents_end_is_seen_on_a_pipe() -> None:
    """Even when it came before anybody could ask for a signal."""
    read, write = os.pipe()
    assert not process.has_hung_up(read)
    os.close(write)
    assert process.has_hung_up(read)
    os.close(read)


def test_pids_of_pidfds_are_ours_to_see() -> None:
    """Also for processes that count themselves in another namespace."""
    child = subprocess.Popen(["sleep", "100"])
    pidfd = os.pidfd_open(child.pid)
    assert process.pid_of_pidfd(pidfd) == child.pid
    assert process.send_signal(pidfd, signal.SIGKILL)
    child.wait()
    assert process.pid_of_pidfd(pidfd) == -1
    assert not process.send_signal(pidfd, signal.SIGKILL)
    os.close(pidfd)


def test_cgroup_v2_kills_and_clones_into_a_group() -> None:
    """Needs no controller, only a writable unified tree."""
    own = cgroup_v2.own_group()
    if own is None or not os.access(own, os.W_OK):
        pytest.skip("no writable cgroup v2 tree on this host")
    group = cgroup_v2.Group(f"{own}/faasd-test-{os.getpid()}")
    group.create()
    try:
        code = f"""
import os, signal, time
from faasd.linux import cgroup_v2, clone, landlock, process
group = cgroup_v2.Group({group.path!r})
fds = group.directory_fd(), group.procs_fd()
pid, pidfd = clone.fork(0, fds)
if pid == 0: time.sleep(600)
print(group.pids() == [pid])
group.kill()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), group.pids())
# Again without clone3, behind a wall as a zygote's, which lets nobody open the group's files.
clone._NUMBER.value = 100_000
process.forbid_new_privileges()
rules = landlock.Ruleset(landlock.abi())
rules.allow_path("/", landlock.READ)
rules.restrict()
try: group.kill()
except OSError as error: print(error.strerror)
pid, pidfd = clone.fork(0, fds)
if pid == 0: os._exit({os.path.basename(group.path)!r} in open("/proc/self/cgroup").read())
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
        assert in_child(code).split("\n") == ["True", "-9 []", "Permission denied", "1"]
    finally:
        group.remove()


def test_cgroup_v2_files_are_written_as_the_kernel_documents_them(tmp_path: Path) -> None:
    """On a directory of plain files, for hosts whose controllers are of version 1."""
    for name in ("memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max"):
        (tmp_path / name).touch()
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\n")
    (tmp_path / "memory.peak").write_text("4096\n")
    group = cgroup_v2.Group(str(tmp_path))
    group.limit_memory(2**26)
    group.limit_processes(5)
    group.limit_cpu(1.5)
    written = {path.name: path.read_text() for path in tmp_path.iterdir()}

    assert written["memory.max"] == "67108864"
    assert written["memory.swap.max"] == "0"
    assert written["memory.oom.group"] == "1"
    assert written["pids.max"] == "5"
    assert written["cpu.max"] == "150000 100000"
    assert (group.oom_kills(), group.memory_peak_bytes()) == (3, 4096)


def test_clone_flags_are_the_kernels() -> None:
    """A wrong bit would fork happily, without the wall."""
    assert (clone.NEWPID, clone.NEWUSER) == (0x20000000, 0x10000000)
    assert proc_tree.tasks_of(os.getuid()) >= 1
