"""Functions that run as another user, beside the same ones that run as the daemon's."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from faasd.linux import process
from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import WALLS, Bench, an_attempt, cgroups_of, processes_with
from tests.patience import patient

#: Ours may be in a home directory that is closed to everybody else.
PYTHON = "/usr/bin/python3"
USER = "nobody"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user"),
    pytest.mark.skipif(not os.access(PYTHON, os.X_OK), reason=f"there is no {PYTHON}"),
]


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can pass; pytest's own are closed to them."""
    path = Path(tempfile.mkdtemp(prefix="faasd-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=list(WALLS))
async def user_bench(request: pytest.FixtureRequest, place: Path) -> AsyncIterator[Bench]:
    """Each way of building walls in turn."""
    key = place / "secrets" / "key"
    key.parent.mkdir()
    key.touch(0o600)
    key.write_text("for one only")
    descriptors = len(os.listdir("/proc/self/fd"))
    sandboxes = ProcessSandboxes(place / "state", secrets_dir=key.parent, **WALLS[request.param])
    await sandboxes.start()
    try:
        yield Bench(sandboxes)
    finally:
        await sandboxes.stop()
    assert not (place / "state" / "tmp").exists()
    assert not cgroups_of(sandboxes)
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.fixture
async def open_bench(place: Path) -> AsyncIterator[Bench]:
    """Nothing but the user stands in the way; or, for the control, nothing at all."""
    without = {"landlock", "mounts", "seccomp", "network_namespace"}
    sandboxes = ProcessSandboxes(place / "open-state", without=without, **WALLS["neither"])
    await sandboxes.start()
    try:
        yield Bench(sandboxes)
    finally:
        await sandboxes.stop()


def given_to(user: str | None, secrets: tuple[str, ...] = ()) -> Permissions:
    """Willing to run with what walls there are: some of the benches leave walls off."""
    return Permissions(user=user, secrets=secrets, containment="best-effort")


async def run(bench: Bench, handler: str, event: Any = None, **given: Any) -> Any:
    """Return the result of one of our handlers, which ran as `user`, or as the daemon's with None."""
    secrets = given.pop("secrets", ())
    permissions = given_to(given.pop("user", USER), secrets=secrets)
    outcome = await bench.run(
        f"user_handlers:{handler}", event, permissions=permissions, python=PYTHON, **given
    )
    assert outcome.word == "ok", outcome.error
    return json.loads(outcome.result_json or "")


async def test_a_function_is_its_user_in_every_respect(user_bench: Bench) -> None:
    """Ids, groups, names, and whose its files are; as the daemon's own user it is root: the control."""
    known = pwd.getpwnam(USER)
    found = await run(user_bench, "who")
    assert found["uids"] == [known.pw_uid] * 3
    assert found["gids"] == [known.pw_gid] * 3
    assert found["groups"] == sorted(os.getgrouplist(USER, known.pw_gid))
    assert found["name"] == found["env"]["USER"] == found["env"]["LOGNAME"] == USER
    assert found["env"]["HOME"] == found["env"]["TMPDIR"]
    assert found["owner"] == known.pw_uid
    assert found["in_private"]
    assert found["child"] == f"{known.pw_uid}\n"
    assert (await run(user_bench, "who", user=None))["uids"] == [0, 0, 0]


async def test_what_is_roots_stays_roots(open_bench: Bench, place: Path) -> None:
    """Files, also in the state directory, which its user may pass through; root itself gets everything."""
    await run(open_bench, "who")  # Which opens the way.
    probes = []
    state_dir = place / "open-state"
    for directory in (place, state_dir):
        file = directory / "of-root"
        file.touch(0o600)
        probes += [{"do": do, "path": str(file)} for do in ("read", "write")]
    probes.append({"do": "list", "path": str(state_dir)})
    for probe in probes:
        assert await run(open_bench, "try_to", probe) == errno.EACCES, probe
        assert await run(open_bench, "try_to", probe, user=None) is None, probe


async def test_roots_processes_cannot_be_signalled(open_bench: Bench) -> None:
    """Nor looked into, where no PID namespace hides them; root itself can send one."""
    environ = {"do": "read", "path": f"/proc/{os.getpid()}/environ"}
    assert await run(open_bench, "try_to", environ) == errno.EACCES
    own = {"do": "read", "path": "/proc/self/environ"}
    assert await run(open_bench, "try_to", own) is None
    probe = {"do": "signal", "pid": os.getpid()}
    assert await run(open_bench, "try_to", probe) == errno.EPERM
    assert await run(open_bench, "try_to", probe, user=None) is None


async def test_there_is_no_way_back_to_root(user_bench: Bench, open_bench: Bench) -> None:
    """Its ids are gone, and not laid aside."""
    for bench in (user_bench, open_bench):
        found = await run(bench, "try_to", {"do": "become"})
        assert found in (errno.EPERM, errno.EINVAL)  # The latter where root does not even exist.
    assert await run(open_bench, "try_to", {"do": "become"}, user=None) is None


async def test_its_output_can_be_opened_by_name(user_bench: Bench) -> None:
    """Scripts write to /dev/stderr, which opens the pipe anew."""
    await run(user_bench, "print_by_name")
    assert user_bench.services.texts("stderr") == ["by name"]


async def test_a_command_runs_as_its_user(user_bench: Bench) -> None:
    """As a handler does."""
    command = Function(
        "cmd", command=("sh", "-c", "id -un; echo $USER; touch $TMPDIR/x && echo $?"),
        code_dir="/", python=PYTHON, permissions=given_to(USER),
    )  # fmt: skip
    outcome = await user_bench.run_attempt(an_attempt(command))
    assert json.loads(outcome.result_json or "null") == f"{USER}\n{USER}\n0", outcome


async def test_its_secrets_are_its_own(user_bench: Bench) -> None:
    """The daemon reads them, for whom they would be closed."""
    assert await run(user_bench, "secret_files", secrets=("key",)) == ["for one only"] * 2


async def test_a_timeout_leaves_nothing_of_it(user_bench: Bench, token: str) -> None:
    """A process of another user is ours to end."""
    outcome = await user_bench.run(
        "user_handlers:hang", {"token": token}, python=PYTHON, timeout_s=0.3, grace_s=0.1,
        permissions=given_to(USER),
    )  # fmt: skip
    assert outcome.word == "timeout"
    assert processes_with(token) == []


async def test_the_end_of_the_root_zygote_is_the_end_of_all_its_users(
    user_bench: Bench, token: str
) -> None:
    """A change of user makes the kernel forget whose death a process is to die of; we tell it again."""
    function = user_bench.function("user_handlers:hang", python=PYTHON, permissions=given_to(USER))
    running = asyncio.create_task(user_bench.run_attempt(an_attempt(function, {"token": token})))
    async with asyncio.timeout(patient(10)):
        while not processes_with(token):
            await asyncio.sleep(0.01)
    pool = user_bench.sandboxes._pool
    assert pool is not None
    process.send_signal((await pool.root(PYTHON))._pidfd, signal.SIGKILL)
    outcome = await running
    assert outcome.word == "sandbox-failed", outcome
    async with asyncio.timeout(patient(10)):
        while processes_with(token):  # Without namespaces its successor's burial sweeps them.
            await pool.root(PYTHON)
            await asyncio.sleep(0.01)


async def test_its_processes_are_counted(user_bench: Bench) -> None:
    """By the cgroup, or by the kernel's limit for users, which does not hold for root."""
    # Without namespaces all of the user's processes are counted, and others' come and go.
    assert await run(user_bench, "fork_many", 40, processes=10) < 20


async def test_two_users_share_no_zygote(user_bench: Bench) -> None:
    """Nor does a later attempt find the other one's directory."""
    first = await run(user_bench, "who")
    root = await run(user_bench, "who", user=None)
    again = await run(user_bench, "who")
    assert [one["owner"] for one in (first, root, again)] == [65534, 0, 65534]


async def test_code_that_its_user_cannot_read_is_an_init_error_that_says_so(
    user_bench: Bench, place: Path
) -> None:
    """The part of the path that is closed, and not only the end of it."""
    code = place / "closed" / "code"
    code.mkdir(parents=True)
    (code / "handlers.py").write_text("def f(event, context): return 1\n")
    (place / "closed").chmod(0o700)
    function = Function(
        "f", "handlers:f", code_dir=str(code), python=PYTHON, permissions=given_to(USER)
    )
    outcome = await user_bench.run_attempt(an_attempt(function))
    assert outcome.word == "init-error"
    assert outcome.error is not None
    assert f"user 'nobody' may not read {code}: {place}/closed is closed" in outcome.error.message
    (place / "closed").chmod(0o711)
    code.chmod(0o755)
    opened = Function(
        "f", "handlers:f", code_dir=str(code), python=PYTHON, code_version="2",
        permissions=given_to(USER),
    )  # fmt: skip
    assert (await user_bench.run_attempt(an_attempt(opened))).word == "ok"


async def test_a_user_who_does_not_exist_is_our_failure_to_say(user_bench: Bench) -> None:
    """`faasd check` finds it first, unless he went afterwards."""
    outcome = await user_bench.run(
        "user_handlers:who", python=PYTHON, permissions=given_to("no-such-user")
    )
    assert outcome.word == "sandbox-failed"
    assert outcome.error is not None
    assert "there is no such user" in outcome.error.message


async def test_a_state_directory_that_a_user_cannot_reach_is_named(place: Path) -> None:
    """Its private directory is in there, where that is not in memory."""
    closed = place / "closed"
    closed.mkdir(0o700)
    sandboxes = ProcessSandboxes(closed / "state", without={"mounts"})
    await sandboxes.start()
    try:
        outcome = await Bench(sandboxes).run(
            "user_handlers:who", python=PYTHON, permissions=given_to(USER)
        )
        assert outcome.word == "sandbox-failed"
        assert outcome.error is not None
        assert f"chmod o+x {closed}" in outcome.error.message
    finally:
        await sandboxes.stop()


async def test_a_users_functions_share_an_import_with_each_other_alone(user_bench: Bench) -> None:
    """Not with those of the daemon's own user, which are in the same module."""
    functions = [
        Function(
            name, "sharing:one", python=PYTHON, code_dir=user_bench.code_dir, spares=0,
            limits=Limits(timeout_s=patient(20.0)), permissions=given_to(user),
        )
        for name, user in (("a", USER), ("b", USER), ("c", None), ("d", None))
    ]  # fmt: skip
    await user_bench.sandboxes.retire(functions)
    outcomes = [await user_bench.run_attempt(an_attempt(one)) for one in functions]
    told = [json.loads(one.result_json or "") for one in outcomes]
    assert [one["name"] for one in told] == ["a", "b", "c", "d"]
    assert told[0]["token"] == told[1]["token"] != told[2]["token"] == told[3]["token"]
