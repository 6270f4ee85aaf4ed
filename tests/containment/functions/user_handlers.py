"""Handlers that say who they are and what they can reach."""

import getpass
import os
import signal
import subprocess
import tempfile


def who(event, context):
    with tempfile.NamedTemporaryFile() as file:
        owner = os.stat(file.name).st_uid
        in_private = file.name.startswith(os.environ["TMPDIR"])
    return {
        "uids": list(os.getresuid()),
        "gids": list(os.getresgid()),
        "groups": sorted(os.getgroups()),
        "name": getpass.getuser(),
        "env": {name: os.environ.get(name) for name in ("USER", "LOGNAME", "HOME", "TMPDIR")},
        "owner": owner,
        "in_private": in_private,
        "child": subprocess.run(["id", "-u"], capture_output=True, check=True).stdout.decode(),
    }


def try_to(event, context):
    """Try one thing; return None when it worked, else the error's number."""
    try:
        if event["do"] == "read":
            with open(event["path"]) as file:
                file.read()
        elif event["do"] == "write":
            with open(event["path"], "w") as file:
                file.write("x")
        elif event["do"] == "list":
            os.listdir(event["path"])
        elif event["do"] == "signal":
            os.kill(event["pid"], 0)
        elif event["do"] == "become":
            os.setresuid(0, 0, 0)
    except OSError as error:
        return error.errno
    return None


def print_by_name(event, context):
    subprocess.run(["sh", "-c", "echo by name >/dev/stderr"], check=True)


def hang(event, context):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        os.execvp("sleep", ["sleep", event["token"]])
    while True:
        signal.pause()


def secret_files(event, context):
    """Read our secret in each way there is, also from a child."""
    path = os.path.join(os.environ["CREDENTIALS_DIRECTORY"], "key")
    done = subprocess.run(["cat", path], capture_output=True, check=True)
    return [context.secret("key"), done.stdout.decode()]


def fork_many(event, context):
    """Return how many children we may have."""
    count = 0
    try:
        while count < event:
            if os.fork() == 0:
                signal.pause()
            count += 1
    except OSError:
        pass
    return count
