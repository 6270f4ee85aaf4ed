"""Finds out what modules of functions declare, without importing any of them here.

Each module is imported in a process of its own, so a bad one harms neither the daemon nor the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from faasd.functions.discovery_report import quoted, read_report
from faasd.functions.looker import Lookers, passed_env
from faasd.linux.held_directory import held_directory, remove_left
from faasd.model.declaration import Discovered, Module, Problem

__all__ = ["discover"]

#: How the private directories of imports begin, which are gone when an import is, and at the next one if we were killed.
_PREFIX = "faasd-import-"
_FULL = (errno.ENOSPC, errno.EDQUOT)


async def discover(
    modules: Sequence[Module], *, read: Sequence[str] = (), devices: Sequence[str] = ("/dev/null",)
) -> list[Discovered]:
    """Import modules side by side, each in its own process; the answers have the same order.

    Never raises for anything that a module does. When this returns, no process of theirs is left.
    """
    files = {"read": _existing(read), "devices": list(devices)}
    if not modules:
        return []
    loop = asyncio.get_running_loop()
    stop_out, stop_in = os.pipe()  # Readable for every thread at once, when it is closed.
    lookers = Lookers()
    pool = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "discovery")
    try:
        await loop.run_in_executor(pool, _remove_left)
        futures = [
            loop.run_in_executor(pool, _discover_one, one, files, lookers, stop_out)
            for one in modules
        ]
        return list(await asyncio.gather(*futures))
    finally:
        # When this is cancelled, the imports that run now are killed and the others never start.
        os.close(stop_in)
        pool.shutdown(cancel_futures=True)
        os.close(stop_out)
        lookers.close()


def _remove_left() -> None:
    try:
        directory = tempfile.gettempdir()
    except OSError:
        return  # Whoever makes a directory there says so.
    remove_left(directory, _PREFIX)


def _discover_one(
    module: Module, files: dict[str, list[str]], lookers: Lookers, stop: int
) -> Discovered:
    with contextlib.ExitStack() as stack:
        try:
            tmp = stack.enter_context(held_directory(tempfile.gettempdir(), _PREFIX))
        except OSError as error:
            return _broken(module, f"cannot be imported: {_without_directory(error)}")
        return _look(module, _request(module, files, tmp), lookers, stop)


def _look(module: Module, request: dict[str, Any], lookers: Lookers, stop: int) -> Discovered:
    python = module.python or sys.executable
    try:
        looker = lookers.of(python)
    except OSError as error:
        return _broken(module, f"cannot be imported: cannot start {python}: {error.strerror}")
    try:
        seen = looker.look(request, module.timeout_s, stop)
    except OSError as error:
        return _broken(module, f"cannot be imported: cannot ask {python} for it: {error.strerror}")
    tail = seen.output.decode("utf-8", "replace").strip()
    if seen.fault is not None:
        return _broken(module, seen.fault + quoted(tail))
    return read_report(module, bytes(seen.report), tail)


def _without_directory(error: OSError) -> str:
    """Say why there is no private directory for an import, and what to do."""
    where = f" in {os.path.dirname(error.filename)}" if error.filename else ""
    remedy = "free some space there" if error.errno in _FULL else "make one writable"
    return f"cannot make a private directory for it{where}: {error.strerror}; {remedy}, or set TMPDIR to a directory with room"


def _existing(paths: Iterable[str]) -> list[str]:
    """Return where paths lead, of those that exist: once, here, rather than in every import."""
    return list({os.path.realpath(path): None for path in paths if Path(path).exists()})


def _broken(module: Module, message: str) -> Discovered:
    return Discovered(module, problems=(Problem(module.origin, message),))


def _request(module: Module, files: dict[str, list[str]], tmp_dir: str) -> dict[str, Any]:
    closed = ["/etc", "/proc", "/dev", *(["/root", "/home"] if os.geteuid() == 0 else [])]
    code = [module.code_dir] if module.code_dir else []
    own = _existing([*module.read, *code, *module.layers])
    return {
        "files": {
            "closed": list(map(os.path.realpath, closed)),
            "hidden": list(map(os.path.realpath, module.hidden)),
            "shown": list(map(os.path.realpath, module.shown)),
            "read": [*files["read"], *own],
            "devices": files["devices"],
            "tmp_dir": tmp_dir,
            # Both are others where the import has a view of its own.
            "own": [tmp_dir],
            "has_view": False,
        },
        "module": module.name,
        "code_dir": module.code_dir,
        "layers": list(module.layers),
        "attributes": list(module.attributes),
        "timeout_s": module.timeout_s,
        "env": passed_env() | module.env | {"TMPDIR": tmp_dir},
    }
