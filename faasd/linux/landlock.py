"""Landlock: rules that a process lays upon itself, and upon all that descend from it, for good.

Rules hold for what is opened from then on; descriptors that are open already are not looked at again.
What the kernel does not offer in its ABI is left out here: see `abi`, and `Rights` for what came when.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import platform
import stat
from collections.abc import Iterable
from typing import Any

__all__ = [
    "EXECUTE",
    "IOCTL",
    "READ",
    "READ_DIR",
    "SINCE_SCOPES",
    "SINCE_TRUNCATE",
    "TRUNCATE",
    "WRITE",
    "WRITE_FILE",
    "Ruleset",
    "abi",
]

_OFFSET = 110 if platform.machine() == "alpha" else 0
_SYS_CREATE_RULESET = 444 + _OFFSET
_SYS_ADD_RULE = 445 + _OFFSET
_SYS_RESTRICT_SELF = 446 + _OFFSET
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_RULE_NET_PORT = 2

EXECUTE = 1 << 0
WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
READ_DIR = 1 << 3
_REMOVE = 1 << 4 | 1 << 5
#: Directories, regular files, sockets, FIFOs, symbolic links; no devices, which are bits 6 and 11.
_MAKE = 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 12
_REFER = 1 << 13  # ABI 2: link or rename into another directory.
TRUNCATE = 1 << 14
SINCE_TRUNCATE = 3  # The ABI that brought it.
SINCE_SCOPES = 6
IOCTL = 1 << 15  # ABI 5: on devices.

#: Everything that reading means, and running what is read.
READ = EXECUTE | _READ_FILE | READ_DIR
#: Everything that may be done with files and directories, device nodes apart: nobody gets those made.
WRITE = READ | WRITE_FILE | _REMOVE | _MAKE | _REFER | TRUNCATE
#: What a rule on something that is not a directory may hold.
_OF_FILES = EXECUTE | WRITE_FILE | _READ_FILE | TRUNCATE | IOCTL

_BIND_TCP = 1 << 0  # ABI 4.
_CONNECT_TCP = 1 << 1
_SCOPE_ABSTRACT_SOCKETS = 1 << 0  # ABI 6.
_SCOPE_SIGNALS = 1 << 1

_libc = ctypes.CDLL(None, use_errno=True)


class _RulesetAttributes(ctypes.Structure):
    _fields_ = [
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = [("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32)]


class _NetPort(ctypes.Structure):
    _fields_ = [("allowed_access", ctypes.c_uint64), ("port", ctypes.c_uint64)]


def _call(number: int, *arguments: Any) -> int:
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"landlock: {os.strerror(error)}")
    return result


def abi() -> int:
    """Return the version of Landlock that this kernel has, 0 where it has none or has it switched off."""
    try:
        return _call(
            _SYS_CREATE_RULESET,
            None,
            ctypes.c_size_t(0),
            ctypes.c_uint32(_CREATE_RULESET_VERSION),
        )
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM):
            return 0  # EPERM: a seccomp filter of a container's.
        raise


def _rights(version: int) -> int:
    """Return every right on files that this version can withhold."""
    rights = (1 << 13) - 1
    for since, right in ((2, _REFER), (SINCE_TRUNCATE, TRUNCATE), (5, IOCTL)):
        if version >= since:
            rights |= right
    return rights


class Ruleset:
    """Rules that are gathered first and then laid upon the calling thread by `restrict`.

    Everything on files is handled: what no rule allows is forbidden. `limits_connect` and `limits_bind` do the
    same for TCP ports where the ABI is 4 or newer, and `scopes` closes abstract sockets and signals to what is
    outside where it is 6 or newer; with an older one these three have no effect. Close it after use.
    """

    def __init__(
        self,
        version: int,
        *,
        limits_connect: bool = False,
        limits_bind: bool = False,
        scopes: bool = False,
    ) -> None:
        self._files = _rights(version)
        self._net = 0
        if version >= 4:
            self._net = _CONNECT_TCP * limits_connect | _BIND_TCP * limits_bind
        scoped = (
            (_SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS) if scopes and version >= SINCE_SCOPES else 0
        )
        attributes = _RulesetAttributes(self._files, self._net, scoped)
        # An older kernel refuses a longer structure than its own unless the rest is zero; so be exact.
        size = 8 if version < 4 else 16 if version < 6 else 24
        self._fd = _call(
            _SYS_CREATE_RULESET,
            ctypes.byref(attributes),
            ctypes.c_size_t(size),
            ctypes.c_uint32(0),
        )
        # Made here, so that the call makes nothing: a sandbox pays for each page that it touches.
        self._restrict = functools.partial(
            _libc.syscall,
            ctypes.c_long(_SYS_RESTRICT_SELF),
            ctypes.c_int(self._fd),
            ctypes.c_uint32(0),
        )

    @property
    def fd(self) -> int:
        """The descriptor that holds the rules."""
        return self._fd

    def allow_beneath(self, fd: int, rights: int) -> None:
        """Allow rights on an open file, or on an open directory and all below it. An O_PATH descriptor will do.

        Rights that the ABI does not know, or that make no sense on a file, are left out.
        """
        rights &= self._files
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        rule = _PathBeneath(rights, fd)
        self._add(_RULE_PATH_BENEATH, rule)

    def allow_path(self, path: str, rights: int) -> bool:
        """Allow rights on a path, links followed; False when it does not exist or is out of our own reach."""
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            self.allow_beneath(fd, rights)
        finally:
            os.close(fd)
        return True

    def allow_ports(self, *, connect: Iterable[int] = (), bind: Iterable[int] = ()) -> None:
        """Allow TCP ports, of what the constructor was told to limit."""
        for right, ports in ((_CONNECT_TCP, connect), (_BIND_TCP, bind)):
            if self._net & right:
                for port in ports:
                    self._add(_RULE_NET_PORT, _NetPort(right, port))

    def restrict(self) -> None:
        """Lay the rules upon this thread. Needs no_new_privs, or CAP_SYS_ADMIN in its user namespace."""
        if self._restrict() < 0:
            error = ctypes.get_errno()
            raise OSError(error, f"landlock: {os.strerror(error)}")

    def close(self) -> None:
        """Let go of the rules; what they were laid upon keeps them."""
        os.close(self._fd)

    def _add(self, kind: int, rule: ctypes.Structure) -> None:
        _call(
            _SYS_ADD_RULE,
            ctypes.c_int(self._fd),
            ctypes.c_int(kind),
            ctypes.byref(rule),
            ctypes.c_uint32(0),
        )
