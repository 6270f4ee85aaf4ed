"""What a module may touch while it is looked at, how it hears of it, and hosts that lack something."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from textwrap import dedent

import pytest

from faasd.functions.discovery import discover
from faasd.linux import landlock, seccomp
from faasd.model.declaration import Module
from faasd.runtime.containment import probe_namespaces
from tests.containment.bench import processes_with

needs_landlock = pytest.mark.skipif(not landlock.abi(), reason="no Landlock on this host")
needs_namespaces = pytest.mark.skipif(
    not probe_namespaces(), reason="this host gives us no namespaces"
)
needs_filter = pytest.mark.skipif(
    not seccomp.is_available(), reason="no system-call filter can take something away here"
)


@pytest.fixture
def python_without(tmp_path: Path) -> Callable[[str], str]:
    """Make an interpreter for which this host has no Landlock, no namespaces, or neither."""

    def make(what: str) -> str:
        rules = "[seccomp.Rule('clone3', errno=38)]" if what in ("namespaces", "both") else "[]"
        newest = 443 if what in ("landlock", "both") else None  # Landlock's calls begin with 444.
        path = tmp_path / f"python-without-{what}"
        code = f"""\
            #!{sys.executable}
            import os, sys
            sys.path.insert(0, {os.getcwd()!r})
            from faasd.linux import process, seccomp
            process.forbid_new_privileges()
            seccomp.Filter(seccomp.assemble({rules}, seccomp.arch(), {newest})).load()
            os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
            """
        path.write_text(dedent(code))
        path.chmod(0o755)
        return str(path)

    return make


async def said_of(tmp_path: Path, source: str, **given: object) -> str:
    """Return what discovery has to say of a module."""
    code_dir = tmp_path / "code"
    code_dir.mkdir(exist_ok=True)
    (code_dir / "m.py").write_text(dedent(source))
    module = replace(Module("m", str(code_dir), "m.py"), **given)  # type: ignore[arg-type]
    [answer] = await discover([module])
    return "\n".join(problem.message for problem in answer.problems)


@needs_landlock
async def test_a_refused_import_names_the_path_the_wall_and_the_setting(tmp_path: Path) -> None:
    """The author sees a PermissionError on a file that he may well read himself."""
    text = await said_of(tmp_path, "open('/etc/fstab')")
    assert "PermissionError" in text
    assert "the wall 'files' is in the way: '/etc/fstab' is closed to a module" in text
    assert "name it in `read` in the configuration file" in text
    text = await said_of(tmp_path, f"open({str(tmp_path / 'new')!r}, 'w')")
    assert "a module that is being looked at writes nothing" in text
    assert "give the function `write`" in text
    hidden = tmp_path / "state"
    hidden.mkdir()
    text = await said_of(tmp_path, f"import os; os.listdir({str(hidden)!r})", hidden=(str(hidden),))
    assert "belongs to faasd itself" in text


async def test_a_refusal_that_no_wall_made_is_not_blamed_on_one(tmp_path: Path) -> None:
    """A handler's own error about its own path is told as it is."""
    text = await said_of(tmp_path, "raise PermissionError('not today')")
    assert text == "cannot be imported: PermissionError: not today"


@needs_landlock
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read it without the wall, too")
async def test_what_the_configuration_lets_functions_read_an_import_reads(tmp_path: Path) -> None:
    """Else the one setting that the hint names would change nothing."""
    given = (str(Path("/etc/fstab")),)
    source = "raise RuntimeError('it says ' + repr(open('/etc/fstab').read()[:1]))"
    said = "RuntimeError: it says '"
    found = (await said_of(tmp_path, source, read=given)).partition(said)[2]
    assert found not in ("", "'")
    # Covered by nothing, or refused.
    text = await said_of(tmp_path, source, read=given, hidden=given)
    assert said + "'" in text or "belongs to faasd itself" in text


@needs_landlock
@needs_filter
async def test_without_the_walls_a_module_writes_and_hears_of_none(
    tmp_path: Path, python_without: Callable[[str], str]
) -> None:
    """The control of the tests above; where only one of them is missing, the other says no."""
    source = f"open({str(tmp_path / 'new')!r}, 'w')"
    for missing in ("landlock", "namespaces"):
        if missing == "landlock" and not probe_namespaces():
            continue
        text = await said_of(tmp_path, source, python=python_without(missing))
        assert "is being looked at" in text
    assert await said_of(tmp_path, source, python=python_without("both")) == ""
    assert (tmp_path / "new").exists()


@needs_namespaces
@needs_filter
async def test_a_unix_socket_of_the_hosts_answers_no_import_unless_it_was_given(
    tmp_path: Path, python_without: Callable[[str], str]
) -> None:
    """Docker's, in a daemon that runs as root, is the host. No other wall keeps anybody from a socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        path = f"/tmp/faasd-test-{os.getpid()}"
        listener.bind(path)
        try:
            listener.listen()
            source = f"import socket\nsocket.socket(socket.AF_UNIX).connect({path!r})"
            text = await said_of(tmp_path, source)
            assert "FileNotFoundError" in text
            assert "a Unix socket that it wanted to connect to" in text
            assert await said_of(tmp_path, source, read=(path,)) == ""
            assert await said_of(tmp_path, source, python=python_without("namespaces")) == ""
        finally:
            os.unlink(path)


@needs_namespaces
@needs_filter
@pytest.mark.parametrize("is_apart", [True, False], ids=["wall", "control"])
async def test_a_module_sees_no_process_outside_by_number(
    is_apart: bool, tmp_path: Path, python_without: Callable[[str], str]
) -> None:
    """In a PID namespace of its own, where the host has one; what it starts ends there as elsewhere."""
    python = None if is_apart else python_without("namespaces")
    # Not killed: who is not seen cannot be asked for his priority either.
    source = f"""
        import os, subprocess
        child = subprocess.Popen(["setsid", "sleep", "600.{os.getpid()}7"])
        try:
            os.getpriority(os.PRIO_PROCESS, {os.getpid()})
            seen = "seen"
        except ProcessLookupError:
            seen = "missing"
        raise RuntimeError(f"{{seen}} number {{os.getpid()}}")
        """
    text = await said_of(tmp_path, source, python=python)
    number = int(text.partition("number ")[2].split()[0].rstrip(";"))
    assert (number < 10, "missing" in text) == (is_apart, is_apart)
    assert "ended now" in text
    assert not processes_with(f"600.{os.getpid()}7")


@needs_landlock
@needs_filter
@pytest.mark.parametrize("has_landlock", [False, True], ids=["without", "control"])
def test_check_warns_where_no_wall_stands_around_imports(
    has_landlock: bool, tmp_path: Path, python_without: Callable[[str], str]
) -> None:
    """The functions themselves may be best-effort; that their modules were imported just now is worth a word."""
    (tmp_path / "m.py").write_text("import faasd\n@faasd.function\ndef f(e, c): ...\n")
    config = tmp_path / "faasd.toml"
    config.write_text(
        '[daemon]\nfunctions = ["m.py"]\nstate_dir = "state"\n[defaults]\ncontainment = "best-effort"\n'
    )
    python = sys.executable if has_landlock else python_without("landlock")
    command = [python, "-m", "faasd", "check", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert ("can read there whatever the daemon's user may" in done.stderr) is not has_landlock
