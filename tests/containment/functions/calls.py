"""Handlers that make system calls which functions never need, and say what the kernel answered."""

import ctypes
import errno
import fcntl
import mmap
import os
import platform
import signal
import socket
import struct
import tempfile

from faasd.linux.system_calls import NUMBERS

_libc = ctypes.CDLL(None, use_errno=True)
_COLUMN = {"x86_64": 0, "aarch64": 1}[platform.machine()]


def _call(name, *arguments):
    """Make a call; returns "ok", or the name of the errno."""
    values = [
        one if isinstance(one, (bytes, ctypes.Array)) else ctypes.c_long(one) for one in arguments
    ]
    result = _libc.syscall(ctypes.c_long(NUMBERS[name][_COLUMN]), *values)
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def _in_child(function):
    """Call it in a child process, which may come out of it changed; returns what it says."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = function()
        except OSError as error:
            said = errno.errorcode[error.errno]
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    _, status = os.waitpid(pid, 0)
    return said or f"status {status}"


def _attach_to_sibling():
    sibling = os.fork()
    if sibling == 0:
        signal.pause()
    found = _call("ptrace", 16, sibling, 0, 0)  # PTRACE_ATTACH
    os.kill(sibling, signal.SIGKILL)
    os.waitpid(sibling, 0)
    return found


def _read_memory():
    text = ctypes.create_string_buffer(b"secret")
    into = ctypes.create_string_buffer(6)
    theirs = struct.pack("QQ", ctypes.addressof(text), 6)
    ours = struct.pack("QQ", ctypes.addressof(into), 6)
    return _call("process_vm_readv", os.getpid(), ours, 1, theirs, 1, 0)


def _as_owner(name, *arguments):
    """In a user namespace of its own, where it would have every capability."""

    def try_it():
        became = _call("unshare", 0x10000000)
        return became if became != "ok" else _call(name, *arguments)

    return _in_child(try_it)


def _mode(make):
    with tempfile.TemporaryDirectory() as directory:
        try:
            make(os.path.join(directory, "file"))
        except OSError as error:
            return errno.errorcode[error.errno]
    return "ok"


def _create_set_user_id(path):
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755))


def _change_to_set_user_id(path):
    open(path, "w").close()
    os.chmod(path, 0o4755)


def _i386_getpid():
    """Machine code: mov eax, 20; int 0x80; ret."""
    with mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
        anchor = ctypes.c_char.from_buffer(page)
        result = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(anchor))()
        del anchor
    return "ok" if result > 0 else errno.errorcode[-result]


def _x32_getpid():
    result = _libc.syscall(ctypes.c_long(0x40000000 + 39))
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]


def _socket(*arguments):
    try:
        socket.socket(*arguments).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"


def _ioctl(request):
    null = os.open(os.devnull, os.O_RDWR)
    try:
        fcntl.ioctl(null, request, b"x")
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        os.close(null)
    return "ok"


def _too_new():
    result = _libc.syscall(ctypes.c_long(1000))
    return "ok" if result >= 0 else errno.errorcode[ctypes.get_errno()]


BAD = 1  # A pointer to nothing.
PROBES = {
    "mount": lambda: _call("mount", BAD, BAD, BAD, 0, 0),
    "mount-as-owner": lambda: _as_owner("mount", BAD, BAD, BAD, 0, 0),
    "umount2": lambda: _call("umount2", b"/", 0x7FFF0000),
    "open_tree": lambda: _call("open_tree", -100, b".", 0),
    "mount_setattr": lambda: _call("mount_setattr", -1, b"", 0x40000000, 0, 0),
    "unshare-user": lambda: _in_child(lambda: _call("unshare", 0x10000000)),
    "unshare-nothing": lambda: _call("unshare", 0),
    "setns": lambda: _call("setns", -1, 0),
    "chroot-as-owner": lambda: _as_owner("chroot", b"/"),
    "bpf": lambda: _call("bpf", 0, 0, 0),
    "kexec_load": lambda: _call("kexec_load", 0, 0, 0, 0),
    "init_module": lambda: _call("init_module", 0, 0, 0),
    "add_key": lambda: _call("add_key", b"user", b"faasd-test", b"x", 1, -2),
    "keyctl": lambda: _call("keyctl", 0, -4, 1),
    "ptrace-sibling": _attach_to_sibling,
    "process_vm_readv": _read_memory,
    "kcmp": lambda: _call("kcmp", os.getpid(), os.getpid(), 0, 0, 0),
    "pidfd_getfd": lambda: _call("pidfd_getfd", -1, 0, 0),
    "userfaultfd": lambda: _call("userfaultfd", 1),
    "io_uring_setup": lambda: _call("io_uring_setup", 1, BAD),
    "name_to_handle_at": lambda: _call("name_to_handle_at", -1, BAD, BAD, BAD, 0),
    "fanotify_init": lambda: _call("fanotify_init", 0x200, 0),
    "settimeofday": lambda: _call("settimeofday", BAD, 0),
    "clock_settime": lambda: _call("clock_settime", 9999, BAD),
    "adjtimex": lambda: _call("adjtimex", ctypes.create_string_buffer(512)),
    "sethostname": lambda: _call("sethostname", b"x", 1),
    "quotactl": lambda: _call("quotactl", 0x7FFFFFFF, BAD, 0, 0),
    "personality": lambda: _in_child(lambda: _call("personality", 0x0040000)),
    "TIOCSTI": lambda: _ioctl(0x5412),
    "TIOCLINUX": lambda: _ioctl(0x541C),
    "mknod-device": lambda: _mode(lambda path: os.mknod(path, 0o020600, 0)),
    "create-set-user-id": lambda: _mode(_create_set_user_id),
    "chmod-set-user-id": lambda: _mode(_change_to_set_user_id),
    "socket-packet": lambda: _socket(socket.AF_PACKET, socket.SOCK_RAW),
    "socket-netfilter": lambda: _socket(socket.AF_NETLINK, socket.SOCK_RAW, 12),
    "socket-raw": lambda: _socket(socket.AF_INET, socket.SOCK_RAW, 1),
    "socket-unknown": lambda: _socket(46),
    "clone3": lambda: _call("clone3", 0, 0),
    "too-new": _too_new,
    # Those that programs do need.
    "fifo": lambda: _mode(lambda path: os.mkfifo(path, 0o600)),
    "socket-inet": lambda: _socket(socket.AF_INET, socket.SOCK_STREAM),
    "socket-unix": lambda: _socket(socket.AF_UNIX, socket.SOCK_STREAM),
    "socket-route": lambda: _socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
}
if platform.machine() == "x86_64":
    PROBES["i386"] = lambda: _in_child(_i386_getpid)
    PROBES["x32"] = _x32_getpid


def probe(event, context):
    """Make every call once; returns what each was answered."""
    return {name: function() for name, function in PROBES.items()}


def _child_in_namespace():
    # clone(CLONE_NEWUSER | SIGCHLD): as fork, but for the namespace.
    pid = _libc.syscall(
        ctypes.c_long(NUMBERS["clone"][_COLUMN]), ctypes.c_long(0x10000011), 0, 0, 0, 0
    )
    if pid == 0:
        os._exit(0)
    if pid < 0:
        return errno.errorcode[ctypes.get_errno()]
    os.waitpid(pid, 0)
    return "ok"


def clone_into_namespace(event, context):
    return _child_in_namespace()
