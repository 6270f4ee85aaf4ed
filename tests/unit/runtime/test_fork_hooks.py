"""The fork of a handler's process: without the hooks of `threading` and `logging`, with everybody else's."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import os, sys
from faasd.runtime import fork_hooks

assert "threading" not in sys.modules
fork_hooks.import_with_hooks()
import logging, threading
ran = []
os.register_at_fork(after_in_child=lambda: ran.append("another's"))
# Made anew by the hook of `threading`, where it runs.
before = threading._active_limbo_lock

def seen_after(fork):
    pid = fork()
    if pid == 0:
        is_anew = threading._active_limbo_lock is not before
        os._exit(10 * is_anew + (ran == ["another's"]))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

print(seen_after(fork_hooks.fork_handler), seen_after(os.fork))
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="what its hooks do was not read yet")
def test_a_handlers_process_is_forked_without_the_hooks_for_locks_and_with_all_others() -> None:
    """`random`, for one, draws anew there; and what the handler forks in turn has all of them."""
    found = subprocess.run(
        [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["1", "11"]
