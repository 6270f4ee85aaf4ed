"""Where `faasd` begins: `enqueue` by a path that imports nearly nothing, everything else by click."""

from __future__ import annotations

import errno
import os
import sys

from faasd.cli.exits import INTERRUPTED, complain

__all__ = ["main"]

#: What a full disk or a terminal that has gone away answers to whoever prints.
_OUTPUT_IS_GONE = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG)


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    _open_standard_streams()
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader, `head` say, has all it wanted. Python would complain at exit about its buffer.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in _OUTPUT_IS_GONE:
            raise
        complain(f"cannot write the output: {error.strerror}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _open_standard_streams() -> None:
    """Put /dev/null where a standard stream was closed: another file must never get its number."""
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    for name, number, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


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
