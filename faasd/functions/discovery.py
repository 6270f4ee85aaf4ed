"""Finds out what modules of functions declare, without importing any of them here.

Each module is imported in a process of its own, so a bad one harms neither the daemon nor the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import faasd
from faasd.functions.discovery_report import quoted, read_report
from faasd.linux.held_directory import held_directory, remove_left
from faasd.model.declaration import Discovered, Module, Problem

__all__ = ["discover"]

_BOOTSTRAP = os.path.join(
    os.path.dirname(os.path.abspath(faasd.__file__)), "runtime", "bootstrap.py"
)
#: How the private directories of imports begin, which are gone when an import is, and at the next one if we were killed.
_PREFIX = "faasd-import-"
REPORT_BYTES_MAX = 4 * 2**20
OUTPUT_BYTES_KEPT = 2000
#: The discovery process keeps the limit itself; this is for one whose supervisor was killed.
_BACKSTOP_S = 10.0
_PASSED_ENV = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR", "TZ", "USER")


async def discover(
    modules: Sequence[Module], *, read: Sequence[str] = (), devices: Sequence[str] = ("/dev/null",)
) -> list[Discovered]:
    """Import modules side by side, each in its own process; the answers have the same order.

    Never raises for anything that a module does. When this returns, no process of theirs is left.
    """
    files = {"read": list(read), "devices": list(devices)}
    if not modules:
        return []
    loop = asyncio.get_running_loop()
    await asyncio.to_thread(remove_left, tempfile.gettempdir(), _PREFIX)
    stop_out, stop_in = os.pipe()  # Readable for every thread at once, when it is closed.
    pool = ThreadPoolExecutor(max(2, os.cpu_count() or 1), "discovery")
    try:
        futures = [
            loop.run_in_executor(pool, _discover_one, one, files, stop_out) for one in modules
        ]
        return list(await asyncio.gather(*futures))
    finally:
        # When this is cancelled, the imports that run now are killed and the others never start.
        os.close(stop_in)
        pool.shutdown(cancel_futures=True)
        os.close(stop_out)


@dataclass
class _Run:
    """What one discovery process has said until its end."""

    report: bytearray
    output: bytearray
    fault: str | None = None


def _discover_one(module: Module, files: dict[str, list[str]], stop: int) -> Discovered:
    try:
        with held_directory(tempfile.gettempdir(), _PREFIX) as tmp:
            run = _run(module, _request(module, files, tmp), stop)
    except OSError as error:
        python = module.python or sys.executable
        return _broken(module, f"cannot be imported: cannot start {python}: {error.strerror}")
    tail = run.output.decode("utf-8", "replace").strip()
    if run.fault is not None:
        return _broken(module, run.fault + quoted(tail))
    return read_report(module, bytes(run.report), tail)


def _broken(module: Module, message: str) -> Discovered:
    return Discovered(module, problems=(Problem(module.origin, message),))


def _request(module: Module, files: dict[str, list[str]], tmp_dir: str) -> dict[str, Any]:
    closed = ["/etc", "/proc", "/dev", *(["/root", "/home"] if os.geteuid() == 0 else [])]
    code = [module.code_dir] if module.code_dir else []
    return {
        "files": {
            "closed": closed,
            "hidden": list(module.hidden),
            "shown": list(module.shown),
            "read": [*files["read"], *module.read, *code, *module.layers],
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
    }


def _run(module: Module, request: dict[str, Any], stop: int) -> _Run:
    report_out, report_in = os.pipe()
    try:
        process = subprocess.Popen(
            [
                module.python or sys.executable,
                *("-I", _BOOTSTRAP, "discover"),
                *(str(report_in), json.dumps(request)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=module.code_dir or "/",
            env={name: os.environ[name] for name in _PASSED_ENV if name in os.environ}
            | module.env
            | {"TMPDIR": request["files"]["tmp_dir"]},
            pass_fds=(report_in,),
            start_new_session=True,
        )
    except OSError:
        os.close(report_out)
        raise
    finally:
        os.close(report_in)
    run = _Run(bytearray(), bytearray())
    try:
        deadline = time.monotonic() + module.timeout_s + _BACKSTOP_S
        _collect(process, (report_out, stop), run, deadline)
    finally:
        _end(process)
        os.close(report_out)
    # The supervisor always ends well, unless the module got at it or the interpreter is none.
    if run.fault is None and process.returncode != 0:
        run.fault = f"could not be imported: its process ended with status {process.returncode}"
    return run


def _collect(
    process: subprocess.Popen[bytes], pipes: tuple[int, int], run: _Run, deadline: float
) -> None:
    """Read until the process has ended, not until its pipes close: others may hold those open."""
    assert process.stdout is not None
    report, stop = pipes
    output = process.stdout.fileno()
    pidfd = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            for descriptor in (pidfd, report, output, stop):
                selector.register(descriptor, selectors.EVENT_READ)
            while run.fault is None:
                ready = {
                    key.fd for key, _ in selector.select(max(0.0, deadline - time.monotonic()))
                }
                if stop in ready:
                    run.fault = "its import was cancelled"
                elif time.monotonic() >= deadline:
                    run.fault = "its import could not be ended in time and was killed"
                for descriptor in ready & {report, output}:
                    if not _read(descriptor, run.report if descriptor == report else run.output):
                        selector.unregister(descriptor)
                if len(run.report) > REPORT_BYTES_MAX:
                    run.fault = f"reported more than {REPORT_BYTES_MAX} bytes of declarations"
                del run.output[:-OUTPUT_BYTES_KEPT]
                if ready == {pidfd}:  # Ended, and nothing more to read.
                    return
    finally:
        os.close(pidfd)


def _read(descriptor: int, into: bytearray) -> bool:
    data = os.read(descriptor, 65536)
    into += data
    return bool(data)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group, the process included when it still runs, and reap it."""
    with contextlib.suppress(ProcessLookupError):  # It has moved to another group.
        os.killpg(process.pid, signal.SIGKILL)  # Its leader is not reaped: the number is its own.
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
