"""Handlers of one module that may share its import: `TOKEN` tells one import from another."""

import os
import time

PORT = 43217
TOKEN = os.urandom(8).hex()
print("imported", TOKEN)


def one(event, context):
    return about(event, context)


def two(event, context):
    return about(event, context)


async def later(event, context):
    return about(event, context)


def pids():
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def listen():
    import socket

    return socket.create_server(("127.0.0.1", PORT))


def connects():
    import socket

    try:
        socket.create_connection(("127.0.0.1", PORT)).close()
    except ConnectionRefusedError:
        return False
    return True


def about(event, context):
    """Do what the event asks, and tell which import this is and which function it seems to be."""
    event = event or {}
    tmp = os.environ["TMPDIR"]
    if "leave" in event:
        with open(f"{tmp}/{event['leave']}", "w") as file:
            file.write("private")
    listener = listen() if event.get("listens") else None  # noqa: F841 - while this runs.
    if "says" in event:
        open(event["says"], "w").close()
    if "until" in event:
        while not os.path.exists(event["until"]):
            time.sleep(0.005)
    if event.get("fill"):
        bytearray(2**30)
    return {
        "token": TOKEN,
        "name": os.environ["AWS_LAMBDA_FUNCTION_NAME"],
        "log_group": os.environ["AWS_LAMBDA_LOG_GROUP_NAME"],
        "function": os.environ["FAASD_FUNCTION"],
        "handler": os.environ["_HANDLER"],
        "context": context.function_name,
        "connected": connects() if event.get("connects") else None,
        "tmp": sorted(os.listdir(tmp)),
        "pids": pids(),
        "secrets": sorted(n for n in os.environ if n == "CREDENTIALS_DIRECTORY"),
    }
