"""Where a handler's modules are looked for, before what its interpreter has installed."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["module_path"]


def module_path(code_dir: str, layers: Sequence[str]) -> list[str]:
    """Return the function's own code, then its layers as Lambda orders them.

    All layers appear as one there, of which later ones win: first `python/lib/python3.X/site-packages` of
    each, then `python` of each. An empty `code_dir` is of a module that is installed.
    """
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = [code_dir] if code_dir else []
    for below in (f"python/lib/{version}/site-packages", "python"):
        paths = (os.path.join(layer, below) for layer in reversed(layers))
        found += [path for path in paths if os.path.isdir(path)]
    return found
