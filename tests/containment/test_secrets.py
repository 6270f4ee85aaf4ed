"""Secrets reach the handler that names them, and nothing else shows them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import FUNCTIONS, WALLS, Bench, an_attempt

PASSWORD = "hunter2 and more"
KEY = "-----BEGIN KEY-----\nMIIBOgIBAAJBAK\nj34GkxFhD90vcN\n-----END KEY-----\n"


def given(*names: str, **others: Any) -> Permissions:
    """Willing to run with what walls there are: one of the benches leaves walls off."""
    return Permissions(secrets=names, containment="best-effort", **others)


GIVEN = given("smtp-password", "key")
NOTHING = given()


@pytest.fixture
def secrets_dir(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    path.mkdir(mode=0o700)
    write(path / "smtp-password", PASSWORD + "\n")
    write(path / "key", KEY)
    write(path / "other", "of another function")
    return path


def write(path: Path, text: str) -> None:
    path.touch(0o600)
    path.write_text(text)


@pytest.fixture(params=["namespaces+cgroups", "neither"])
async def secret_bench(
    request: pytest.FixtureRequest, tmp_path: Path, secrets_dir: Path
) -> AsyncIterator[Bench]:
    """With every wall, and with none that the kernel keeps for us."""
    descriptors = len(os.listdir("/proc/self/fd"))
    sandboxes = ProcessSandboxes(
        tmp_path / "state", secrets_dir=secrets_dir, **WALLS[request.param]
    )
    await sandboxes.start()
    try:
        yield Bench(sandboxes)
    finally:
        await sandboxes.stop()
    assert not (tmp_path / "state" / "tmp").exists()
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def run(bench: Bench, handler: str, **changes: Any) -> Any:
    """Return the result of one of our handlers."""
    outcome = await bench.run(f"secret_handlers:{handler}", **{"permissions": GIVEN, **changes})
    assert outcome.word == "ok", outcome.error
    return json.loads(outcome.result_json or "")


def a_command(*command: str, permissions: Permissions = GIVEN) -> Function:
    limits = Limits(timeout_s=20.0)
    return Function(
        "cmd", command=command, code_dir=str(FUNCTIONS), limits=limits, permissions=permissions
    )


async def test_a_handler_reads_the_secrets_that_it_names(secret_bench: Bench) -> None:
    """As text without the newline that editors leave, or byte for byte; another is a KeyError that says why."""
    found = await run(secret_bench, "read")
    assert found["text"] == PASSWORD
    assert bytes(found["bytes"]).decode() == PASSWORD + "\n"
    kind, message = await run(secret_bench, "ask_for_another")
    assert kind == "SecretNotGiven"
    assert 'secrets = ["other"]' in message
    assert "given: key, smtp-password" in message


async def test_secrets_are_files_too_for_the_handler_and_its_children(secret_bench: Bench) -> None:
    """In the directory that CREDENTIALS_DIRECTORY names, as systemd's are; read only, in memory."""
    assert await run(secret_bench, "files") == {"key": KEY, "smtp-password": PASSWORD + "\n"}


async def test_a_command_and_its_children_read_them_there(secret_bench: Bench) -> None:
    """A shell script has no context."""
    script = 'sh -c "cat \\"$CREDENTIALS_DIRECTORY/smtp-password\\""; ls "$CREDENTIALS_DIRECTORY"'
    outcome = await secret_bench.run_attempt(an_attempt(a_command("sh", "-c", script)))
    assert json.loads(outcome.result_json or "") == f"{PASSWORD}\nkey\nsmtp-password"


async def test_without_secrets_there_is_no_directory_of_them(secret_bench: Bench) -> None:
    """The control, and what a function sees of the daemon's own credentials: nothing."""
    env = await run(secret_bench, "environment", permissions=NOTHING)
    assert "CREDENTIALS_DIRECTORY" not in env
    assert "CREDENTIALS_DIRECTORY" in await run(secret_bench, "environment")


async def test_a_secret_is_neither_in_the_environment_nor_in_a_file_on_disk(
    secret_bench: Bench,
) -> None:
    """Nor on a command line."""
    assert await run(secret_bench, "look_around") == []


@pytest.mark.parametrize("is_wall", [True, False], ids=["wall", "control"])
async def test_the_secrets_of_others_are_out_of_reach(
    is_wall: bool, tmp_path: Path, secrets_dir: Path
) -> None:
    """Whatever `read` says, and for a function that was given a secret as for one that was not."""
    without = () if is_wall else ("landlock", "mounts")
    sandboxes = ProcessSandboxes(
        tmp_path / "state", secrets_dir=secrets_dir, without=without, pid_namespaces=is_wall
    )
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        for names in ((), ("key",)):
            command = a_command(
                "cat",
                str(secrets_dir / "other"),
                permissions=given(*names, read=(str(tmp_path), str(secrets_dir))),
            )
            outcome = await bench.run_attempt(an_attempt(command))
            assert outcome.word == ("error" if is_wall else "ok"), outcome
            assert (outcome.result_json == '"of another function"') is not is_wall
    finally:
        await sandboxes.stop()


async def test_a_changed_secret_is_there_at_the_next_attempt(
    secret_bench: Bench, secrets_dir: Path
) -> None:
    """Nobody restarts anything to rotate a password."""
    assert await run(secret_bench, "return_secret") == PASSWORD
    write(secrets_dir / "smtp-password", "new password")
    assert await run(secret_bench, "return_secret") == "new password"


async def test_a_secret_that_cannot_be_had_is_not_the_handlers_failure(
    secret_bench: Bench, secrets_dir: Path
) -> None:
    """The attempt is not charged, and says what to do."""
    (secrets_dir / "key").chmod(0o640)
    outcome = await secret_bench.run("secret_handlers:read", permissions=GIVEN)
    assert outcome.word == "sandbox-failed"
    assert outcome.error is not None
    assert outcome.error.type == "SecretError"
    assert f"chmod 600 {secrets_dir}/key" in outcome.error.message
    (secrets_dir / "key").unlink()
    outcome = await secret_bench.run("secret_handlers:read", permissions=GIVEN)
    assert outcome.error is not None
    assert f"{secrets_dir}/key does not exist" in outcome.error.message


async def test_limits_of_files_hold_for_secrets_too(secret_bench: Bench) -> None:
    """Few descriptors are no hindrance; a file size below the secret's is refused by name."""
    few = await run(secret_bench, "files", open_files=20)
    assert sorted(few) == ["key", "smtp-password"]
    outcome = await secret_bench.run(
        "secret_handlers:read", permissions=GIVEN, file_size_bytes=len(PASSWORD) - 1
    )
    assert outcome.word == "sandbox-failed"
    assert outcome.error is not None
    assert "the secret 'smtp-password' is larger than the function's file_size" in str(
        outcome.error
    )


async def test_secrets_are_masked_in_output_and_errors(secret_bench: Bench) -> None:
    """However they were printed, and not in the results, which are data."""
    outcome = await secret_bench.run("secret_handlers:leak", permissions=GIVEN, line_limit_bytes=50)
    assert outcome.error is not None
    assert outcome.error.message == "cannot log in with '***smtp-password***'"
    lines = [line.text for line in secret_bench.services.lines]
    assert sorted(lines) == [
        "child ***smtp-password***",
        "dXNlcjp***smtp-password***",
        "err ***smtp-password***",
        "mail: log ***smtp-password***",
        "out ***smtp-password***",
        "split ***smtp-password*** end",
        "x" * 40 + "***smtp-pa…[truncated 9 bytes]",
    ]
    assert PASSWORD not in repr(outcome)
    assert await run(secret_bench, "return_secret") == PASSWORD


async def test_what_is_no_secret_of_its_own_is_not_masked(secret_bench: Bench) -> None:
    """The control: the same handler prints the same text, which now is nobody's secret."""
    permissions = given("key")
    command = a_command("sh", "-c", f"echo {PASSWORD} >&2", permissions=permissions)
    await secret_bench.run_attempt(an_attempt(command))
    assert secret_bench.services.texts("stderr") == [PASSWORD]


async def test_each_line_of_a_secret_is_masked(secret_bench: Bench) -> None:
    """Keys have many."""
    outcome = await secret_bench.run("secret_handlers:leak_lines", permissions=GIVEN)
    assert outcome.word == "ok"
    assert secret_bench.services.texts("stdout") == ["line: ***key***"] * 4


@pytest.mark.parametrize("names", [(), ("smtp-password", "key")], ids=["none", "two"])
async def test_a_handler_starts_with_exactly_its_own_descriptors(
    secret_bench: Bench, names: tuple[str, ...]
) -> None:
    """Input, output, errors, its channel, and a memory file for each secret."""
    found = await run(secret_bench, "descriptors", permissions=given(*names))
    low = {number: found.pop(number) for number in ("0", "1", "2")}
    assert low == {"0": "/dev/null", "1": "pipe", "2": "pipe"}
    assert sorted(found.values()) == ["/memfd"] * len(names) + ["socket"]


@pytest.mark.parametrize("names", [(), ("smtp-password", "key")], ids=["none", "two"])
async def test_a_command_starts_with_exactly_its_own_descriptors(
    secret_bench: Bench, names: tuple[str, ...]
) -> None:
    """Its event is a memory file as well, and it has no channel."""
    script = str(FUNCTIONS / "secret_handlers.py")
    command = a_command(sys.executable, "-I", script, permissions=given(*names))
    outcome = await secret_bench.run_attempt(an_attempt(command))
    found = json.loads(outcome.result_json or "")
    low = {number: found.pop(number) for number in ("0", "1", "2")}
    assert low == {"0": "/memfd", "1": "pipe", "2": "pipe"}
    assert list(found.values()) == ["/memfd"] * len(names)


async def test_the_variables_of_the_daemon_do_not_arrive(
    tmp_path: Path, secrets_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by inheritance, and not through /proc: neither its secrets nor what would load code into us."""
    injected = {
        "LD_LIBRARY_PATH": str(tmp_path),
        "LD_PRELOAD": str(tmp_path / "injected.so"),
        "PYTHONPATH": str(tmp_path),
        "PYTHONSTARTUP": str(tmp_path / "start.py"),
        "PYTHONHOME": "",
        "AWS_SECRET_ACCESS_KEY": "of-the-daemon",
        "CREDENTIALS_DIRECTORY": str(secrets_dir),
    }
    for name, value in injected.items():
        monkeypatch.setenv(name, value)
    sandboxes = ProcessSandboxes(tmp_path / "state", secrets_dir=secrets_dir)
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        env = await run(bench, "environment", permissions=NOTHING)
        assert not set(injected) & set(env)
        passed = given(pass_env=("AWS_SECRET_ACCESS_KEY",))
        env = await run(bench, "environment", permissions=passed)
        assert (
            env["AWS_SECRET_ACCESS_KEY"] == "of-the-daemon"
        )  # The control: what is passed arrives.
        command = a_command("env", permissions=NOTHING)
        outcome = await bench.run_attempt(an_attempt(command))
        assert not set(injected) & {line.split("=")[0] for line in _lines(outcome.result_json)}
    finally:
        await sandboxes.stop()


def _lines(result_json: str | None) -> list[str]:
    text = json.loads(result_json or '""')
    assert isinstance(text, str)
    return text.splitlines()


def test_the_tests_own_secrets_are_closed(secrets_dir: Path) -> None:
    """Else every test above would show the refusal instead."""
    assert all(os.stat(entry).st_mode & 0o077 == 0 for entry in os.scandir(secrets_dir))
