"""Which part of a path is closed to us."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from faasd.linux.users import closed_part


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can pass; pytest's own are closed to them."""
    path = Path(tempfile.mkdtemp(prefix="faasd-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_what_may_be_read_is_not_closed(tmp_path: Path) -> None:
    """Nor is what does not exist, whose absence somebody else reports better."""
    assert closed_part([str(tmp_path), __file__, str(tmp_path / "gone")]) is None


@pytest.mark.parametrize(
    ("mode", "closed"), [(0o700, "above"), (0o644, "above/code"), (0o711, "above/code")]
)
def test_the_outermost_closed_part_is_named(place: Path, mode: int, closed: str) -> None:
    """The one whose mode must change."""
    code = place / "above" / "code"
    code.mkdir(parents=True)
    (place / "above").chmod(0o700 if mode == 0o700 else 0o755)
    code.chmod(mode)
    found = _as_nobody(code)
    assert found == f"{code} {place / closed}"
    (place / "above").chmod(0o755)
    code.chmod(0o755)
    assert _as_nobody(code) == "None"


def _as_nobody(path: Path) -> str:
    """Ask in a child that is an ordinary user, since root may read everything."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)
        found = closed_part([str(path)])
        os.write(into, (" ".join(found) if found else "None").encode())
        os._exit(0)
    os.close(into)
    os.waitpid(pid, 0)
    with os.fdopen(out) as answer:
        return answer.read()
