"""What handlers import as `snapshot_restore_py`, where the package of that name is not installed.

It has the names of the package that AWS's Python runtimes bring, so that a function with SnapStart hooks runs here
unchanged. A zygote is the snapshot: `snapshot.py` beside this file says when the hooks run.
"""

from __future__ import annotations

from typing import Any, Callable, TypeVar

__all__ = [
    "get_after_restore",
    "get_before_snapshot",
    "register_after_restore",
    "register_before_snapshot",
]

_Hook = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
_Func = TypeVar("_Func", bound=Callable[..., Any])

_before: list[_Hook] = []
_after: list[_Hook] = []


def register_before_snapshot(func: _Func, *args: Any, **kwargs: Any) -> _Func:
    """Have `func` called once, when the module is imported and nothing is forked yet; also as a decorator."""
    _before.append((func, args, kwargs))
    return func


def register_after_restore(func: _Func, *args: Any, **kwargs: Any) -> _Func:
    """Have `func` called in every sandbox, before its first attempt's handler; also as a decorator."""
    _after.append((func, args, kwargs))
    return func


def get_before_snapshot() -> list[_Hook]:
    """Return what was registered to be called before, the first one first."""
    return _before


def get_after_restore() -> list[_Hook]:
    """Return what was registered to be called after, the first one first."""
    return _after
