"""What an import does that makes it one function's alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

WATCH = """
import os, signal, subprocess, sys
sys.path.insert(0, os.getcwd())
from faasd.runtime.own_names import OwnNamesWatch
os.environ.update(FAASD_FUNCTION="f", OTHER="x")
watch = OwnNamesWatch(["FAASD_FUNCTION"])
with watch:
    {code}
said = watch.reason
os.environ["FAASD_FUNCTION"], dict(os.environ)
assert watch.reason == said
print(said, end="")
"""


def reason(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", WATCH.format(code=code)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize(
    "code",
    [
        "os.environ['FAASD_FUNCTION']",
        "os.environb[b'FAASD_FUNCTION']",
        "os.environ.get('FAASD_FUNCTION')",
        "os.getenv('FAASD_FUNCTION')",
        "'FAASD_FUNCTION' in os.environ",
        "dict(os.environ)",
        "dict(os.environb)",
        "os.environ.copy()",
        "list(os.environ.items())",
        "list(os.environ.values())",
        "repr(os.environ)",
        "os.environ | {}",
        "os.environ.setdefault('FAASD_FUNCTION', 'g')",
        "os.environ['FAASD_FUNCTION'] = 'g'",
        "del os.environ['FAASD_FUNCTION']; os.environ['FAASD_FUNCTION'] = 'f'",
        "os.environ.pop('FAASD_FUNCTION'); os.environ['FAASD_FUNCTION'] = 'f'",
        "from os import environ; environ['FAASD_FUNCTION']",
        "before = type(os.environ).__getitem__; type(os.environ).__getitem__ = lambda *a: before(*a)",
    ],
)
def test_who_looks_at_which_function_it_is_has_his_import_alone(code: str) -> None:
    """Whatever way he takes in Python, and whether he looks at one variable or at all."""
    assert reason(code) == "environment"


@pytest.mark.parametrize(
    "code",
    [
        "subprocess.run(['true'])",
        "os.system('true')",
        "os.fork() or os._exit(0)",
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
    ],
)
def test_so_has_who_runs_a_program(code: str) -> None:
    """It inherits the whole environment, and nobody sees what it looks at."""
    assert reason(code) == "programs"


@pytest.mark.parametrize(
    "code",
    [
        "pass",
        "os.environ['OTHER']",
        "os.environ.get('NOT_THERE')",
        "os.environ['OTHER'] = 'y'",
        "list(os.environ)",
        "len(os.environ)",
        "import logging, json, asyncio, decimal, uuid, urllib.request",
    ],
)
def test_other_imports_can_be_shared(code: str) -> None:
    """The control: variables that are the same for all say nothing."""
    assert reason(code) == ""
