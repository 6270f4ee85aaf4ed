"""One interpreter looks at many modules, and each of them is on its own all the same."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from faasd.functions import looker as looker_module
from faasd.functions.discovery import discover
from faasd.functions.looker import Lookers
from faasd.linux import landlock, proc_tree, seccomp
from faasd.model.declaration import Module
from faasd.runtime.containment import probe_namespaces
from tests.containment.bench import processes_with
from tests.containment.ordinary import python_of, run_python
from tests.containment.test_foreign_interpreters import VERSIONS, interpreter
from tests.daemon.harness import tmpfs
from tests.patience import patient

GOOD = "import faasd\n@faasd.function\ndef f(event, context): ...\n"
MakeModule = Callable[..., Module]
needs_filter = pytest.mark.skipif(
    not seccomp.is_available(), reason="no system-call filter can take something away here"
)


@pytest.fixture
def module(tmp_path: Path) -> MakeModule:
    """Write a module and return what discovery is asked about it."""

    def write(source: str = GOOD, name: str = "m", **given: object) -> Module:
        path = tmp_path / "code" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(dedent(source))
        module = Module(name, str(path.parent), str(path))
        return replace(module, **given)  # type: ignore[arg-type]

    return write


@pytest.fixture
def lookers() -> Iterator[Lookers]:
    found = Lookers()
    yield found
    found.close()


def wrapper(path: Path, text: str) -> str:
    """Make an interpreter that does something first."""
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def bare_python(tmp_path: Path) -> str:
    """An interpreter for which this host has neither namespaces nor Landlock."""
    code = f"""\
        #!{sys.executable}
        import os, sys
        sys.path.insert(0, {os.getcwd()!r})
        from faasd.linux import process, seccomp
        process.forbid_new_privileges()
        rules = [seccomp.Rule("clone3", errno=38)]
        seccomp.Filter(seccomp.assemble(rules, seccomp.arch(), 443)).load()
        os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
        """
    return wrapper(tmp_path / "bare", dedent(code))


async def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + patient(10)
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_an_interpreter_is_started_once_for_all_its_modules(
    module: MakeModule, tmp_path: Path
) -> None:
    """Its start takes several times as long as a look at a small module."""
    log = tmp_path / "starts"
    python = wrapper(
        tmp_path / "python", f'#!/bin/sh\necho start >> {log}\nexec {sys.executable} "$@"\n'
    )
    answers = await discover([module(name=f"m{n}", python=python) for n in range(5)])
    assert [len(one.declared) for one in answers] == [1] * 5
    assert log.read_text().split() == ["start"]


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_interpreter_looks(module: MakeModule, version: str) -> None:
    """Functions name any CPython from 3.9 on, in which faasd is not installed."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this host")
    wanted = "{}.{}".format(*version.split("."))
    source = GOOD + f"import sys\nassert '%d.%d' % sys.version_info[:2] == {wanted!r}\n"
    answers = await discover([module(source, f"m{n}", python=python) for n in range(3)])
    assert [(len(one.declared), one.problems) for one in answers] == [(1, ())] * 3


async def test_a_module_cannot_find_what_another_was_given(module: MakeModule) -> None:
    """Its environment may hold a password, and both are forks of one process. The control finds its own."""
    password = f"password{os.getpid()}"
    source = f"""
        import faasd

        def is_here():
            wanted = {password[::-1]!r}[::-1].encode()
            with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
                for line in maps:
                    place, rights = line.split()[:2]
                    begin, end = (int(one, 16) for one in place.split("-"))
                    if rights.startswith("rw") and "[v" not in line:
                        memory.seek(begin)
                        # A few are what it is looked for with.
                        if memory.read(end - begin).count(wanted) > 5:
                            return True
            return False
        raise RuntimeError(is_here())
        """
    many = {f"TOKEN_{n}": password for n in range(20)}
    hanging = module("import time\ntime.sleep(600)\n", "hanging", env=many, timeout_s=patient(2))
    others = [module(source, f"m{n}") for n in range(2)]
    said = [one.problems[0].message for one in await discover([hanging, *others])]
    assert "did not end within" in said[0]
    assert [one.rpartition(" ")[2] for one in said[1:]] == ["False"] * 2
    [control] = await discover([module(source, env=many)])
    assert control.problems[0].message.endswith("True")


@needs_filter
@pytest.mark.parametrize(
    "harm",
    [
        "os.killpg(0, 9)",
        "os.kill(os.getppid(), 9)",
        "os.kill(os.getppid(), 19)",
        "os.abort()",
        "x = [bytearray(2**30) for _ in range(20)]",
    ],
)
async def test_what_a_module_does_to_itself_hurts_no_other(
    module: MakeModule, bare_python: str, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where no wall is in its way: they have a process group, a keeper and a limit each."""
    monkeypatch.setattr(looker_module, "_BACKSTOP_S", 0.5)
    bad = module(f"import os, time\n{harm}\n", "bad", python=bare_python, timeout_s=patient(1))
    good = [module(name=f"m{n}", python=bare_python) for n in range(4)]
    answers = await discover([*good[:2], bad, *good[2:]])
    broken = answers.pop(2)
    assert broken.is_broken
    assert [(len(one.declared), one.problems) for one in answers] == [(1, ())] * 4


def _request(code_dir: str, name: str) -> dict[str, Any]:
    files = ("closed", "hidden", "shown", "read", "devices", "own")
    walls = {**{name: [] for name in files}, "tmp_dir": "/tmp", "has_view": False}
    return {
        "files": {**walls, "read": [code_dir]}, "module": name, "code_dir": code_dir, "layers": [],
        "attributes": [], "timeout_s": 30.0, "env": {},
    }  # fmt: skip


async def test_a_lost_looker_costs_the_looks_that_it_had(
    module: MakeModule, lookers: Lookers
) -> None:
    """Somebody killed it; the next module is looked at by another."""
    nap = f"600.{os.getpid()}3"
    code_dir = module().code_dir
    module(f"import subprocess\nsubprocess.run(['sleep', '{nap}'])\n", "hanging")
    stop, stopper = os.pipe()
    try:
        first = lookers.of(sys.executable)
        assert first.look(_request(code_dir, "m"), 30, stop).fault is None
        looking = asyncio.create_task(
            asyncio.to_thread(first.look, _request(code_dir, "hanging"), 30.0, stop)
        )
        await wait_until(lambda: bool(processes_with(nap)))
        os.kill(first._process.pid, signal.SIGKILL)
        fault = (await looking).fault
        assert fault == "could not be imported: its process ended with status -9"
        second = lookers.of(sys.executable)
        assert second is not first
        assert second.look(_request(code_dir, "m"), 30, stop).fault is None
        await wait_until(lambda: not processes_with(nap))
    finally:
        os.close(stop)
        os.close(stopper)


async def test_an_interpreter_that_is_none_is_tried_once(
    module: MakeModule, tmp_path: Path
) -> None:
    """Each start of two hundred would take a while, to come to the same."""
    log = tmp_path / "starts"
    python = wrapper(tmp_path / "python", f"#!/bin/sh\necho start >> {log}\necho no; exit 3\n")
    answers = await discover([module(name=f"m{n}", python=python) for n in range(5)])
    assert {one.problems[0].message for one in answers} == {
        "could not be imported: its process ended with status 3; the last it printed was: no"
    }
    assert log.read_text().split() == ["start"]


DETACHED = """
import os, time
if os.fork() == 0:
    os.setsid()
    os.execvp("sleep", ["sleep", "{nap}"])
time.sleep(600)
"""


@pytest.mark.parametrize("is_bare", [False, pytest.param(True, marks=needs_filter)])
@pytest.mark.parametrize("how", ["cancelled", "killed"])
async def test_nothing_is_left_of_a_look_that_nobody_waits_for(
    module: MakeModule, bare_python: str, tmp_path: Path, how: str, is_bare: bool
) -> None:
    """Ctrl-C, and a daemon that was killed; what a module has detached from itself included."""
    if not is_bare and not probe_namespaces():
        pytest.skip("this host gives us no namespaces")
    nap = f"600.{os.getpid()}4"
    hanging = module(DETACHED.format(nap=nap), python=bare_python if is_bare else None)
    code = f"""\
        import asyncio, signal, sys
        from faasd.functions.discovery import discover
        from faasd.model.declaration import Module
        asyncio.run(discover([Module('m', {hanging.code_dir!r}, 'm.py', {hanging.python!r})]))
        """
    with subprocess.Popen(
        [sys.executable, "-c", dedent(code)], stderr=subprocess.DEVNULL, cwd=os.getcwd()
    ) as process:
        await wait_until(lambda: bool(processes_with(nap)))
        process.send_signal(signal.SIGINT if how == "cancelled" else signal.SIGKILL)
        await asyncio.to_thread(process.wait)
    await wait_until(lambda: not processes_with(nap))


async def test_a_discovery_leaves_neither_processes_nor_descriptors(module: MakeModule) -> None:
    """A daemon that reloads for years looks at its modules each time."""
    modules = [module(name=f"m{n}") for n in range(3)]
    await discover(modules)
    before = len(os.listdir("/proc/self/fd"))
    await discover(modules)
    assert len(os.listdir("/proc/self/fd")) == before
    assert not [
        pid
        for pid in proc_tree.descendants([os.getpid()])
        if Path(f"/proc/{pid}/comm").read_text().startswith("faasd-look")
    ]


async def test_a_full_disk_is_named_with_what_to_do(
    module: MakeModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It used to read as an interpreter that cannot be started."""
    full = tmp_path / "full"
    full.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(full))
    with tmpfs(full, "1m,nr_inodes=1"):
        [answer] = await discover([module()])
    assert answer.problems[0].message == (
        f"cannot be imported: cannot make a private directory for it in {full}: No space left on "
        "device; free some space there, or set TMPDIR to a directory with room"
    )


async def test_no_directory_for_temporary_files_is_a_problem_and_no_crash(
    module: MakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full root file system none of the usual ones can be written to."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/nowhere"])
    [answer] = await discover([module()])
    assert "No usable temporary directory found in ['/proc/nowhere']" in answer.problems[0].message
    assert "or set TMPDIR to a directory with room" in answer.problems[0].message


async def test_a_directory_that_has_gone_is_named(module: MakeModule) -> None:
    """Somebody has removed it since it was listed."""
    gone = replace(module(), code_dir="/nonexistent/code")
    [answer] = await discover([gone])
    assert answer.problems[0].message == (
        "cannot be imported from /nonexistent/code: No such file or directory"
    )


def test_looks_from_many_threads_get_their_own_answers(
    module: MakeModule, lookers: Lookers
) -> None:
    """One process serves them all, and what it answers has no name on it."""
    stop, stopper = os.pipe()
    found: dict[int, str] = {}

    def look(number: int) -> None:
        name = f"m{number}"
        module(f"print({number})\nraise RuntimeError('number {number}')\n", name)
        seen = lookers.of(sys.executable).look(_request(module().code_dir, name), 30, stop)
        found[number] = f"{seen.output.decode().strip()} {seen.report.decode()}"

    threads = [threading.Thread(target=look, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    os.close(stop)
    os.close(stopper)
    assert sorted(found) == list(range(8))
    for number, text in found.items():
        assert text.startswith(f"{number} ")
        assert f"number {number}" in text


@pytest.mark.skipif(not landlock.abi(), reason="no Landlock on this host")
def test_an_ordinary_user_looks_behind_the_same_walls() -> None:
    """His namespaces begin with one of users, in which nobody but he exists. The control is where he may write."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o777)  # He comes to it, and could write to it.
        source = f"""
            import faasd

            @faasd.function
            def f(event, context): ...

            def writes_to(path):
                try:
                    open(path, "w").close()
                except OSError:
                    return False
                return True
            import os
            assert not writes_to({place + "/written"!r})
            assert writes_to(os.environ["TMPDIR"] + "/written")
            """
        for number in range(3):
            Path(place, f"m{number}.py").write_text(dedent(source))
        code = f"""
            import asyncio
            from faasd.functions.discovery import discover
            from faasd.model.declaration import Module
            modules = [Module(f"m{{n}}", {place!r}, "") for n in range(3)]
            for one in asyncio.run(discover(modules)):
                print(len(one.declared), one.problems)
            """
        done = run_python(python_of(True), "-c", dedent(code), is_ordinary=True)
    assert done.stdout.decode().splitlines() == ["1 ()"] * 3, done
