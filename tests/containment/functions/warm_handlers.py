"""Handlers for sandboxes that serve several attempts: what they keep, and what they leave behind."""

import logging
import os
import subprocess
import sys
import threading
import time

seen = []
kept = []


def do(event, context):
    """Do what the event names; says which process, and how many attempts it has seen."""
    seen.append(event)
    attempts = len(seen)
    print("attempt", attempts)
    name = (event or {}).get("do")
    told = globals()[name](event, context) if name else None
    return {"pid": os.stat("/proc/self").st_ino, "attempts": attempts, "told": told}


def quiet(event, context):
    """As `do`, but prints nothing."""
    seen.append(event)
    name = (event or {}).get("do")
    return [len(seen), globals()[name](event, context) if name else None]


def say(event, context):
    print("from", event["number"])
    subprocess.run(["echo", f"child of {event['number']}"], check=True)
    sys.stderr.write(f"error of {event['number']}\n" * event.get("times", 1))


def log_it(event, context):
    logging.getLogger("h").warning("logged by %s", event["number"])


def ask(event, context):
    return context.enqueue("q", {"number": event["number"]})


def close_output(event, context):
    os.close(1)
    os.close(2)


def to_a_file(event, context):
    with open(os.environ["TMPDIR"] + "/out", "a+") as file:
        file.write("x" * 100)
        file.flush()
        file.seek(0)
        os.dup2(file.fileno(), 1)


def touch(event, context):
    open(event["path"], "a").close()


def hang_politely(event, context):
    time.sleep(600)


async def quiet_later(event, context):
    import asyncio

    if (event or {}).get("do") == "hang_politely":
        await asyncio.sleep(600)
    return quiet(event, context)


def pause(event, context):
    time.sleep(event["s"])


def environ(event, context):
    return {name: value for name, value in os.environ.items() if name.startswith("FAASD_")}


def env(event, context):
    names = ("FAASD_INVOCATION_ID", "FAASD_PATH", "FAASD_ATTEMPT", "FAASD_TRIGGER")
    return [context.invocation_id, *(os.environ.get(name) for name in names)]


def leave_file(event, context):
    open(os.environ["TMPDIR"] + "/left", "w").close()


def list_tmp(event, context):
    return os.listdir(os.environ["TMPDIR"])


def fail(event, context):
    raise ValueError("on purpose")


def leave(event, context):
    sys.exit(3)


def die(event, context):
    os.kill(os.getpid(), 9)


def hang(event, context):
    while True:
        try:
            time.sleep(600)
        except BaseException:  # noqa: BLE001 - it clings to life.
            pass


def say_and_hang(event, context):
    print("hanging", flush=True)
    hang(event, context)


def fill(event, context):
    while True:
        kept.append(bytearray(2**20))


def use(event, context):
    block = bytearray(event["bytes"])
    block[::4096] = b"x" * len(block[::4096])
    if event.get("keep"):
        kept.append(block)


def spin(event, context):
    until = time.process_time() + event["s"]
    while time.process_time() < until:
        pass


def print_for_ever(event, context):
    while True:
        sys.stdout.write("x" * 65536)


def leave_process(event, context):
    return subprocess.Popen(["sleep", event["token"]]).pid


def leave_orphan(event, context):
    subprocess.run(["sh", "-c", f"sleep {event['token']} &"], check=True)


def leave_thread(event, context):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


def leave_logging_thread(event, context):
    log_ = logging.getLogger("thread")

    def log():
        while True:
            log_.warning("from a thread")
            time.sleep(0.001)

    threading.Thread(target=log, daemon=True).start()


def _channel():
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) >= 100 and os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                return int(name)
        except OSError:
            continue
    raise LookupError


def speak_later(event, context):
    """Write to the channel when the attempt is over."""
    fd, data = _channel(), event["text"].encode("latin-1")

    def speak():
        time.sleep(0.05)
        os.write(fd, data)

    threading.Thread(target=speak, daemon=True).start()


def die_later(event, context):
    def die_then():
        time.sleep(0.05)
        os._exit(5)

    threading.Thread(target=die_then, daemon=True).start()


def garbage(event, context):
    os.write(_channel(), b"\xff\xff\xff\xff")


def half_a_frame(event, context):
    os.write(_channel(), b"\0\0\1\0{")


def descriptors(event, context):
    return len(os.listdir("/proc/self/fd"))


def secret(event, context):
    path = os.environ["CREDENTIALS_DIRECTORY"] + "/key"
    return [context.secret("key"), open(path).read()]


async def do_later(event, context):
    import asyncio

    await asyncio.sleep(0)
    return do(event, context)


def exit_at_once(event, context):
    os._exit(0)
