"""Which parts of a configuration's directory are a command's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from faasd.config.command_code import code_paths


@pytest.fixture
def base_dir(tmp_path: Path) -> Path:
    for name in (
        "backup.sh",
        "jobs/deep/nightly.sh",
        "jobs/lib.sh",
        ".venv/bin/python",
        "data/x.json",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (("/usr/bin/sh", "-c", "cat data/x.json"), ()),
        (("{base}/jobs/deep/nightly.sh", "--full"), ("jobs",)),
        (("/usr/bin/bash", "jobs/deep/nightly.sh"), ("jobs",)),
        (("{base}/.venv/bin/python", "jobs/lib.sh"), (".venv", "jobs")),
        (("/usr/bin/tar", "-c", "data"), ("data",)),
        (("/usr/bin/tar", "-c", "./data/x.json"), ("data",)),
        (("{base}/backup.sh",), (".",)),
        (("{base}/.venv/bin/python", "backup.sh"), (".",)),
        (("/usr/bin/ls", "."), (".",)),
        (("/usr/bin/ls", "..", "/etc/shadow", "jobs/../../elsewhere"), ()),
        (("/usr/bin/ls", "", "nul\0", "not-there", "x" * 5000), ()),
    ],
)  # fmt: skip
def test_a_command_has_what_it_names(
    command: tuple[str, ...], parts: tuple[str, ...], base_dir: Path
) -> None:
    """Whatever is right beside the configuration counts as a whole; what is elsewhere is not code."""
    words = [word.format(base=base_dir) for word in command]
    assert code_paths(words, base_dir) == tuple(str(base_dir / part) for part in parts)
