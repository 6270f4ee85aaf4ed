"""examples/shell_backup does what its README says."""

from __future__ import annotations

import tarfile
from collections.abc import Callable

from tests.examples.running import Example, wait_for


def test_a_shell_script_packs_the_folder_by_hand_and_by_schedule(
    started: Callable[[str], Example],
) -> None:
    """A command is a function like any other: invoked, scheduled, logged, recorded."""
    example = started("shell_backup")
    example.faasd("invoke", "backup")
    backups = example.folder / "backups"
    [first] = backups.glob("*.tar.gz")
    with tarfile.open(first) as archive:
        assert {"data/notes.txt", "data/letters/first.txt"} <= set(archive.getnames())

    example.faasd("schedules", "run", "backup-nightly")
    wait_for("a second backup", lambda: len(list(backups.glob("*.tar.gz"))) == 2)
    wait_for("both are done", lambda: len(example.invocations("--state", "done")) == 2)
    rows = example.invocations()
    assert {(row["trigger"], row["outcome"]) for row in rows} == {("invoke", "ok"), ("cron", "ok")}
    assert "packed" in example.faasd("logs", "--function", "backup")
    assert len(example.json("schedules", "next", "backup-nightly")) >= 5


def test_a_script_that_fails_is_an_error_with_its_exit_status(
    started: Callable[[str], Example],
) -> None:
    """The exit status is the outcome, and nothing half-made looks like a backup."""
    example = started("shell_backup")
    (example.folder / "data").rename(example.folder / "elsewhere")
    example.faasd("invoke", "backup", code=1)
    [row] = example.invocations()
    assert row["outcome"] == "error"
    assert list((example.folder / "backups").glob("*.tar.gz")) == []
