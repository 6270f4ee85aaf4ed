"""Where a handler's modules are looked for, before what its interpreter has installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from faasd.model.deployment import DEPENDENCIES_DIR

__all__ = ["module_path"]


def module_path(code_dir: str, layers: Sequence[str]) -> list[str]:
    """Return the function's own code, what was installed for it, then its layers as Lambda orders them.

    All layers appear as one there, of which later ones win: first `python/lib/python3.X/site-packages` of
    each, then `python` of each. An empty `code_dir` is of a module that is installed.
    """
    # What a deployment's dependencies were installed to.
    dependencies = os.path.join(code_dir, DEPENDENCIES_DIR)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = [code_dir] if code_dir else []
    if code_dir and os.path.isdir(dependencies):
        found.append(dependencies)
    for below in (f"python/lib/{version}/site-packages", "python"):
        paths = (os.path.join(layer, below) for layer in reversed(layers))
        found += [path for path in paths if os.path.isdir(path)]
    return found
