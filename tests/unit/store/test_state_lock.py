"""One owner per state directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faasd.errors import StateDirectoryInUse
from faasd.store.state_lock import LOCK_NAME, StateLock

HOLD = (
    "import sys; from pathlib import Path; from faasd.store.state_lock import StateLock;"
    "lock = StateLock.acquire(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
)


def test_a_second_holder_is_told_who_holds_it(tmp_path: Path) -> None:
    """The operator needs the process, not the fact."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(StateDirectoryInUse) as caught:
            StateLock.acquire(tmp_path)
        assert f"process {child.pid} ({sys.executable} -c" in str(caught.value)
        child.kill()
    # A killed holder leaves its name behind, but not its lock.
    with StateLock.acquire(tmp_path):
        assert f'"pid": {os.getpid()}' in (tmp_path / LOCK_NAME).read_text()


def test_a_waiting_process_gets_the_lock_when_it_is_free(tmp_path: Path) -> None:
    """A restart may begin while the old process is still ending."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(StateDirectoryInUse):
            StateLock.acquire(tmp_path, wait_s=0.05)
        child.stdin.close()
        StateLock.acquire(tmp_path, wait_s=20).release()


def test_a_lock_whose_holder_is_not_named_is_still_a_lock(tmp_path: Path) -> None:
    """The holder may be about to write its name, or the disk may be full."""
    with StateLock.acquire(tmp_path):
        for content in ("", "not json", "[1]", '{"pid": "x"}'):
            (tmp_path / LOCK_NAME).write_text(content)
            with pytest.raises(StateDirectoryInUse, match="another process holds it"):
                StateLock.acquire(tmp_path)
