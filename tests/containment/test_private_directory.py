"""An attempt has /tmp and /dev/shm for itself: bounded, empty at first, gone afterwards."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.containment.bench import Bench, an_attempt
from tests.containment.probing import probe, world
from tests.patience import patient

MIB = 2**20
#: What of the host's /tmp is in every private one, because the interpreter's code is there.
OURS = {Path(__file__).relative_to("/tmp").parts[0]} if __file__.startswith("/tmp/") else {""}
FILL = """
written = 0
with open('{path}', 'wb', buffering=0) as file:
    while written < 3 * 2**20:
        written += file.write(b'x' * 65536)
"""


@pytest.fixture(
    params=[False, True] if os.geteuid() == 0 else [True], ids=lambda o: "ordinary" if o else "root"
)
def is_ordinary(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def played(steps: list[dict[str, str]], is_ordinary: bool, **given: Any) -> list[dict[str, Any]]:
    with world(is_ordinary=is_ordinary) as made:
        return probe(made, steps, is_ordinary=is_ordinary, **given)


def test_it_is_tmp_and_what_python_and_the_shell_take_for_it(is_ordinary: bool) -> None:
    """And nothing of the host's is in it, not even names."""
    codes = {
        "environment": "out = [os.environ['TMPDIR'], os.environ['HOME']]",
        "python": "import tempfile; out = tempfile.gettempdir()",
        "shell": "import subprocess; subprocess.run('echo x > ~/x; test -s /tmp/x', shell=True, check=True)",
        "names": "out = os.listdir('/dev/shm')",
    }
    [found] = played([codes], is_ordinary)
    assert found == {
        "environment": ["/tmp", "/tmp"], "python": "/tmp", "shell": "ok", "names": [],
    }  # fmt: skip


def test_its_size_is_tmp_size_together_with_shared_memory(is_ordinary: bool) -> None:
    """ENOSPC is what programs know how to handle; without the mount it is looked at now and then."""
    steps = [
        {
            "tmp": FILL.replace("{path}", "/tmp/a"),
            "then shm": "open('/dev/shm/b', 'wb').write(b'x' * 65536)",
        },
        {"shm": FILL.replace("{path}", "/dev/shm/a")},
        {"many": "for n in range(100_000): open(f'/tmp/{n}', 'w').close()"},
    ]
    limits = {"tmp_size_bytes": 2 * MIB}
    assert played(steps, is_ordinary, limits=limits) == [
        {"tmp": "ENOSPC", "then shm": "ENOSPC"}, {"shm": "ENOSPC"}, {"many": "ENOSPC"},
    ]  # fmt: skip
    on_disk = FILL.replace("'{path}'", "os.environ['TMPDIR'] + '/a'")
    enough = {"tmp_size_bytes": 8 * MIB}
    [control] = played([{"tmp": on_disk}], is_ordinary, limits=enough, without=("mounts",))
    assert control == {"tmp": "ok"}


OVER_ON_DISK = {
    "bytes": "open(t + '/a', 'wb').write(b'x' * 3 * 2**20)",
    "in a directory": "os.mkdir(t + '/d'); open(t + '/d/a', 'wb').write(b'x' * 3 * 2**20)",
    "files": "for n in range(1100): open(t + f'/{n}', 'w').close()",
    "depth": "os.chdir(t)\nfor n in range(900): os.mkdir('d'); os.chdir('d')\nopen('a', 'wb').write(b'x' * 3 * 2**20)",
    "breadth": "for n in range(80): os.mkdir(t + '/e'); os.mkdir(t + '/d'); t += '/d'",
}


@pytest.mark.parametrize("code", OVER_ON_DISK.values(), ids=list(OVER_ON_DISK))
def test_without_the_mount_who_goes_over_it_is_ended(is_ordinary: bool, code: str) -> None:
    """It would run for half a minute. The control is the test above: who stays below is let be."""
    step = {"go over": f"t = os.environ['TMPDIR']\n{code}\ntime.sleep(25)"}
    with world(is_ordinary=is_ordinary) as made:
        [found] = probe(
            made, [step], is_ordinary=is_ordinary, without=("mounts",),
            limits={"tmp_size_bytes": 2 * MIB}, expected="error",
        )  # fmt: skip
    assert "tmp_size of 2MiB" in found, found


@pytest.mark.parametrize("without", [(), ("mounts",)], ids=["all", "no-mounts"])
def test_nothing_is_left_for_the_next_attempt(is_ordinary: bool, without: tuple[str, ...]) -> None:
    """Whatever was left, however it was locked, and however much it was; one slot serves all of them."""
    leave = [
        "os.mkdir(t + '/d'); open(t + '/d/f', 'w').close(); os.chmod(t + '/d', 0)",
        "os.chmod(t, 0o700); open(t + '/-rf *', 'w').close(); os.symlink('/etc', t + '/etc')",
        "for n in range(900):\n os.mkdir(t + '/e')\n n and os.rename(t + '/d', t + '/e/d')\n os.rename(t + '/e', t + '/d')",
        "open(t + '/big', 'wb').write(b'x' * 60 * 2**20)",
        "for n in range(700): open(t + f'/{n}', 'w').close()",
        "os.setxattr(t, 'user.note', b'x')",
    ]
    look = {
        "look": f"t = os.environ['TMPDIR']; out = [sorted({{*os.listdir(t)}} - {OURS!r}), os.listxattr(t), oct(os.stat(t).st_mode)]"
    }
    steps = [look]
    for code in leave:
        steps += [{"leave": f"t = os.environ['TMPDIR']\n{code}"}, look]
    found = played(steps, is_ordinary, without=without, slots=1)
    assert {one["leave"] for one in found[1::2]} <= {
        "ok",
        "EOPNOTSUPP",
        "ENOTSUP",
    }  # One number, two names.
    first = {"look": [[], [], "0o40700" if without else "0o41777"]}
    assert found[::2] == [first] * (len(leave) + 1)


NEIGHBOURS = [
    {
        "tmp": """
path = os.environ['TMPDIR'] + '/secret'
open(path, 'w').write('x')
open('/dev/shm/faasd-test', 'w').close() if os.environ['TMPDIR'] == '/tmp' else None
open('{world}/out/path', 'w').write(path)
os.rename('{world}/out/path', '{world}/out/ready')
while not os.path.exists('{world}/out/seen'): time.sleep(0.005)
"""
    },
    {
        "wait": "while not os.path.exists('{world}/out/ready'): time.sleep(0.005)",
        "tmp": "open(open('{world}/out/ready').read()).read()",
        "shm": "out = os.path.exists('/dev/shm/faasd-test')",
        "done": "open('{world}/out/seen', 'w').close()",
    },
]


@pytest.mark.parametrize(
    ("functions", "shares_zygote"),
    [(1, False), (2, False), (2, True)],
    ids=["same-function", "two-functions", "two-that-share-a-zygote"],
)
def test_neighbours_do_not_meet(is_ordinary: bool, functions: int, shares_zygote: bool) -> None:
    """Two attempts at once, of one function and of two, each with its own; with neither wall they do meet."""
    more = {"at_once": True, "functions": functions, "shares_zygote": shares_zygote}
    assert played(NEIGHBOURS, is_ordinary, **more)[1]["tmp"] == "ENOENT"
    assert played(NEIGHBOURS, is_ordinary, **more)[1]["shm"] is False
    assert played(NEIGHBOURS, is_ordinary, without=("mounts",), **more)[1]["tmp"] == "EACCES"
    control = played(NEIGHBOURS, is_ordinary, without=("mounts", "landlock"), **more)
    assert control[1]["tmp"] == "ok"


def test_more_attempts_than_slots_wait_for_one(is_ordinary: bool) -> None:
    """None is lost, and none gets a directory that is not its own."""
    step = {
        "alone": f"out = sorted({{*os.listdir('/tmp')}} - {OURS!r}); open('/tmp/x', 'wb').write(b'x' * 40 * 2**20); time.sleep(0.01)"
    }
    assert played([step] * 8, is_ordinary, at_once=True, slots=2) == [{"alone": []}] * 8


USES = {
    "multiprocessing": """
import multiprocessing
pool = multiprocessing.get_context('fork').Pool(2)
out = sum(pool.map(abs, [-1, -2]))
pool.close(); pool.join()
""",
    "spawned": """
import subprocess, sys
subprocess.run([sys.executable, '-c', 'import json'], check=True)
subprocess.run(['tar', '-cf', '/tmp/x.tar', '/etc/passwd'], check=True, stderr=subprocess.DEVNULL)
""",
    "threads": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool: out = sum(pool.map(abs, range(10)))
""",
    "sqlite": """
import sqlite3
db = sqlite3.connect('/tmp/db'); db.execute('PRAGMA journal_mode=WAL'); db.execute('CREATE TABLE t (a)')
db.execute('INSERT INTO t VALUES (1)'); db.commit(); out = db.execute('SELECT a FROM t').fetchone()[0]
""",
    "shared memory": """
from multiprocessing import shared_memory
memory = shared_memory.SharedMemory(create=True, size=4096); memory.close(); memory.unlink()
""",
    "names": "import socket; socket.getaddrinfo('localhost', 80); import pwd; pwd.getpwall()",
    "time zones": "import zoneinfo; zoneinfo.ZoneInfo('Europe/Berlin')",
    "certificates": "import ssl; ssl.create_default_context()",
    "a program of its own": """
import subprocess
open('/tmp/run', 'w').write('#!/bin/sh\\nexit 0\\n'); os.chmod('/tmp/run', 0o755); subprocess.run(['/tmp/run'], check=True)
""",
}


def test_what_programs_expect_works(is_ordinary: bool) -> None:
    """Under the default policy: pools, subprocesses, threads, databases, shared memory, names, time zones."""
    uses = dict(USES)
    for module, code in {
        "numpy": "import numpy; out = int(numpy.ones(10).sum())",
        "PIL": "from PIL import Image; Image.new('RGB', (9, 9)).save('/tmp/x.jpg')",
    }.items():
        uses[module] = (
            f"try:\n    import {module}\nexcept ImportError:\n    pass\nelse:\n    {code}"
        )
    [found] = played([uses], is_ordinary)
    expected = {"multiprocessing": 3, "threads": 45, "sqlite": 1}
    for name, value in found.items():
        assert value in (expected.get(name, "ok"), 10), (name, value)
    assert shutil.which("tar") is not None


COUNT = f"""
with open('/proc/self/mountinfo') as file: mounts = len(file.readlines())
open("{{world}}/out/" + os.urandom(8).hex(), 'w').close()
deadline = time.monotonic() + {patient(60)}
while len(os.listdir('{{world}}/out')) < 65 and time.monotonic() < deadline: time.sleep(0.005)
out = [len(os.listdir('{{world}}/out')) >= 65, mounts < 200]
"""


def test_many_slots_of_the_daemon_are_not_as_many_of_a_zygote(is_ordinary: bool) -> None:
    """Each slot is a copy of all the host's mounts, so there are 64 at most; those above wait, and run."""
    with world(is_ordinary=is_ordinary) as made:
        found = probe(
            made, [{"together": COUNT}] * 80, is_ordinary=is_ordinary, at_once=True, slots=200
        )
    assert found == [{"together": [True, True]}] * 80


async def test_an_attempt_that_closes_its_directory_to_everybody_does_not_end_its_zygote(
    bench: Bench,
) -> None:
    """Who may not write to a directory cannot take attributes from it either, not even as its owner."""
    function = bench.function("probes:try_all")
    close = "os.setxattr('/tmp', 'user.x', b''); os.chmod('/tmp', 0)"
    look = "out = [oct(os.stat('/tmp').st_mode), os.listxattr('/tmp')]"
    found = []
    for code in (look, close, look):
        outcome = await bench.run_attempt(an_attempt(function, {"it": code}))
        found.append(json.loads(outcome.result_json or "")["it"])
        with bench.sandboxes._the_pool().standing(function) or nullcontext() as zygote:
            found.append(zygote)
    if found[2] == "ENOTSUP":
        pytest.skip("this kernel's tmpfs has no attributes of users")
    assert found[0] == found[4]
    assert found[1] is not None
    assert found[1] is found[3] is found[5]
