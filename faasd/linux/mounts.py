"""Mounts in a mount namespace of our own: mount(2), umount2(2), mount_setattr(2)."""

from __future__ import annotations

import ctypes
import os
import platform

__all__ = [
    "bind",
    "detach_from_host",
    "make_read_only",
    "mount_proc",
    "mount_tmpfs",
]

_RDONLY = 1
_NOSUID = 2
_NODEV = 4
_NOEXEC = 8
_BIND = 4096
_REC = 16384
_UNBINDABLE = 1 << 17
_SLAVE = 1 << 19
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_ATTR_RDONLY = 1
_SYS_MOUNT_SETATTR = 442 + (110 if platform.machine() == "alpha" else 0)

_libc = ctypes.CDLL(None, use_errno=True)
_call_mount = _libc.mount
_call_mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]


class _MountAttributes(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns")
    ]


def _mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    arguments = (
        os.fsencode(source), os.fsencode(target), kind.encode() if kind else None, flags,
        options.encode() or None,
    )  # fmt: skip
    if _call_mount(*arguments) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"mount: {os.strerror(error)}", target)


def detach_from_host() -> None:
    """Let what the host mounts and unmounts arrive here still, and nothing of ours get there."""
    _mount("none", "/", None, _SLAVE | _REC)


def mount_proc(target: str, *, hides_others: bool = False) -> None:
    """Mount a /proc that shows our PID namespace. EPERM where the host hides parts of its own.

    With `hides_others` it shows each process only those that it could trace; EINVAL before Linux 5.8.
    """
    options = "hidepid=ptraceable" if hides_others else ""
    _mount("proc", target, "proc", _NOSUID | _NODEV | _NOEXEC, options)


def mount_tmpfs(
    target: str,
    size_bytes: int,
    inodes: int,
    mode: int,
    *,
    read_only: bool = False,
    unbindable: bool = False,
) -> None:
    """Mount an empty file system in memory, of at most this size, for no device nodes and set-uid programs."""
    options = f"size={size_bytes},nr_inodes={inodes},mode={mode:o}"
    flags = _NOSUID | _NODEV | (_RDONLY if read_only else 0)
    _mount("tmpfs", target, "tmpfs", flags, options)
    if unbindable:
        _mount("none", target, None, _UNBINDABLE)


def bind(source: str, target: str, *, recursive: bool = False) -> None:
    """Make a file or directory appear at another place too."""
    _mount(source, target, None, _BIND | (_REC if recursive else 0))


def make_read_only(target: str, *, recursive: bool = False) -> None:
    """Make a mount read-only, for us. ENOSYS with `recursive` before Linux 5.12."""
    attributes = _MountAttributes(attr_set=_ATTR_RDONLY)
    result = _libc.syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(target),
        ctypes.c_uint(_AT_RECURSIVE if recursive else 0),
        ctypes.byref(attributes),
        ctypes.c_size_t(ctypes.sizeof(attributes)),
    )
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"mount_setattr: {os.strerror(error)}", target)
