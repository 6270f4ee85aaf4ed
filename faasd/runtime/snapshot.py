"""A zygote as a snapshot: the hooks before it first forks and after each fork, and what no two forks may share.

Hooks are registered with `snapshot_restore_py`, AWS's package where it is installed, else snapshot_registry.py. As there,
those before run in the reverse order of registration, those after in that order.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from faasd.model.context import SoftTimeout
from faasd.runtime import report

__all__ = ["AfterRestoreFailed", "reseed", "run_after_restore", "run_before_snapshot"]

MODULE = "snapshot_restore_py"
_is_restored = False


class AfterRestoreFailed(Exception):
    """A hook that runs in each fork has raised; the attempt's handler was not called."""


def run_before_snapshot() -> None:
    """Run what the module registered, in the zygote, once. Raises InitFailed for the first that raises."""
    for func, args, kwargs in reversed(_registered("get_before_snapshot")):
        try:
            func(*args, **kwargs)
        except BaseException as error:
            message = _message("before-snapshot", func, error)
            raise report.InitFailed(report.error_record(error, message)) from error


def run_after_restore() -> None:
    """Run what the module registered, once in each process that calls handlers. Raises AfterRestoreFailed.

    After a failure they are run again, all of them, should this process be asked for another attempt.
    """
    global _is_restored  # noqa: PLW0603 - a fact about this process.
    if _is_restored:
        return
    for func, args, kwargs in _registered("get_after_restore"):
        try:
            func(*args, **kwargs)
        except SoftTimeout:
            raise  # The attempt's time is over, wherever it was spent.
        except BaseException as error:
            failure = AfterRestoreFailed(_message("after-restore", func, error))
            # With the hook's own frames: those from here on are ours, which nobody is shown.
            raise failure.with_traceback(error.__traceback__) from error
    _is_restored = True


def reseed() -> None:
    """Give this fork random numbers and temporary names of its own.

    The rest sees to itself: `random` seeds its hidden generator after every fork, `secrets`, `uuid4` and
    `random.SystemRandom` ask the kernel each time, and OpenSSL (since 1.1.1) knows when it was forked. A generator
    that a module keeps for itself is its own affair: see left_open.py.
    """
    # Not `numpy.random` by way of numpy, which would import it now where nobody had.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        # Refused where the module has put another kind of generator there: that is in its own hands.
        with contextlib.suppress(Exception):
            numpy_random.seed()
    tempfile = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.__dict__["tempdir"] = None  # It remembers the TMPDIR of the import,
        # and tells forks apart by their process id, which is the same in every PID namespace.
        tempfile.__dict__["_name_sequence"] = None


def _registered(getter: str) -> list[Any]:
    registry = sys.modules.get(MODULE)
    get = getattr(registry, getter, None)
    return list(get()) if get is not None else []


def _message(kind: str, func: Any, error: BaseException) -> str:
    name = getattr(func, "__qualname__", None) or type(func).__qualname__
    return f"the {kind} hook {name!r} raised {report.describe(error)}"
