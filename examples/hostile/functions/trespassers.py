"""Fifteen ways to reach for what one was not given. Each returns what it got, or fails with what stopped it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import stat
import time
from pathlib import Path

from faasd import function

_libc = ctypes.CDLL(None, use_errno=True)
_NEW_USER_NAMESPACE = 0x10000000
_PTRACE_SEIZE = 0x4206


def _checked(returned):
    """Raise what the C library put into errno."""
    if returned == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return returned


@function
def read_passwords(event, context):
    """Reads the password hashes of the host. Wall: files."""
    return Path("/etc/shadow").read_text()[:20]


@function
def change_its_code(event, context):
    """Leaves something behind for the next time it is imported. Wall: files."""
    with Path(__file__).open("a") as file:
        file.write("# I was here.\n")
    return "changed"


@function
def read_the_queue(event, context):
    """Reads the events of everybody, which are in the daemon's database. Wall: files."""
    return (Path(__file__).parents[1] / "state" / "faasd.db").read_bytes()[:15].decode()


@function(tmp_size="8MiB")
def fill_the_disk(event, context):
    """Writes into its private directory until it is told to stop. Wall: tmp-quota."""
    with Path(os.environ["TMPDIR"], "hoard").open("wb") as file:
        for _ in range(32):
            file.write(b"x" * 2**20)
            file.flush()
    return "32 MiB"


@function
def become_root_elsewhere(event, context):
    """Makes a user namespace, in which it would be root. Wall: system-calls."""
    _checked(_libc.unshare(_NEW_USER_NAMESPACE))
    return "root"


@function
def mount_over_it(event, context):
    """Puts a file system of its own over /usr. Wall: system-calls."""
    _checked(_libc.mount(b"none", b"/usr", b"tmpfs", 0, None))
    return "mounted"


@function
def watch_the_daemon(event, context):
    """Attaches itself to a process as a debugger does; `event` is its pid. Wall: system-calls."""
    _checked(_libc.ptrace(_PTRACE_SEIZE, int(event or 1), None, None))
    return "attached"


@function
def kill_the_daemon(event, context):
    """Sends a signal to a process; `event` is its pid. Walls: pid-namespace, signals."""
    os.kill(int(event), signal.SIGKILL)
    return "killed"


@function
def read_environments(event, context):
    """Looks for secrets in the environments of the host's processes. Walls: private-proc, files."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:
                continue
            if b"FAASD_SANDBOX_OF=" not in text:  # Not of its own zygote or sandbox.
                found.append(entry)
    if not found:
        raise PermissionError("no environment but its own can be read")
    return found


@function(network=False)
def call_home(event, context):
    """Connects to a port of the host; `event` is its number. Wall: network."""
    with socket.create_connection(("127.0.0.1", int(event or 22)), timeout=1):
        return "connected"


@function
def whisper(event, context):
    """Connects to an abstract Unix socket, which no file guards; `event` is its name. Wall: abstract-sockets."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        client.connect("\0" + str(event or "whisper"))
        return "connected"


@function
def knock(event, context):
    """Connects to a Unix socket of the host; `event` is its path, as Docker's. Wall: local-sockets."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        client.connect(str(event or "/run/docker.sock"))
        return "connected"


@function
def set_the_clock(event, context):
    """Sets the host's clock, to what it shows already in case that works. Wall: system-calls."""
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    return "set"


@function
def name_the_host(event, context):
    """Gives the host a name, the one that it has already in case that works. Wall: system-calls."""
    socket.sethostname(socket.gethostname())
    return "named"


@function
def make_a_device(event, context):
    """Makes a device node, by which it could read a disk. Walls: files, and no capability on any host."""
    os.mknod(Path(os.environ["TMPDIR"], "device"), 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    return "made"
