"""Runs pip with no way to start another program, so that it cannot build a package.

Called as `PYTHON -I bootstrap.py pip_install ARGUMENTS…`. To build runs code of the package's author, as whoever
deploys and outside of all walls; pip does it in processes that it starts, and fetches sources with programs such as git. Told to take
wheels only, it still builds what a wheel depends on by an address. Here that fails, before any of it has run.
"""

from __future__ import annotations

import runpy
import sys

from faasd.linux import process, seccomp

__all__ = ["main"]


def main(arguments: list[str]) -> None:
    """Become `pip ARGUMENTS…`. Ends the process."""
    machine = seccomp.arch()
    if machine is None or not seccomp.is_available():
        sys.exit(
            "this kernel cannot keep pip from building packages; install uv, or use --allow-build"
        )
    rules = [seccomp.Rule("execve"), seccomp.Rule("execveat")]
    # Calls that are newer than our table are as they are: there is no other way to start a program among them.
    program = seccomp.Filter(seccomp.assemble(rules, machine, newest=None))
    process.forbid_new_privileges()
    program.load()
    # What runs now is pip of this interpreter, which is to find nothing of ours.
    del sys.meta_path[0]
    sys.argv = ["pip", *arguments]
    runpy.run_module("pip", run_name="__main__", alter_sys=True)
