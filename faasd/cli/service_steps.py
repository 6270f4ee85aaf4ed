"""Takes the steps of a plan, and says of each what was done, or what would be."""

from __future__ import annotations

import os
import pwd
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from faasd.cli import service_plan as plan
from faasd.cli import service_units as units
from faasd.errors import Conflict
from faasd.linux.trees import remove_tree

__all__ = ["ask", "take"]


def take(step: plan.Step, *, is_dry: bool) -> tuple[str, str]:
    """Take one step; returns a verb and what it is done to: `keep` or `miss` where nothing had to be done.

    A dry run looks, and changes nothing. Raises Conflict, naming the thing and the cause.
    """
    try:
        match step:
            case plan.AddUser(name):
                return _add_user(name, is_dry)
            case plan.MakeDirectory():
                return _make_directory(step, is_dry)
            case plan.WriteFile():
                return _write(step, is_dry)
            case plan.Command(argv):
                return _run(argv, is_dry)
            case plan.Remove(path):
                return _remove(Path(path), is_dry)
            case plan.RemoveUser(name):
                return _remove_user(name, is_dry)
    except OSError as error:
        what = error.filename or getattr(step, "path", "what is needed")
        raise Conflict(
            f"cannot change {what}: {error.strerror}; what was done until here stays, and the same "
            f"command goes on from here"
        ) from error


def ask(argv: Sequence[str]) -> str:
    """Return what a command prints; nothing when it is not there or does not know."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout


def _does_user_exist(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _add_user(name: str, is_dry: bool) -> tuple[str, str]:
    if _does_user_exist(name):
        return "keep", f"user {name}"
    if not is_dry:
        _must_succeed(
            ("systemd-sysusers", "--inline", units.SYSUSERS.strip()),
            f"make it by hand: useradd --system --home-dir /var/lib/{name} --shell /usr/sbin/nologin {name}",
        )
    return "make", f"user {name}"


def _make_directory(step: plan.MakeDirectory, is_dry: bool) -> tuple[str, str]:
    path = Path(step.path)
    if path.is_dir() and (is_dry or step.owner is None or _owner_of(path) == step.owner):
        return "keep", f"{path}/"
    word = "give" if path.is_dir() else "make"
    if not is_dry:
        if word == "make":
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(step.mode)  # Whatever the umask says.
        if step.owner is not None:
            _give(path, step.owner)
    owner = f", owned by {step.owner}" if step.owner else ""
    return word, f"{path}/ (mode {step.mode:04o}{owner})"


def _owner_of(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return ""


def _give(path: Path, owner: str) -> None:
    """Give a directory to a user. Only an empty one, or one that root has made: never somebody else's."""
    present = path.stat().st_uid
    if present != 0 and any(path.iterdir()):
        raise Conflict(
            f"cannot give {path} to {owner}: it is not empty and belongs to {_owner_of(path) or present}; "
            f"look what it is, then: chown -R {owner}: {path}"
        )
    user = pwd.getpwnam(owner)
    for one in (path, *path.rglob("*")):
        os.lchown(one, user.pw_uid, user.pw_gid)


def _write(step: plan.WriteFile, is_dry: bool) -> tuple[str, str]:
    path = Path(step.path)
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace") == step.text:
        return "keep", str(path)
    word = "rewrite" if path.exists() else "write"
    if not is_dry:
        # Beside it and then over it: systemd may read it at any moment.
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(step.text, encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(path)
    return word, str(path)


def _remove(path: Path, is_dry: bool) -> tuple[str, str]:
    if not path.exists() and not path.is_symlink():
        return "miss", str(path)
    if not is_dry:
        if path.is_dir() and not path.is_symlink():
            remove_tree(path)
        else:
            path.unlink()
    return "remove", str(path)


def _remove_user(name: str, is_dry: bool) -> tuple[str, str]:
    if not _does_user_exist(name):
        return "miss", f"user {name}"
    if not is_dry:
        _must_succeed(("userdel", name), f"remove it by hand: userdel {name}")
    return "remove", f"user {name}"


def _run(argv: tuple[str, ...], is_dry: bool) -> tuple[str, str]:
    if not is_dry:
        _must_succeed(argv, "see its message above")
    return "run", shlex.join(argv)


def _must_succeed(argv: Sequence[str], remedy: str) -> None:
    try:
        done = subprocess.run(argv, stdout=subprocess.DEVNULL, check=False)
    except FileNotFoundError as error:
        raise Conflict(f"cannot run {argv[0]}: there is no such program; {remedy}") from error
    if done.returncode != 0:
        raise Conflict(f"`{shlex.join(argv)}` ended with {os.waitstatus_to_exitcode(done.returncode << 8)}; {remedy}")  # fmt: skip
