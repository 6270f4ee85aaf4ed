"""What a start does without, so that it is short: libraries that can wait, and looks for garbage where there is none."""

from __future__ import annotations

import json
import subprocess
import sys


def said_by(code: str) -> object:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return json.loads(done.stdout)


def test_the_daemon_leaves_the_libraries_of_its_doors_for_later() -> None:
    """They are imported while it waits for the root zygote anyway. The control is that the doors need them."""
    code = "import json, sys, faasd.foreground, faasd.daemon; "
    shown = "print(json.dumps([name in sys.modules for name in ('uvicorn', 'starlette')]))"
    assert said_by(code + shown) == [False, False]
    assert said_by(code + "faasd.daemon._import_doors(); " + shown) == [True, True]


def test_garbage_is_not_looked_for_while_the_daemon_starts_and_is_from_then_on() -> None:
    """Switched off for good, it would let the daemon grow."""
    code = """
import gc, json, sys, types
seen = []
sys.modules["faasd.foreground"] = types.ModuleType("faasd.foreground")
sys.modules["faasd.foreground"].main = lambda path: seen.append(gc.isenabled())
from faasd.cli.run import _run_daemon
_run_daemon("")
from faasd.daemon import _freeze_what_is_there
_freeze_what_is_there()
seen.append(gc.isenabled())
print(json.dumps(seen))
"""
    assert said_by(code) == [False, True]
