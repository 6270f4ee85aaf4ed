"""What /proc shows: the zygote's own processes, and nothing of the daemon's."""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.containment.probing import probe, world

CODES = {
    "command line": "open('/proc/{daemon}/cmdline').read()",
    "environment": "open('/proc/{daemon}/environ').read()",
    "descriptors": "os.listdir('/proc/{daemon}/fd')",
    "memory": "open('/proc/{daemon}/mem', 'rb')",
    "maps": "open('/proc/{daemon}/maps').read()",
    "the zygote's environment": "open(f'/proc/{os.getppid()}/environ').read(1) or 1/0",
}
OWN = {
    "status": "open('/proc/self/status').read()",
    "descriptors": "os.listdir('/proc/self/fd')",
    "maps": "open('/proc/thread-self/maps').read()",
    "memory": "open('/proc/meminfo').read(); open('/proc/cpuinfo').read()",
    "random": "open('/proc/sys/kernel/random/boot_id').read()",
}
#: Seen from where they are not hidden: a PID namespace of its own shows them all the same.
FIRST = {
    "first": "open('/proc/1/environ').read()",
    "pids": "out = len([n for n in os.listdir('/proc') if n.isdigit()])",
}
REFUSED = {"ENOENT", "EACCES", "EPERM"}


@pytest.fixture(
    params=[False, True] if os.geteuid() == 0 else [True], ids=lambda o: "ordinary" if o else "root"
)
def is_ordinary(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def tried(codes: dict[str, str], is_ordinary: bool, *without: str, **more: Any) -> dict[str, Any]:
    with world(is_ordinary=is_ordinary) as made:
        [found] = probe(made, [codes], is_ordinary=is_ordinary, without=without, **more)
    return found


def test_the_daemon_is_not_there(is_ordinary: bool) -> None:
    """Not even its command line; a few processes of the zygote's are all there is."""
    found = tried({**CODES, **FIRST}, is_ordinary)
    assert found.pop("pids") <= 4
    the_zygotes = found.pop("the zygote's environment")
    assert the_zygotes in REFUSED
    assert found.pop("first") in REFUSED
    assert set(found.values()) == {"ENOENT"}


def test_where_proc_is_the_hosts_only_ones_own_can_be_read(is_ordinary: bool) -> None:
    """Landlock sees to that, and to the rest."""
    for more in ({}, {"pid_namespaces": False}):
        assert set(tried(CODES, is_ordinary, "mounts", **more).values()) <= REFUSED
        assert set(tried(OWN, is_ordinary, "mounts", **more).values()) == {"ok"}
    assert tried({"pids": "os.listdir('/proc')"}, is_ordinary, "mounts")["pids"] == "EACCES"


def test_without_the_walls_the_daemon_can_be_looked_into(is_ordinary: bool) -> None:
    """The control: the command line anyway, the rest where no user namespace is between."""
    walls = ("mounts", "landlock")
    assert tried(CODES, is_ordinary, *walls)["command line"] == "ok"
    if is_ordinary:  # Root's handlers have given up the capabilities that the daemon has.
        found = tried(CODES, is_ordinary, *walls, pid_namespaces=False)
        assert set(found.values()) == {"ok"}


def test_ones_own_can_be_read_and_not_written(is_ordinary: bool) -> None:
    """What programs look up about themselves and the host."""
    assert set(tried(OWN, is_ordinary).values()) == {"ok"}
    written = {
        "name": "open('/proc/self/comm', 'w').write('x')",
        "map": "open('/proc/self/uid_map', 'w')",
    }
    assert set(tried(written, is_ordinary).values()) <= {"EACCES", "EROFS"}
    control = tried(written, is_ordinary, "mounts", "landlock")
    assert control["name"] == "ok"


MEETING = [
    {
        "run": """
open('{world}/out/one', 'w').close()
while not os.path.exists('{world}/out/two'): time.sleep(0.005)
"""
    },
    {
        "wait": "while not os.path.exists('{world}/out/one'): time.sleep(0.005)",
        "others": "out = sum(n.isdigit() and n != os.readlink('/proc/self') for n in os.listdir('/proc'))",
        "child": """
import subprocess
with subprocess.Popen(['sleep', '1000']) as child:
    out = sum(n.isdigit() for n in os.listdir('/proc'))
    child.kill()
""",
        "done": "open('{world}/out/two', 'w').close()",
    },
]


def test_functions_that_share_a_zygote_do_not_see_each_others_processes(is_ordinary: bool) -> None:
    """Not even that there are any. Their own they do see; and the control, attempts at one function, see each other's."""
    more: dict[str, Any] = {"at_once": True, "functions": 2, "shares_zygote": True}
    with world(is_ordinary=is_ordinary) as made:
        found = probe(made, MEETING, is_ordinary=is_ordinary, **more)[1]
    assert (found["others"], found["child"]) == (0, 2)
    with world(is_ordinary=is_ordinary) as made:
        control = probe(made, MEETING, is_ordinary=is_ordinary, at_once=True)[1]
    assert control["others"] > 1
