"""What a group's account tells: numbers while the files are there, nothing when they are not."""

from __future__ import annotations

import os
from pathlib import Path

from faasd.sandbox.cgroup_account import Account


def test_numbers_are_read_anew_each_time(tmp_path: Path) -> None:
    """From files that stay open: only the first question opens them."""
    files = {name: str(tmp_path / name) for name in ("tasks", "memory", "peak", "cpu")}
    for name in files:
        (tmp_path / name).write_text("2\n")
    account = Account(files)
    before = len(os.listdir("/proc/self/fd"))
    assert (account.tasks(), account.memory_bytes(), account.peak_bytes()) == (2, 2, 2)
    assert account.cpu_s() == 2e-9
    (tmp_path / "tasks").write_text("31\n")
    assert account.tasks() == 31
    assert len(os.listdir("/proc/self/fd")) == before + 4
    account.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_version_2_tells_its_time_in_a_table(tmp_path: Path) -> None:
    """In microseconds, on the first line."""
    (tmp_path / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\nsystem_usec 1\n")
    account = Account({"cpu_stat": str(tmp_path / "cpu.stat")})
    assert account.cpu_s() == 1.5
    account.close()


def test_what_a_kernel_does_not_tell_is_none(tmp_path: Path) -> None:
    """A file that is missing, and a group that is gone."""
    account = Account({"tasks": str(tmp_path / "none")})
    account.begin()
    assert (account.tasks(), account.cpu_s(), account.peak_bytes()) == (None, None, None)
    account.close()
