"""Attempts run by a daemon of an ordinary user, for tests that are themselves run by root."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.containment.ordinary import UID, python_of, run_python

__all__ = ["run_as_user"]

_SCENARIO = """
import asyncio, json, sys
from faasd.model.permissions import Permissions
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import Bench

async def main():
    given = json.loads(sys.argv[1])
    sandboxes = ProcessSandboxes(given["state_dir"] + "/state", **given["options"])
    await sandboxes.start()
    bench = Bench(sandboxes)
    if given["permissions"]:
        given["limits"]["permissions"] = Permissions(**given["permissions"])
    outcome = await bench.run(given["handler"], given["event"], **given["limits"])
    await sandboxes.stop()
    error = [outcome.error.type, outcome.error.message] if outcome.error else None
    result = json.loads(outcome.result_json) if outcome.result_json else None
    print(json.dumps([outcome.word, result, error, list(outcome.degraded)]))

asyncio.run(main())
"""


def run_as_user(
    handler: str,
    event: Any = None,
    *,
    options: dict[str, Any] | None = None,
    permissions: dict[str, Any] | None = None,
    **limits: Any,
) -> tuple[str, Any, list[str] | None, list[str]]:
    """Run one attempt; returns its outcome's word, result, error and missing walls."""
    state_dir = Path(tempfile.mkdtemp(prefix="faasd-test-"))
    if os.geteuid() == 0:
        os.chown(state_dir, UID, UID)
    given = {
        "state_dir": str(state_dir),
        "options": options or {},
        "permissions": permissions or {},
        "handler": handler,
        "event": event,
        "limits": limits,
    }
    try:
        done = run_python(
            python_of(is_ordinary=True), "-c", _SCENARIO, json.dumps(given), is_ordinary=True
        )
    finally:
        shutil.rmtree(state_dir)
    assert done.returncode == 0, done.stderr.decode()
    word, result, error, degraded = json.loads(done.stdout)
    return word, result, error, degraded
