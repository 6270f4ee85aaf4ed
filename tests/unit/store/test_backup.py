"""Backups, and what comes back from them."""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import io
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import textwrap
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from faasd.clock import FakeClock
from faasd.errors import Conflict, SchemaTooNew, StateDirectoryInUse, StoreError, StoreFull
from faasd.store.backup import write_backup
from faasd.store.migrations import SCHEMA_VERSION
from faasd.store.open import Store, open_store
from faasd.store.restore import finish_interrupted_restore, rehearse, restore
from faasd.store.state_lock import StateLock
from tests.conformance.making import LANE, some_invocations
from tests.daemon.harness import REPOSITORY, tmpfs

NOW = datetime(2026, 11, 21, 6, 30, tzinfo=UTC)


def back_up(state_dir: Path, target: Path, **settings: Any) -> dict[str, Any]:
    return write_backup(state_dir, target, made_by="0.1", made_at="then", **settings)


def tree(directory: Path) -> dict[str, str]:
    """Return what lies below, by relative path: a file's text, a link's target, or `/`."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "/" if path.is_dir() else path.read_bytes().decode("latin-1")
    return found


def ids_in(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM invocations")}


@pytest.fixture
async def ids(store: Store) -> set[str]:
    """Some invocations in the store, one of them running."""
    made = some_invocations(20)
    await store.invocations.enqueue(made)
    await store.invocations.claim(LANE, 1, 30)
    return {one.id for one in made}


@pytest.fixture
async def state(store: Store, ids: set[str], state_dir: Path) -> Path:
    """A state directory with everything that may lie in one."""
    del store, ids
    (state_dir / "versions" / "a\nb").mkdir(parents=True)
    (state_dir / "versions" / "a\nb" / "back\\slash").write_text("code")
    (state_dir / "versions" / "python").symlink_to("/usr/bin/python3")
    (state_dir / "versions" / "run.sh").write_text("#!")
    (state_dir / "versions" / "run.sh").chmod(0o755)
    os.mkfifo(state_dir / "versions" / "pipe")
    (state_dir / "layers").mkdir()
    (state_dir / "logs" / "f").mkdir(parents=True)
    (state_dir / "logs" / "f" / "current.jsonl").write_text("{}")
    (state_dir / "tmp" / "w1").mkdir(parents=True)
    (state_dir / "replaced-20200101T000000Z").mkdir()
    (state_dir / "old.sqlite3").write_text("an older backup, say")
    return state_dir


async def test_a_backup_under_load_holds_all_that_was_acknowledged_before(
    store: Store, ids: set[str], state_dir: Path, tmp_path: Path
) -> None:
    """And the store goes on meanwhile."""
    target = tmp_path / "backup.tar"
    writing = [
        asyncio.create_task(store.invocations.enqueue(some_invocations(50))) for _ in range(20)
    ]
    size = await store.history.backup(str(target))
    await asyncio.gather(*writing)
    assert size == target.stat().st_size
    assert target.stat().st_mode & 0o777 == 0o600
    restore(tmp_path / "other", target, now=NOW)
    assert ids <= ids_in(tmp_path / "other" / "faasd.db")
    assert sorted(os.listdir(tmp_path)) == ["backup.tar", "other", state_dir.name]


@pytest.mark.parametrize("name", ["backup.tar", "backup.tar.gz"])
async def test_what_is_restored_is_what_was_backed_up(
    state: Path, ids: set[str], tmp_path: Path, name: str
) -> None:
    """Files, links and modes of every directory that others may have put there; logs on request."""
    manifest = back_up(state, tmp_path / name)
    assert manifest["directories"] == ["layers", "versions"]
    contents = manifest["database"]
    assert (contents["waiting"], contents["running"], contents["dead"]) == (19, 1, 0)
    other = tmp_path / "other"
    done = restore(other, tmp_path / name, now=NOW)
    assert (done.is_done, done.kept, done.contents.running) == (True, None, 1)
    assert tree(other / "versions") == tree_without_pipes(state / "versions")
    assert (other / "versions" / "run.sh").stat().st_mode & 0o777 == 0o755
    assert sorted(os.listdir(other)) == ["faasd.db", "faasd.lock", "layers", "versions"]
    assert (other / "faasd.db").stat().st_mode & 0o777 == 0o600
    assert ids_in(other / "faasd.db") == ids

    back_up(state, tmp_path / f"logs-{name}", logs=True)
    restore(tmp_path / "third", tmp_path / f"logs-{name}", now=NOW)
    assert tree(tmp_path / "third" / "logs") == {"f": "/", "f/current.jsonl": "{}"}


def tree_without_pipes(directory: Path) -> dict[str, str]:
    for path in directory.rglob("*"):
        if path.is_fifo():
            path.unlink()
    return tree(directory)


async def test_the_checksums_in_a_backup_are_those_that_coreutils_reads(
    state: Path, tmp_path: Path
) -> None:
    """So that an archive can be verified without faasd, odd names and all."""
    back_up(state, tmp_path / "backup.tar")
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "xf", "../backup.tar"], cwd=tmp_path / "out", check=True)
    done = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=tmp_path / "out",
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout.count(b": OK")) == (0, 4)


async def test_a_state_that_is_there_is_kept_aside_and_only_when_forced(
    state: Path, store: Store, tmp_path: Path
) -> None:
    """A wrong file name on the command line must not cost the state that runs."""
    back_up(state, tmp_path / "backup.tar")
    later = some_invocations(3)
    await store.invocations.enqueue(later)
    with pytest.raises(StateDirectoryInUse):
        restore(state, tmp_path / "backup.tar", now=NOW, force=True)
    await store.close()
    before = tree_without_pipes(state)
    with pytest.raises(Conflict, match=r"holds a state already \(faasd.db, versions\)"):
        restore(state, tmp_path / "backup.tar", now=NOW)
    rehearsed = rehearse(state, tmp_path / "backup.tar", now=NOW)
    assert not rehearsed.is_done
    assert tree(state) == before | {"faasd.lock": ""}
    done = restore(state, tmp_path / "backup.tar", now=NOW, force=True)
    assert done.kept == rehearsed.kept == state / "replaced-20261121T063000Z"
    new_ids = {one.id for one in later}
    assert new_ids <= ids_in(done.kept / "faasd.db")
    assert not new_ids & ids_in(state / "faasd.db")
    assert tree(state / "versions") == tree(done.kept / "versions")
    assert (state / "logs" / "f" / "current.jsonl").exists()  # The backup had none to replace them.
    assert not (state / ".restore").exists()
    again = restore(state, tmp_path / "backup.tar", now=NOW, force=True)
    assert again.kept == state / "replaced-20261121T063000Z.2"


async def test_a_rehearsal_needs_no_stopped_daemon(state: Path, tmp_path: Path) -> None:
    """A nightly backup can be verified the same night."""
    back_up(state, tmp_path / "backup.tar")
    before = sorted(os.listdir(state))
    assert rehearse(state, tmp_path / "backup.tar", now=NOW).contents.waiting == 19
    assert sorted(os.listdir(state)) == before
    assert not rehearse(tmp_path / "a" / "b", tmp_path / "backup.tar", now=NOW).kept
    assert not (tmp_path / "a").exists()


def cut(data: bytes) -> bytes:
    return data[: len(data) * 2 // 3]


def flipped(data: bytes) -> bytes:
    """Return the archive with one bit of its database changed, far from any header."""
    at = data.index(b"SQLite format 3") + 30_000
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def with_member(name: str, kind: bytes = tarfile.REGTYPE) -> Any:
    def add(data: bytes) -> bytes:
        out = io.BytesIO(data)
        with tarfile.open(fileobj=out, mode="a") as tar:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "faasd.db"
            tar.addfile(member)
        return out.getvalue()

    return add


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, "no whole backup"),
        (flipped, "'faasd.db' in it is damaged"),
        (lambda data: cut(gzip.compress(data)), "no whole backup"),
        (lambda _: b"", "no whole backup"),
        (lambda _: b"x" * 5000, "no whole backup"),
        (with_member("../outside"), "outside of itself"),
        (with_member("/outside"), "outside of itself"),
        (with_member("versions/more"), "'versions/more' in it is damaged"),
        (with_member("hard", tarfile.LNKTYPE), "no backup has"),
        (with_member("device", tarfile.CHRTYPE), "no backup has"),
        (lambda _: b"SQLite format 3\0" + b"x" * 4096, "cannot"),
    ],
    ids=[
        "cut",
        "flipped",
        "cut-gz",
        "empty",
        "noise",
        "dots",
        "absolute",
        "unlisted",
        "hardlink",
        "device",
        "sqlite",
    ],
)
async def test_a_damaged_backup_is_refused_and_changes_nothing(
    state: Path, tmp_path: Path, damage: Any, said: str
) -> None:
    """Better no state than half of one."""
    back_up(state, tmp_path / "backup.tar")
    bad = tmp_path / "bad.tar"
    bad.write_bytes(damage((tmp_path / "backup.tar").read_bytes()))
    other = tmp_path / "other"
    with pytest.raises(StoreError, match=said) as caught:
        restore(other, bad, now=NOW)
    assert "Traceback" not in str(caught.value)
    assert tree(other) == {"faasd.lock": ""}
    with pytest.raises(StoreError, match=said):
        rehearse(other, bad, now=NOW)


async def test_a_link_in_an_archive_leads_nothing_out_of_it(state: Path, tmp_path: Path) -> None:
    """A link to a directory, and then a file through it, is how archives have broken out before."""
    back_up(state, tmp_path / "backup.tar")
    (tmp_path / "outside").mkdir()
    with tarfile.open(tmp_path / "backup.tar", "a") as tar:
        link = tarfile.TarInfo("sly")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "outside")
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("sly/file"))
    with pytest.raises(StoreError):
        restore(tmp_path / "other", tmp_path / "backup.tar", now=NOW)
    assert not os.listdir(tmp_path / "outside")


async def test_a_backup_of_a_newer_schema_is_refused(state: Path, tmp_path: Path) -> None:
    """As a start on it would be."""
    back_up(state, tmp_path / "backup.tar")
    restore(tmp_path / "other", tmp_path / "backup.tar", now=NOW)
    with closing(sqlite3.connect(tmp_path / "other" / "faasd.db")) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    back_up(tmp_path / "other", tmp_path / "newer.tar")
    with pytest.raises(SchemaTooNew, match="upgrade faasd first"):
        restore(tmp_path / "third", tmp_path / "newer.tar", now=NOW)


@pytest.mark.parametrize("with_wal", [False, True])
async def test_a_database_file_alone_is_a_backup_too(
    store: Store, ids: set[str], state_dir: Path, tmp_path: Path, with_wal: bool
) -> None:
    """The copy that an upgrade has kept, or what could be saved from a dead machine's disk."""
    saved = tmp_path / "saved.db"
    if with_wal:
        assert (state_dir / "faasd.db-wal").stat().st_size
        for end in ("", "-wal"):
            data = (state_dir / f"faasd.db{end}").read_bytes()
            saved.with_name(saved.name + end).write_bytes(data)
    else:
        await store.close()
        saved.write_bytes((state_dir / "faasd.db").read_bytes())
    restore(tmp_path / "other", saved, now=NOW)
    assert ids_in(tmp_path / "other" / "faasd.db") == ids


def test_a_directory_without_a_state_cannot_be_backed_up(tmp_path: Path) -> None:
    """The configuration names the wrong one, most likely; an empty backup would hide that."""
    with pytest.raises(StoreError, match=r"no faasd\.db"):
        back_up(tmp_path, tmp_path / "backup.tar")
    assert not os.listdir(tmp_path)


async def test_a_disk_without_room_is_refused_before_anything_is_written(
    state: Path, tmp_path: Path
) -> None:
    """Neither the backup nor the restore fills the disk that the daemon writes to."""
    small = tmp_path / "small"
    small.mkdir()
    back_up(state, tmp_path / "backup.tar")
    with tmpfs(small, "64k") as unmount:
        with pytest.raises(StoreFull, match="it may need"):
            back_up(state, small / "backup.tar")
        assert not os.listdir(small)
        with pytest.raises(StoreFull, match="it needs"):
            restore(small / "state", tmp_path / "backup.tar", now=NOW)
        assert tree(small) == {"state": "/", "state/faasd.lock": ""}
        unmount()


async def test_what_a_killed_backup_left_is_removed_by_the_next(
    state: Path, tmp_path: Path
) -> None:
    """And what another backup writes at this moment is not."""
    left, busy = tmp_path / ".faasd-backup-left", tmp_path / ".faasd-backup-busy"
    left.mkdir()
    busy.mkdir()
    (left / "archive").write_text("half")
    holder = os.open(busy, os.O_RDONLY)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        back_up(state, tmp_path / "backup.tar")
    finally:
        os.close(holder)
    assert not left.exists()
    assert busy.exists()


async def test_what_root_restores_belongs_to_the_user_of_the_service(
    state: Path, tmp_path: Path
) -> None:
    """Else the daemon could not open what was restored for it."""
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")
    back_up(state, tmp_path / "backup.tar", logs=True)
    other = tmp_path / "other"
    for _ in range(2):
        other.mkdir(exist_ok=True)
        os.chown(other, 64_322, 64_323)
        restore(other, tmp_path / "backup.tar", now=NOW, force=True)
    assert len(list(other.rglob("*"))) > 15
    owners = {(path.lstat().st_uid, path.lstat().st_gid) for path in other.rglob("*")}
    assert owners == {(64_322, 64_323)}


def test_directories_that_are_closed_against_writing_are_no_hindrance() -> None:
    """Immutable versions may be; root would not notice, the user of the service would."""
    if os.geteuid() != 0:
        pytest.skip("only root may become another user")
    root = Path(tempfile.mkdtemp(prefix="faasd-backup-"))  # pytest's own are closed to others.
    try:
        state_dir = root / "state"
        asyncio.run(make_store(state_dir))
        closed = state_dir / "versions" / "v1"
        closed.mkdir(parents=True)
        (closed / "file").write_text("code")
        subprocess.run(["chown", "-R", "64322:64322", str(root)], check=True)
        closed.chmod(0o555)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(64_322)
                os.setuid(64_322)
                back_up(state_dir, root / "backup.tar")
                rehearse(state_dir, root / "backup.tar", now=NOW)
                restore(state_dir, root / "backup.tar", now=NOW, force=True)
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        names = sorted(os.listdir(state_dir))
        assert names == ["faasd.db", "faasd.lock", "replaced-20261121T063000Z", "versions"]
        assert (closed.stat().st_mode & 0o777, (closed / "file").read_text()) == (0o555, "code")
    finally:
        shutil.rmtree(root)


async def make_store(state_dir: Path) -> None:
    await (await open_store(state_dir, FakeClock(0.0))).close()


_KILLED = """
    import os, pathlib, signal, sys
    from datetime import UTC, datetime
    from faasd.store.restore import restore

    left = int(sys.argv[3])
    real = pathlib.Path.rename

    def rename(self, target):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, target)

    pathlib.Path.rename = rename
    restore(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), now=datetime.now(UTC), force=True)
"""


async def test_a_restore_that_is_killed_is_finished_by_the_next_start_or_was_never_begun(
    store: Store, state: Path, clock: FakeClock, tmp_path: Path
) -> None:
    """Killed before each of its moves in turn. Half a state would lose what was acknowledged."""
    old = ids_in(state / "faasd.db")
    back_up(state, tmp_path / "backup.tar")
    await store.invocations.enqueue(some_invocations(1))
    await store.close()
    tree_without_pipes(state)
    newer = ids_in(state / "faasd.db")
    outcomes = []
    for moves in range(7):
        here = tmp_path / f"state{moves}"
        subprocess.run(["cp", "-a", str(state), str(here)], check=True)
        (here / "versions" / "newer").mkdir()
        code = [textwrap.dedent(_KILLED), str(here), str(tmp_path / "backup.tar"), str(moves)]
        done = subprocess.run([sys.executable, "-c", *code], cwd=REPOSITORY, check=False)
        opened = await open_store(here, clock)
        await opened.close()
        is_old = ids_in(here / "faasd.db") == old
        outcomes.append((done.returncode, is_old))
        assert (here / "versions" / "newer").exists() == (not is_old)
        assert not (here / ".restore").exists()
        if is_old:
            [kept] = here.glob("replaced-*/faasd.db")
            assert ids_in(kept) == newer
        else:
            assert ids_in(here / "faasd.db") == newer
    killed = -signal.SIGKILL
    assert outcomes == [(killed, False), *[(killed, True)] * 5, (0, True)]


async def test_a_state_with_an_unfinished_restore_cannot_be_backed_up(
    store: Store, state_dir: Path, tmp_path: Path
) -> None:
    """Half of it would be in the backup."""
    del store
    (state_dir / ".restore").mkdir()
    (state_dir / ".restore" / "move.json").write_text("{}")
    with pytest.raises(StoreError, match="a restore was interrupted"):
        back_up(state_dir, tmp_path / "backup.tar")


def test_orders_that_cannot_be_read_are_no_reason_to_begin_with_an_empty_store(
    tmp_path: Path,
) -> None:
    """A daemon that started here would accept events into a store that is about to be replaced."""
    (tmp_path / ".restore").mkdir()
    (tmp_path / ".restore" / "move.json").write_text("{")
    with StateLock.acquire(tmp_path), pytest.raises(StoreError, match="restore --force"):
        finish_interrupted_restore(tmp_path)
