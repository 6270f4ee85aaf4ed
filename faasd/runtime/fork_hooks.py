"""The fork that makes a handler's process, without what `threading` and `logging` do around every fork.

Their hooks make locks anew that another thread may have held. A sandbox's first process has no other thread (where
its zygote had some, the hooks have run for it: see `clone.fork`), so nothing is held; and they were 120 of
the 200 pages that such a fork made the handler's process touch, and so copy. Hooks of others run, and those of these
two in whatever else forks, the handler's own forks among it.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from os import fork
from typing import Optional

__all__ = ["fork_handler", "import_with_hooks"]

#: What these hooks do was read up to CPython 3.13; a later one may give them more to do.
_ARE_KNOWN = sys.version_info < (3, 14)
_Hook = Optional[Callable[[], object]]
_are_left_out = False


def import_with_hooks() -> None:
    """Import both modules, so that their hooks can be left out. Without effect for one that is imported already."""
    register = os.register_at_fork

    def register_optional(
        *, before: _Hook = None, after_in_child: _Hook = None, after_in_parent: _Hook = None
    ) -> None:
        hooks = {
            "before": before,
            "after_in_child": after_in_child,
            "after_in_parent": after_in_parent,
        }
        register(**{name: _optional(hook) for name, hook in hooks.items() if hook is not None})

    if _ARE_KNOWN:
        os.register_at_fork = register_optional
    try:
        for name in ("threading", "logging"):
            importlib.import_module(name)
    finally:
        os.register_at_fork = register


def fork_handler() -> int:
    """Fork, as os.fork does, in a process that has this thread alone."""
    global _are_left_out  # noqa: PLW0603 - what the hooks look at, which are called with nothing.
    _are_left_out = True
    try:
        return fork()
    finally:
        _are_left_out = False


def _optional(hook: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        if not _are_left_out:
            hook()

    return run
