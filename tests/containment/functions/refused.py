"""Handlers that the walls stop, each in one way; and a module that leaves a trace of its import."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from faasd import Context


def read(event: Any, context: Context) -> str:
    return Path(event["path"]).read_text()


def write(event: Any, context: Context) -> int:
    return Path(event["path"]).write_text("x")


def wrapped(event: Any, context: Context) -> None:
    try:
        open(event["path"]).close()
    except OSError as error:
        raise ValueError("no price list") from error


def run_cat(event: Any, context: Context) -> None:
    subprocess.run(["cat", event["path"]], check=True)


def connect(event: Any, context: Context) -> None:
    socket.create_connection(("127.0.0.1", event["port"]), 5).close()


def move_out(event: Any, context: Context) -> None:
    made = Path(os.environ["TMPDIR"]) / "made"
    made.write_text("x")
    (os.rename if event["plainly"] else shutil.move)(made, event["path"])


def open_many(event: Any, context: Context) -> None:
    kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(1000)]
    raise AssertionError(len(kept))


def fill_tmp(event: Any, context: Context) -> None:
    with open(os.path.join(os.environ["TMPDIR"], "x"), "wb", buffering=0) as file:
        file.write(b"x" * event["mib"] * 2**20)
        file.write(b"x")  # The first one may have been cut short.


def unshare(event: Any, context: Context) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000):
        number = ctypes.get_errno()
        raise OSError(number, f"unshare: {os.strerror(number)}")


def lie(event: Any, context: Context) -> None:
    error = OSError(13, "Permission denied", "/" + "x" * 100_000)
    error.filename2 = "\x1b[2J/y"
    raise error
