"""Handlers that are given secrets, and lists of what processes start with."""

import base64
import json
import logging
import os
import subprocess
import sys

_CHECKOUT = os.path.abspath(__file__ + "/../../../..") + os.sep


def read(event, context):
    return {
        "text": context.secret("smtp-password"),
        "bytes": list(context.secret_bytes("smtp-password")),
    }


def ask_for_another(event, context):
    try:
        context.secret("other")
    except KeyError as error:
        return [type(error).__name__, str(error)]


def files(event, context):
    """Every way to the files: from this process, and from one that inherits no descriptor."""
    directory = os.environ["CREDENTIALS_DIRECTORY"]
    found = {}
    for name in sorted(os.listdir(directory)):
        path = os.path.join(directory, name)
        with open(path) as file:
            found[name] = file.read()
        child = subprocess.run(["cat", path], capture_output=True, check=True, close_fds=True)
        assert child.stdout.decode() == found[name]
        try:
            with open(path, "r+b", buffering=0) as file:
                file.write(b"changed")
        except OSError:  # Its mode or, where that does not count, its seal.
            continue
        raise AssertionError("a secret can be changed")
    return found


def look_around(event, context):
    """Return where the secret shows besides where it should."""
    needle = b"hunter2 and more"
    found = []
    for name in ("environ", "cmdline"):
        with open(f"/proc/self/{name}", "rb") as file:
            if needle in file.read():
                found.append(name)
    if needle.decode() in "\0".join([*os.environ.values(), *sys.argv]):
        found.append("os.environ")
    for base, _, names in os.walk(os.environ["TMPDIR"]):
        for name in names:
            path = os.path.join(base, name)
            # This checkout may itself be below /tmp, and is then to be seen there.
            if not os.path.islink(path) and not path.startswith(_CHECKOUT):
                found.append(path)
    return found


def leak(event, context):
    password = context.secret("smtp-password")
    print("out", password)
    print("err", password, file=sys.stderr)
    logging.getLogger("mail").warning("log %s", password)
    os.write(1, b"split " + password[:5].encode())
    os.write(1, password[5:].encode() + b" end\n")
    print(base64.b64encode(b"user:" + password.encode()).decode())
    print("x" * 40 + password)
    subprocess.run(["echo", "child", password], check=True)
    raise ValueError(f"cannot log in with {password!r}")


def fail_with_key(event, context):
    raise ValueError("the key is " + context.secret("key"))


def leak_lines(event, context):
    for line in context.secret("key").splitlines():
        print("line:", line)


def return_secret(event, context):
    return context.secret("smtp-password")


def descriptors(event, context):
    return list_descriptors()


def list_descriptors():
    """Return what this process has open, without what looking opens."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}").split(":")[0]
        except FileNotFoundError:
            continue  # The descriptor of the listing itself.
    return found


def environment(event, context):
    return dict(os.environ)


if __name__ == "__main__":
    print(json.dumps(list_descriptors()))
