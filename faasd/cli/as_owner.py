"""Root does the state directory's work as whoever owns that directory, and as nobody more powerful.

What is taken in may bring code of strangers, and the owner may put links in the way of whoever writes there as
root. So root only reads what it was given, makes a copy that the owner may read, and becomes the owner for good.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from faasd.errors import BundleRefused
from faasd.functions.unpacking import copy_directory
from faasd.linux import users

__all__ = ["as_owner", "become_owner"]

_PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@contextlib.contextmanager
def as_owner(state_dir: Path, source: Path, leave_out: Callable[[Path], bool]) -> Iterator[Path]:
    """Become the state directory's owner; yields the source, or a copy of it that he may read.

    Without anything to do for whoever is not root, or is the owner. Raises BundleRefused.
    """
    owner = _other_owner(state_dir)
    if owner is None:
        yield source
        return
    top = Path(tempfile.mkdtemp(prefix="faasd-deploy-"))
    try:
        copy = top / source.resolve().name
        try:
            if source.is_dir():
                copy.mkdir(mode=0o755)
                copy_directory(source, copy, leave_out=leave_out)
            else:
                shutil.copyfile(source, copy)
            for directory, names, files in os.walk(top):
                for name in (".", *names, *files):
                    path = os.path.join(directory, name)
                    os.chown(path, owner.pw_uid, owner.pw_gid, follow_symlinks=False)
            _become(owner, top / ".cache")
        except OSError as error:
            raise BundleRefused(f"cannot take {source} in: {error.strerror}") from error
        yield copy
    finally:
        shutil.rmtree(top, ignore_errors=True)


def become_owner(state_dir: Path) -> None:
    """Become the state directory's owner, where we are root and he is not."""
    owner = _other_owner(state_dir)
    if owner is not None:
        _become(owner)


def _other_owner(state_dir: Path) -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    there = next(path for path in (state_dir, *state_dir.absolute().parents) if path.exists())
    uid = there.stat().st_uid
    if uid == 0:
        return None
    try:
        return pwd.getpwuid(uid)
    except KeyError as error:
        raise BundleRefused(
            f"{there} belongs to uid {uid}, who is no user of this host; give it to one, or to root"
        ) from error


def _become(owner: pwd.struct_passwd, cache: Path = Path("/nonexistent")) -> None:
    users.become(owner.pw_uid, owner.pw_gid, os.getgrouplist(owner.pw_name, owner.pw_gid))
    closed = users.closed_part([os.path.realpath(os.__file__), _PACKAGE_DIR])
    if closed is not None:
        raise BundleRefused(
            f"the state directory is of user {owner.pw_name!r}, and he may not read {closed[0]}: {closed[1]} is "
            "closed to him; install faasd where its own user can read it"
        )
    os.environ.update(HOME=owner.pw_dir, USER=owner.pw_name, LOGNAME=owner.pw_name)
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR"):
        os.environ.pop(name, None)  # Root's own.
    # A service's user often has no home; what installers want to remember then goes when they end.
    if not os.access(owner.pw_dir, os.W_OK):
        os.environ["XDG_CACHE_HOME"] = str(cache)
    else:
        os.environ.pop("XDG_CACHE_HOME", None)
