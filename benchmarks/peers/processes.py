"""What a fresh process for each job costs without a queue, a log or a limit: the ways that Python offers.

`processes WAY COUNT LOOPS`; LOOPS processes of this size run it side by side.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext

from benchmarks.usage import cpu_s, memory_bytes

BARE = [sys.executable, "-I", "-c", "pass"]
NAMESPACES = ("--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net")
WALLED = ["--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]


def fork(count: int) -> None:
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)


def interpreter(count: int) -> None:
    for _ in range(count):
        subprocess.run(BARE, check=True)


def bubblewrap(count: int) -> None:
    program = shutil.which("bwrap")
    assert program is not None
    command = [program, *WALLED, *NAMESPACES, "--die-with-parent", *BARE]
    for _ in range(count):
        subprocess.run(command, check=True)


def nothing() -> None:
    pass


def forkserver(count: int) -> None:
    context = multiprocessing.get_context("forkserver")
    assert isinstance(context, ForkServerContext)
    for _ in range(count):
        process = context.Process(target=nothing)
        process.start()
        process.join()
        process.close()


def pebble(count: int) -> None:
    from pebble import ProcessPool

    with ProcessPool(max_workers=2, max_tasks=1) as pool:
        futures = [pool.schedule(nothing) for _ in range(count)]
        for future in futures:
            future.result()


WAYS: dict[str, Callable[[int], None]] = {
    way.__name__: way for way in (fork, interpreter, bubblewrap, forkserver, pebble)
}


def side_by_side(way: Callable[[int], None], count: int, loops: int) -> None:
    """Run the way in so many processes, each with its part of the count."""
    pids = []
    for _ in range(loops):
        pid = os.fork()
        if pid == 0:
            way(count // loops)
            os._exit(0)
        pids.append(pid)
    if any(os.waitpid(pid, 0)[1] for pid in pids):
        raise SystemExit("a loop failed")


def main() -> None:
    way, count, loops = WAYS[sys.argv[1]], int(sys.argv[2]), int(sys.argv[3])
    way(2)  # Whatever is started once is started.
    me = {os.getpid()}
    used = -cpu_s(me)
    began = time.perf_counter()
    if loops == 1:
        way(count)
    else:
        side_by_side(way, count, loops)
    seconds = time.perf_counter() - began
    used += cpu_s(me)
    print(json.dumps({"seconds": seconds, "cpu_s": used, "memory_bytes": memory_bytes(me)}))


if __name__ == "__main__":
    main()
