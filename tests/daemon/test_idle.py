"""A daemon that has nothing to do."""

from __future__ import annotations

from pathlib import Path

from benchmarks.usage import longest_silence_s
from tests.daemon.harness import DaemonProcess, write_project
from tests.patience import patient

FUNCTIONS = """
    from faasd import cron, files, function, queue

    def handler(event, context):
        pass

    for number in range(10):
        triggers = [
            cron("0 3 1 1 *", name=f"yearly-{number}"),
            queue(f"work-{number}"),
            files(f"WATCHED/{number}"),
        ]
        globals()[f"f{number}"] = function(name=f"f{number}", triggers=triggers)(handler)
"""


def test_nothing_of_an_idle_daemon_wakes_up_every_second(tmp_path: Path) -> None:
    """What polled faster, in any thread of any of its processes, would leave no such pause."""
    for number in range(10):
        (tmp_path / "watched" / str(number)).mkdir(parents=True)
    functions = FUNCTIONS.replace("WATCHED", str(tmp_path / "watched"))
    daemon = DaemonProcess(write_project(tmp_path, functions))
    with daemon.running():
        assert daemon.process is not None
        pids = {daemon.process.pid}
        assert longest_silence_s(pids, patient(10.0)) > 1.5
