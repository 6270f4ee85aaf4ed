"""Handlers that get at their channel to the daemon and abuse it."""

from __future__ import annotations

import array
import errno
import json
import os
import signal
import socket
import struct
import time


def _channel():
    """The sandbox's end of its channel: the lowest socket among the descriptors from 100 on."""
    for fd in sorted(int(name) for name in os.listdir("/proc/self/fd")):
        try:
            if fd >= 100 and os.readlink(f"/proc/self/fd/{fd}").startswith("socket:"):
                return socket.socket(fileno=os.dup(fd))
        except OSError:
            continue
    raise RuntimeError("there is no channel")


def _frame(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack(">I", len(text)) + text


def send_raw(event, context):
    """Send these bytes, then these JSON values as frames, and end without another word or hang."""
    channel = _channel()
    channel.sendall(bytes.fromhex(event.get("hex", "")))
    for text in event.get("texts", ()):
        channel.sendall(_frame(text.encode("utf-8", "surrogateescape")))
    if event.get("hang"):
        time.sleep(3600)
    os._exit(0)


def send_deep(event, context):
    """Nest what nobody can follow."""
    depth = event["depth"]
    _channel().sendall(_frame(b'{"op":' + b"[" * depth + b"]" * depth + b"}"))
    time.sleep(3600)


def flood(event, context):
    """Send small frames until the channel breaks or time is up."""
    data = _frame(event["frame"]) * 500
    channel = _channel()
    while True:
        channel.sendall(data)


def flood_newlines(event, context):
    """Empty lines cost one byte to print and a record each to keep."""
    while True:
        os.write(1, b"\n" * 65536)


def send_promise_of_a_gigabyte(event, context):
    """And then deliver, as far as anybody reads."""
    channel = _channel()
    channel.sendall(struct.pack(">I", 2**30))
    while True:
        channel.sendall(b"x" * 65536)


def ask_and_never_fetch(event, context):
    """Requests without end, whose answers nobody reads."""
    data = _frame({"op": "invoke", "function": "f", "event": None, "wait": True})
    channel = _channel()
    while True:
        channel.sendall(data)


def enqueue_in_masses(event, context):
    """As fast as the answers come; from four threads."""
    import threading

    def send():
        for _ in range(event["count"]):
            context.enqueue("somewhere", 1)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "sent"


def pass_descriptors(event, context):
    """Hand over descriptors by the hundred."""
    channel = _channel()
    fds = array.array("i", [os.open("/dev/null", os.O_RDONLY) for _ in range(200)])
    passed = 0
    while passed < event["times"]:
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
            channel.sendmsg([_frame({"op": "progress"})], rights)
            passed += 1
        except OSError as error:
            if (
                error.errno != errno.ETOOMANYREFS
            ):  # So many are on their way; until they are dropped.
                raise
    return "passed"


def keep_descriptors_on_their_way(event, context):
    """Fill what this user may have on its way through sockets, in some that nobody reads, and hold that."""
    pairs = []
    fds = array.array("i", [0] * 253)
    sent = 0
    while sent < 100_000:
        if sent % (253 * 20) == 0:  # So many messages fit into one.
            pairs.append(socket.socketpair())
        try:
            pairs[-1][0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
            sent += 253
        except OSError as error:
            if error.errno != errno.ETOOMANYREFS:
                raise
            break
    context.progress({"sent": sent})
    time.sleep(600)


def close_channel(event, context):
    """Close every socket, and return as if nothing had happened."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= 100:
            os.close(int(name))
    return "returned"


def leave_a_holder(event, context):
    """A grandchild in a session of its own keeps the channel and goes on talking."""
    channel = _channel()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            while True:
                channel.send(_frame({"op": "progress", "x": 1}))
        os._exit(0)
    return "returned"


def forge_status(event, context):
    """Write into the pipe by which the sandbox's first process says how we ended."""
    try:
        names = os.listdir("/proc/1/fd")
    except OSError:
        names = []  # A wall keeps us from it.
    for name in names:
        try:
            fd = os.open(f"/proc/1/fd/{name}", os.O_WRONLY | os.O_NONBLOCK)
            os.write(fd, event["text"].encode())
        except OSError:
            continue
    os.kill(os.getpid(), signal.SIGKILL)


def result_twice(event, context):
    """A result, and another one with it: after one sound report the daemon need not wait for more."""
    reports = (_frame({"op": "result"}) + _frame(text) for text in (b'"first"', b'"second"'))
    _channel().sendall(b"".join(reports))


def result_after_error(event, context):
    """The first report counts against the second."""
    error = _frame({"op": "error", "error": {"type": "E", "message": "m"}})
    _channel().sendall(error + _frame({"op": "result"}) + _frame(b'"second"'))


def list_descriptors(event, context):
    """What this process has open: number and what it is."""
    return descriptors()


def descriptors():
    found = {}
    listing = os.open("/proc/self/fd", os.O_RDONLY)
    for name in os.listdir(listing):
        if int(name) != listing:
            try:
                what = os.readlink(f"/proc/self/fd/{name}")
                found[name] = what if what.startswith("anon_inode") else what.partition(":")[0]
            except OSError:
                continue  # The listing's own copy.
    os.close(listing)
    return found
