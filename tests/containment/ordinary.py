"""Running a test's scenario as an ordinary user, when the tests themselves run as root."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

from tests.patience import patient

ROOT = Path(__file__).parent.parent.parent
UID = 64_321  # Nobody else's, so that what counts per user counts ours alone.

#: The interpreter may be another one of the same version, without our dependencies.
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONDONTWRITEBYTECODE": "1",
    "FAASD_TEST_PATIENCE": os.environ.get("FAASD_TEST_PATIENCE", "1"),
    "PYTHONPATH": sysconfig.get_path("purelib"),
}


@cache
def interpreter() -> str | None:
    """Return an interpreter that the ordinary user can run this checkout with."""
    if os.geteuid() != 0:
        return sys.executable
    for python in (sys.executable, "/usr/bin/python3"):
        code = "import sys, faasd.sandbox.sandboxes; sys.exit(sys.version_info < (3, 11))"
        try:
            if run_python(python, "-c", code, is_ordinary=True).returncode == 0:
                return python
        except OSError:
            continue
    return None


def python_of(is_ordinary: bool) -> str:
    """Return the interpreter for this user, or skip the test with the reason."""
    python = interpreter() if is_ordinary else sys.executable
    if python is None:
        import pytest  # Here, for who imports this in a process of his own and pays for it each time.

        pytest.skip(
            "no Python >= 3.11 that another user can run with this checkout (closed home directory?)"
        )
    return python


def run_python(
    python: str, *arguments: str, is_ordinary: bool
) -> subprocess.CompletedProcess[bytes]:
    """Run Python on this checkout, as the ordinary user or as whoever we are."""
    identity: dict[str, Any] = {}
    if is_ordinary and os.geteuid() == 0:
        identity = {"user": UID, "group": UID, "extra_groups": []}
    return subprocess.run(
        [python, *arguments], cwd=ROOT, capture_output=True, check=False,
        env=ENVIRONMENT, timeout=patient(60), **identity,
    )  # fmt: skip
