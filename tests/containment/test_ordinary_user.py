"""The same promises when faasd runs as an ordinary user: everything in user namespaces of its own."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faasd.linux import landlock
from faasd.sandbox.cgroup_slot import SlotLimits, find_cgroups
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import processes_with
from tests.containment.ordinary import UID, python_of, run_python
from tests.patience import patient

SCENARIO = """
import asyncio, json, os, sys, time
from faasd.model.permissions import Permissions
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import Bench
from tests.patience import patient

async def main():
    given = json.loads(sys.argv[1])
    state_dir = os.path.join(given["state_dir"], "state")
    sandboxes = ProcessSandboxes(state_dir, secrets_dir=given["secrets_dir"], **given["walls"])
    await sandboxes.start()
    bench, token, cap = Bench(sandboxes), given["token"], 64 * 2**20
    counter = os.path.join(given["state_dir"], "counter")
    open(counter, "w").close()
    found = {}
    async def run(name, *arguments, **limits):
        began = time.monotonic()
        outcome = await bench.run(*arguments, **limits)
        error = outcome.error.message if outcome.error else None
        found[name] = [outcome.word, error, time.monotonic() - began, outcome.degraded]
    await run("echo", "echo", {"a": 1})
    await run("timeout", "escape_and_hang", {"token": token}, timeout_s=patient(1.0))
    await run("killer", "kill_parent_and_escape", {"token": token}, timeout_s=patient(0.5))
    await run("oom", "fill", memory_bytes=cap)
    await run("oom-child", "fill_in_child", memory_bytes=cap)
    await run("oom-ten", "fill_in_ten", {"bytes": 3 * cap}, memory_bytes=cap)
    await run("bomb", "fork_bomb", {"counter": counter, "bound": 100}, timeout_s=patient(0.7), processes=15, permissions=Permissions(write=(counter,)))
    found["made"] = os.stat(counter).st_size
    await run("segv", "kill_itself", 11)
    await run("capabilities", "read_capabilities")
    key = Permissions(secrets=("key",), containment="best-effort")
    await run("secret", "secret_handlers:files", permissions=key)
    await run("leak", "secret_handlers:fail_with_key", permissions=key)
    await run("other-user", "echo", permissions=Permissions(user="nobody"))
    willing = Permissions(user="nobody", containment="best-effort")
    await run("other-user-willing", "echo", permissions=willing)
    await sandboxes.stop()
    found["left"] = os.listdir(given["state_dir"])
    print(json.dumps(found))

asyncio.run(main())
"""


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """A directory of the ordinary user's; pytest's own are closed to others."""
    path = Path(tempfile.mkdtemp(prefix="faasd-test-"))
    if os.geteuid() == 0:
        os.chown(path, UID, UID)
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize(
    "walls", [{}, {"pid_namespaces": False}], ids=["namespaces", "no-namespaces"]
)
def test_an_ordinary_users_sandboxes_keep_the_same_promises(
    state_dir: Path, token: str, walls: dict[str, Any]
) -> None:
    """Timeouts, memory, process caps and signals, without any privilege."""
    secret = state_dir / "secrets" / "key"
    secret.parent.mkdir()
    secret.touch(0o600)
    secret.write_text("of an ordinary user")
    if os.geteuid() == 0:
        os.chown(secret, UID, UID)
    given = {"state_dir": str(state_dir), "secrets_dir": str(secret.parent)}
    argument = json.dumps({**given, "token": token, "walls": walls})
    python = python_of(is_ordinary=True)
    done = run_python(python, "-c", SCENARIO, argument, is_ordinary=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    found = json.loads(done.stdout)

    assert found["echo"][0] == "ok"
    assert found["timeout"][0] == "timeout"
    assert found["timeout"][2] < patient(2.0)
    if landlock.abi() < landlock.SINCE_SCOPES:
        # He may signal his sandbox's first process, and ends with it; in a PID namespace of its own the kernel
        # drops the signal.
        assert found["killer"][0] == ("crashed" if walls else "timeout")
    else:
        assert found["killer"][:2] == ["error", "[Errno 1] Operation not permitted"]
    assert [found[name][0] for name in ("oom", "oom-child", "oom-ten")] == ["oom"] * 3
    assert found["bomb"][0] in ("timeout", "oom")
    # Without a user namespace all of the user's threads are counted, and ours come and go.
    assert 5 <= found["made"] <= (20 if walls else 15)
    assert found["segv"][:2] == ["crashed", "killed by signal 11 (SIGSEGV)"]
    assert found["capabilities"][0] == "ok"
    assert "process-cap" not in found["echo"][3]
    assert sorted(found["left"]) == ["counter", "secrets", "state"]
    assert found["secret"][0] == "ok", found["secret"]
    assert found["leak"][1] == "the key is ***key***"
    # Where the bench leaves walls off, its functions are willing to run without.
    assert found["other-user"][0] == ("ok" if walls else "sandbox-failed")
    assert walls or "only root may start processes as user 'nobody'" in found["other-user"][1]
    assert found["other-user-willing"][0] == "ok"
    assert "user" in found["other-user-willing"][3]
    assert "user" not in found["echo"][3]
    assert processes_with(token) == []


AFTER_ROOT = """
import asyncio, json, sys
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import Bench

async def main():
    sandboxes = ProcessSandboxes(sys.argv[1])
    await sandboxes.start()
    outcome = await Bench(sandboxes).run("echo", 1)
    print(json.dumps([sandboxes.walls()["memory_cgroup"], outcome.word, str(outcome.error)]))
    await sandboxes.stop()

asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's groups are another user's here")
def test_groups_that_roots_daemon_has_left_are_not_taken_for_our_own(state_dir: Path) -> None:
    """A start tried to end them, which took seconds for each, and then no attempt could begin."""
    state_hash = ProcessSandboxes(state_dir)._state_hash
    slots, problem = find_cgroups(state_hash, "killed")
    if slots is None or slots.version != "v1":
        pytest.skip(f"no cgroup v1 to leave groups in: {problem or 'v2 is delegated'}")
    slot = slots.make("1", SlotLimits(2**26, 10, counts_cpu=True))
    try:
        python = python_of(is_ordinary=True)
        done = run_python(python, "-c", AFTER_ROOT, str(state_dir), is_ordinary=True)
        assert done.returncode == 0, done.stderr.decode()
        assert json.loads(done.stdout) == [None, "ok", "None"]
    finally:
        slot.remove()
        slots.remove()
