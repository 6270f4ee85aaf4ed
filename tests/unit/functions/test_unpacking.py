"""Archives and directories from anybody become trees of plain files, or are refused."""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from faasd.errors import BundleRefused
from faasd.functions.unpacking import Bounds, copy_directory, unpack_zip


@pytest.fixture
def into(tmp_path: Path) -> Path:
    path = tmp_path / "a" / "into"
    path.mkdir(parents=True)
    return path


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    found = zipfile.ZipInfo(name)
    found.create_system = 3
    found.external_attr = mode << 16
    return found


def archive(path: Path, fill: Callable[[zipfile.ZipFile], object]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        fill(made)
    return path


def below(path: Path) -> list[str]:
    return sorted(str(one.relative_to(path)) for one in path.rglob("*") if not one.is_dir())


def test_files_keep_their_content_and_whether_they_are_programs(into: Path, tmp_path: Path) -> None:
    """A layer's programs must run, and nothing else of a mode is worth having."""

    def fill(made: zipfile.ZipFile) -> None:
        made.writestr(entry("bin/tool", stat.S_IFREG | 0o4755), "#!/bin/sh\n")
        made.writestr(entry("data/x.txt", stat.S_IFREG | 0o666), "hello")
        made.writestr(entry("lib/libx.so", stat.S_IFLNK | 0o777), "libx.so.1")
        made.writestr(entry("lib/libx.so.1"), "elf")
        made.writestr("plain.txt", "as Windows makes it, with no mode")

    unpack_zip(archive(tmp_path / "x.zip", fill), into)

    assert below(into) == ["bin/tool", "data/x.txt", "lib/libx.so", "lib/libx.so.1", "plain.txt"]
    assert stat.S_IMODE((into / "bin/tool").stat().st_mode) == 0o755, "without its set-user-id bit"
    assert stat.S_IMODE((into / "data/x.txt").stat().st_mode) == 0o644
    assert (into / "lib/libx.so").read_text() == "elf"


@pytest.mark.parametrize(
    "name",
    ["../out.txt", "a/../../out.txt", "/out.txt", "//out.txt", "a/" * 100 + "x", "..", "x" * 300],
)
def test_a_name_that_leads_elsewhere_is_refused(name: str, into: Path, tmp_path: Path) -> None:
    """The classic of archives: a name that climbs out of the directory it is unpacked to."""
    made = archive(tmp_path / "x.zip", lambda one: one.writestr(entry(name), "gotcha"))

    with pytest.raises(BundleRefused):
        unpack_zip(made, into)

    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "sub/../../../outside", "loop"])
def test_a_link_that_leads_out_is_refused(target: str, into: Path, tmp_path: Path) -> None:
    """Its reader would follow it, with the daemon's own rights if that reads the tree."""
    (tmp_path / "outside").write_text("secret")

    def fill(made: zipfile.ZipFile) -> None:
        made.writestr(entry("sub/x.txt"), "x")
        made.writestr(entry("loop", stat.S_IFLNK | 0o777), target)

    if target == "loop":  # Leads nowhere: not out, and not in.
        unpack_zip(archive(tmp_path / "x.zip", fill), into)
        return
    with pytest.raises(BundleRefused, match="leads out of it"):
        unpack_zip(archive(tmp_path / "x.zip", fill), into)


def test_links_that_lead_out_only_together_are_refused(into: Path, tmp_path: Path) -> None:
    """Each by itself stays inside; the second climbs from where the first one leads."""

    def fill(made: zipfile.ZipFile) -> None:
        made.writestr(entry("deep/er/x.txt"), "x")
        made.writestr(entry("deep/er/up", stat.S_IFLNK | 0o777), "../..")
        made.writestr(entry("deep/er/out", stat.S_IFLNK | 0o777), "up/..")

    with pytest.raises(BundleRefused, match="leads out of it"):
        unpack_zip(archive(tmp_path / "x.zip", fill), into)


def test_nothing_is_written_through_a_link(into: Path, tmp_path: Path) -> None:
    """An archive that brings a link to a directory, and then a file in it, writes nowhere else."""
    (tmp_path / "outside").mkdir()

    def fill(made: zipfile.ZipFile) -> None:
        made.writestr(entry("d", stat.S_IFLNK | 0o777), str(tmp_path / "outside"))
        made.writestr(entry("d/x.txt"), "gotcha")

    with pytest.raises(BundleRefused):
        unpack_zip(archive(tmp_path / "x.zip", fill), into)

    assert not list((tmp_path / "outside").iterdir())


def test_what_comes_out_is_counted_and_not_what_the_archive_says(
    into: Path, tmp_path: Path
) -> None:
    """A few kilobytes can hold gigabytes of zeros."""
    made = archive(tmp_path / "x.zip", lambda one: one.writestr("zeros", b"\0" * 5_000_000))
    assert made.stat().st_size < 20_000

    with pytest.raises(BundleRefused, match="more than 1MiB"):
        unpack_zip(made, into, Bounds(size_bytes=2**20))
    unpack_zip(made, into / "..", Bounds(size_bytes=2**23))


def test_the_number_of_files_is_bounded(into: Path, tmp_path: Path) -> None:
    """Inodes run out before bytes do."""

    def fill(made: zipfile.ZipFile) -> None:
        for number in range(30):
            made.writestr(f"{number}.txt", "")

    with pytest.raises(BundleRefused, match="more than 20 files"):
        unpack_zip(archive(tmp_path / "x.zip", fill), into, Bounds(entries=20))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_comes_twice_is_refused(into: Path, tmp_path: Path) -> None:
    """Whoever looked at the one must not get the other."""

    def fill(made: zipfile.ZipFile) -> None:
        made.writestr("x.py", "good")
        made.writestr("x.py", "bad")

    with pytest.raises(BundleRefused, match="twice"):
        unpack_zip(archive(tmp_path / "x.zip", fill), into)


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_devices_and_pipes_in_an_archive_are_refused(kind: int, into: Path, tmp_path: Path) -> None:
    """Nothing that opens like a file and is none gets into the state directory."""
    made = archive(tmp_path / "x.zip", lambda one: one.writestr(entry("dev", kind | 0o644), ""))

    with pytest.raises(BundleRefused, match="neither a file"):
        unpack_zip(made, into)


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_archive_is_said_to_be_none(content: bytes, into: Path, tmp_path: Path) -> None:
    """A broken download must not end in a traceback."""
    (tmp_path / "x.zip").write_bytes(content)

    with pytest.raises(BundleRefused, match=r"cannot unpack .*x\.zip"):
        unpack_zip(tmp_path / "x.zip", into)


def test_a_broken_checksum_is_noticed(into: Path, tmp_path: Path) -> None:
    """Half of what somebody wrote is not what he wrote."""
    made = archive(tmp_path / "x.zip", lambda one: one.writestr(entry("x.py"), b"a = 1"))
    data = made.read_bytes()
    made.write_bytes(data.replace(b"a = 1", b"a = 2"))

    with pytest.raises(BundleRefused):
        unpack_zip(made, into)


def test_a_directory_is_copied_without_what_tools_left_in_it(into: Path, tmp_path: Path) -> None:
    """Caches and version control are nobody's code."""
    source = tmp_path / "source"
    for name in ("a.py", "pkg/__init__.py", "pkg/__pycache__/x.pyc", ".git/config", "bin/tool"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    (source / "bin/tool").chmod(0o755)
    (source / "link.py").symlink_to("a.py")

    copy_directory(source, into)

    assert below(into) == ["a.py", "bin/tool", "link.py", "pkg/__init__.py"]
    assert os.access(into / "bin/tool", os.X_OK)
    assert (into / "link.py").is_symlink()


def test_a_pipe_in_a_directory_is_refused_and_not_waited_for(into: Path, tmp_path: Path) -> None:
    """Reading a FIFO would wait for ever for somebody who writes to it."""
    (tmp_path / "source").mkdir()
    os.mkfifo(tmp_path / "source" / "pipe")

    with pytest.raises(BundleRefused, match="neither a file"):
        copy_directory(tmp_path / "source", into)


def test_a_link_of_a_directory_that_leads_out_is_refused(into: Path, tmp_path: Path) -> None:
    """What it leads to would be missing on the next machine, or be something else."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "data").symlink_to(tmp_path)

    with pytest.raises(BundleRefused, match="leads out of it"):
        copy_directory(tmp_path / "source", into)
