"""Directories that are gone when their maker is, and at the next look when he was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from faasd.linux.held_directory import held_directory, remove_left


def test_a_directory_is_there_for_the_block_alone(tmp_path: Path) -> None:
    """With all that is in it, whatever its modes; what a link leads to stays."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    with held_directory(tmp_path, "held-") as path:
        inner = Path(path, "a", "b")
        inner.mkdir(parents=True)
        (inner / "file").touch()
        Path(path, "link").symlink_to(tmp_path / "kept")
        inner.chmod(0)
        assert [one.name for one in tmp_path.iterdir() if one.name != "kept"] == [Path(path).name]
    assert [one.name for one in tmp_path.rglob("*")] == ["kept", "file"]


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_stays(tmp_path: Path) -> None:
    """Several processes share one directory, such as /tmp; a lock says which directory is whose."""
    code = (
        "import sys\n"
        "from faasd.linux.held_directory import held_directory\n"
        "with held_directory(sys.argv[1], 'held-') as path:\n    print(path, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().decode().strip())
        (left / "file").touch()
        assert remove_left(tmp_path, "held-") == 0
        assert (left / "file").exists()
        other.send_signal(signal.SIGKILL)
        other.wait()
    (tmp_path / "held-file").touch()
    (tmp_path / "held-link").symlink_to(tmp_path)
    assert remove_left(tmp_path, "held-") == 1
    assert not left.exists()
    assert {one.name for one in tmp_path.iterdir()} == {"held-file", "held-link"}


def test_one_that_was_renamed_stays_and_a_link_is_never_followed(tmp_path: Path) -> None:
    """What is made there takes its place by a rename; and root may look into a /tmp where others put links."""
    others = tmp_path / "others"
    (others / "inner").mkdir(parents=True)
    (others / "inner").chmod(0o755)
    (tmp_path / "held-link").symlink_to(others)
    with held_directory(tmp_path, "held-") as path:
        Path(path).rename(tmp_path / "placed")
    assert remove_left(tmp_path, "held-") == 0
    assert (tmp_path / "placed").is_dir()
    assert (others / "inner").stat().st_mode & 0o777 == 0o755
