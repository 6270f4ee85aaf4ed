"""What a function tries in a small world of files, with all walls or without some, as root or as an ordinary user."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions
from faasd.model.trigger import FilesTrigger
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import FUNCTIONS, RecordingServices, an_attempt
from tests.containment.ordinary import UID, python_of, run_python
from tests.patience import patient

__all__ = ["World", "probe", "world"]

#: Not below /tmp, which a function has for itself.
_WORLDS = "/var/tmp"


class World:
    """A directory with the places of a daemon and of two functions."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def make(self, owner: int) -> None:
        for name in ("code", "other", "inbox", "out", "readable", "elsewhere", "state"):
            (self.root / name).mkdir()
            (self.root / name / "file").write_text("content")
        (self.root / "faasd.toml").write_text("[daemon]")
        shutil.copyfile(FUNCTIONS / "probes.py", self.root / "code" / "probes.py")
        for path in [self.root, *self.root.rglob("*")]:
            if owner != os.geteuid():
                os.chown(path, owner, owner)
        self.root.chmod(0o755)


@contextlib.contextmanager
def world(*, is_ordinary: bool) -> Iterator[World]:
    """A world for one test."""
    root = Path(tempfile.mkdtemp(prefix="faasd-world-", dir=_WORLDS))
    try:
        made = World(root)
        made.make(UID if is_ordinary and os.geteuid() == 0 else os.geteuid())
        yield made
    finally:
        shutil.rmtree(root)


def probe(
    made: World,
    steps: list[dict[str, str]],
    *,
    is_ordinary: bool,
    without: tuple[str, ...] = (),
    at_once: bool = False,
    functions: int = 1,
    expected: str = "ok",
    tells: str = "error",
    **more: Any,
) -> list[Any]:
    """Run each step as an attempt, in turn or at once, of one function or of several; returns what each found, or its error.

    In the code, `{world}` is the world's directory and `{daemon}` the pid of who plays the daemon.
    """
    given = {
        "world": str(made.root), "steps": steps, "without": list(without), "at_once": at_once,
        "functions": functions, **more,
    }  # fmt: skip
    python = python_of(is_ordinary)
    done = run_python(
        python, "-m", "tests.containment.probing", json.dumps(given), is_ordinary=is_ordinary
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    for one in found:
        assert one["word"] == expected, one
    return [one["result"] if expected == "ok" else one[tells] for one in found]


async def _play(given: dict[str, Any]) -> list[dict[str, Any]]:
    at = given["world"]
    sandboxes = ProcessSandboxes(
        f"{at}/state",
        without=given["without"],
        hidden=[f"{at}/faasd.toml"],
        slots=given.get("slots", 4),
        pid_namespaces=given.get("pid_namespaces", True),
        cgroups=given.get("cgroups", True),
    )
    await sandboxes.start()
    if "landlock_at_most" in given:  # As on a kernel that has an older one.
        assert sandboxes._pool is not None
        walls = (await sandboxes._pool.root(sys.executable)).walls
        walls["landlock"] = min(walls["landlock"], given["landlock_at_most"])
    try:
        runs = []
        functions = [_function(number, given) for number in range(given["functions"])]
        if given.get("shares_zygote"):
            await sandboxes.retire(functions)
        for number, step in enumerate(given["steps"]):
            function = functions[number % given["functions"]]
            if given.get("spares"):
                await _spare_of(function, sandboxes)
            codes = {
                name: code.replace("{world}", at).replace("{daemon}", str(os.getpid()))
                for name, code in step.items()
            }
            stop = asyncio.get_running_loop().create_future()
            run = sandboxes.run(an_attempt(function, codes), RecordingServices(), stop)
            runs.append(run if given["at_once"] else _done(await run))
        outcomes = await asyncio.gather(*runs)
    finally:
        await sandboxes.stop()
    return [
        {
            "word": one.word,
            "error": one.error.message if one.error else None,
            "hint": one.error.hint if one.error else None,
            "result": json.loads(one.result_json or "null"),
        }
        for one in outcomes
    ]


def _function(number: int, given: dict[str, Any]) -> Function:
    at = given["world"]
    return Function(
        f"f{number}",
        "probes:try_all",
        code_dir=f"{at}/code",
        limits=Limits(timeout_s=patient(30), **given.get("limits", {})),
        permissions=Permissions(
            read=(f"{at}/readable", *given.get("read", ())),
            write=(f"{at}/out",),
            containment="best-effort",
        ),
        files=(FilesTrigger("inbox", f"{at}/inbox"),),
        reuse=given.get("reuse", 1),
        spares=given.get("spares", 0),
    )


async def _spare_of(function: Function, sandboxes: ProcessSandboxes) -> None:
    """Wait until a spare waits for the function's next attempt."""
    await sandboxes.warm(function)
    async with asyncio.timeout(patient(20.0)):
        while not sandboxes._waiting.spares(function):
            await asyncio.sleep(0.005)


async def _done(value: Any) -> Any:
    return value


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_play(json.loads(sys.argv[1])))))
