"""What of the directory that a configuration is in is a command's own code, and so may be read by it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["code_paths", "script_of"]

#: What an interpreter is given to run, rather than to work on.
_SCRIPTS = frozenset(
    {".awk", ".bash", ".cjs", ".js", ".jar", ".lua", ".mjs", ".php", ".pl", ".py", ".r", ".rb", ".sh", ".ts"}
)  # fmt: skip


def code_paths(command: Sequence[str], base_dir: Path) -> tuple[str, ...]:
    """Return the parts of the configuration's directory that a command names; it reads nothing else of it.

    A part is what lies right beside the configuration: of `jobs/nightly.sh` all of `jobs`, so that a script finds
    what came with it, and an interpreter its environment. A script that itself lies beside the configuration
    has the whole directory. What is named elsewhere is not code: `read` gives it.
    """
    found: dict[str, None] = {}
    for word in command:
        path = Path(os.path.normpath(base_dir / word))
        if not word or not path.is_relative_to(base_dir) or not _exists(path):
            continue
        parts = path.relative_to(base_dir).parts
        is_right_beside = not parts or (len(parts) == 1 and path.is_file())
        found[str(base_dir if is_right_beside else base_dir / parts[0])] = None
    return (str(base_dir),) if str(base_dir) in found else tuple(found)


def script_of(command: Sequence[str], base_dir: Path) -> tuple[int, str, str] | None:
    """Return which word of a command is its script, the script's path, and the part that holds it.

    That is the program, or else the first argument that is a file named like a script; None where it is
    not below the configuration's directory. Other arguments are data, and must not become copies.
    """
    for index, word in enumerate(command):
        path = Path(os.path.normpath(base_dir / word))
        is_named_so = index == 0 or path.suffix.lower() in _SCRIPTS
        if word and is_named_so and path.is_relative_to(base_dir) and _exists(path):
            if not path.is_file():
                continue
            parts = path.relative_to(base_dir).parts
            # Right beside the configuration there is data amid code: that runs in place.
            return (index, str(path), str(base_dir / parts[0])) if len(parts) > 1 else None
    return None


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False  # A word that is too long to be a path, say.
