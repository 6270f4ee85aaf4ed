"""How a frame of `faasd top` comes to its size, and what it makes of odd values."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from faasd.cli.top_frame import frame_of

STATUS = {
    "version": "0.1.0",
    "state": "ready",
    "uptime_s": 61.0,
    "running": 0,
    "problems": [],
    "schedules": 0,
}


def a_frame(height: int | None, width: int = 120, **parts: Any) -> list[str]:
    seen: dict[str, Any] = {
        "status": STATUS,
        "functions": [],
        "attempts": [],
        "queues": [],
        "schedules": [],
        "failures": [],
        **parts,
    }
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(frame_of(seen, height))
    return capture.get().splitlines()


def function(name: str, **outcomes: int) -> dict[str, Any]:
    return {"name": name, "running": 0, "outcomes_24h": outcomes, "paused_since": None}


def queue(name: str) -> dict[str, Any]:
    counts = {"waiting": 1, "delayed": 0, "in_flight": 0, "dead": 0}
    return {"queue": name, "oldest_waiting_at": None, **counts}


def test_a_frame_fits_the_terminal_whatever_there_is_to_show() -> None:
    """What runs off the screen cannot be scrolled to."""
    functions = [function(f"f{number}") for number in range(200)]
    queues = [queue(f"q{number}") for number in range(200)]
    problems = ["a directory is missing", "another one too"]
    for height in (30, 50, 80):
        shown = a_frame(
            height, functions=functions, queues=queues, status={**STATUS, "problems": problems}
        )
        assert len(shown) <= height
        assert any("FUNCTIONS (200)" in line and "not shown" in line for line in shown)
        assert sum(line.lstrip().startswith("q") for line in shown) >= 1
    assert len(a_frame(None, functions=functions)) > 50  # A pipe is not cut by the screen.


def test_the_smallest_usual_terminal_shows_something_of_everything() -> None:
    """80 by 24 is what a console and many a remote shell have; a heading without a row says nothing."""
    now = datetime.now(UTC).isoformat()
    id_ = "01a1fe25-c8f1-759c-bd2c-4586c06f819e"
    attempt = {
        "function": "a-function-with-a-long-name", "age_s": 3.0, "timeout_s": 60.0, "memory_bytes": 2**20,
        "memory_limit_bytes": 2**28, "batch_size": 1, "trigger": "queue", "source": "greetings", "invocation_id": id_,
    }  # fmt: skip
    failure = {
        "function": "f1", "outcome": "error", "state": "dead", "reason": None, "ended_at": now,
        "error": {"type": "KeyError", "message": "'name'" * 40},
    }  # fmt: skip
    shown = a_frame(
        24,
        width=80,
        functions=[function(f"f{number}") for number in range(20)],
        attempts=[attempt],
        queues=[queue("q1")],
        schedules=[{"name": "s1", "function": "f1", "next_at": now}],
        failures=[failure] * 20,
        status={**STATUS, "problems": ["a directory is missing " * 10] * 9},
    )
    assert len(shown) <= 24
    text = "\n".join(shown)
    for row in (
        "a-functi",
        " 3s ",
        "256MiB",
        "f1 ",
        " error ",
        "q1 ",
        "s1 ",
        "KeyError",
        "7 more, see `faasd status`",
    ):
        assert row in text, f"{row}\n{text}"


def test_what_keeps_a_function_from_running_stands_beside_it() -> None:
    """Whoever watches a queue grow looks here first."""
    held = {**function("held"), "breaker": {"state": "open"}}
    old = {**function("old"), "kept_because": "a mistake", "breaker": {"state": "closed"}}
    refused = {**function("shut"), "refused": "no wall", "paused_since": "2026-11-21T12:00:00Z"}
    shown = a_frame(None, functions=[held, old, refused])
    for name, state in (("held", "breaker open"), ("old", "kept old"), ("shut", "refused, paused")):
        assert any(line.startswith(name) and state in line for line in shown)


def test_functions_that_fail_come_before_those_that_are_well() -> None:
    """They are what somebody looks for when there is no room for all."""
    shown = a_frame(None, functions=[function("well", ok=1000), function("ill", ok=1, timeout=1)])
    [ill], [well] = (
        [number for number, line in enumerate(shown) if name in line] for name in ("ill", "well")
    )
    assert ill < well


def test_what_a_name_or_an_error_holds_cannot_steer_the_terminal() -> None:
    """A file's name may be part of an error, and anybody may name files."""
    failure = {
        "error": {"type": "OSError", "message": "no \x1b[2J [red]such[/red] file\nsecond line"},
        "reason": None,
        "ended_at": None,
        "started_at": None,
        "created_at": "2026-01-01T00:00:00.000Z",
        "function": "f",
        "outcome": "error",
        "state": "dead",
    }
    shown = "\n".join(a_frame(None, failures=[failure]))
    assert "no \\x1b[2J [red]such[/red] file second line" in shown


def test_what_this_user_may_not_see_is_said() -> None:
    """An empty list would say that all is well."""
    shown = "\n".join(a_frame(None, attempts=None, failures=None))
    assert shown.count("for root and the daemon's user only") == 2
