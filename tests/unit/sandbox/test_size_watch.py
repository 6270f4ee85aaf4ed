"""Whether a directory holds more than so much: bytes, files, links, and what is in the way."""

from __future__ import annotations

import os
from pathlib import Path

from faasd.sandbox.size_watch import is_larger

MIB = 2**20


def test_it_counts_bytes_wherever_they_are(tmp_path: Path) -> None:
    """And the bound itself is not over it."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "a" / "empty").mkdir()
    (deep / "file").write_bytes(b"x" * MIB)
    assert is_larger(str(tmp_path), MIB - 1)
    assert not is_larger(str(tmp_path), 2 * MIB)


def test_it_follows_no_links_and_bears_what_is_gone(tmp_path: Path) -> None:
    """Or a function could have the daemon walk through the whole host."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_bytes(b"x" * MIB)
    own = tmp_path / "own"
    own.mkdir()
    (own / "link").symlink_to(tmp_path / "other")
    (own / "loop").symlink_to(own)
    assert not is_larger(str(own), MIB // 2)
    assert is_larger(str(tmp_path / "other"), MIB // 2)
    assert not is_larger(str(tmp_path / "nothing"), 0)


def test_it_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """Neither when it is done nor when it ends early."""
    for name in ("a/b/c", "a/d", "e/f"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").write_bytes(b"x" * MIB)
    before = os.listdir("/proc/self/fd")
    assert not is_larger(str(tmp_path), 9 * MIB)
    assert is_larger(str(tmp_path), MIB)
    assert len(os.listdir("/proc/self/fd")) == len(before)
