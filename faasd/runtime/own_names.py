"""Whether an import depends on which function it is for: a look at the environment while a module is imported.

Only Python's ways to the environment are seen (`os.environ`, `os.environb`, `os.getenv`, whoever calls them), and that
a program was run, which inherits all of it. What C code asks the C library is not.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterable
from typing import Any

__all__ = ["OwnNamesWatch"]

#: Through these goes whatever looks at a variable, or changes it. Who takes all of them takes each.
_WAYS = ("__getitem__", "__setitem__", "__delitem__")
#: And through this, past those.
_WAY_OF_ALL = "__repr__"


class OwnNamesWatch:
    """Looks on while it is entered; `reason` then says whether what was done is one function's alone.

    To write a variable that says which function it is counts as well: other functions' would not be written.
    """

    def __init__(self, own: Iterable[str]) -> None:
        self.reason = ""  # A word of sandbox/zygote_frames.py's ALONE.
        self._own = {name for one in own for name in (one, os.fsencode(one))}
        self._kind: Any = type(os.environ)
        self._before = {name: getattr(self._kind, name) for name in (*_WAYS, _WAY_OF_ALL)}
        self._put: dict[str, Any] = {}

    def __enter__(self) -> None:
        self._put = {name: self._watched(name) for name in self._before}
        for name, method in self._put.items():
            setattr(self._kind, name, method)

    def __exit__(self, *_: object) -> None:
        for name, method in self._put.items():
            if getattr(self._kind, name) is not method:
                self.reason = "environment"  # The module has put something of its own there.
            else:
                setattr(self._kind, name, self._before[name])
        self.reason = self.reason or ("programs" if _has_run_programs() else "")

    def _watched(self, name: str) -> Any:
        method = self._before[name]

        def watched(environ: Any, *arguments: Any) -> Any:
            if name == _WAY_OF_ALL or self._is_own(*arguments[:1]):
                self.reason = "environment"
            return method(environ, *arguments)

        return watched

    def _is_own(self, key: object = None) -> bool:
        return isinstance(key, (str, bytes)) and key in self._own


def _has_run_programs() -> bool:
    """Whether this process has children, or ever had any."""
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        return True  # Nobody knows, then.
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt > 0
    return True
