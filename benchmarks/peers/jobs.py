"""What a queue's script does when it is called: enqueue against the clock, or fill a queue between two marks."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

__all__ = ["serve"]


def serve(noop: Callable[[int], None], mark: Callable[[], None]) -> None:
    """Do as the arguments say. `noop` enqueues so many no-ops, `mark` one job that leaves a mark."""
    verb, count = sys.argv[1], int(sys.argv[2])
    if verb == "enqueue":
        noop(10)  # Connections are open and every module is loaded.
        began = time.monotonic()
        noop(count)
        print(json.dumps({"seconds": time.monotonic() - began}))
    elif verb == "fill":
        mark()
        noop(count)
        mark()
        print(json.dumps({"filled": count}))
    else:
        raise SystemExit(f"unknown verb {verb!r}")
