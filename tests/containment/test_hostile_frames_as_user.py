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


HOLDER = """
import asyncio, json, sys
from faasd.model.permissions import Permissions
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import Bench, an_attempt
from tests.patience import patient

async def main():
    sandboxes = ProcessSandboxes(sys.argv[1])
    await sandboxes.start()
    bench = Bench(sandboxes)
    loose = Permissions(containment="best-effort")
    stop = asyncio.get_running_loop().create_future()
    holding = asyncio.ensure_future(bench.run(
        "hostile_frames:keep_descriptors_on_their_way", stop=stop, permissions=loose,
        timeout_s=patient(60.0),
    ))
    while not bench.services.progressed and not holding.done():
        await asyncio.sleep(0.01)
    neighbours = [await bench.run("echo", number, permissions=loose) for number in range(3)]
    stop.set_result("cancelled")
    ended = await holding
    await sandboxes.stop()
    told = [[one.word, str(one.error)] for one in neighbours]
    print(json.dumps([bench.services.progressed, told, ended.word, str(ended.error)]))

asyncio.run(main())
"""


def test_descriptors_kept_on_their_way_keep_nobody_else_from_sending(state_dir: Path) -> None:
    """The kernel counts them for the user, and all sandboxes are the same one here."""
    python = python_of(is_ordinary=True)
    done = run_python(python, "-c", HOLDER, str(state_dir), is_ordinary=True)
    assert done.returncode == 0, done.stderr.decode()
    progressed, neighbours, *ended = json.loads(done.stdout)
    assert ended[0] == "cancelled", ended
    assert progressed[0]["value"]["sent"] >= 1024, progressed  # All that he may.
    assert [word for word, _ in neighbours] == ["ok"] * 3, neighbours
