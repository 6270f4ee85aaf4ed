"""The user that a function runs as: who that is on this host, and the way to its private directory."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass

from faasd.errors import SandboxError
from faasd.model.function import Function

__all__ = ["Identity", "identity_of", "is_own_user", "open_way_to"]


@dataclass(frozen=True)
class Identity:
    """Another user than the daemon's, with all groups that he is in."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]

    def to_json(self) -> dict[str, object]:
        """Return what the zygote is told."""
        kept = {"name": self.name, "uid": self.uid, "gid": self.gid}
        return {**kept, "groups": list(self.groups)}


def identity_of(function: Function) -> Identity | None:
    """Return the user that the function is to be; None where that is the daemon's own. Raises SandboxError.

    None too where the daemon is not root, and the function's `containment` is `best-effort`.
    """
    name = function.permissions.user
    if name is None:
        return None
    try:
        found = pwd.getpwnam(name)
    except KeyError as error:
        message = f"function {function.name!r} runs as {name!r}, and there is no such user"
        raise SandboxError(message) from error
    ours = os.geteuid()
    if found.pw_uid == ours:
        return None
    if ours != 0:
        if function.permissions.containment == "best-effort":
            return None
        raise SandboxError(
            f"function {function.name!r} runs as {name!r}, for which the daemon must run as root"
        )
    groups = os.getgrouplist(name, found.pw_gid)
    return Identity(name, found.pw_uid, found.pw_gid, tuple(groups))


def is_own_user(function: Function) -> bool:
    """Whether the function's `user` is the daemon's own."""
    name = function.permissions.user
    try:
        return name is not None and pwd.getpwnam(name).pw_uid == os.geteuid()
    except KeyError:
        return False


def open_way_to(private_dir: str, identity: Identity) -> None:
    """Let another user through our state directory to his private one. Raises SandboxError where he is kept out above.

    Through, and no more: what else is in there stays closed to him.
    """
    tmp_root = os.path.dirname(private_dir)
    state_dir = os.path.dirname(tmp_root)
    mode = stat.S_IMODE(os.stat(state_dir).st_mode)
    if not mode & stat.S_IXOTH:
        os.chmod(state_dir, mode | stat.S_IXOTH)
    for path in _parents(state_dir):
        found = os.stat(path)
        if not _may_pass(found, identity):
            raise SandboxError(
                f"user {identity.name!r} cannot reach its private directory: {path} is closed to him; "
                f"set `state_dir` elsewhere, or run: chmod o+x {path}"
            )


def _may_pass(found: os.stat_result, identity: Identity) -> bool:
    if found.st_uid == identity.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid in identity.groups:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)


def _parents(path: str) -> list[str]:
    parents = []
    while path != "/":
        path = os.path.dirname(path)
        parents.append(path)
    return parents[::-1]
