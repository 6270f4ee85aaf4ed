"""`faasd demo` does the main job on real input, ends by itself, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faasd.cli import demo_report
from faasd.cli.demo_report import EXPECTATIONS, rows
from faasd.cli.demo_stage import Stage
from tests.examples.running import processes_in, wait_for

_DEMO = [sys.executable, "-m", "faasd", "demo"]


def _environ(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary)}


def _without_pillow(scratch: Path) -> dict[str, str]:
    """Return an environment in which importing Pillow fails, as where it is not installed."""
    (scratch / "shadow" / "PIL").mkdir(parents=True)
    (scratch / "shadow" / "PIL" / "__init__.py").write_text("raise ImportError('no Pillow')\n")
    return {**_environ(scratch), "PYTHONPATH": str(scratch / "shadow")}


def test_every_expectation_is_met_within_a_minute_and_nothing_is_left(scratch: Path) -> None:
    """This is what a new user runs first; it proves the whole line on the user's own host."""
    before = time.monotonic()
    ended = subprocess.run(
        [*_DEMO, "--json"], env=_environ(scratch), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    told = json.loads(ended.stdout)
    assert told["unmet"] == []
    assert set(told["met"]) == set(EXPECTATIONS)
    assert {row["outcome"] for row in told["attempts"]} >= {"ok", "error", "oom", "timeout"}
    assert time.monotonic() - before < 60
    assert os.listdir(scratch) == []
    assert processes_in(scratch) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_cleans_up(scratch: Path, number: signal.Signals) -> None:
    """Ctrl-C in the middle leaves no daemon and no directory."""
    demo = subprocess.Popen(
        _DEMO, env=_environ(scratch), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for("its daemon has made a database", lambda: list(scratch.glob("*/state/*")))
        demo.send_signal(number)
        assert demo.wait(30) == 128 + number
    finally:
        demo.kill()
        demo.wait()
    assert os.listdir(scratch) == []
    assert processes_in(scratch) == {}


def test_it_works_without_pillow_and_kept_it_can_be_looked_at_as_it_says(scratch: Path) -> None:
    """Pillow is no dependency of faasd; and what people are told to type works as printed."""
    environ = _without_pillow(scratch)
    ended = subprocess.run(
        [*_DEMO, "--keep"], env=environ, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "Pillow is not installed" in ended.stdout
    assert "dead letter" in ended.stdout
    commands = [line.split() for line in ended.stdout.splitlines() if line.startswith("  faasd ")]
    assert commands[0][:2] == ["faasd", "run"]
    bin_dir = Path(sys.executable).parent
    daemon = subprocess.Popen(
        [str(bin_dir / "faasd"), *commands[0][1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for command in commands[1:]:
            wait_for(
                f"{' '.join(command)} exits 0",
                lambda command=command: (
                    subprocess.run(
                        [str(bin_dir / "faasd"), *command[1:]],
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        check=False,
                    ).returncode
                    == 0
                ),
            )
    finally:
        daemon.terminate()
        assert daemon.wait(30) == 0
    assert processes_in(scratch) == {}


def test_an_expectation_that_is_not_met_is_named(scratch: Path) -> None:
    """The demo can fail: with nothing done, nearly every promise is reported as broken."""
    stage = Stage(scratch, is_jpeg=False)
    stage.set_up()
    missing = demo_report.unmet(stage, [])
    assert set(missing) == set(EXPECTATIONS) - {"nothing is left waiting or running"}


def test_rows_count_attempts_by_function_trigger_and_outcome() -> None:
    """A retried invocation counts once for each of its attempts."""

    def attempt(outcome: str, duration_ms: float, memory: int | None) -> dict[str, object]:
        return {"outcome": outcome, "duration_ms": duration_ms, "memory_peak_bytes": memory}

    invocations = [
        {
            "function": "take_order",
            "trigger": "queue",
            "state": "done",
            "outcome": "ok",
            "attempt_records": [attempt("error", 10.0, 5), attempt("ok", 20.0, 9)],
        },
        {
            "function": "take_order",
            "trigger": "queue",
            "state": "done",
            "outcome": "ok",
            "attempt_records": [attempt("ok", 40.0, None)],
        },
        {
            "function": "report",
            "trigger": "every",
            "state": "skipped",
            "outcome": "missed",
            "attempt_records": [],
        },
    ]
    found = {(row.function, row.outcome): row for row in rows(invocations)}
    assert found["take_order", "ok"].count == 2
    assert found["take_order", "ok"].duration_p50_ms == 30.0
    assert found["take_order", "ok"].memory_peak_bytes == 9
    assert found["take_order", "error"].count == 1
    assert found["report", "missed"].count == 1
    assert found["report", "missed"].duration_p50_ms is None
