"""What is known of an attempt that is over: how much it had, what it has left, and whether its zygote went with it."""

from __future__ import annotations

import asyncio
from typing import Any

from faasd.linux import proc_tree
from faasd.model.limits import Limits
from faasd.sandbox.classify import describe_status
from faasd.sandbox.cpu_watch import cpu_s_of_tree
from faasd.sandbox.memory_watch import WatchedTree
from faasd.sandbox.sandbox import Sandbox
from faasd.sandbox.zygote_process import Zygote

__all__ = [
    "cpu_s",
    "has_leftovers",
    "is_over_memory",
    "memory_bytes",
    "memory_peak_bytes",
    "zygote_loss",
]

_ENDED_PATIENCE_S = 2.0


def memory_peak_bytes(
    sandbox: Sandbox, tree: WatchedTree | None, usage: dict[str, Any] | None
) -> int | None:
    """Return the most memory that it had, by its control group or by what was seen of it; None for unknown."""
    if sandbox.slot is not None:
        if sandbox.served > 1 or sandbox.renewal is not None:
            return sandbox.slot.account.peak_bytes()
        return sandbox.slot.memory_peak_bytes()
    seen = [tree.peak_bytes] if tree is not None else []
    if usage is not None:
        seen.append(int(usage["memory_bytes"]))
    return max(seen, default=None)


def is_over_memory(sandbox: Sandbox, limits: Limits, usage: dict[str, Any] | None) -> bool:
    """Whether it went over its cap between two looks of the watch."""
    if sandbox.slot is not None or usage is None:
        return False
    # The largest resident size of any one process, of which it had the zygote's part from birth.
    own = int(usage["memory_bytes"]) - sandbox.zygote.memory_bytes
    return own > limits.memory_bytes


def cpu_s(sandbox: Sandbox) -> float:
    """Return the processor time of the attempt that runs; for any thread. Raises OSError when nothing is left of it."""
    # So not through the sandbox's account, which belongs to the loop.
    used_s = sandbox.slot.cpu_s() if sandbox.slot is not None else None
    if used_s is None:
        pid = sandbox.pid
        used_s = cpu_s_of_tree(pid) if pid is not None else 0.0
    return used_s - sandbox.cpu_s_before


def has_leftovers(sandbox: Sandbox) -> bool:
    """Whether an attempt that is over has left processes behind, besides the two that every sandbox has."""
    if sandbox.slot is not None:
        tasks = sandbox.slot.account.tasks()
        if tasks == 2:
            return False
        if tasks is not None:
            return sandbox.slot.processes() > 2  # The others are threads of the handler's.
    pid = sandbox.pid
    if pid is None:
        return True
    handlers = proc_tree.children(pid)
    if handlers is None:
        return len(proc_tree.descendants([pid])) != 1
    try:
        return len(handlers) != 1 or proc_tree.has_children(handlers[0])
    except OSError:
        return True


def memory_bytes(sandbox: Sandbox) -> int:
    """Return how much memory its processes have now."""
    found = sandbox.slot.account.memory_bytes() if sandbox.slot is not None else None
    if found is not None:
        return found
    pid = sandbox.pid
    return proc_tree.memory_bytes({pid} | proc_tree.descendants([pid])) if pid is not None else 0


async def zygote_loss(zygote: Zygote) -> str | None:
    """Say how the zygote ended, if it did; None when it lives."""
    if zygote.is_alive:
        return None
    await asyncio.wait({zygote.exited}, timeout=_ENDED_PATIENCE_S)
    exited = zygote.exited.result() if zygote.exited.done() else None
    return describe_status(exited["status"]) if exited else "with the root zygote"
