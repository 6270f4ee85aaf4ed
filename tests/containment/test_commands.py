"""Functions that are commands: event on stdin, result on stdout, log on stderr."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions
from tests.containment.bench import FUNCTIONS, Bench, an_attempt, processes_with
from tests.patience import patient


def a_command(*command: str, code_dir: Path | str = FUNCTIONS, **limits: float) -> Function:
    merged = Limits(**{"timeout_s": 20.0, **limits})  # type: ignore[arg-type]
    return Function("cmd", command=command, code_dir=str(code_dir), limits=merged)


async def test_a_commands_json_output_is_its_result(any_bench: Bench) -> None:
    """`cat` is the echo handler."""
    outcome = await any_bench.run_attempt(an_attempt(a_command("cat"), {"a": 1}))
    assert outcome.result_json == '{"a":1}'


async def test_a_commands_other_output_is_its_text(bench: Bench) -> None:
    """Without the newline that every program prints; nothing is null."""
    outcome = await bench.run_attempt(an_attempt(a_command("echo", "two words")))
    assert outcome.result_json == '"two words"'
    assert (await bench.run_attempt(an_attempt(a_command("true")))).result_json == "null"


async def test_a_command_knows_its_attempt_from_the_environment(bench: Bench) -> None:
    """Names with FAASD_; the path of a files event, the time of a tick."""
    script = 'touch "$TMPDIR/here"; printf %s "$FAASD_FUNCTION|$FAASD_TRIGGER|$FAASD_ATTEMPT|$FAASD_PATH|$FAASD_SCHEDULED_FOR|$TMPDIR"'
    attempt = an_attempt(
        a_command("sh", "-c", script), {"path": "/in/a b"}, trigger="files", scheduled_for=0.0
    )
    outcome = await bench.run_attempt(attempt)
    parts = json.loads(outcome.result_json or "").split("|")
    assert parts[:5] == ["cmd", "files", "1", "/in/a b", "1970-01-01T00:00:00.000Z"]
    assert parts[5] == "/tmp"
    assert not Path("/tmp/here").exists()


async def test_a_commands_exit_code_and_last_line_make_its_error(bench: Bench) -> None:
    """Stderr is the log."""
    attempt = an_attempt(a_command("sh", "-c", "echo first >&2; echo 'no disk' >&2; exit 3"))
    outcome = await bench.run_attempt(attempt)
    assert outcome.word == "error"
    assert outcome.error is not None
    assert outcome.error.type == "CommandFailed"
    assert outcome.error.message == "the command exited with code 3: no disk"
    assert bench.services.texts("stderr") == ["first", "no disk"]


async def test_a_commands_death_by_signal_is_crashed(bench: Bench) -> None:
    """As for a handler."""
    outcome = await bench.run_attempt(an_attempt(a_command("sh", "-c", "kill -SEGV $$")))
    assert outcome.word == "crashed"
    assert outcome.error is not None
    assert outcome.error.message == "killed by signal 11 (SIGSEGV)"


async def test_a_command_that_cannot_run_says_why(bench: Bench, tmp_path: Path) -> None:
    """Not found, not there, not executable, not a program, no interpreter."""
    (tmp_path / "plain").write_text("#!/bin/sh\n")
    for name, text in (("empty", "just text"), ("strange", "#!/no/such/interpreter\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    found = {}
    for name in ("no-such-command", "./missing", "./plain", "./empty", "./strange"):
        outcome = await bench.run_attempt(an_attempt(a_command(name, code_dir=tmp_path)))
        assert outcome.word == "error"
        assert outcome.error is not None
        found[name] = f"{outcome.error.type}: {outcome.error.message}"
    assert "not in any directory of PATH=" in found["no-such-command"]
    assert f"no such file below {tmp_path}" in found["./missing"]
    assert "try chmod +x" in found["./plain"]
    assert "CommandNotExecutable" in found["./empty"]
    assert "its first line (#!) does not exist" in found["./strange"]


@pytest.mark.parametrize("is_wall", [True, False], ids=["wall", "control"])
async def test_a_command_reads_of_its_directory_only_what_it_names(
    is_wall: bool, bench: Bench, tmp_path: Path
) -> None:
    """Its code is the folder of its script: what lies beside that may be another function's, or a key."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "lib.sh").write_text("word=sourced\n")
    (tmp_path / "beside").write_text("seen\n")
    script = tmp_path / "jobs" / "run.sh"
    script.write_text("#!/bin/sh\n. jobs/lib.sh\necho $word $(cat beside || echo refused)\n")
    script.chmod(0o755)
    command = a_command("./jobs/run.sh", code_dir=tmp_path)
    if is_wall:
        command = replace(command, code_paths=(str(tmp_path / "jobs"),))
    outcome = await bench.run_attempt(an_attempt(command))
    assert outcome.result_json == ('"sourced refused"' if is_wall else '"sourced seen"')


async def test_a_command_without_code_starts_in_the_configurations_directory(
    bench: Bench, tmp_path: Path
) -> None:
    """What it was given is found there by its relative name; the directory is there with nothing given, too."""
    (tmp_path / "data").write_text("text")
    command = replace(
        a_command("sh", "-c", "pwd; cat data || true", code_dir=tmp_path), code_paths=()
    )
    outcome = await bench.run_attempt(an_attempt(command))
    assert outcome.result_json == f'"{tmp_path}"'
    given = replace(command, permissions=Permissions(read=(str(tmp_path / "data"),)))
    outcome = await bench.run_attempt(an_attempt(given))
    assert outcome.result_json == f'"{tmp_path}\\ntext"'


async def test_a_relative_command_is_found_in_the_code_directory(
    bench: Bench, tmp_path: Path
) -> None:
    """The command's own directory is the code's."""
    script = tmp_path / "hello.sh"
    script.write_text("#!/bin/sh\necho hello from $PWD\n")
    script.chmod(0o755)
    outcome = await bench.run_attempt(an_attempt(a_command("./hello.sh", code_dir=tmp_path)))
    assert outcome.result_json == json.dumps(f"hello from {tmp_path}")


async def test_output_over_the_payload_limit_is_an_error(bench: Bench) -> None:
    """And an endless one is ended."""
    size = a_command("head", "-c", "5000", "/dev/zero", payload_limit_bytes=4096)
    outcome = await bench.run_attempt(an_attempt(size))
    assert outcome.error is not None
    assert (outcome.word, outcome.error.type) == ("error", "ResultTooLarge")
    limits = {"payload_limit_bytes": 4096, "output_limit_bytes": 4096}
    endless = await bench.run_attempt(an_attempt(a_command("yes", **limits)))
    assert endless.word == "output-limit"


@pytest.mark.parametrize("obeys", [True, False], ids=["obeying", "ignoring"])
async def test_the_soft_signal_reaches_a_commands_whole_group(
    any_bench: Bench, token: str, obeys: bool
) -> None:
    """A shell's children are told as well; who ignores it is killed after the grace."""
    trap = "" if obeys else "trap '' TERM; "
    script = f"{trap}sleep {token} & sleep {token}"
    command = a_command("sh", "-c", script, timeout_s=patient(0.3), grace_s=patient(0.7))
    began = time.monotonic()
    outcome = await any_bench.run_attempt(an_attempt(command))

    assert outcome.word == "timeout"
    assert processes_with(token) == []
    took_s = time.monotonic() - began
    assert took_s < patient(0.95) if obeys else took_s >= patient(1.0)
