"""A function may name another CPython, in which faasd is not installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.containment.bench import Bench

VERSIONS = ("3.9", "3.10", "3.12", "3.13", "3.14")


@cache
def interpreter(version: str) -> str | None:
    """Find an interpreter of this version that is not the one we run in."""
    candidates = [shutil.which(f"python{version}")]
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates += [str(path) for path in sorted(root.glob(f"{version}.*/bin/python{version}"))]
    for candidate in candidates:
        if candidate is not None:
            code = "import ctypes, sys; print('%d.%d' % sys.version_info[:2])"
            done = subprocess.run([candidate, "-I", "-c", code], capture_output=True, check=False)
            if done.stdout.decode().strip() == version:
                return candidate
    return None


@pytest.mark.parametrize(
    "version", [v for v in VERSIONS if v != f"{sys.version_info[0]}.{sys.version_info[1]}"]
)
async def test_a_handler_runs_under_the_interpreter_that_its_function_names(
    bench: Bench, tmp_path: Path, version: str
) -> None:
    """Only the sandboxed side runs there: nothing of the daemon's dependencies may be needed."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} on this host")
    (tmp_path / "where.py").write_text(
        "import asyncio, logging, sys\n"
        "import faasd.model.context\n"
        "async def handler(event, context):\n"
        "    await asyncio.sleep(0)\n"
        "    logging.warning('here')\n"
        "    print('hello')\n"
        "    return [list(sys.version_info[:2]), context.enqueue('letters', event)]\n"
    )
    bench.code_dir = str(tmp_path)
    outcome = await bench.run("where:handler", {"a": 1}, python=python)

    major, _, minor = version.partition(".")
    assert outcome.result_json == f'[[{major},{minor}],"q1"]', outcome
    assert bench.services.texts("stdout") == ["hello"]
    assert bench.services.texts("log") == ["root: here"]
    assert bench.services.texts("stderr") == []


async def test_the_sandboxed_side_loads_nothing_but_the_standard_library(
    bench: Bench, tmp_path: Path
) -> None:
    """The cold start and the attack surface stay small."""
    (tmp_path / "loaded.py").write_text(
        "import sys\nbefore = sorted(sys.modules)\ndef handler(event, context): return before\n"
    )
    bench.code_dir = str(tmp_path)
    outcome = await bench.run("loaded:handler")
    loaded = {name.partition(".")[0] for name in eval(outcome.result_json or "")}
    assert loaded - set(sys.stdlib_module_names) - {"__main__", "faasd", "loaded"} <= {
        "_distutils_hack",
        "sitecustomize",
        "usercustomize",
    } | {n for n in loaded if n.startswith("__editable__")}
    assert not loaded & {"sqlalchemy", "asyncio", "pydantic"}
