"""Seven ways to be a bad neighbour. Run them with faasd only; some would take down your session."""

from __future__ import annotations

import os
import signal
import socket
import time

from faasd import function


@function
def fork_bomb(event, context):
    """Doubles, and doubles again, and holds on to what it has."""
    for _ in range(
        10
    ):  # 1,024 at the very most, so that a host without limits survives the lesson.
        try:
            os.fork()
        except OSError as error:
            print(f"cannot fork: {error.strerror}", flush=True)
    time.sleep(3600)


@function
def memory_hog(event, context):
    """Takes memory, and uses it, until somebody says no."""
    hoard = []
    while True:
        hoard.append(b"x" * 8 * 2**20)


@function
def endless_loop(event, context):
    """Burns a processor, and ignores the polite signal."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass


@function
def endless_printer(event, context):
    """Prints as fast as it can."""
    while True:
        print("all work and no play makes a dull log" * 10)


@function
def grandchild(event, context):
    """Returns at once, but leaves a grandchild behind that holds our output open."""
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(3600)
        os._exit(0)
    return {"left": "a grandchild"}


@function
def escapee(event, context):
    """Leaves a child in a session of its own that ignores every signal it can."""
    if os.fork() == 0:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(3600)
        os._exit(0)
    time.sleep(3600)


@function
def forger(event, context):
    """Writes to every socket that it finds itself with, the one of its report among them."""
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as own:
                own.send(b"\xff" * 64)
        except OSError:
            continue  # No socket, or closed meanwhile.
    return "nothing to see here"
