"""The deployment: a bundle of functions in the state directory, found there as the configuration's own are."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["DEPENDENCIES_DIR", "Deployed"]

#: Where in its code a bundle has what it depends on. Not a name that is taken for a module of functions.
DEPENDENCIES_DIR = "__pypackages__"


class Deployed(NamedTuple):
    """What the configuration needs to know of one deployment in service."""

    name: str
    version: str
    code_dir: str
    modules: tuple[str, ...]  # Those that may declare functions.
    #: The interpreter that its dependencies were installed for; None: the daemon's.
    python: str | None = None
    #: What is wrong with it on this host by now; it is found all the same.
    problem: str | None = None
