"""The version store keeps what stood in a directory, under the hash of its content."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faasd.errors import CodeTooLarge, VersionError
from faasd.functions import code_tree, versions
from faasd.functions.versions import VersionStore

NOW = 1_700_000_000.0


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    directory = tmp_path / "functions"
    (directory / "package").mkdir(parents=True)
    (directory / "app.py").write_text("ONE = 1\n")
    (directory / "package" / "__init__.py").write_text("")
    (directory / "run.sh").write_text("#!/bin/sh\n")
    (directory / "run.sh").chmod(0o755)
    return directory


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VersionStore]:
    made = VersionStore(tmp_path / "state" / "versions")
    yield made
    made.collect((), per_source=0)


def test_the_same_content_is_the_same_version(store: VersionStore, tree: Path) -> None:
    """A reload that changes nothing must not say that something changed."""
    first = store.add(str(tree), now=NOW)
    os.utime(tree / "app.py", (NOW, NOW))
    assert store.add(str(tree), now=NOW + 1).version == first.version
    assert [one.version for one in store.list()] == [first.version]


def test_an_edit_after_it_was_kept_changes_nothing_in_a_version(
    store: VersionStore, tree: Path
) -> None:
    """What runs is the version, and an evicted zygote must start the same code again."""
    kept = store.add(str(tree), now=NOW)
    (tree / "app.py").write_text("ONE = 2\n")
    (tree / "run.sh").unlink()
    assert (store.path(kept.version) / "app.py").read_text() == "ONE = 1\n"
    assert os.access(store.path(kept.version) / "run.sh", os.X_OK)
    assert store.add(str(tree), now=NOW).version != kept.version


def test_a_version_is_read_only(store: VersionStore, tree: Path) -> None:
    """Nobody may change by accident what is to stay the same."""
    code = store.path(store.add(str(tree), now=NOW).version)
    for directory, _, files in os.walk(code.parent):
        for path in (
            Path(directory),
            *(Path(directory, name) for name in files if name != "version.json"),
        ):
            assert not path.stat().st_mode & 0o222, path


def test_an_executable_bit_makes_another_version(store: VersionStore, tree: Path) -> None:
    """Without it the script does not start, so it is part of what runs."""
    first = store.add(str(tree), now=NOW).version
    (tree / "run.sh").chmod(0o644)
    assert store.add(str(tree), now=NOW).version != first


def test_environments_data_and_large_files_are_linked(
    store: VersionStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are not copied at each change, and code finds them where it expects them."""
    monkeypatch.setattr(code_tree, "FILE_BYTES_MAX", 100)
    (tree / "venv").mkdir()
    (tree / "venv" / "pyvenv.cfg").touch()
    (tree / "inbox").mkdir()
    (tree / "model.bin").write_bytes(b"x" * 101)
    (tree / "secret").mkdir()
    (tree / "__pycache__").mkdir()
    (tree / ".env").write_text("A=1")
    kept = store.add(
        str(tree), now=NOW, link=[str(tree / "inbox")], leave_out=[str(tree / "secret")]
    )
    code = store.path(kept.version)
    assert kept.linked == tuple(str(tree / name) for name in ("inbox", "model.bin", "venv"))
    assert sorted(os.listdir(code)) == [
        ".env", "__pycache__", "app.py", "inbox", "model.bin", "package", "run.sh", "venv",
    ]  # fmt: skip
    assert (code / "model.bin").read_bytes() == b"x" * 101
    (tree / "model.bin").write_bytes(b"y" * 102)
    assert store.add(str(tree), now=NOW, link=[str(tree / "inbox")]).version != kept.version


def test_links_within_stay_links_and_others_are_never_followed(
    store: VersionStore, tree: Path, tmp_path: Path
) -> None:
    """A link to what only root may read must not make a copy of it that the function may read."""
    (tmp_path / "shared.py").write_text("SHARED = 1\n")
    (tree / "shared.py").symlink_to(tmp_path / "shared.py")
    (tree / "alias.py").symlink_to(tree / "app.py")
    (tree / "dangling").symlink_to("nowhere")
    os.mkfifo(tree / "pipe")
    kept = store.add(str(tree), now=NOW)
    code = store.path(kept.version)
    assert os.readlink(code / "shared.py") == str(tmp_path / "shared.py")
    assert kept.linked == (str(tmp_path / "shared.py"),)
    assert os.readlink(code / "alias.py") == "app.py"
    assert not os.path.lexists(code / "dangling")
    assert not os.path.lexists(code / "pipe")


def test_a_directory_that_becomes_a_link_while_it_is_read_is_not_followed(
    store: VersionStore, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever owns the code must not have the daemon, which may be root, read for him."""
    real = versions._write
    away = tmp_path / "package"

    def swap_then_write(entries: list[object], code: Path) -> object:
        if not away.exists():
            (tree / "package").rename(away)
            (tree / "package").symlink_to(away)
        return real(entries, code)  # type: ignore[arg-type]

    monkeypatch.setattr(versions, "_write", swap_then_write)
    kept = store.add(str(tree), now=NOW)
    assert kept.linked == (str(away),)


def test_one_file_alone_can_be_a_version(store: VersionStore, tree: Path) -> None:
    """A script beside the configuration is code; what else is there is not."""
    kept = store.add(str(tree / "run.sh"), now=NOW)
    assert os.listdir(store.path(kept.version)) == ["run.sh"]
    assert kept.source == str(tree / "run.sh")


def test_too_much_is_refused(
    store: VersionStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home directory that somebody named is not copied into the state directory."""
    monkeypatch.setattr(code_tree, "FILES_MAX", 2)
    with pytest.raises(CodeTooLarge, match="more than"):
        store.add(str(tree), now=NOW)
    assert store.list() == []


def test_a_missing_directory_is_an_error_that_names_it(store: VersionStore, tmp_path: Path) -> None:
    """Nothing is kept of it, and people read which one it was."""
    with pytest.raises(VersionError, match=r"gone.*No such file"):
        store.add(str(tmp_path / "gone"), now=NOW)


def test_a_tree_that_changes_while_it_is_copied_is_copied_anew(
    store: VersionStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of one state and half of the next is no version of anything."""
    real, calls = versions._write, []

    def change_then_write(entries: list[object], code: Path) -> object:
        done = real(entries, code)  # type: ignore[arg-type]
        calls.append(done)
        if len(calls) == 1:
            (tree / "app.py").write_text("ONE = 2  # changed\n")
        return done

    monkeypatch.setattr(versions, "_write", change_then_write)
    kept = store.add(str(tree), now=NOW)
    assert (store.path(kept.version) / "app.py").read_text() == "ONE = 2  # changed\n"
    assert len(calls) == 2


def test_one_that_never_stops_changing_is_refused(
    store: VersionStore, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an end to it, a reload would never answer."""
    real = versions._write
    count = iter(range(100))

    def write_then_change(entries: list[object], code: Path) -> object:
        done = real(entries, code)  # type: ignore[arg-type]
        (tree / "app.py").write_text("#" * next(count))
        return done

    monkeypatch.setattr(versions, "_write", write_then_change)
    with pytest.raises(VersionError, match="goes on changing"):
        store.add(str(tree), now=NOW)


def test_the_newest_of_a_source_and_what_is_in_use_are_kept(
    store: VersionStore, tree: Path, tmp_path: Path
) -> None:
    """A rollback needs the last few; the state directory must not grow for ever."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "x.py").write_text("")
    beside = store.add(str(other), now=NOW).version
    made = []
    for number in range(5):
        (tree / "app.py").write_text(f"ONE = {number}\n")
        made.append(store.add(str(tree), now=NOW + number).version)
    removed = store.collect({made[0]}, per_source=2)
    assert sorted(removed) == sorted(made[1:3])
    assert {one.version for one in store.list()} == {made[0], made[3], made[4], beside}
    assert not [name for name in os.listdir(store.root) if name.startswith(".")]


def test_a_version_that_comes_back_counts_as_new(store: VersionStore, tree: Path) -> None:
    """Who edits back to what was has that version in service again."""
    made = []
    for number in (1, 2, 1):
        (tree / "app.py").write_text(f"ONE = {number}\n")
        made.append(store.add(str(tree), now=NOW + len(made)).version)
    assert made[0] == made[2]
    assert [one.version for one in store.list()] == [made[0], made[1]]


def test_what_a_crash_left_is_swept(store: VersionStore, tree: Path) -> None:
    """A kill -9 while a version is made or removed leaves no version, and then nothing."""
    kept = store.add(str(tree), now=NOW)
    (store.root / ".new-abc" / "code").mkdir(parents=True)
    (store.root / ".old-abc-1").mkdir()
    assert [one.version for one in store.list()] == [kept.version]
    store.sweep()
    assert os.listdir(store.root) == [kept.version]


def test_a_name_that_is_no_version_is_none(store: VersionStore) -> None:
    """A version is named by people and by the network; it must not lead out of the directory."""
    assert store.get("../..") is None
    assert store.get("") is None
    assert store.get("abcdef") is None


def test_bytecode_that_is_there_comes_along(store: VersionStore, tree: Path) -> None:
    """A sandbox cannot keep what it compiles, so a large package would be compiled at each cold start."""
    py_compile.compile(str(tree / "app.py"))
    version = store.add(str(tree), now=NOW).version
    copy = store.path(version) / "app.py"
    with open(importlib.util.cache_from_source(str(copy)), "rb") as file:
        header = file.read(16)
    assert int.from_bytes(header[8:12], "little") == int(copy.stat().st_mtime)
    (tree / "__pycache__" / "app.cpython-39.pyc").write_bytes(b"other")
    assert store.add(str(tree), now=NOW).version == version, "it is no part of the version"


def test_a_version_is_compiled_ahead_and_imported_without_compiling(
    store: VersionStore, tree: Path
) -> None:
    """Code that came by git has no bytecode, and each new zygote would pay for that."""
    (tree / "package" / "deep.py").write_text("import app\nTWO = app.ONE + 1\n")
    before = versions._digest(code_tree.scan(str(tree)), None, str(tree.parent))
    kept = store.add(str(tree), now=NOW)
    assert kept.digest == before, "what is compiled is no part of the version"
    assert (kept.files, kept.bytes) == (4, 47)
    code = store.path(kept.version)
    program = f"import sys; sys.path.insert(0, {str(code)!r}); import package.deep; print(package.deep.TWO)"
    done = subprocess.run(
        [sys.executable, "-I", "-v", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "2\n"
    read = [line for line in done.stderr.splitlines() if line.startswith("# code object from")]
    mine = sorted(line for line in read if str(code) in line)
    assert len(mine) == 3
    assert all(".pyc" in line for line in mine), mine


def test_what_cannot_be_compiled_is_kept_as_it_is(store: VersionStore, tree: Path) -> None:
    """Its import says what is wrong with it; templates with a .py at their end are never imported."""
    (tree / "broken.py").write_text("def (\n")
    (tree / "zeros.py").write_bytes(b"\0" * 100)
    (tree / "deep.py").write_text("(" * 5000)
    code = store.path(store.add(str(tree), now=NOW).version)
    assert sorted(path.stem.partition(".")[0] for path in (code / "__pycache__").iterdir()) == [
        "app"
    ]
    assert (code / "broken.py").read_text() == "def (\n"


def test_bytecode_is_as_closed_as_its_source(store: VersionStore, tree: Path) -> None:
    """It holds every text that stands in the source."""
    (tree / "app.py").chmod(0o600)
    if os.geteuid() == 0:
        os.chown(tree / "app.py", 12345, 12345)
    code = store.path(store.add(str(tree), now=NOW).version)
    [compiled] = (code / "__pycache__").iterdir()
    for path in (compiled, code / "app.py"):
        status = path.stat()
        owner = 12345 if os.geteuid() == 0 else os.getuid()
        assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o400, owner), path


def test_stale_bytecode_of_the_source_is_not_believed(store: VersionStore, tree: Path) -> None:
    """One that asks nobody whether it is right may be of any text."""
    (tree / "app.py").write_text("ONE = 0\n")
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(tree / "app.py"), invalidation_mode=mode)
    (tree / "app.py").write_text("ONE = 1\n")
    code = store.path(store.add(str(tree), now=NOW).version)
    program = f"import sys; sys.path.insert(0, {str(code)!r}); import app; print(app.ONE)"
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, check=True)
    assert done.stdout == b"1\n"
