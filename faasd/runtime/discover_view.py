"""The view of the file system that a module has while it is looked at: a zygote's, without the slots.

Of /run, /tmp and /dev/shm it sees what it was given, so that no Unix socket there answers it, and /proc shows its own processes.
"""

from __future__ import annotations

import os
from typing import Any

from faasd.runtime.private_view import PrivateView, is_in

__all__ = ["build"]

_TMP_SIZE_BYTES = 256 * 2**20


def build(files: dict[str, Any], code_dir: str) -> None:
    """Build it in this process's mount namespace; `files` then says what is different there. Raises OSError.

    All of its paths exist, but for the hidden ones, and no link is in them.
    """
    hidden = files["hidden"]
    within = {path for path in files["read"] if not any(is_in(path, place) for place in hidden)}
    read = sorted({*within, *files["shown"]})
    # Whoever was given the host's /tmp has its private one where it would be without this view.
    tmp_at = files["tmp_dir"] if {"/", "/tmp"}.intersection(files["read"]) else "/tmp"
    policy = {
        "files": files,
        "code_dir": code_dir or "/",
        "private_proc": True,
        "is_shared": False,
        "slots": 0,
        "tmp_at": tmp_at,
        "tmp_size_bytes": _TMP_SIZE_BYTES,
    }
    view = PrivateView(policy, read, [])
    view.build()
    os.chdir(code_dir or "/")  # Again, for its path may lead to another mount now.
    os.environ["TMPDIR"] = tmp_at
    files["own"] = view.directories
    files["has_view"] = True
