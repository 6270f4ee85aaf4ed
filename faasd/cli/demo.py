"""`faasd demo`: the main job on real input, against the real daemon, in a scratch directory."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from faasd.cli.command import command
from faasd.cli.demo_report import EXPECTATIONS, Row, degraded, rows, unmet
from faasd.cli.demo_stage import ORDERS, PICTURES, Stage, has_pillow
from faasd.client import Client
from faasd.errors import FaasdError
from faasd.linux import proc_tree, process
from faasd.model.invocation import FINAL_STATES
from faasd.model.units import format_duration, format_size

__all__ = ["demo"]

_READY_S = 60.0
_ALL_DONE_S = 35.0
_STOP_S = 30.0
_LOOK_EVERY_S = 0.2
_HOSTILE = ("memory_hog", "endless_loop", "fork_bomb")


@command(examples=("faasd demo", "faasd demo --keep"))
@click.option("--keep", is_flag=True, help="Leave the scratch directory there to look at.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def demo(keep: bool, as_json: bool) -> None:
    """Run the main job on real input; ends by itself.

    Starts a daemon of its own in a scratch directory, drops pictures into a watched folder, fires a schedule, fills a
    queue, and lets three hostile functions be stopped. Exit 1 names each expectation that was
    not met.
    """
    console = Console(quiet=as_json, highlight=False)
    # A socket's path has room for 107 bytes, and TMPDIR may be a long one.
    parent = tempfile.gettempdir() if len(tempfile.gettempdir()) < 70 else "/tmp"
    root = Path(tempfile.mkdtemp(prefix="faasd-demo-", dir=parent))
    try:
        with _ended_politely():
            stage = Stage(root, has_pillow())
            result = _Demo(stage, console).run()
    finally:
        if not keep:
            shutil.rmtree(root, ignore_errors=True)
    if as_json:
        click.echo(json.dumps({**result, "kept": str(root) if keep else None}))
    else:
        _say_how_to_go_on(console, root if keep else None, bool(result["unmet"]))
    sys.exit(1 if result["unmet"] else 0)


@contextmanager
def _ended_politely() -> Iterator[None]:
    """Let SIGTERM and SIGINT run every `finally`, then exit as the shell expects."""

    def stop(number: int, _: Any) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _Demo:
    def __init__(self, stage: Stage, console: Console) -> None:
        self._stage = stage
        self._console = console
        self._client = Client(str(stage.socket))  # Whatever FAASD_SOCKET says.
        self._started = time.monotonic()
        self._ended: dict[str, dict[str, Any]] = {}  # By id: what will not change any more.
        self._missing: list[str] = []

    def run(self) -> dict[str, Any]:
        """Play the whole piece; returns what `--json` prints."""
        process.become_subreaper()  # So that whatever the daemon leaves behind is seen below.
        self._stage.set_up()
        kind = "JPEG" if self._stage.is_jpeg else "PPM"
        if not self._stage.is_jpeg:
            self._say("Pillow is not installed, so the pictures are PPM and the shrinking is ours")
        daemon = self._start_daemon()
        invocations: list[dict[str, Any]] = []
        try:
            if self._wait_until_ready(daemon):
                self._say(f"dropping {PICTURES} {kind} pictures, and a broken one, into inbox/")
                self._stage.drop_pictures()
                self._say(f"enqueueing {ORDERS} orders; one is poison, one has a slow bank")
                self._client.enqueue_many("orders", self._stage.orders())
                self._say(f"starting {', '.join(_HOSTILE)}")
                for name in _HOSTILE:
                    self._client.invoke(name, wait=False)
                invocations = self._watch(daemon)
        except FaasdError as error:
            self._missing.append(f"the daemon answered every request: {error}")
        finally:
            self._stop_daemon(daemon)
        return self._conclude(invocations)

    def _start_daemon(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "faasd", "run", "--config", str(self._stage.config)]
        self._say(f"starting a daemon in {self._stage.root}")
        with self._stage.daemon_log.open("wb") as log:
            # In a session of its own, so that Ctrl-C reaches us alone and we stop it in order.
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _wait_until_ready(self, daemon: subprocess.Popen[bytes]) -> bool:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and daemon.poll() is None:
            with suppress(FaasdError):
                self._client.request("GET", "/readyz")
                self._say("the daemon is ready")
                return True
            time.sleep(0.05)
        tail = self._stage.daemon_log.read_text(errors="replace")[-2000:]
        self._missing.append(f"the daemon became ready; its log ends with:\n{tail}")
        return False

    def _watch(self, daemon: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
        """Tell what happens until every expectation is met, or time is up."""
        deadline = time.monotonic() + _ALL_DONE_S
        is_packing = False
        while True:
            invocations = self._look()
            missing = unmet(self._stage, invocations)
            if not is_packing and len(self._stage.names_in("thumbnails")) == PICTURES:
                is_packing = True
                self._client.invoke("pack", wait=False)
            if not missing or time.monotonic() > deadline or daemon.poll() is not None:
                return invocations
            time.sleep(_LOOK_EVERY_S)

    def _look(self) -> list[dict[str, Any]]:
        """Return every invocation with its attempts, and tell which have ended since the last look."""
        listed = self._client.request("GET", "/api/v1/invocations", query={"limit": 1000})
        ids = [one["id"] for one in listed["invocations"]]
        found = [self._ended.get(id_) or self._client.invocation(id_) for id_ in ids]
        ended = [one for one in found if one["state"] in FINAL_STATES]
        for one in sorted(ended, key=lambda one: str(one["ended_at"])):
            if one["id"] not in self._ended:
                self._ended[one["id"]] = one
                self._tell(one)
        return found

    def _tell(self, one: Mapping[str, Any]) -> None:
        color = "green" if one["outcome"] == "ok" else "yellow"
        duration = format_duration(one["duration_ms"] / 1000) if one["duration_ms"] else ""
        tries = f"{one['attempts']} attempts" if one["attempts"] > 1 else ""
        dead = "dead letter" if one["state"] == "dead" else ""
        said = ", ".join(part for part in (duration, tries, dead) if part)
        what = f"{one['function']:<13}{_subject(one):<15}"
        self._say(f"{what}[{color}]{one['outcome']:<9}[/]{said}")

    def _stop_daemon(self, daemon: subprocess.Popen[bytes]) -> None:
        daemon.send_signal(signal.SIGTERM)
        try:
            code = daemon.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
            self._missing.append(f"the daemon stopped within {_STOP_S:g}s when asked to")
        else:
            if code != 0:
                self._missing.append(f"the daemon stopped with exit status 0, not {code}")
        left = proc_tree.descendants([os.getpid()])
        if left:
            self._missing.append(f"no process was left behind, but {len(left)} were")
            proc_tree.end_all([os.getpid()])

    def _conclude(self, invocations: list[dict[str, Any]]) -> dict[str, Any]:
        missing = [*self._missing, *unmet(self._stage, invocations)]
        table = rows(invocations)
        took_s = time.monotonic() - self._started
        self._console.print(_table(table))
        for says in EXPECTATIONS:
            self._console.print(
                f"  [red]MISSING[/] {says}" if says in missing else f"  [green]ok[/] {says}"
            )
        for says in self._missing:
            self._console.print(f"  [red]MISSING[/] {says}", markup=True)
        walls = degraded(invocations)
        if walls:
            self._console.print(
                f"  [yellow]note[/] walls that this host lacks, or builds less well: {', '.join(walls)}; "
                f"see `faasd doctor`"
            )
        if not self._missing:
            self._console.print("  [green]ok[/] the daemon stopped and left no process behind")
        self._console.print(f"\n{format_duration(took_s)} in all.")
        return {
            "attempts": [vars(row) for row in table],
            "met": [says for says in EXPECTATIONS if says not in missing],
            "unmet": missing,
            "degraded": walls,
            "duration_s": round(took_s, 3),
        }

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._started:5.1f}s[/]  {text}")


def _subject(invocation: Mapping[str, Any]) -> str:
    """Return the few characters that tell one invocation of a function from the next."""
    event = invocation["event"]
    if not isinstance(event, dict):
        return ""
    if invocation["trigger"] == "files":
        return str(event["name"])
    if invocation["trigger"] == "queue":
        return f"order {event['body']['number']}"
    return str(event.get("scheduled_for", ""))[11:19]


def _table(table: list[Row]) -> Table:
    shown = Table(title="Attempts", title_justify="left")
    for name in ("function", "trigger", "outcome"):
        shown.add_column(name)
    for name in ("count", "duration p50", "peak memory"):
        shown.add_column(name, justify="right")
    for row in table:
        shown.add_row(
            row.function,
            row.trigger,
            row.outcome,
            str(row.count),
            "-" if row.duration_p50_ms is None else format_duration(row.duration_p50_ms / 1000),
            "-" if row.memory_peak_bytes is None else format_size(row.memory_peak_bytes),
        )
    return shown


def _say_how_to_go_on(console: Console, kept: Path | None, failed: bool) -> None:
    if kept is None:
        console.print("Nothing is left of it. `faasd demo --keep` leaves it all there to look at.")
        if failed:
            console.print("[red]Some expectations were not met; they are marked MISSING.[/]")
        return
    config = f"--config {kept / 'faasd.toml'}"
    console.print(f"Everything is in {kept}. To look further, start its daemon again:\n")
    console.print(f"  faasd run {config}", soft_wrap=True)
    console.print("\nand in another terminal:\n")
    for words in (
        "invocations list",
        "dead-letters list",
        "why thumbnail",
        "logs --function fork_bomb",
        "schedules next pulse",
    ):
        console.print(f"  faasd {words} {config}", soft_wrap=True)
