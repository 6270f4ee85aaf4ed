"""The version of a function's code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faasd.functions import code_version as limits
from faasd.functions.code_version import code_version


@pytest.fixture
def code(tmp_path: Path) -> Path:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "pkg" / "table.csv").write_text("1")
    return tmp_path


@pytest.mark.parametrize("name", ["a.py", "pkg/table.csv", "new.py", "pkg/deeper/new.txt"])
def test_the_version_changes_with_the_code_and_its_data(code: Path, name: str) -> None:
    """A zygote of the old code must not answer for the new one."""
    before = code_version(str(code))
    (code / name).parent.mkdir(exist_ok=True)
    (code / name).write_text("2")
    assert code_version(str(code)) != before


@pytest.mark.parametrize(
    "name",
    [
        "__pycache__/a.pyc",
        ".git/HEAD",
        "node_modules/x.js",
        "env/pyvenv.cfg",
        "a.py~",
        ".a.py.swp",
        "out/x",
    ],
)
def test_the_version_does_not_change_with_what_is_no_code(code: Path, name: str) -> None:
    """Else every run of the interpreter itself would make a new version."""
    (code / "env").mkdir()
    (code / "env" / "pyvenv.cfg").touch()
    before = code_version(str(code), [str(code / "out")])
    (code / name).parent.mkdir(exist_ok=True)
    (code / name).write_text("2")
    assert code_version(str(code), [str(code / "out")]) == before


def test_the_version_is_of_names_and_contents_not_of_places_and_times(
    code: Path, tmp_path: Path
) -> None:
    """The same code at another place, or checked out again, is the same version."""
    before = code_version(str(code))
    os.utime(code / "a.py", (1, 1))
    assert code_version(str(code)) == before
    (code / "a.py").rename(code / "b.py")
    assert code_version(str(code)) != before


def test_what_would_block_or_cannot_be_read_is_survived(code: Path) -> None:
    """Opening a FIFO would stop the daemon."""
    os.mkfifo(code / "pipe")
    (code / "dangling").symlink_to("nowhere")
    (code / "loop").symlink_to(code)
    assert len(code_version(str(code))) == 12
    assert len(code_version(str(code / "gone"))) == 12


def test_large_files_count_by_size_and_time(code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a gigabyte of model weights at every reload would be felt."""
    monkeypatch.setattr(limits, "FILE_BYTES_MAX", 4)
    big = code / "weights.bin"
    big.write_text("12345")
    os.utime(big, ns=(5, 5))
    before = code_version(str(code))
    big.write_text("abcde")
    os.utime(big, ns=(5, 5))
    assert code_version(str(code)) == before
    os.utime(big, ns=(6, 6))
    assert code_version(str(code)) != before
