"""What of a directory is code: which files a version holds, which it only points at, which it leaves out.

A version holds copies of files. What is large, or belongs to an environment or to data, is not copied
but linked: it is there under the same name, as it is now and not as it was.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from faasd.errors import CodeTooLarge

__all__ = [
    "BYTES_MAX",
    "CLUTTER",
    "FILES_MAX",
    "FILE_BYTES_MAX",
    "CodeFile",
    "CodeLink",
    "code_directories",
    "code_file",
    "is_code_name",
    "scan",
]

#: Beyond these it is data, and what is copied at each change should be code.
BYTES_MAX = 64 * 2**20
FILES_MAX = 5000
FILE_BYTES_MAX = 8 * 2**20

#: What tools leave behind, of no use to code that runs.
CLUTTER = frozenset(
    {"__pycache__", ".git", ".hg", ".svn", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".nox"}
)  # fmt: skip
_LEFT_OUT_ENDINGS = (".pyc", ".pyo", ".swp", ".swx", "~")
_ENVIRONMENTS = frozenset({"node_modules"})


@dataclass(frozen=True)
class CodeFile:
    """A file that is copied. `path` is relative to the root; the rest tells whether it has changed since."""

    path: str
    source: str
    identity: tuple[int, int, int, int]  # Device, inode, size, time of change in ns.
    mode: int
    owner: tuple[int, int]

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.identity[2]


@dataclass(frozen=True)
class CodeLink:
    """A symbolic link in the version. `stamp` tells versions apart where the target alone would not."""

    path: str
    target: str
    stamp: str = ""


def is_code_name(name: str) -> bool:
    """Whether a file of this name may be code: neither a cache nor what an editor leaves while it writes."""
    return not name.endswith(_LEFT_OUT_ENDINGS) and not name.startswith(".#")


def scan(
    root: str, *, link: Collection[str] = (), leave_out: Collection[str] = ()
) -> list[CodeFile | CodeLink]:
    """Return what a version of this directory, or of this one file, consists of, in a stable order.

    Linked are the paths in `link`, environments (`venv`, `node_modules`), hidden directories, files over
    FILE_BYTES_MAX, and whatever symbolic links outside lead to. Left out are the paths in `leave_out`,
    caches, version control, and what is no file.
    Raises CodeTooLarge beyond FILES_MAX or BYTES_MAX, and OSError when the root cannot be read.
    """
    root = os.path.realpath(root)
    places = _Places(
        root,
        frozenset(map(os.path.realpath, link)),
        frozenset(map(os.path.realpath, leave_out)),
    )
    found: list[CodeFile | CodeLink] = []
    size = 0
    for one in _in_file(root) if Path(root).is_file() else _in_directory(places, ""):
        found.append(one)
        size += one.size if isinstance(one, CodeFile) else 0
        if len(found) > FILES_MAX or size > BYTES_MAX:
            raise CodeTooLarge(
                f"{root} holds more than {FILES_MAX} files or {BYTES_MAX // 2**20} MiB, which is more than code"
            )
    return sorted([*found, *_links_to_come(places, found)], key=lambda one: one.path)


def code_directories(root: str, leave_out: Collection[str] = ()) -> Iterator[str]:
    """Yield a directory of code and those in it, as far as a version would hold copies of what is there."""
    for count, (directory, names, _) in enumerate(os.walk(root)):
        if count >= FILES_MAX:
            return
        yield directory
        names[:] = [
            name
            for name in names
            if name not in CLUTTER
            and not name.startswith(".")
            and os.path.join(directory, name) not in leave_out
            and not _is_environment(os.path.join(directory, name))
        ]


@dataclass(frozen=True)
class _Places:
    root: str
    link: frozenset[str]
    leave_out: frozenset[str]


def _in_file(path: str) -> Iterator[CodeFile]:
    yield code_file(os.path.basename(path), path, Path(path).stat())


def _in_directory(places: _Places, relative: str) -> Iterator[CodeFile | CodeLink]:
    with os.scandir(os.path.join(places.root, relative)) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        path = os.path.join(relative, entry.name)
        if entry.name in CLUTTER or entry.path in places.leave_out:
            continue
        try:
            if entry.is_symlink():
                yield from _of_link(places, path, entry.path)
            elif entry.path in places.link or _is_apart(entry):
                yield CodeLink(path, entry.path)
            elif entry.is_dir():
                yield from _in_directory(places, path)
            elif entry.is_file() and is_code_name(entry.name):
                yield _file_or_link(path, entry.path, entry.stat())
        except (FileNotFoundError, PermissionError):
            continue  # It went meanwhile, or nobody here may read it.


def _links_to_come(places: _Places, found: Collection[CodeFile | CodeLink]) -> Iterator[CodeLink]:
    """What is to be linked and does not exist yet, such as a directory that the function will make."""
    links = {one.path for one in found if isinstance(one, CodeLink)}
    for path in sorted(places.link):
        relative = os.path.relpath(path, places.root)
        above = [relative[:index] for index, char in enumerate(relative) if char == "/"]
        if path.startswith(places.root + "/") and links.isdisjoint({relative, *above}):
            links.add(relative)
            yield CodeLink(relative, path)


def _is_apart(entry: os.DirEntry[str]) -> bool:
    """Whether a directory is an environment or something of a tool's."""
    if not entry.is_dir():
        return False
    return entry.name.startswith(".") or _is_environment(entry.path)


def _is_environment(path: str) -> bool:
    return os.path.basename(path) in _ENVIRONMENTS or Path(path, "pyvenv.cfg").exists()


def _of_link(places: _Places, path: str, source: str) -> Iterator[CodeLink]:
    """A link within the tree goes on leading there; one to elsewhere is never followed, only kept.

    What it leads to may be closed to the function, and the daemon may be root.
    """
    target = os.path.realpath(source)
    if target in places.leave_out or not Path(target).exists():
        return
    if target.startswith(places.root + "/"):
        here = os.path.dirname(os.path.join(places.root, path))
        yield CodeLink(path, os.path.relpath(target, here))
    else:
        yield CodeLink(path, target, "" if Path(target).is_dir() else _stamp(Path(target).stat()))


def _file_or_link(path: str, source: str, status: os.stat_result) -> CodeFile | CodeLink:
    if status.st_size > FILE_BYTES_MAX:
        return CodeLink(path, source, _stamp(status))
    return code_file(path, source, status)


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def code_file(path: str, source: str, status: os.stat_result) -> CodeFile:
    """Return a file as it is now."""
    return CodeFile(
        path,
        source,
        (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns),
        stat.S_IMODE(status.st_mode),
        (status.st_uid, status.st_gid),
    )
