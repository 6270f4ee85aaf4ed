"""Handlers that the containment tests run: the well-behaved and the vicious."""

import asyncio
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time


def echo(event, context):
    return event


def about(event, context):
    return {
        "attempt": context.attempt,
        "function": context.function_name,
        "memory": context.memory_limit_in_mb,
        "remaining": context.get_remaining_time_in_millis(),
        "request": context.aws_request_id,
        "tmp": os.environ["TMPDIR"],
        "env": dict(os.environ),
        "cwd": os.getcwd(),
        "pid": os.getpid(),
        "stdin": sys.stdin.read(),
    }


def leave_file(event, context):
    path = os.path.join(os.environ["TMPDIR"], "deep", "er")
    os.makedirs(path)
    open(os.path.join(path, "file"), "w").close()
    os.chmod(path, 0)
    return os.environ["TMPDIR"]


def list_tmp(event, context):
    return os.listdir(os.environ["TMPDIR"])


def draw(event, context):
    return random.random()


async def echo_later(event, context):
    await asyncio.sleep(0.01)
    return {"later": event}


async def hang_async(event, context):
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        print("cancelled")
        raise


def hang(event, context):
    time.sleep(600)


def tidy_up(event, context):
    from faasd.model.context import SoftTimeout

    try:
        print("working")
        time.sleep(600)
    except SoftTimeout:
        print("tidied up")
        return "too late"


def _ignore_signals():
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _escape(token):
    """Leave a process that no session, group, parent or environment ties to us."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            _ignore_signals()
            os.execvpe("sleep", ["sleep", token], {})
        os._exit(0)
    os.wait()


def escape_and_hang(event, context):
    for _ in range(3):
        _escape(event["token"])
    print("escaped", flush=True)
    _ignore_signals()
    while True:
        time.sleep(600)


def escape_and_return(event, context):
    for _ in range(3):
        _escape(event["token"])
    return "returned"


def kill_parent_and_escape(event, context):
    """Without a PID namespace this ends the sandbox's first process; within one the kernel refuses."""
    _escape(event["token"])
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)


def stop_parent_and_escape(event, context):
    _escape(event["token"])
    os.kill(os.getppid(), signal.SIGSTOP)
    time.sleep(600)


def kill_grandparent_and_escape(event, context):
    """Without a PID namespace this ends the zygote."""
    _escape(event["token"])
    with open(f"/proc/{os.getppid()}/stat") as file:
        grandparent = int(file.read().rsplit(")", 1)[1].split()[1])
    if event["kill"]:
        os.kill(grandparent, signal.SIGKILL)
    time.sleep(600)


def fork_bomb(event, context):
    """Fork without end; the event's bound, shared through a file's size, is the test's own safety."""
    counter = os.open(event["counter"], os.O_RDWR | os.O_APPEND)
    while True:
        try:
            if os.fstat(counter).st_size < event["bound"]:
                if os.fork() == 0:
                    os.write(counter, b"x")
            else:
                time.sleep(0.01)
        except OSError:
            time.sleep(0.001)


def fill(event, context):
    kept = []
    while True:
        kept.append(bytearray(os.urandom(1)) * 2**20)


def fill_at_once(event, context):
    return len(b"x" * event["bytes"])


def fill_in_child(event, context):
    code = "kept = []\nwhile True: kept.append(bytearray(b'x') * 2**20)"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False, stderr=subprocess.DEVNULL)
    return "the child is gone, I am not"


def fill_in_ten(event, context):
    """Ten children, none of which goes over the cap by itself."""
    children = []
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            kept = bytearray(b"x") * (event["bytes"] // 10)
            time.sleep(600)
            os._exit(len(kept) & 1)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    return "all ten are gone, I am not"


def fill_shared_memory(event, context):
    fd = os.memfd_create("fill")
    for _ in range(event["bytes"] // 2**20):
        os.write(fd, b"x" * 2**20)
    return "filled"


def import_failing_memory(event, context):
    raise MemoryError("of its own")


def print_for_ever(event, context):
    while True:
        print("x" * 1000)


def print_much(event, context):
    for _ in range(event["lines"]):
        print("y" * 99)
    return "done"


def print_bytes(event, context):
    os.write(1, b"caf\xe9 \xff\n")
    os.write(2, b"no newline at the end")
    print("é" * 10)
    return "done"


def print_long_line(event, context):
    print("z" * 5000)
    return "done"


def log(event, context):
    logger = logging.getLogger("shop")
    logger.warning("low on %s", "tea")
    try:
        raise KeyError("cup")
    except KeyError:
        logger.exception("no cup")
    print("printed")
    if os.fork() == 0:
        logger.error("from a forked child")
        os._exit(0)
    os.wait()
    return "logged"


def close_low_fds(event, context):
    os.closerange(0, 10)
    return "closed"


def close_all_fds(event, context):
    os.closerange(0, 1000)
    return "closed"


def _channel():
    for name in os.listdir("/proc/self/fd"):
        if int(name) >= 100:
            return socket.socket(fileno=os.dup(int(name)))
    raise AssertionError("no channel")


def send_garbage(event, context):
    _channel().sendall(bytes.fromhex(event["hex"]))
    time.sleep(600)


def send_half_a_frame_and_exit(event, context):
    _channel().sendall(b"\x00\x00\x01\x00{")
    os._exit(0)


def send_two_reports(event, context):
    text = b'{"op":"result"}'
    frames = len(text).to_bytes(4, "big") + text + b"\x00\x00\x00\x01" + b"1"
    # In one write: after one sound report the daemon need not wait for more.
    _channel().sendall(2 * frames)


def call_exit(event, context):
    sys.exit(event)


def exit_at_once(event, context):
    os._exit(event)


def kill_itself(event, context):
    os.kill(os.getpid(), event)
    time.sleep(600)


def abort(event, context):
    os.abort()


def fail(event, context):
    def inner():
        raise ValueError("no good")

    inner()


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


def fail_unprintably(event, context):
    raise Unprintable


def return_unencodable(event, context):
    return {"a": [1, {"b": {1, 2}}]}


def return_nan(event, context):
    return [float("nan")]


def return_loop(event, context):
    value = []
    value.append(value)
    return value


def return_large(event, context):
    return "x" * event


def return_from_forked_child(event, context):
    if os.fork() == 0:
        return "from the child"
    os.wait()
    return "from the parent"


def enqueue(event, context):
    first = context.enqueue("letters", {"n": 1}, delay="5s", key="k", dedup="d", priority=3)
    return [first, context.invoke("other", {"x": 1}), context.invoke("other", wait=False)]


def enqueue_nowhere(event, context):
    context.enqueue("nowhere", None)


def progress(event, context):
    context.progress({"done": 1})
    context.progress({"done": 2})


def flood_requests(event, context):
    channel = _channel()
    text = json.dumps({"op": "enqueue", "queue": "letters", "body": None}).encode()
    for _ in range(200):
        channel.sendall(len(text).to_bytes(4, "big") + text)
    for _ in range(200):
        channel.recv(4, socket.MSG_WAITALL)
        channel.recv(11, socket.MSG_WAITALL)
    return "answered"


def hold_stdout_and_return(event, context):
    if os.fork() == 0:
        os.setsid()
        os.execvp("sleep", ["sleep", event["token"]])
    return "returned"


def limits(event, context):
    import resource

    return {
        name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0]
        for name in ("NOFILE", "FSIZE", "CORE", "AS")
    }


def spin(event, context):
    end = time.process_time() + event
    while time.process_time() < end:
        pass


def read_capabilities(event, context):
    """An ordinary user's sandbox must not keep the capabilities that its user namespace brought."""
    with open("/proc/self/status") as file:
        status = dict(line.split(":\t", 1) for line in file if ":\t" in line)
    assert os.geteuid() == 0 or int(status["CapEff"], 16) == 0, status["CapEff"]
    assert status["NoNewPrivs"].strip() == "1"


def fork_beside_a_held_lock(event, context):
    """A child logs, whatever another thread had locked when it was forked."""
    [ours] = logging.getLogger().handlers
    is_held = threading.Event()

    def hold():
        ours.acquire()
        is_held.set()
        time.sleep(600)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    is_held.wait()
    pid = os.fork()
    if pid == 0:
        logging.getLogger("shop").warning("from a child")
        os._exit(threading.active_count())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def count_records(event, context):
    return len(event["records"])
