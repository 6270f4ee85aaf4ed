"""Where `faasd` begins: `enqueue` by a path that imports nearly nothing, everything else by click."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, `head` say, has all it wanted. Python would complain at exit about its buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(arguments: list[str]) -> int:
    # Scripts start one process per event, so this command gets by without click. Whatever its small
    # parser does not know for sure is None and goes the ordinary way, to the same function.
    if "enqueue" in arguments[:3]:
        from faasd.cli.enqueue_fast import enqueue_without_click

        code = enqueue_without_click(arguments)
        if code is not None:
            return code
    from faasd.cli.group import run_click

    return run_click(arguments)
