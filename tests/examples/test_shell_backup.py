"""examples/shell_backup does what its README says."""

from __future__ import annotations

import tarfile

from tests.examples.running import Example, wait_for


def test_a_shell_script_packs_the_folder_by_hand_and_by_schedule(shell_backup: Example) -> None:
    """A command is a function like any other: invoked, scheduled, recorded."""
    assert "packed 4 entries" in shell_backup.faasd("invoke", "backup")
    backups = shell_backup.folder / "backups"
    [first] = backups.glob("*.tar.gz")
    with tarfile.open(first) as archive:
        assert {"data/notes.txt", "data/letters/first.txt"} <= set(archive.getnames())

    shell_backup.faasd("schedules", "run", "backup-nightly")
    wait_for("both are done", lambda: len(shell_backup.invocations(state="done")) == 2)
    assert len(list(backups.glob("*.tar.gz"))) == 2
    rows = shell_backup.invocations()
    assert {(row["trigger"], row["outcome"]) for row in rows} == {("invoke", "ok"), ("cron", "ok")}
    assert shell_backup.json("schedules", "next", "backup-nightly")


def test_a_script_that_fails_is_an_error_that_says_why(shell_backup: Example) -> None:
    """The exit status is the outcome, and nothing half-made looks like a backup."""
    before = sorted((shell_backup.folder / "backups").glob("*.tar.gz"))
    (shell_backup.folder / "data").rename(shell_backup.folder / "elsewhere")
    shell_backup.faasd("invoke", "backup", code=1)
    newest = shell_backup.invocations()[0]
    assert newest["outcome"] == "error"
    assert "exited with code" in newest["error"]["message"]
    assert sorted((shell_backup.folder / "backups").glob("*.tar.gz")) == before
    assert "data" in shell_backup.faasd("logs", "--function", "backup")
