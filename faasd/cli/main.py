"""Where `faasd` begins: `enqueue` by a path that imports nearly nothing, everything else by click."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    # Scripts start one process per event, so this command gets by without click. Whatever its small
    # parser does not know for sure is None and goes the ordinary way, to the same function.
    if "enqueue" in arguments[:3]:
        from faasd.cli.enqueue_fast import enqueue_without_click

        code = enqueue_without_click(arguments)
        if code is not None:
            return code
    from faasd.cli.group import run_click

    return run_click(arguments)
