"""Private directories of imports: gone afterwards, and gone at the next start when we were killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from faasd.functions import import_dir as its_module
from faasd.functions.import_dir import import_dir, remove_leftovers


@pytest.fixture(autouse=True)
def tmp_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(its_module.tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_directory_is_there_for_the_block_alone(tmp_dir: Path) -> None:
    """With all that is in it, whatever its modes; what a link leads to stays."""
    (tmp_dir / "kept").mkdir()
    (tmp_dir / "kept" / "file").touch()
    with import_dir() as path:
        inner = Path(path, "a", "b")
        inner.mkdir(parents=True)
        (inner / "file").touch()
        Path(path, "link").symlink_to(tmp_dir / "kept")
        inner.chmod(0)
        assert [one.name for one in tmp_dir.iterdir() if one.name != "kept"] == [Path(path).name]
    assert [one.name for one in tmp_dir.rglob("*")] == ["kept", "file"]


def test_what_a_killed_process_left_is_removed_and_what_is_in_use_stays(tmp_dir: Path) -> None:
    """Several daemons and `faasd check` share one /tmp; a lock says which directory is whose."""
    code = (
        "import sys, tempfile; tempfile.tempdir = sys.argv[1]\n"
        "from faasd.functions.import_dir import import_dir\n"
        "with import_dir() as path:\n    print(path, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().decode().strip())
        (left / "file").touch()
        assert remove_leftovers() == 0
        assert (left / "file").exists()
        other.send_signal(signal.SIGKILL)
        other.wait()
    (tmp_dir / "faasd-import-file").touch()
    (tmp_dir / "faasd-import-link").symlink_to(tmp_dir)
    assert remove_leftovers() == 1
    assert not left.exists()
    assert {one.name for one in tmp_dir.iterdir()} == {"faasd-import-file", "faasd-import-link"}
