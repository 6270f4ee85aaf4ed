"""Checks that need to look at this host: secrets that must be readable, users that must exist."""

from __future__ import annotations

import dataclasses
import os
import pwd
from collections.abc import Sequence

from faasd import secret_files
from faasd.config.assemble import Assembled
from faasd.errors import SecretError
from faasd.model.declaration import Problem
from faasd.model.suggest import did_you_mean

__all__ = ["host_check"]


def host_check(everything: Sequence[Assembled], secrets_dir: str) -> list[Problem]:
    """Return what functions ask for and this host, or the daemon's user, cannot give."""
    return [problem for one in everything for problem in (*_secrets(one, secrets_dir), *_user(one))]


def _secrets(one: Assembled, secrets_dir: str) -> list[Problem]:
    names = one.function.permissions.secrets
    problems = []
    for name in names:
        try:
            secret_files.read_secret(secrets_dir, name)
        except SecretError as error:
            hint = _hint(secrets_dir, name)
            problems.append(one.merged.problem("secrets", f"{error}{hint}"))
    if not problems:
        try:
            secret_files.read_secrets(secrets_dir, names)
        except SecretError as error:
            problems.append(one.merged.problem("secrets", str(error)))
    return problems


def _hint(secrets_dir: str, name: str) -> str:
    try:
        found = os.listdir(secrets_dir)
    except OSError:
        return ""
    return "" if name in found else did_you_mean(name, found)


def _user(one: Assembled) -> list[Problem]:
    user = one.function.permissions.user
    if user is None:
        return []
    try:
        wanted = pwd.getpwnam(user)
    except KeyError:
        hint = did_you_mean(user, [known.pw_name for known in pwd.getpwall()])
        return [one.merged.problem("user", f"there is no user {user!r} on this host{hint}")]
    ours = os.geteuid()
    if ours in (0, wanted.pw_uid):
        return []
    name = _name_of(ours)
    message = f"running as {user!r} needs the daemon to run as root; it runs as {name}"
    problem = one.merged.problem("user", message)
    # Then it runs as the daemon does, and its attempts say that this wall is missing.
    is_warning = one.function.permissions.containment == "best-effort"
    return [dataclasses.replace(problem, is_warning=is_warning)]


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
