"""Takes in what people hand over: a zip archive or a directory becomes a tree of plain files.

Nothing in it is taken on trust. No name leads out of the tree, no link does, nothing but files,
directories and links is made, set-id bits are dropped, and what comes out is counted as it is written
rather than as the archive says.
"""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from faasd.errors import BundleRefused
from faasd.functions.code_tree import CLUTTER
from faasd.model.below import is_in
from faasd.model.units import format_size

__all__ = ["Bounds", "copy_directory", "is_clutter", "unpack_zip"]

_CHUNK_BYTES = 2**20
_PATH_BYTES_MAX = 2000
_DEPTH_MAX = 60
#: What zipfile and zlib raise at an archive that is broken, cut short, encrypted or packed in a way unknown here.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class Bounds:
    """How much one tree may hold. AWS allows 250 MB with all layers; libraries of today need more."""

    entries: int = 50_000
    size_bytes: int = 2 * 2**30


def is_clutter(path: Path) -> bool:
    """Whether a file or directory is a tool's own: caches, version control, compiled files."""
    return path.name in CLUTTER or path.suffix in (".pyc", ".pyo")


def unpack_zip(archive: Path, into: Path, bounds: Bounds = Bounds()) -> None:
    """Unpack an archive into a directory that exists and is empty. Raises BundleRefused."""
    tree = _Tree(into, bounds, str(archive))
    try:
        with zipfile.ZipFile(archive) as found:
            for entry in found.infolist():
                _unpack_entry(found, entry, tree)
    except _BROKEN as error:
        raise BundleRefused(f"cannot unpack {archive}: {error}") from error
    except OSError as error:
        raise _refused(str(archive), error) from error
    tree.make_links()


def _unpack_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, tree: _Tree) -> None:
    mode = entry.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if entry.is_dir():
        tree.add_directory(entry.filename)
    elif kind == stat.S_IFLNK:
        if entry.file_size > _PATH_BYTES_MAX:
            raise BundleRefused(f"cannot unpack {archive.filename}: its link {entry.filename!r} is too long")  # fmt: skip
        tree.add_link(entry.filename, os.fsdecode(archive.read(entry)))
    elif kind in (0, stat.S_IFREG):
        with archive.open(entry) as content:
            tree.add_file(entry.filename, content, is_program=bool(mode & 0o111))
    else:
        raise BundleRefused(
            f"cannot unpack {archive.filename}: {entry.filename!r} is neither a file, a directory nor a link"
        )


def copy_directory(
    source: Path,
    into: Path,
    bounds: Bounds = Bounds(),
    leave_out: Callable[[Path], bool] = is_clutter,
) -> None:
    """Copy a directory's content into one that exists and is empty. Raises BundleRefused."""
    tree = _Tree(into, bounds, str(source))
    try:
        _copy(source, "", tree, leave_out)
    except OSError as error:
        raise _refused(str(source), error) from error
    tree.make_links()


def _copy(directory: Path, prefix: str, tree: _Tree, leave_out: Callable[[Path], bool]) -> None:
    for path in sorted(directory.iterdir()):
        if leave_out(path):
            continue
        name = prefix + path.name
        mode = path.lstat().st_mode
        if stat.S_ISLNK(mode):
            tree.add_link(name, os.readlink(path))  # noqa: PTH115 - as it is written, not as a Path.
        elif stat.S_ISDIR(mode):
            tree.add_directory(name)
            _copy(path, name + "/", tree, leave_out)
        elif stat.S_ISREG(mode):
            # Not through a link, and not waiting for a FIFO, that has taken its place meanwhile.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            with os.fdopen(os.open(path, flags), "rb") as content:
                tree.add_file(name, content, is_program=bool(mode & 0o111))
        else:
            raise BundleRefused(f"cannot copy {path}: it is neither a file, a directory nor a link")


class _Tree:
    """A tree that grows within its bounds. Links come last, so that nothing is ever written through one."""

    def __init__(self, root: Path, bounds: Bounds, source: str) -> None:
        self._root = root
        self._bounds = bounds
        self._source = source
        self._entries = 0
        self._size_bytes = 0
        self._links: dict[Path, str] = {}

    def add_directory(self, name: str) -> None:
        self._place(name).mkdir(mode=0o755, parents=True, exist_ok=True)

    def add_file(self, name: str, content: IO[bytes], *, is_program: bool) -> None:
        path = self._place(name)
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(path, flags, 0o755 if is_program else 0o644)
        except (FileExistsError, NotADirectoryError) as error:
            raise BundleRefused(f"cannot take in {self._source}: it has {name!r} twice") from error
        with os.fdopen(fd, "wb") as file:
            while chunk := content.read(_CHUNK_BYTES):
                self._size_bytes += len(chunk)
                if self._size_bytes > self._bounds.size_bytes:
                    most = format_size(self._bounds.size_bytes)
                    raise BundleRefused(f"cannot take in {self._source}: it holds more than {most}")
                file.write(chunk)

    def add_link(self, name: str, target: str) -> None:
        self._links[self._place(name)] = target

    def make_links(self) -> None:
        """Make the links, and see that each leads to something inside."""
        root = os.path.realpath(self._root)
        try:
            for path, target in self._links.items():
                path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
                path.symlink_to(target)
        except OSError as error:
            raise BundleRefused(
                f"cannot take in {self._source}: its link {path.name!r} cannot be made: {error.strerror}"
            ) from error
        for path, target in self._links.items():
            # Only now: where a link leads may depend on all the others.
            led_to = os.path.realpath(path)
            if target.startswith("/") or not is_in(led_to, root):
                name = path.relative_to(self._root)
                raise BundleRefused(
                    f"cannot take in {self._source}: its link {str(name)!r} leads out of it, to {target!r}"
                )

    def _place(self, name: str) -> Path:
        """Return where a name of the source goes. Raises BundleRefused for one that goes elsewhere."""
        self._entries += 1
        if self._entries > self._bounds.entries:
            raise BundleRefused(
                f"cannot take in {self._source}: it holds more than {self._bounds.entries} files"
            )
        parts = [part for part in name.split("/") if part not in ("", ".")]
        is_odd = name.startswith("/") or ".." in parts or "\0" in name or not parts
        if is_odd or len(os.fsencode(name)) > _PATH_BYTES_MAX or len(parts) > _DEPTH_MAX:
            raise BundleRefused(
                f"cannot take in {self._source}: {name[:200]!r} is no name for a file in it"
            )
        return self._root.joinpath(*parts)


def _refused(source: str, error: OSError) -> BundleRefused:
    place = f" ({error.filename})" if error.filename not in (None, source) else ""
    return BundleRefused(f"cannot take in {source}{place}: {error.strerror}")
