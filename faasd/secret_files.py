"""Secrets on disk: one file each, in one directory, that nobody but the daemon may read.

Read afresh for every attempt, so that a secret can be changed while the daemon runs. What is wrong with
one is said with its path and what to do about it, at `faasd check` as well as before an attempt.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import stat
import struct
from collections.abc import Iterable

from faasd.errors import SecretError
from faasd.model.units import format_size

__all__ = ["SECRETS_BYTES_MAX", "SECRET_BYTES_MAX", "name_problem", "read_secret", "read_secrets"]

SECRET_BYTES_MAX = 64 * 2**10
#: All secrets of one function together: they travel in one frame.
SECRETS_BYTES_MAX = 512 * 2**10
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,99}")
_ACL = "system.posix_acl_access"
#: Tags of a POSIX ACL's entries (acl(5)), as the kernel packs them into the attribute.
_ACL_USER, _ACL_MASK = 0x02, 0x10
_ACL_OTHERS = (0x04, 0x08, 0x20)  # The owning group, other groups, everybody.


def name_problem(name: str) -> str | None:
    """Say what is wrong with a secret's name; None when nothing is."""
    if _NAME.fullmatch(name):
        return None
    return (
        f"{name!r} cannot be the name of a secret: expected the name of a file in `secrets_dir`, of "
        "letters, digits and _.@- and at most 100 of them"
    )


def read_secrets(secrets_dir: str, names: Iterable[str]) -> dict[str, bytes]:
    """Return the function's secrets by name, as their files hold them. Raises SecretError."""
    secrets = {name: read_secret(secrets_dir, name) for name in names}
    size = sum(map(len, secrets.values()))
    if size > SECRETS_BYTES_MAX:
        raise SecretError(
            f"the secrets of one function may have {format_size(SECRETS_BYTES_MAX)} together, and "
            f"these have {format_size(size)}: {', '.join(secrets)}"
        )
    return secrets


def read_secret(secrets_dir: str, name: str) -> bytes:
    """Return what one secret's file holds. Raises SecretError, which says what to do."""
    problem = name_problem(name)
    if problem is not None:
        raise SecretError(problem)
    path = os.path.join(secrets_dir, name)
    try:
        real = os.path.realpath(path, strict=True)
        if not real.startswith(os.path.realpath(secrets_dir) + os.sep):
            raise SecretError(
                f"the secret {name!r} is a link out of its directory: {path} leads to {real}; "
                "put the file itself there"
            )
        # Not blocking: it may turn out to be a named pipe.
        fd = os.open(real, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise SecretError(_why_not(path, name, error)) from error
    try:
        _check(fd, path, name)
        return _read(fd, path, name)
    except OSError as error:
        raise SecretError(_why_not(path, name, error)) from error
    finally:
        os.close(fd)


def _why_not(path: str, name: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return f"there is no secret {name!r}: {path} does not exist; write it there, or set `secrets_dir`"
    if error.errno == errno.EACCES:
        return f"cannot read the secret {name!r}: the daemon's user, {_user_name(os.geteuid())}, may not read {path}"
    return f"cannot read the secret {name!r} from {path}: {error.strerror}"


def _check(fd: int, path: str, name: str) -> None:
    """Refuse what is no plain file of ours alone."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise SecretError(f"the secret {name!r} is not a file: {path}")
    if found.st_uid not in (0, os.geteuid()):
        owner = _user_name(found.st_uid)
        raise SecretError(
            f"the secret {name!r} belongs to another user, {owner}; run: "
            f"chown {_user_name(os.geteuid())} {path}"
        )
    if _is_open_to_others(fd, found.st_mode):
        raise SecretError(
            f"the secret {name!r} may be read or changed by others (mode {found.st_mode & 0o777:04o}); "
            f"run: chmod 600 {path}"
        )


def _is_open_to_others(fd: int, mode: int) -> bool:
    """Whether anybody but the owner, and we, may read or write the file.

    With an access control list, the mode's group bits are the list's mask. systemd makes one entry for
    the service's own user on each credential, which so looks readable by its group without being so.
    """
    if mode & 0o007:
        return True
    if not mode & 0o070:
        return False
    packed = b""
    with contextlib.suppress(OSError):
        packed = os.getxattr(fd, _ACL)
    if len(packed) < 12 or packed[:4] != struct.pack("<I", 2):
        return True
    mask, granted = 7, 0
    for tag, allowed, identity in struct.iter_unpack("<HHI", packed[4:]):
        if tag == _ACL_MASK:
            mask = allowed
        elif tag in _ACL_OTHERS or (tag == _ACL_USER and identity not in (0, os.geteuid())):
            granted |= allowed
    return bool(granted & mask)


def _read(fd: int, path: str, name: str) -> bytes:
    data = b""
    while len(data) <= SECRET_BYTES_MAX:
        piece = os.read(fd, SECRET_BYTES_MAX + 1 - len(data))
        if not piece:
            return data
        data += piece
    raise SecretError(
        f"the secret {name!r} is larger than a secret may be, {format_size(SECRET_BYTES_MAX)}: {path}"
    )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
