"""The first file that a foreign interpreter runs: makes `faasd` importable there, and nothing else of ours.

Called as `PYTHON -I bootstrap.py root_zygote|discover|pip_install …`. The interpreter may be any CPython >= 3.9 in
which faasd is not installed. Putting our site-packages on its path would expose the daemon's own
dependencies, built for another Python, so one finder answers for the one name instead.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Optional

_PACKAGE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class _FaasdFinder:
    """Finds the package `faasd` where this file lives, before any other copy."""

    @staticmethod
    def find_spec(
        name: str,
        path: Optional[Sequence[str]] = None,  # noqa: UP045, ARG004 - evaluated by Python 3.9.
        target: Optional[ModuleType] = None,  # noqa: UP045, ARG004
    ) -> Optional[ModuleSpec]:  # noqa: UP045
        """Answer for `faasd` alone; its submodules follow from the package's path."""
        if name != "faasd":
            return None
        return importlib.util.spec_from_file_location(
            name,
            os.path.join(_PACKAGE_DIR, "__init__.py"),
            submodule_search_locations=[_PACKAGE_DIR],
        )


class _RegistryFinder:
    """Finds `snapshot_restore_py` where nobody else does: after all that is installed or stands beside the code."""

    @staticmethod
    def find_spec(
        name: str,
        path: Optional[Sequence[str]] = None,  # noqa: UP045, ARG004 - evaluated by Python 3.9.
        target: Optional[ModuleType] = None,  # noqa: UP045, ARG004
    ) -> Optional[ModuleSpec]:  # noqa: UP045
        """Answer for that one name."""
        if name != "snapshot_restore_py":
            return None
        file = os.path.join(_PACKAGE_DIR, "runtime", "snapshot_registry.py")
        return importlib.util.spec_from_file_location(name, file)


def main() -> None:
    """Run the part of `faasd.runtime` that the first argument names, with the rest as its arguments."""
    # One a little older would fail only later, at what it lacks.
    if sys.version_info < (3, 9):  # noqa: UP036 - The interpreter is the user's choice.
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"functions need CPython 3.9 or newer, and {sys.executable} is {found}")
    sys.meta_path.insert(0, _FaasdFinder)
    sys.meta_path.append(_RegistryFinder)
    part = sys.argv[1]
    if part not in ("root_zygote", "discover", "pip_install"):
        sys.exit(f"bootstrap: no part {part!r}")
    if part == "root_zygote":  # Before anything imports these two.
        importlib.import_module("faasd.runtime.fork_hooks").import_with_hooks()
    importlib.import_module(f"faasd.runtime.{part}").main(sys.argv[2:])


if __name__ == "__main__":
    main()
