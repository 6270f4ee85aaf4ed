"""A secret in a running daemon: it reaches its function, and stays nowhere else."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.daemon.harness import DaemonProcess, write_project

SECRET = "correct-horse-battery"
FUNCTIONS = """
    import sys
    from faasd import function

    @function(secrets="api-key", retry={"attempts": 1})
    def leaks(event, context):
        key = context.secret("api-key")
        print("out", key)
        print("err", key, file=sys.stderr)
        raise RuntimeError("refused: " + key)

    @function(secrets=["api-key"])
    def tells(event, context):
        return len(context.secret("api-key"))
"""


def daemon_with_secret(directory: Path, mode: int = 0o600) -> DaemonProcess:
    config = write_project(directory, FUNCTIONS)
    (directory / "secrets").mkdir()
    path = directory / "secrets" / "api-key"
    path.write_text(SECRET + "\n")
    path.chmod(mode)
    return DaemonProcess(config)


def files_with(directory: Path, text: str) -> list[str]:
    found = []
    for base, _, names in os.walk(directory):
        for name in names:
            path = Path(base, name)
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(name)
    return found


def test_nothing_that_the_daemon_keeps_or_shows_holds_a_secret(tmp_path: Path) -> None:
    """Database, write-ahead log, log files, the daemon's own log, and what the command line prints."""
    daemon = daemon_with_secret(tmp_path)
    with daemon.running():
        told = daemon.cli("invoke", "tells", "--json")
        assert told.returncode == 0, told.stderr
        assert str(len(SECRET)) in told.stdout
        failed = daemon.cli("invoke", "leaks", "--json")
        shown = [failed.stdout, failed.stderr]
        for arguments in (
            ["functions", "show", "leaks"],
            ["logs", "--function", "leaks"],
            ["invocations", "list"],
        ):
            done = daemon.cli(*arguments)
            assert done.returncode == 0, done.stderr
            shown += [done.stdout, done.stderr]
        text = "".join(shown)
        assert SECRET not in text
        assert "refused: ***api-key***" in text
        assert "out ***api-key***" in text
        # While it runs, the write-ahead log is there as well.
        assert files_with(tmp_path / "state", "***api-key***")
        assert files_with(tmp_path / "state", SECRET) == []
    assert files_with(tmp_path / "state", SECRET) == []
    assert SECRET not in daemon.log()


def test_check_says_what_is_wrong_with_a_secret(tmp_path: Path) -> None:
    """With the path and the remedy, before anything runs; the control is the same file closed."""
    daemon = daemon_with_secret(tmp_path, 0o644)
    done = daemon.cli("check", "--json")
    assert done.returncode != 0
    assert f"chmod 600 {tmp_path}/secrets/api-key" in done.stdout
    assert SECRET not in done.stdout
    (tmp_path / "secrets" / "api-key").chmod(0o600)
    fine = daemon.cli("check", "--json")
    assert fine.returncode == 0, fine.stdout
    assert json.loads(fine.stdout)
