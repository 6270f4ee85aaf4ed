"""Answering who waits for a result before the sandbox that made it is gone.

Ending a sandbox takes longer than most handlers do. Once its handler has returned, and nothing is in it but its
two processes, which wait, no outcome but `ok` is left, so its caller need not wait for the rest.
"""

from __future__ import annotations

from faasd.linux import proc_tree
from faasd.model.outcome import Usage
from faasd.sandbox.attempt_io import AttemptIo
from faasd.sandbox.measured import has_leftovers
from faasd.sandbox.sandbox import Sandbox

__all__ = ["is_result_certain", "usage_so_far"]


def is_result_certain(sandbox: Sandbox, io: AttemptIo) -> bool:
    """Take what was printed, and say whether nothing can become of the attempt but the result that it reported.

    What it has printed may pass a limit, of which its supervision hears.
    """
    slot = sandbox.slot
    if slot is None or io.report is None or io.report["op"] != "result":
        return False
    readable = sandbox.io.readable()
    io.finish_warm(readable)
    # A descriptor tells, where there is one, what reading the group's file would, for less.
    has_run_out = slot.oom_fd in readable if slot.oom_fd is not None else slot.oom_kills() > 0
    return io.is_quiet and not has_run_out and not has_leftovers(sandbox)


def usage_so_far(sandbox: Sandbox, wall_s: float, init_s: float | None) -> Usage:
    """Return what was used until the report; the record has the sandbox's end as well."""
    peak = sandbox.slot.account.peak_bytes() if sandbox.slot is not None else None
    return Usage(wall_s, _cpu_s(sandbox), peak, init_s)


def _cpu_s(sandbox: Sandbox) -> float | None:
    used_s = sandbox.slot.account.cpu_s() if sandbox.slot is not None else None
    if used_s is not None:
        return used_s
    pid = sandbox.pid
    handlers = proc_tree.children(pid) if pid is not None else None
    if pid is None or not handlers:
        return None
    try:
        return proc_tree.own_cpu_s(pid) + proc_tree.cpu_s_of_child(handlers[0], pid)
    except OSError:
        return None
