"""What the walls cost a fresh attempt: the same no-op one after the other, with all of them and with some left off.

`python -m benchmarks.walls [--attempts N] [--rounds N]`. The variants take turns in one run, so that what else the
machine does falls on all of them; read the differences.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from faasd.model.function import Function
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import RecordingServices, an_attempt

VARIANTS = {
    "all walls": (),
    "without landlock": ("landlock",),
    "without mounts": ("mounts",),
    "without both": ("landlock", "mounts"),
}


def main() -> None:
    """Measure, and print medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--attempts", type=int, default=100, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="faasd-bench-", dir="/var/tmp") as scratch:
        asyncio.run(compare(Path(scratch), options.attempts, options.rounds))


async def compare(scratch: Path, attempts: int, rounds: int) -> None:
    """Run the variants in turn and print what each took."""
    (scratch / "code").mkdir()
    (scratch / "code" / "noop.py").write_text("def handler(event, context):\n    pass\n")
    function = Function("noop", "noop:handler", code_dir=str(scratch / "code"))
    started = {}
    for name, without in VARIANTS.items():
        sandboxes = ProcessSandboxes(scratch / name.replace(" ", "-"), without=without)
        await sandboxes.start()
        began = time.monotonic()
        await attempt(sandboxes, function)
        print(f"{name:20} cold start {(time.monotonic() - began) * 1000:8.2f} ms")
        started[name] = sandboxes
    took_ms: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(rounds):
        for name, sandboxes in started.items():
            for _ in range(attempts):
                began = time.monotonic()
                await attempt(sandboxes, function)
                took_ms[name].append((time.monotonic() - began) * 1000)
    for name, sandboxes in started.items():
        await sandboxes.stop()
        print(f"{name:20} median     {statistics.median(took_ms[name]):8.2f} ms")


async def attempt(sandboxes: ProcessSandboxes, function: Function) -> None:
    """Run one attempt, which must be ok."""
    stop: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    outcome = await sandboxes.run(an_attempt(function), RecordingServices(), stop)
    if outcome.word != "ok":
        raise SystemExit(f"an attempt ended as {outcome}")


if __name__ == "__main__":
    main()
