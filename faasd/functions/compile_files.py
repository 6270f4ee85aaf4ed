"""Compiles modules whose paths come on standard input, separated by zero bytes. Run by path, in a process apart.

To compile is not to run: nothing of what is read here is executed. But it takes memory and time as its author
likes, so both are limited, and a file that cannot be compiled is left to the import, which says so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import py_compile
import resource
import sys

__all__ = ["main"]

_DATA_BYTES_MAX = 2**30
_CPU_S_MAX = 20
_CORE_BYTES_MAX = 0


def main() -> None:
    """Write bytecode beside each file that has none which is right."""
    for limit, value in (
        (resource.RLIMIT_DATA, _DATA_BYTES_MAX),
        (resource.RLIMIT_CPU, _CPU_S_MAX),
        (resource.RLIMIT_CORE, _CORE_BYTES_MAX),
    ):
        _, hard = resource.getrlimit(limit)
        is_lower = hard == resource.RLIM_INFINITY or value < hard
        resource.setrlimit(limit, (value, value) if is_lower else (hard, hard))
    for name in sys.stdin.buffer.read().split(b"\0"):
        path = os.fsdecode(name)
        if path and not _is_compiled(path):
            with contextlib.suppress(
                py_compile.PyCompileError, ValueError, RecursionError, MemoryError, OSError
            ):
                # Unchecked: the file never changes, so an import need not look at it.
                py_compile.compile(
                    path,
                    doraise=True,
                    invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                )


def _is_compiled(path: str) -> bool:
    """Whether bytecode is there that the import would take, by the time and size of the file."""
    try:
        with open(importlib.util.cache_from_source(path), "rb") as file:  # noqa: PTH123 - starts faster.
            head = file.read(16)
        status = os.stat(path)  # noqa: PTH116 - as above.
    except OSError:
        return False
    numbers = [int.from_bytes(head[at : at + 4], "little") for at in (4, 8, 12)]
    expected = [0, int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF]
    return head[:4] == importlib.util.MAGIC_NUMBER and numbers == expected


if __name__ == "__main__":
    main()
