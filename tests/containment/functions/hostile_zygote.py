"""A module that attacks while it is imported: it runs in the zygote, beside the socket to the daemon.

`ATTACK` names what it does; nothing when it is unset. What it finds, attempts return.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import struct
import time

FOUND: dict[str, object] = {}


def _sockets():
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                yield int(name)
        except OSError:
            continue


CONTROL = next(_sockets(), -1)


def _send(value, fds=()):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    data = struct.pack(">I", len(text)) + text
    control = socket.socket(fileno=os.dup(CONTROL))
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        sent = control.sendmsg([data], rights)
        if sent < len(data):
            control.sendall(data[sent:])
    finally:
        control.close()


def _pidfd_of_peer():
    """The pidfd of whoever made the other end: the daemon (SO_PEERPIDFD, since Linux 6.5)."""
    control = socket.socket(fileno=os.dup(CONTROL))
    try:
        return control.getsockopt(socket.SOL_SOCKET, 77)
    finally:
        control.close()


def _answer_first(make_fds):
    """Take the daemon's request before the zygote's own code can, and answer it."""

    def serve():
        control = socket.socket(fileno=os.dup(CONTROL))
        while True:
            data, _, _, _ = control.recvmsg(65536, 4096, socket.MSG_PEEK)
            if not data:
                os._exit(0)
            number = json.loads(data[4:])["id"]
            _send({"op": "forked", "id": number, "fds": 1}, make_fds())
            time.sleep(3600)

    # Here and now, so that the zygote never reads: the module is imported as far as anybody was told.
    _send({"op": "ready", "init_s": 0.0, "memory_bytes": 0, "alone": ""})
    serve()


def _flood_descriptors():
    null = os.open("/dev/null", os.O_RDONLY)
    for _ in range(1000):
        _send({"op": "ready", "init_s": 0, "memory_bytes": 0, "alone": ""}, [null] * 10)


def _flood_frames():
    while True:
        _send({"op": "ended", "id": 1, "cpu_s": 0, "memory_bytes": 0})


def _fork_and_go_on():
    if os.fork() == 0:
        os.setsid()


def _full_disk():
    _send({"op": "failed", "message": "no room", "where": "", "is_disk_full": True})
    os._exit(1)


def _half_a_frame():
    socket.socket(fileno=os.dup(CONTROL)).send(b"\0\0\0\x30{")
    time.sleep(3600)


def _later(frame, fds=()):
    """Say it after `ready`: a thread would keep the zygote from forking safely, a child does not."""
    if os.fork() == 0:
        time.sleep(0.3)
        _send(frame, fds)
        time.sleep(3600)


ATTACKS = {
    "garbage": lambda: _send(b"\xff\xfe garbage"),
    "gigabyte": lambda: socket.socket(fileno=os.dup(CONTROL)).send(struct.pack(">I", 2**30)),
    "half": _half_a_frame,
    "deep": lambda: _send(b"[" * 200_000 + b"]" * 200_000),
    "ready-without-fields": lambda: _send({"op": "ready"}),
    "ready-nan": lambda: _send(b'{"op":"ready","init_s":NaN,"memory_bytes":0,"alone":""}'),
    "ready-huge": lambda: _send({"op": "ready", "init_s": 0, "memory_bytes": 10**30, "alone": ""}),
    "ready-endless": lambda: _send(b'{"op":"ready","init_s":0,"memory_bytes":1e999,"alone":""}'),
    "ready-alone-odd": lambda: _send(
        {"op": "ready", "init_s": 0, "memory_bytes": 0, "alone": ["x"]}
    ),
    "init-error-odd": lambda: _send({"op": "init-error", "error": ["x"]}),
    "init-error-stack": lambda: _send({"op": "init-error", "error": {"stack": 5, "type": {}}}),
    "fds-odd": lambda: _send(b'{"op":"ready","fds":1e999}'),
    "fds-promised": lambda: _send({"op": "ready", "fds": 3}),
    "fds-negative": lambda: _send({"op": "ready", "fds": -1}),
    "id-odd": lambda: _send({"op": "ended", "id": [1]}),
    "no-op": lambda: _send({"id": 1}),
    "unknown-op": lambda: _send({"op": "fork", "id": 1, "policy": {}}),
    "ended-of-another": lambda: _send({"op": "ended", "id": 1, "cpu_s": 0, "memory_bytes": 0}),
    "descriptors": _flood_descriptors,
    "frames": _flood_frames,
    "fork-and-go-on": _fork_and_go_on,
    "close": lambda: os.close(CONTROL),
    "pidfd-of-daemon": lambda: _answer_first(lambda: [_pidfd_of_peer()]),
    "pidfd-of-itself": lambda: _answer_first(lambda: [os.pidfd_open(os.getpid())]),
    "no-pidfd": lambda: _answer_first(lambda: [os.open("/dev/null", os.O_RDONLY)]),
    "kill-parent": lambda: os.kill(os.getppid(), signal.SIGKILL) if os.getppid() else None,
    "full-disk": _full_disk,
    "exit": lambda: os._exit(0),
}

ATTACK = os.environ.get("ATTACK", "")
if ATTACK:
    ATTACKS[ATTACK]()

from hostile_frames import descriptors  # noqa: E402

FOUND["zygote"] = descriptors()


def in_zygote(event, context):
    """Return what the zygote had open while it imported this module."""
    return FOUND["zygote"]


def harmless(event, context):
    """Nothing more than an answer."""
    return event


def speak_for_others(event, context):
    """From an attempt, over a copy of the zygote's socket that the module kept."""
    _send({"op": "ended", "id": event["id"], "cpu_s": 0, "memory_bytes": 0})
    time.sleep(3600)


KEPT = os.dup(CONTROL) if os.environ.get("KEEP") else -1
if KEPT >= 0:
    os.set_inheritable(KEPT, True)
    CONTROL = KEPT
