"""renameat2(2) with RENAME_NOREPLACE: a rename that never overwrites."""

from __future__ import annotations

import ctypes
import errno
import os

__all__ = ["rename_noreplace"]

_RENAME_NOREPLACE = 1
_AT_FDCWD = -100


def rename_noreplace(
    src: bytes, dst: bytes, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
) -> None:
    """Rename atomically. Raises FileExistsError where `dst` exists, OSError for everything else.

    EINVAL means that the file system does not know the flag, ENOSYS that the C library or the kernel
    does not; nothing has happened then.
    """
    # PyDLL would hold the interpreter's lock over a rename that a slow disk may delay.
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):  # musl has it since 1.2.6, glibc since 2.28.
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), src)
    failed = libc.renameat2(
        ctypes.c_int(_AT_FDCWD if src_dir_fd is None else src_dir_fd),
        ctypes.c_char_p(src),
        ctypes.c_int(_AT_FDCWD if dst_dir_fd is None else dst_dir_fd),
        ctypes.c_char_p(dst),
        ctypes.c_uint(_RENAME_NOREPLACE),
    )
    if failed:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), src, None, dst)
