"""Two hundred reloads while events, files and ticks flow."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.daemon.reload_load import ReloadLoad

RELOADS = 200


@pytest.mark.timeout(1800)
def test_two_hundred_reloads_lose_nothing_and_run_no_half_of_a_version(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Each changes two files that must agree; every event, file and tick runs once, on a whole version."""
    if not request.config.getoption("--run-faults"):
        pytest.skip("the long run is asked for by --run-faults (`make test-faults`)")
    load = ReloadLoad(tmp_path)
    with load.daemon.running():
        load.begin()
        descriptors = 0
        for number in range(1, RELOADS + 1):
            report = load.reload(number)
            assert {one["change"] for one in report["changes"]} == {"changed"}, report
            if number == RELOADS // 10:
                descriptors = _descriptors(load)
        load.stop()
        versions = load.check()
        assert len(versions) > RELOADS / 2
        kept = os.listdir(load.daemon.state_dir / "versions")
        assert len(kept) <= 11, "old versions are not removed"
        # It varies with what runs just now; one left by each reload would be more than this.
        assert _descriptors(load) <= descriptors + RELOADS // 4, "reloads leave descriptors open"
        print(f"{len(load.sent)} events, {load.dropped} files; {len(versions)} versions ran")


def _descriptors(load: ReloadLoad) -> int:
    assert load.daemon.process is not None
    return len(os.listdir(f"/proc/{load.daemon.process.pid}/fd"))
