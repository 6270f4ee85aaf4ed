"""Finding the handler: import its module once, look its attribute up, make ready for forking."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from faasd.linux import clone
from faasd.runtime import report

__all__ = ["import_module", "prepare_another", "resolve", "settle_for_forking"]


_CO_COROUTINE = 0x80  # As inspect has it, whose import would cost every zygote milliseconds.


def import_module(name: str, code_dir: str) -> None:
    """Import the handler's module. Raises InitFailed, whatever the module does."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(error.name + ".")):
            raise report.InitFailed(report.error_record(error)) from error
        message = f"there is no module {name!r} in {code_dir}, nor among what {sys.executable} has installed"
        raise report.InitFailed(report.error_record(error, message)) from error
    except SystemExit as error:
        message = f"the module {name!r} called sys.exit({error.code!r}) while it was imported"
        raise report.InitFailed(report.error_record(error, message)) from error
    except BaseException as error:
        raise report.InitFailed(report.error_record(error)) from error


def resolve(module_name: str, attribute: str) -> Callable[..., Any]:
    """Return the handler. Raises InitFailed when the module has none of that name."""
    found: Any = sys.modules[module_name]
    try:
        for part in attribute.split("."):
            found = getattr(found, part)
    except AttributeError as error:
        names = [name for name in dir(sys.modules[module_name]) if not name.startswith("_")]
        message = f"module {module_name!r} has no {attribute!r}; it has {', '.join(names[:20]) or 'nothing'}"
        raise report.InitFailed(
            {"type": "HandlerNotFound", "message": message, "stack": []}
        ) from error
    if not callable(found):
        message = (
            f"{module_name}:{attribute} is of type {type(found).__qualname__} and cannot be called"
        )
        raise report.InitFailed({"type": "HandlerNotCallable", "message": message, "stack": []})
    if getattr(getattr(found, "__code__", None), "co_flags", 0) & _CO_COROUTINE:
        import asyncio  # noqa: F401 - once in the zygote, for all its sandboxes.
    handler: Callable[..., Any] = found
    return handler


def prepare_another(module_name: str, attribute: str) -> None:
    """Import what a handler needs that is not the one which the zygote was made for, once for all its sandboxes.

    Nothing of the module's runs, and there may be no such handler: that is for its sandboxes to find and to tell.
    """
    found = getattr(sys.modules.get(module_name), "__dict__", {}).get(attribute)
    if "asyncio" in sys.modules or type(found) is not type(prepare_another):
        return
    if found.__code__.co_flags & _CO_COROUTINE:
        import asyncio  # noqa: F401

        gc.freeze()


def settle_for_forking() -> None:
    """Keep memory shared with what is forked, and undo what the module did to its process."""
    clone.end_library_threads()
    gc.collect()
    gc.freeze()  # Else the first collection in a sandbox would write to, and so copy, every page.
    signal.alarm(0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.set_wakeup_fd(-1)
    os.umask(0o022)
