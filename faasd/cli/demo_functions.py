"""The functions of `faasd demo`, which copies this file to `functions/` in its scratch directory."""

# ruff: noqa: ARG001 - Every handler takes an event and a context.

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from faasd import every, files, function, queue

__all__ = [
    "endless_loop",
    "fork_bomb",
    "memory_hog",
    "report",
    "take_order",
    "thumbnail",
]

_DEMO = Path(__file__).resolve().parent.parent


@function(
    triggers=[
        files(
            "inbox",
            pattern=["*.jpg", "*.ppm"],
            settle="200ms",
            on_success="move:done",
            on_failure="move:failed",
            name="inbox",
        )
    ],
    timeout="20s",
    write=["thumbnails"],
    retry={"attempts": 2, "backoff": "fixed", "first": "300ms"},
)
def thumbnail(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Make a small picture of a big one."""
    source = Path(event["path"])
    target = _DEMO / "thumbnails" / source.name
    unfinished = target.with_name("." + target.name)
    shrink = _shrink_jpeg if source.suffix == ".jpg" else _shrink_ppm
    width, height = shrink(source, unfinished)
    unfinished.replace(target)
    print(f"{source.name} is now {width}x{height}")
    return {"width": width, "height": height}


@function(
    triggers=[every("2s", name="pulse", catch_up="skip")],
    timeout="10s",
    read=["thumbnails", "orders"],
    write=["reports.ndjson"],
)
def report(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Count what there is, on a schedule."""
    counts = {name: len(list((_DEMO / name).iterdir())) for name in ("thumbnails", "orders")}
    with (_DEMO / "reports.ndjson").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"scheduled_for": event["scheduled_for"], **counts}) + "\n")
    return counts


@function(
    triggers=[queue("orders")],
    timeout="10s",
    concurrency=4,
    write=["orders"],
    retry={"attempts": 3, "backoff": "fixed", "first": "300ms"},
)
def take_order(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Take an order: one is poison, one succeeds only at its second attempt."""
    order = event["body"]
    if order["pieces"] < 1:
        raise ValueError(f"order {order['number']} is for {order['pieces']} pieces")
    if order.get("bank_is_slow") and context.attempt == 1:
        raise ConnectionError("the bank does not answer")
    # Appended, not replaced: an order that was taken twice would show as two lines.
    with (_DEMO / "orders" / f"{order['number']}.txt").open("a", encoding="utf-8") as file:
        file.write(f"attempt {context.attempt}\n")
    return {"number": order["number"]}


@function(timeout="15s", memory="64MiB", retry={"attempts": 1})
def memory_hog(event: Any, context: Any) -> None:
    """Take memory, and use it, until somebody says no."""
    hoard: list[bytes] = []
    while True:
        hoard.append(b"x" * 4 * 2**20)


@function(timeout="1s", grace="200ms", retry={"attempts": 1})
def endless_loop(event: Any, context: Any) -> None:
    """Burn a processor."""
    while True:
        pass


@function(timeout="1s", grace="200ms", processes=24, retry={"attempts": 1})
def fork_bomb(event: Any, context: Any) -> None:
    """Double, and double again, and hold on to what there is."""
    for _ in range(8):  # 256 at the very most, so that a host without limits survives the demo.
        try:
            os.fork()
        except OSError as error:
            print(f"cannot fork: {error.strerror}", flush=True)
    time.sleep(3600)


def _shrink_jpeg(source: Path, target: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(source) as picture:
        picture.load()
        small = picture.reduce(8)
    small.save(target, "JPEG")
    return small.size


def _shrink_ppm(source: Path, target: Path) -> tuple[int, int]:
    """Keep every eighth pixel of a binary PPM, for where Pillow is missing."""
    magic, size, depth, pixels = source.read_bytes().split(b"\n", 3)
    width, height = (int(number) for number in size.split())
    if (magic, depth, len(pixels)) != (b"P6", b"255", 3 * width * height):
        raise ValueError(f"{source.name} is cut off or is no PPM picture")
    rows = [
        pixels[3 * width * y + 3 * x : 3 * width * y + 3 * x + 3]
        for y in range(0, height, 8)
        for x in range(0, width, 8)
    ]
    small = ((width + 7) // 8, (height + 7) // 8)
    target.write_bytes(b"P6\n%d %d\n255\n" % small + b"".join(rows))
    return small
