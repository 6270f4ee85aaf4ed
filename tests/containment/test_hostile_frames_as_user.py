"""Attacks on the daemon when faasd runs as an ordinary user: what checks them must not need root."""

from __future__ import annotations

import json
from pathlib import Path

from tests.containment.ordinary import python_of, run_python
from tests.containment.test_ordinary_user import state_dir

__all__ = ["state_dir"]  # A fixture: pytest finds it by its name here.

SCENARIO = """
import asyncio, json, os, sys
from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import FUNCTIONS, Bench, an_attempt

async def main():
    sandboxes = ProcessSandboxes(sys.argv[1])
    await sandboxes.start()
    bench, found = Bench(sandboxes), {}
    loose = Permissions(containment="best-effort")
    for name, event in (("send_raw", {"hex": "7fffffff"}), ("pass_descriptors", {"times": 5})):
        outcome = await bench.run(f"hostile_frames:{name}", event, permissions=loose)
        found[name] = [outcome.word, str(outcome.error)]
    for attack in ("garbage", "descriptors", "pidfd-of-daemon", "ready-huge", ""):
        given = Permissions(env={"ATTACK": attack}, containment="best-effort")
        limits = Limits(timeout_s=2.0, init_timeout_s=2.0)
        function = Function("bad" + attack, "hostile_zygote:harmless", code_dir=str(FUNCTIONS),
                            limits=limits, permissions=given)
        outcome = await bench.run_attempt(an_attempt(function, 7))
        found[attack] = [outcome.word, str(outcome.error)]
    before = len(os.listdir("/proc/self/fd"))
    await sandboxes.stop()
    found["kept"] = before
    print(json.dumps(found))

asyncio.run(main())
"""


def test_an_ordinary_users_daemon_sees_through_the_same_attacks(state_dir: Path) -> None:
    """Most of all the one that would have it kill itself."""
    python = python_of(is_ordinary=True)
    done = run_python(python, "-c", SCENARIO, str(state_dir), is_ordinary=True)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert found["send_raw"][0] == "crashed", found
    assert found["pass_descriptors"][0] == "ok", found
    assert found[""][0] == "ok", found  # The control: without an attack the module is sound.
    for attack in ("garbage", "descriptors", "pidfd-of-daemon", "ready-huge"):
        assert found[attack][0] in ("crashed", "init-error"), found
    assert found["kept"] < 80
