"""The authoring API: what a file of functions imports.

The daemon, its clients and the sandboxes all pass through here, so it costs next to nothing.
"""

from __future__ import annotations

from faasd.declare import at, cron, every, files, function, queue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # Loaded on first use, by `__getattr__` below.
    from faasd.model.context import Context, SoftTimeout

__version__ = "0.1.0"

__all__ = [  # noqa: RUF022 - In the order of a table of contents.
    # Declaring functions
    "function",
    # Triggers
    "at",
    "cron",
    "every",
    "files",
    "queue",
    # What a handler meets
    "Context",
    "SoftTimeout",
    # About faasd
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in ("Context", "SoftTimeout"):
        # Late, because the command line, which needs neither, imports this package too.
        import importlib

        return getattr(importlib.import_module("faasd.model.context"), name)
    raise AttributeError(f"module 'faasd' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
