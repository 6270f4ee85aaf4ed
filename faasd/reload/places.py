"""Where code is that a change of should be noticed, and which paths there are code."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from faasd.config.loader import Loaded
from faasd.functions.code_tree import code_directories, is_code_name
from faasd.model.below import is_in
from faasd.model.function import Function

__all__ = ["CodePlaces"]


class CodePlaces:
    """The places of one reading. Safe to ask from any thread."""

    def __init__(self, loaded: Loaded, functions: Sequence[Function]) -> None:
        self._config = os.path.realpath(loaded.config_path)
        self._written = str(loaded.config_path)
        base = loaded.config_path.parent
        entries = [base / Path(entry).expanduser() for entry in loaded.daemon.functions]
        named = [str(path if path.suffix != ".py" else path.parent) for path in entries]
        own = [one.source_dir or one.code_dir for one in functions if one.handler is not None]
        own += [one.source_dir for one in functions if one.handler is None and one.source_dir]
        self._roots = sorted({os.path.realpath(path) for path in (*named, *own)})
        self._data = frozenset(os.path.realpath(path) for path in _data(loaded, functions))

    def directories(self) -> set[str]:
        """Return the directories whose files matter."""
        found = {str(Path(self._written).parent), str(Path(self._config).parent)}
        for root in self._roots:
            found.update(code_directories(root, self._data))
        return found

    def is_wanted(self, path: str) -> bool:
        """Whether a change of this path may change what runs."""
        if path in (self._config, self._written):
            return True
        if not is_code_name(os.path.basename(path)) or any(is_in(path, one) for one in self._data):
            return False
        return any(is_in(path, root) for root in self._roots)


def _data(loaded: Loaded, functions: Sequence[Function]) -> Iterator[str]:
    daemon = loaded.daemon
    yield from (str(daemon.state_dir), str(daemon.socket), str(daemon.secrets_dir))
    for function in functions:
        code = set(function.readable_code)
        yield from (path for path in function.data_paths if path not in code)
