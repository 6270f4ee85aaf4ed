"""Keep, delete, move: nothing is overwritten, and only the file that was processed is touched."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from faasd.triggers import file_actions
from faasd.triggers.file_actions import Replaced, delete, move, move_back, sidecar_of
from faasd.triggers.file_scan import identity_of
from faasd.triggers.file_settle import Identity


def made(path: Path, content: bytes = b"x") -> tuple[bytes, Identity]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return os.fsencode(path), identity_of(path.lstat())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_delete_removes_the_file_and_its_marker(root: Path) -> None:
    """A marker without its file would stay for ever."""
    path, identity = made(root / "a.csv")
    made(root / "a.csv.ready")
    delete(os.fsencode(root), path, identity, b".ready")
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("how", ["replaced", "grown", "a link", "a directory", "gone"])
def test_another_file_at_the_path_is_not_touched(root: Path, how: str) -> None:
    """Somebody dropped a new file under the old name while the old one was processed."""
    path, identity = made(root / "a.csv")
    file = root / "a.csv"
    if how == "grown":
        file.write_bytes(b"more than before")
    else:
        made(root / "b", b"y")
        file.unlink()
        if how == "replaced":
            (root / "b").rename(file)
        elif how == "a link":
            file.symlink_to(root / "b")
        elif how == "a directory":
            file.mkdir()
    before = sorted(entry.name for entry in root.iterdir())
    for action in (
        lambda: delete(os.fsencode(root), path, identity, None),
        lambda: move(os.fsencode(root), path, identity, os.fsencode(root.parent / "done"), None),
    ):
        with pytest.raises(Replaced):
            action()
    assert sorted(entry.name for entry in root.iterdir()) == before


def test_a_file_swapped_in_the_last_instant_is_put_back(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking and acting are two steps; the swap happens between them."""
    path, identity = made(root / "a.csv", b"old")
    made(root / "new", b"new content")
    real = file_actions.rename_noreplace
    swapped: list[bool] = []

    def swap_first(*args: object) -> None:
        if not swapped:
            swapped.append(True)
            (root / "new").rename(root / "a.csv")
        real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(file_actions, "rename_noreplace", swap_first)
    with pytest.raises(Replaced):
        delete(os.fsencode(root), path, identity, None)
    assert (root / "a.csv").read_bytes() == b"new content"
    assert [entry.name for entry in root.iterdir()] == ["a.csv"]


def test_a_delete_that_a_crash_cut_in_two_is_finished_by_the_next(root: Path) -> None:
    """Between taking the name away and removing the file."""
    path, identity = made(root / "a.csv")
    (root / "a.csv").rename(root / os.fsdecode(file_actions._scratch_name(identity)))
    delete(os.fsencode(root), path, identity, None)
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("support", ["renameat2", "links only", "neither"])
def test_a_move_never_overwrites_on_any_file_system(
    root: Path, monkeypatch: pytest.MonkeyPatch, support: str
) -> None:
    """FAT and some FUSE file systems know neither a careful rename nor links."""

    def refuse(number: int) -> object:
        def fail(*_: object, **__: object) -> None:
            raise OSError(number, os.strerror(number))

        return fail

    if support != "renameat2":
        monkeypatch.setattr(file_actions, "rename_noreplace", refuse(errno.EINVAL))
    if support == "neither":
        monkeypatch.setattr(os, "link", refuse(errno.EPERM))
    done = root.parent / "deep" / "done"
    for number, expected in enumerate(["a.csv", "a.1.csv", "a.2.csv"]):
        path, identity = made(root / "a.csv", b"%d" % number)
        moved = move(os.fsencode(root), path, identity, os.fsencode(done), None)
        assert moved == os.fsencode(done / expected)
    assert [(done / name).read_bytes() for name in ("a.csv", "a.1.csv", "a.2.csv")] == [
        b"0",
        b"1",
        b"2",
    ]
    assert list(root.iterdir()) == []


def test_a_move_keeps_sub_directories_and_takes_the_marker_along(root: Path) -> None:
    """Two files of one name in two sub-directories stay apart."""
    path, identity = made(root / "2024" / "a.csv")
    made(root / "2024" / "a.csv.ready")
    done = root.parent / "done"
    moved = move(os.fsencode(root), path, identity, os.fsencode(done), b".ready")
    assert moved == os.fsencode(done / "2024" / "a.csv")
    assert (done / "2024" / "a.csv.ready").exists()
    assert list((root / "2024").iterdir()) == []


def other_file_system(base: Path) -> Path:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == base.stat().st_dev:
        pytest.skip("/dev/shm is not another file system here")
    return shm / f"faasd-test-{os.getpid()}-{base.parent.name}"


def test_a_move_to_another_file_system_copies_whole_and_never_overwrites(root: Path) -> None:
    """rename(2) cannot; the copy must be complete before the original goes."""
    done = other_file_system(root)
    try:
        for number in range(2):
            path, identity = made(root / "a.bin", b"%d" % number * 3_000_000)
            os.chmod(path, 0o640)
            moved = move(os.fsencode(root), path, identity, os.fsencode(done), None)
            status = os.stat(moved)
            assert status.st_mtime_ns == identity.mtime_ns
            assert status.st_mode & 0o777 == 0o640
        assert {entry.name for entry in done.iterdir()} == {"a.bin", "a.1.bin"}
        assert (done / "a.1.bin").read_bytes() == b"1" * 3_000_000
        assert list(root.iterdir()) == []
    finally:
        for entry in done.iterdir():
            entry.unlink()
        done.rmdir()


def test_a_file_written_to_while_it_is_copied_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy would be torn; it is thrown away and the file is a new one."""
    done = other_file_system(root)
    path, identity = made(root / "a.bin")
    real = file_actions.shutil.copyfileobj

    def copy_and_write(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        (root / "a.bin").write_bytes(b"somebody wrote")

    monkeypatch.setattr(file_actions.shutil, "copyfileobj", copy_and_write)
    try:
        with pytest.raises(Replaced):
            move(os.fsencode(root), path, identity, os.fsencode(done), None)
        assert list(done.iterdir()) == []
        assert (root / "a.bin").read_bytes() == b"somebody wrote"
    finally:
        done.rmdir()


def test_a_sub_directory_swapped_for_a_link_leads_nowhere(root: Path) -> None:
    """Whoever may write into the inbox must not be able to have other files deleted."""
    path, identity = made(root / "sub" / "a.csv")
    (root / "sub").rename(root.parent / "elsewhere")
    (root / "sub").symlink_to(root.parent / "elsewhere")
    with pytest.raises((Replaced, OSError)):
        delete(os.fsencode(root), path, identity, None)
    assert (root.parent / "elsewhere" / "a.csv").exists()


def test_names_of_255_bytes_and_no_text_at_all_are_moved(root: Path) -> None:
    """The kernel allows every byte but slash and zero."""
    for name in (b"n" * 251 + b".csv", b'qu"ote\n\xff\xfe', "käse 中".encode()):
        path = os.path.join(os.fsencode(root), name)
        done = os.fsencode(root.parent / "done")
        for _ in range(2):
            with open(path, "wb") as file:
                file.write(b"x")
            moved = move(os.fsencode(root), path, identity_of(os.lstat(path)), done, None)
            file_actions.write_sidecar(moved, "{}")
            assert os.path.exists(sidecar_of(moved))
    assert list(root.iterdir()) == []


def test_a_failed_file_goes_back_to_where_it_was_dropped(root: Path) -> None:
    """Under its own name, even when it had to be numbered, unless that is taken."""
    path, identity = made(root.parent / "failed" / "a.1.csv")
    original = os.fsencode(root / "a.csv")
    assert move_back(path, identity, original, None) == original
    path, identity = made(root.parent / "failed" / "a.1.csv", b"second")
    assert move_back(path, identity, original, None) == os.fsencode(root / "a.1.csv")


def test_where_inode_numbers_are_made_up_they_prove_nothing(root: Path) -> None:
    """FUSE forgets and renumbers; the file would be taken for a new one and run again."""
    path, identity = made(root / "a.csv")
    with pytest.raises(Replaced):
        delete(os.fsencode(root), path, identity._replace(inode=12345), None)
    renumbered = identity._replace(inode=file_actions.ANY_INODE)
    delete(os.fsencode(root), path, renumbered, None)
    assert list(root.iterdir()) == []
