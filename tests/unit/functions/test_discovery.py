"""Importing other people's modules without being harmed by them."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from faasd.functions.discovery import discover
from faasd.functions.discovery_report import read_report
from faasd.model.declaration import Declared, Discovered, Module
from tests.containment.bench import processes_with
from tests.patience import patient

OLD_PYTHONS = [
    *Path.home().glob(".pyenv/versions/3.9.*/bin/python"),
    *(path for one in os.get_exec_path() if (path := Path(one, "python3.9")).exists()),
]

TOO_OLD = sorted(Path.home().glob(".pyenv/versions/3.[78].*/bin/python"))

MakeModule = Callable[..., Module]


@pytest.fixture
def module(tmp_path: Path) -> MakeModule:
    """Write a module and return what discovery is asked about it."""

    def write(source: str, name: str = "m", **given: object) -> Module:
        path = tmp_path / f"{name}.py"
        path.write_text(dedent(source))
        return replace(Module(name, str(tmp_path), str(path)), **given)  # type: ignore[arg-type]

    return write


async def ask(module: Module) -> Discovered:
    [answer] = await discover([module])
    return answer


async def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + patient(10)
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_declarations_come_back_as_values(module: MakeModule) -> None:
    """Settings cross a process boundary as JSON, with paths and times as TOML would have them."""
    wanted = module(
        """
        from datetime import timedelta
        from pathlib import Path
        from faasd import files, function

        @function(timeout=timedelta(minutes=1), pass_env=("A",), triggers=[files(Path("/in"))])
        async def f(event, context): ...

        class Group:
            @staticmethod
            @function(name="g")
            def inner(event, context=None, *more): ...
        """
    )
    answer = await ask(wanted)
    file = wanted.origin
    assert answer.problems == ()
    assert answer.file == file
    assert answer.declared == (
        Declared(
            "f",
            "m:f",
            {
                "timeout": "60.000000s",
                "pass_env": ["A"],
                "triggers": [{"type": "files", "path": "/in"}],
            },
            file,
            6,
        ),
        Declared("g", "m:Group.inner", {}, file, 10),
    )


async def test_a_function_belongs_to_the_module_that_declares_it(module: MakeModule) -> None:
    """Else a shared module would declare its functions once for everybody who imports it."""
    shared = module("import faasd\n@faasd.function\ndef f(e, c): ...\n", "shared")
    user = module("import shared\n", "user")
    answers = await discover([shared, user])
    assert [[one.name for one in answer.declared] for answer in answers] == [["f"], []]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import sys; sys.exit(3)", r"called sys.exit\(3\) while it was imported; put what a script does"),
        ("import os; os._exit(7)", r"its import ended the process with exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", r"its import was killed by SIGKILL"),
        ("import os; os.kill(os.getppid(), 9)", r"could not be imported: its process ended with status -9|cannot be imported: PermissionError"),
        ("raise KeyboardInterrupt", r"cannot be imported: KeyboardInterrupt"),
        ("class E(Exception):\n  def __str__(self): 1 / 0\nraise E", r"cannot be imported: E: \(its text raised ZeroDivisionError\)"),
        ("import os; os.closerange(3, 99); print('so long')", r"its import ended the process with exit code 1"),
        ("x = bytearray(10**11)", r"cannot be imported: MemoryError"),
        ("import json; json.dumps = None", r"its import ended the process with exit code 1"),
    ],
)  # fmt: skip
async def test_a_module_that_ends_badly_is_a_problem_and_no_more(
    module: MakeModule, source: str, expected: str
) -> None:
    """The daemon goes on, and says which module it was and what it did."""
    answer = await ask(module(source))
    assert answer.is_broken
    assert answer.declared == ()
    assert re.match(expected, answer.problems[0].message), answer.problems[0].message


async def test_an_import_that_hangs_is_ended_and_its_place_is_shown(module: MakeModule) -> None:
    """A module that waits for a server must not hold up the start of everything else."""
    hanging = module("import time\n\ntime.sleep(600)\n", "hanging", timeout_s=0.2)
    good = module("import faasd\n@faasd.function\ndef f(e, c): ...\n", "good")
    start = time.monotonic()
    answers = await discover([hanging, good])
    assert time.monotonic() - start < 5
    [problem] = answers[0].problems
    assert (problem.message, problem.line) == ("its import did not end within 0.2s; it was here", 3)
    assert [one.name for one in answers[1].declared] == ["f"]


async def test_an_import_that_refuses_to_end_is_killed(module: MakeModule) -> None:
    """An exception can be caught and a signal ignored; a kill cannot."""
    stubborn = module(
        """
        import signal, time
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        while True:
            time.sleep(600)
        """,
        timeout_s=0.1,
    )
    answer = await ask(stubborn)
    assert answer.problems[0].message == "its import did not end within 0.1s and was killed"


async def test_nothing_that_a_module_starts_is_left(module: MakeModule) -> None:
    """Not even what has left its session and its parents: that is how daemons are made."""
    nap = f"600.{os.getpid()}1"  # On its command line, by which it is found.
    leaving = module(
        f"""
        import os, time

        read, write = os.pipe()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.setsid()
                os.write(write, b"x")
                os.execvp("sleep", ["sleep", "{nap}"])
            os._exit(0)
        os.read(read, 1)
        """
    )
    answer = await ask(leaving)
    await wait_until(lambda: not processes_with(nap))
    [warning] = answer.problems
    assert warning.is_warning
    assert re.match(r"started \d processes? while it was imported; ended now", warning.message)


async def test_threads_that_an_import_starts_are_named(module: MakeModule) -> None:
    """They do not exist in a sandbox, which is forked, and the handler would wait for them for ever."""
    answer = await ask(
        module(
            """
            import threading, time
            threading.Thread(target=time.sleep, args=(600,), name="poller").start()
            """
        )
    )
    [warning] = answer.problems
    assert (warning.is_warning, answer.is_broken) == (True, False)
    assert "started 1 thread while it was imported (poller)" in warning.message


async def test_what_a_module_prints_disturbs_nothing(module: MakeModule) -> None:
    """Also when it is much, when it looks like a report, and when it is not text."""
    answer = await ask(
        module(
            """
            import sys, faasd
            print('{"functions": 3}' * 100_000)
            sys.stdout.buffer.write(bytes(range(256)))
            @faasd.function
            def f(e, c): ...
            """
        )
    )
    assert [one.name for one in answer.declared] == ["f"]
    assert answer.problems == ()


async def test_a_module_sees_a_clean_environment_and_no_input(
    module: MakeModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's variables may hold secrets, and its standard input is nobody's business."""
    monkeypatch.setenv("FAASD_TEST_SECRET", "x")
    answer = await ask(
        module(
            """
            import os, resource, sys, faasd
            assert "FAASD_TEST_SECRET" not in os.environ
            assert os.environ["GIVEN"] == "1"
            assert sys.stdin.read() == ""
            assert sys.argv == ["m"]
            assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
            assert len(os.listdir("/proc/self/fd")) <= 5, os.listdir("/proc/self/fd")
            """,
            env={"GIVEN": "1"},
        )
    )
    assert answer.problems == ()


@pytest.mark.parametrize(
    ("attribute", "fault"),
    [
        ("good", None),
        ("Group.method", None),
        ("Group", None),
        ("partial", None),
        ("goood", "there is no 'goood' in m; did you mean \"good\"?"),
        ("number", "'number' is of type int and cannot be called"),
        ("three", "three(a, b, c) cannot be called as handler(event, context)"),
        ("only", "only(event, context, *, must) cannot be called as handler(event, context)"),
        ("agen", "'agen' is a generator; a handler returns its result"),
    ],
)
async def test_handlers_that_toml_names_are_looked_at(
    module: MakeModule, attribute: str, fault: str | None
) -> None:
    """Before the first event, not at it."""
    wanted = module(
        """
        import functools
        def good(event, context): ...
        def three(a, b, c): ...
        def only(event, context, *, must): ...
        async def agen(event, context): yield
        partial = functools.partial(three, 1)
        number = 3
        class Group:
            def __init__(self, event, context): ...
            @staticmethod
            def method(event, context): ...
        """,
        attributes=(attribute,),
    )
    assert (await ask(wanted)).attributes == {attribute: fault}


@pytest.mark.skipif(not OLD_PYTHONS, reason="no CPython 3.9 on this host")
async def test_the_oldest_interpreter_can_declare_functions(module: MakeModule) -> None:
    """A function may name any CPython from 3.9 on, in which faasd is not installed."""
    python = str(OLD_PYTHONS[0])
    wanted = module(
        "import sys, faasd\nassert sys.version_info < (3, 10)\n"
        "@faasd.function(triggers=[faasd.cron('@daily')])\ndef f(e, c): ...\n",
        python=python,
    )
    answer = await ask(wanted)
    assert answer.problems == ()
    assert answer.declared[0].settings == {"triggers": [{"type": "cron", "expression": "@daily"}]}


@pytest.mark.skipif(not TOO_OLD, reason="no CPython 3.7 or 3.8 on this host")
async def test_an_interpreter_that_is_too_old_is_refused(module: MakeModule) -> None:
    """It may import the module by luck, and then fail in the first sandbox that needs something newer."""
    [problem] = (await ask(module("", python=str(TOO_OLD[0])))).problems
    assert "functions need CPython 3.9 or newer, and" in problem.message
    assert str(TOO_OLD[0].parent) in problem.message


async def test_an_interpreter_that_is_none_is_named(module: MakeModule, tmp_path: Path) -> None:
    """Both one that does not start, and one that does something else."""
    answer = await ask(module("", python=str(tmp_path / "gone")))
    assert "cannot start" in answer.problems[0].message
    answer = await ask(module("", python="/bin/echo"))
    assert answer.problems[0].message.startswith(
        "ended without a report; the last it printed was: -I"
    )
    ancient = tmp_path / "ancient"
    ancient.write_text("#!/bin/sh\necho 'SyntaxError: what is this'\nexit 1\n")
    ancient.chmod(0o755)
    answer = await ask(module("", python=str(ancient)))
    assert answer.problems[0].message == (
        "could not be imported: its process ended with status 1; "
        "the last it printed was: SyntaxError: what is this"
    )


async def test_a_cancelled_discovery_leaves_no_process(module: MakeModule) -> None:
    """Ctrl-C during the start."""
    nap = f"600.{os.getpid()}2"
    hanging = module(f"import subprocess; subprocess.run(['sleep', '{nap}'])")
    task = asyncio.create_task(discover([hanging]))
    await wait_until(lambda: bool(processes_with(nap)))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await wait_until(lambda: not processes_with(nap))


@pytest.mark.parametrize(
    "report",
    [
        b"[]",
        b"null",
        b"{",
        b'{"functions": 3}',
        b'{"functions": [3]}',
        b'{"functions": [{"name": 1, "handler": "m:f", "settings": {}, "file": "x", "line": 1}]}',
        b'{"functions": [{"name": "f"}]}',
        b'{"problems": [{"message": 3}]}',
        b'{"attributes": []}',
        b"[" * 100_000,
        b"\xff",
        b'{"functions": [' + b",".join([b"{}"] * 1001) + b"]}",
    ],
)
def test_a_forged_report_is_a_problem_of_its_module(report: bytes) -> None:
    """Whatever runs in there can write what it likes on the report's descriptor."""
    answer = read_report(Module("m", "/d", "/d/m.py"), report, "")
    assert answer.is_broken
    assert answer.problems[0].message.startswith("sent a report that cannot be read")


def test_a_report_cannot_speak_to_the_terminal() -> None:
    """Problems are printed, and an escape sequence could retitle a window or hide a line."""
    report = b'{"problems": [{"message": "\\u001b[2J hi\\r\\u202e"}], "attributes": {"other": "x"}}'
    answer = read_report(Module("m", "/d", "/d/m.py"), report, "")
    assert answer.problems[0].message == "?[2J hi??"
    assert answer.attributes == {}


def test_no_module_of_a_user_is_imported_here() -> None:
    """The daemon never imports user code; these tests ran dozens of modules by now."""
    assert not {"m", "good", "shared", "user", "hanging"} & set(sys.modules)


async def test_a_handler_without_a_name_of_its_own_is_found_by_its_variable(
    module: MakeModule, tmp_path: Path
) -> None:
    """None of these is declared under its own name and module, and none may get lost silently."""
    (tmp_path / "lib.py").write_text(
        "def plain(e, c): ...\nclass Handler:\n    def __call__(self, e, c): ...\n"
    )
    wanted = module(
        """
        from functools import partial
        from faasd import function
        from lib import Handler, plain

        one = function(name="first")(plain)
        bound = function(name="bound")(partial(plain))
        thing = function(name="thing-1")(Handler())
        short = function(name="short")(lambda event, context: 1)

        @function(name="a")
        def _(event, context): ...
        kept = _

        @function(name="b")
        def _(event, context): ...
        """
    )
    answer = await ask(wanted)
    assert answer.problems == ()
    assert [(one.name, one.handler) for one in answer.declared] == [
        ("first", "lib:plain"),
        ("bound", "m:bound"),
        ("thing-1", "m:thing"),
        ("short", "m:short"),
        ("a", "m:kept"),
        ("b", "m:_"),
    ]


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("faasd.function(name='f')(lambda e, c: 1)", "is a lambda; give it a name at the top"),
        ("def g():\n  @faasd.function\n  def f(e, c): ...\ng()", "is defined inside another function; give"),
        ("import functools\nfaasd.function(name='f')(functools.partial(print))", "is of type partial; give it a name"),
        ("@faasd.function(name='f')\ndef _(e, c): ...\ndef _(e, c): ...", "is hidden by another '_' further down; give"),
        ("@faasd.function\ndef f(e, c): ...\ndel f", "is nowhere as 'f'; give it a name"),
    ],
)  # fmt: skip
async def test_a_handler_that_a_sandbox_could_not_find_is_a_problem(
    module: MakeModule, source: str, fault: str
) -> None:
    """A second function of the same Python name would run in place of the first."""
    answer = await ask(module(f"import faasd\n{source}\n"))
    assert answer.declared == ()
    [problem] = answer.problems
    assert problem.message.startswith(fault)
    assert problem.function == "f"


async def test_a_decorator_of_ones_own_may_declare(module: MakeModule, tmp_path: Path) -> None:
    """A helper for common settings stands in one module and is used in others."""
    (tmp_path / "helper.py").write_text(
        "import faasd\ndef job(handler):\n    return faasd.function(timeout='5s')(handler)\n"
    )
    wanted = module("from helper import job\n@job\ndef f(e, c): ...\n")
    assert [one.handler for one in (await ask(wanted)).declared] == ["m:f"]


async def test_a_module_has_no_more_of_the_kernel_than_its_functions(module: MakeModule) -> None:
    """It is the same code. The control is a call that both may make."""
    answer = await ask(
        module(
            """
            import ctypes, errno
            libc = ctypes.CDLL(None, use_errno=True)
            assert libc.personality(ctypes.c_ulong(0xFFFFFFFF)) >= 0
            assert libc.umount2(b"/", 0x7FFF0000) == -1
            assert ctypes.get_errno() == errno.EPERM
            sets = (ctypes.c_uint32 * 6)()
            assert libc.capget((ctypes.c_uint32 * 2)(0x20080522, 0), sets) == 0
            assert not any(sets), list(sets)
            """
        )
    )
    assert answer.problems == ()


async def test_an_import_reaches_no_hidden_place_and_writes_only_its_private_directory(
    module: MakeModule, tmp_path: Path
) -> None:
    """The control: the same module reads the same file when that is not hidden, and writes where it may."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "db").write_text("rows")
    source = f"""
        import tempfile
        with tempfile.NamedTemporaryFile("w", delete=False) as file:
            file.write("x")
        try:
            open({str(tmp_path / "written")!r}, "w")
        except OSError:
            pass
        open({str(tmp_path / "state" / "db")!r}).read()
    """
    assert (await ask(module(source))).problems == ()
    answer = await ask(module(source, hidden=(str(tmp_path / "state"),)))
    assert re.search("PermissionError|FileNotFoundError", answer.problems[0].message)
    assert not (tmp_path / "written").exists()
