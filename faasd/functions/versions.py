"""Versions of code: what stood in a directory at one moment, kept under the hash of its content.

    STATE_DIR/versions/VERSION/code/…          the files, read-only
    STATE_DIR/versions/VERSION/version.json    where they came from, how many, how large

A version never changes. It appears whole, by one rename after everything in it is on the disk, so a
crash leaves a version or none. What runs is always a version, so that editing a file changes nothing
that runs, and a zygote that is started again tomorrow imports the very same code.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from faasd.errors import VersionError
from faasd.functions import compile_files
from faasd.functions.code_tree import FILE_BYTES_MAX, CodeFile, CodeLink, code_file, scan
from faasd.linux.sync import sync, write_synced
from faasd.linux.trees import remove_tree

__all__ = ["KEPT_PER_SOURCE", "Version", "VersionStore"]

KEPT_PER_SOURCE = 10
#: How often a directory that changes while it is copied is copied anew.
_TRIES = 5
_NAME_CHARS = 12
#: How long a version is compiled for; what is missing then is compiled by each zygote.
_COMPILE_S_MAX = 20.0
_PASSED_ENV = ("LD_LIBRARY_PATH",)  # An interpreter may not start without.
_SIBLINGS_MAX = 1000
_NEW, _OLD = ".new-", ".old-"  # Beginnings of names that are no versions: on their way in, or out.


@dataclass(frozen=True)
class Version:
    """One kept version."""

    version: str
    source: str  # The directory or file that it was taken from, or what its maker calls it.
    files: int
    bytes: int
    linked: tuple[str, ...]  # What is in it as it is now, not as it was: absolute paths.
    digest: str
    added_at: float  # When it was last added: seconds since the epoch.


class VersionStore:
    """The versions in one directory. Safe for several threads and processes, but for `collect` and `sweep`."""

    def __init__(self, root: Path) -> None:
        """Keep versions in `root`, which is made when the first is added."""
        self.root = root

    def add(
        self,
        tree: str,
        *,
        now: float,
        source: str | None = None,
        link: Collection[str] = (),
        leave_out: Collection[str] = (),
    ) -> Version:
        """Keep what is in a directory (or one file) now and return its version; the same content has the same.

        `link` and `leave_out` are paths in the tree that are not copied; see code_tree.scan. When this
        returns, the version is on the disk. Raises CodeTooLarge, or VersionError when it cannot be kept:
        the tree cannot be read or goes on changing, the disk is full.
        """
        source = tree if source is None else source
        try:
            for _ in range(_TRIES):
                entries = scan(tree, link=link, leave_out=leave_out)
                # What is beside it is reached from it (`_link_siblings`), so its place counts.
                place = os.path.dirname(os.path.realpath(tree))
                known = self._known(_digest(entries, None, place))
                kept = known or self._copy(entries, source, place)
                if kept is not None and scan(tree, link=link, leave_out=leave_out) == entries:
                    _link_siblings(self.root / kept, place, link, leave_out)
                    os.utime(self.root / kept, (now, now))
                    found = self.get(kept)
                    if found is not None:
                        return found
        except OSError as error:
            where = f" ({error.filename})" if error.filename else ""
            raise VersionError(f"cannot keep {tree}: {error.strerror}{where}") from error
        raise VersionError(
            f"cannot keep {tree}: it goes on changing while it is read; try again when that is over"
        )

    def path(self, version: str) -> Path:
        """Return the directory that holds the code of a version."""
        return self.root / version / "code"

    def get(self, version: str) -> Version | None:
        """Return a version that is kept, None for one that is not."""
        directory = self.root / version
        if not version.isalnum():
            return None
        try:
            value = json.loads((directory / "version.json").read_bytes())
            added_at = directory.stat().st_mtime
            return Version(**{**value, "linked": tuple(value["linked"]), "added_at": added_at})
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def list(self) -> Sequence[Version]:
        """Return every version, the last added first."""
        try:
            names = os.listdir(self.root)
        except FileNotFoundError:
            return []
        found = [version for version in map(self.get, names) if version is not None]
        return sorted(found, key=lambda version: version.added_at, reverse=True)

    def collect(
        self,
        keep: Collection[str],
        per_source: int = KEPT_PER_SOURCE,
        sources: Collection[str] | None = None,
    ) -> Sequence[str]:
        """Remove versions that are neither in `keep` nor among the newest of their source; returns their names.

        With `sources`, all others count as one: a release directory of its own for each release would
        else keep its versions for ever.
        """
        seen: dict[str, int] = {}
        removed = []
        for one in self.list():
            source = one.source if sources is None or one.source in sources else ""
            seen[source] = seen.get(source, 0) + 1
            if one.version in keep or seen[source] <= per_source:
                continue
            # By renaming first: a version is there whole or not at all.
            aside = self.root / f"{_OLD}{one.version}-{os.getpid()}"
            with contextlib.suppress(OSError):
                (self.root / one.version).rename(aside)
                removed.append(one.version)
            remove_tree(aside, ignores_errors=True)
        return removed

    def sweep(self) -> None:
        """Remove what a crash has left half-made or half-removed. For whoever owns the state directory."""
        for name in os.listdir(self.root) if self.root.is_dir() else ():
            if name.startswith((_NEW, _OLD)):
                remove_tree(self.root / name, ignores_errors=True)

    def _known(self, digest: str) -> str | None:
        found = self.get(self._name(digest))
        return found.version if found is not None else None

    def _name(self, digest: str) -> str:
        """Return the name for a digest: short, but longer where another version has it already."""
        for chars in range(_NAME_CHARS, len(digest)):
            other = self.get(digest[:chars])
            if other is None or other.digest == digest:
                return digest[:chars]
        return digest

    def _copy(self, entries: Sequence[CodeFile | CodeLink], source: str, place: str) -> str | None:
        """Make a version of copies; None when a file has changed meanwhile."""
        # The state directory's own mode: events and results will lie in it.
        self.root.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.root.mkdir(mode=0o711, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.root))
        try:
            code = made / "code"
            code.mkdir(mode=0o755)
            copied = _write(entries, code)
            if copied is None:
                return None
            _compile(entries, code)
            digest = _digest(entries, copied, place)
            name = self._name(digest)
            files = [one for one in entries if isinstance(one, CodeFile)]
            links = [one.target for one in entries if isinstance(one, CodeLink)]
            about = Version(
                name,
                source,
                len(files),
                sum(one.size for one in files),
                tuple(sorted(target for target in links if target.startswith("/"))),
                digest,
                0.0,
            )
            write_synced(made / "version.json", json.dumps(asdict(about), indent=1).encode())
            _close_directories(made)
            try:
                made.rename(self.root / name)
            except OSError:
                if self.get(name) is None:  # Else somebody has made the same one meanwhile.
                    raise
            sync(self.root)
            return name
        finally:
            remove_tree(made, ignores_errors=True)


def _digest(
    entries: Sequence[CodeFile | CodeLink], copied: Sequence[bytes] | None, place: str
) -> str:
    """Hash names, contents and links; `copied` has the hashes of the files, which are read else."""
    whole = hashlib.sha256(os.fsencode(place) + b"\0")
    hashes = iter(copied if copied is not None else ())
    for one in entries:
        whole.update(os.fsencode(one.path) + b"\0")
        if isinstance(one, CodeLink):
            whole.update(b"link " + os.fsencode(f"{one.target}\0{one.stamp}") + b"\0")
            continue
        whole.update(b"program " if one.mode & 0o100 else b"file ")
        whole.update(next(hashes) if copied is not None else _hash_of(one.source))
    return whole.hexdigest()


def _link_siblings(
    directory: Path, place: str, link: Collection[str], leave_out: Collection[str]
) -> None:
    """Have `Path(__file__).parent.parent / "data"` lead where it leads from the source: beside it.

    Links only, to what is there now; what of it a function may touch, its walls say as ever.
    """
    closed = {os.path.realpath(path) for path in leave_out}
    with os.scandir(place) as entries:
        names = sorted(
            one.name
            for one in entries
            if not one.name.startswith(".") and os.path.realpath(one.path) not in closed
        )[:_SIBLINGS_MAX]
    to_come = [os.path.basename(path) for path in link if os.path.dirname(path) == place]
    missing = [name for name in {*names, *to_come} if not os.path.lexists(directory / name)]
    if missing:
        directory.chmod(0o755)
        for name in missing:
            with contextlib.suppress(FileExistsError):  # Another process has been faster.
                (directory / name).symlink_to(os.path.join(place, name))
        directory.chmod(0o555)


def _hash_of(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - as in code_tree.
        return hashlib.file_digest(file, "sha256").digest()


def _write(entries: Sequence[CodeFile | CodeLink], code: Path) -> list[bytes] | None:
    """Copy and link everything; returns the hashes of what was copied, None when a file has changed."""
    hashes = []
    for one in entries:
        path = code / one.path
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        if isinstance(one, CodeLink):
            path.symlink_to(one.target)
            continue
        data = _read_unchanged(one)
        if data is None:
            return None
        hashes.append(hashlib.sha256(data).digest())
        write_synced(path, data)
        _take_after(path, one)
        if one.path.endswith(".py"):
            _copy_bytecode(Path(one.source), path)
    return hashes


def _compile(entries: Sequence[CodeFile | CodeLink], code: Path) -> None:
    """Compile what has no bytecode yet for our own interpreter, which most functions have.

    Else each new zygote would, since it cannot write here. That it does not succeed costs only this.
    """
    modules = [one for one in entries if isinstance(one, CodeFile) and one.path.endswith(".py")]
    if not modules:
        return
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            [sys.executable, "-I", "-S", "-W", "ignore", compile_files.__file__],
            input=b"\0".join(os.fsencode(code / one.path) for one in modules),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={name: os.environ[name] for name in _PASSED_ENV if name in os.environ},
            timeout=_COMPILE_S_MAX,
            check=False,
        )
    for one in modules:
        path = code / one.path
        compiled = path.with_name("__pycache__") / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
        if compiled.is_file():
            # Half of it after a power cut would be taken for whole.
            sync(compiled)
            _take_after(compiled, one)


def _copy_bytecode(source: Path, copy: Path) -> None:
    """Copy what interpreters have compiled of a file: a sandbox cannot keep what it compiles.

    It says of which time and size of the file it is, and the copy has both, so what is stale is not used.
    """
    for found in source.parent.glob(f"__pycache__/{glob.escape(source.stem)}.*.pyc"):
        status = found.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= FILE_BYTES_MAX:
            one = code_file(str(found), str(found), status)
            data = _read_unchanged(one)
            if data is not None:
                cache = copy.parent / "__pycache__"
                cache.mkdir(mode=0o755, exist_ok=True)
                write_synced(cache / found.name, data)
                _take_after(cache / found.name, one)


def _read_unchanged(one: CodeFile) -> bytes | None:
    """Read a file that is still the one that was looked at."""
    with open(one.source, "rb") as file:  # noqa: PTH123 - as in code_tree.
        # A directory above may have become a link to where only the daemon may read.
        if str(Path(f"/proc/self/fd/{file.fileno()}").readlink()) != one.source:
            return None
        data = file.read(one.size + 1)
        found = os.fstat(file.fileno())
    identity = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
    return data if identity == one.identity and len(data) == one.size else None


def _take_after(path: Path, one: CodeFile) -> None:
    """Give a copy what its original has: time, owner where we may, and its mode but for writing."""
    os.utime(path, ns=(one.identity[3], one.identity[3]))
    if os.geteuid() == 0:
        os.chown(path, *one.owner)  # It may be closed to others than its owner.
    path.chmod(one.mode & 0o555)


def _close_directories(top: Path) -> None:
    """Make directories read-only, the innermost first, each on the disk before its own name is."""
    for directory, _, _ in os.walk(top, topdown=False):
        Path(directory).chmod(0o555)
        sync(Path(directory))
