"""How an attempt ended, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from faasd.model.limits import Limits
from faasd.model.outcome import OUTCOME_MEANINGS
from faasd.sandbox.classify import Facts, classify, describe_status, status_from

LIMITS = Limits(timeout_s=2.0, memory_bytes=64 * 2**20)
RESULT = {"op": "result"}
ERROR = {"op": "error", "error": {"type": "ValueError", "message": "no", "stack": ["a", "b"]}}
MEMORY_ERROR = {"op": "error", "error": {"type": "MemoryError", "message": ""}}
SEGV, KILL, EXIT_0, EXIT_3, EXIT_70 = 11, 9, 0, 3 << 8, 70 << 8


@pytest.mark.parametrize(
    ("facts", "word", "message"),
    [
        ({"status": EXIT_0, "report": RESULT, "result_json": "1"}, "ok", None),
        ({"status": SEGV, "report": RESULT, "result_json": "1"}, "crashed", "after the handler had returned"),
        ({"status": None, "report": RESULT, "result_json": "1"}, "crashed", "without a trace"),
        ({"status": EXIT_0, "report": ERROR}, "error", "no"),
        ({"status": EXIT_0, "report": {"op": "error", "error": 5}}, "error", "holds no error"),
        ({"status": EXIT_0, "report": {**ERROR, "op": "init-error"}}, "init-error", "no"),
        ({"status": EXIT_0, "report": {"op": "exit", "code": "0"}}, "crashed", "called sys.exit(0)"),
        ({"status": SEGV}, "crashed", "killed by signal 11 (SIGSEGV)"),
        ({"status": EXIT_3}, "crashed", "exited with code 3 without a report"),
        ({"status": EXIT_70}, "crashed", "closed its channel"),
        ({"status": None}, "crashed", "killed from outside"),
        ({"status": EXIT_0, "broken_protocol": "junk"}, "crashed", "junk"),
        ({"status": None, "end_word": "crashed", "broken_protocol": "junk"}, "crashed", "junk"),
        ({"status": None, "end_word": "timeout"}, "timeout", "still running at its time limit of 2s"),
        ({"status": EXIT_0, "report": RESULT, "end_word": "timeout"}, "timeout", "time limit"),
        ({"status": None, "end_word": "timeout", "oom_kills": 1}, "oom", "memory cap of 64MiB"),
        ({"status": KILL, "oom_kills": 1, "memory_peak_bytes": 2**26}, "oom", "cap of 64MiB (peak 64MiB)"),
        ({"status": EXIT_0, "report": RESULT, "oom_kills": 1}, "oom", "cap"),
        ({"status": EXIT_0, "report": RESULT, "is_over_memory": True}, "oom", "cap"),
        ({"status": None, "end_word": "oom"}, "oom", "cap"),
        ({"status": EXIT_0, "report": MEMORY_ERROR}, "error", ""),
        ({"status": EXIT_0, "report": MEMORY_ERROR, "has_data_limit": True}, "oom", "cap"),
        ({"status": None, "end_word": "output-limit"}, "output-limit", "output_limit of 1MiB"),
        ({"status": None, "end_word": "cancelled", "oom_kills": 1}, "cancelled", "cancelled while it ran"),
        ({"status": None, "end_word": "drained"}, "drained", "daemon stopped"),
        ({"status": None, "zygote_loss": "killed by signal 9"}, "sandbox-failed", "signal 9"),
        ({"status": EXIT_0, "report": RESULT, "zygote_loss": "gone"}, "ok", None),
        ({"status": None, "zygote_loss": "gone", "end_word": "timeout"}, "timeout", "time limit"),
        ({"is_command": True, "status": EXIT_0, "command_output": b"5\n"}, "ok", None),
        ({"is_command": True, "status": EXIT_3, "last_error_line": "bad"}, "error", "exited with code 3: bad"),
        ({"is_command": True, "status": SEGV}, "crashed", "SIGSEGV"),
        ({"is_command": True, "status": None}, "crashed", "killed from outside"),
        ({"is_command": True, "status": EXIT_0, "command_output_is_cut": True}, "error", "payload_limit"),
    ],
)  # fmt: skip
def test_every_end_has_its_word_and_a_sentence(
    facts: dict[str, Any], word: str, message: str | None
) -> None:
    """What we decided wins over what the kernel says, and that over the sandbox's own report."""
    verdict = classify(Facts(limits=LIMITS, **facts))

    assert verdict.word == word
    assert word in OUTCOME_MEANINGS
    if message is None:
        assert verdict.error is None
    else:
        assert verdict.error is not None
        assert message in verdict.error.message


@pytest.mark.parametrize(
    ("output", "result"),
    [
        (b'{"a": 1}\n', '{"a":1}'),
        (b"plain text\n", '"plain text"'),
        (b"two\nlines\n", '"two\\nlines"'),
        (b"\n", "null"),
        (b"", "null"),
        (b"NaN", '"NaN"'),
        (b"\xff", '"\\\\xff"'),
        (b"[" * 100_000, '"' + "[" * 100_000 + '"'),
    ],
    ids=["json", "text", "lines", "newline", "nothing", "nan", "bytes", "deep"],
)  # fmt: skip
def test_a_commands_output_is_json_or_text(output: bytes, result: str) -> None:
    """No output can make a command that succeeded fail, save one over the limit."""
    facts = Facts(limits=LIMITS, status=0, is_command=True, command_output=output)
    assert classify(facts).result_json == result


def test_a_hostile_report_is_bounded() -> None:
    """The sandbox's own process wrote it, or anybody in there did."""
    error = {"type": "x" * 10_000, "message": ["m"] * 10_000, "stack": [{"a": 1}] * 1000}
    verdict = classify(Facts(limits=LIMITS, status=0, report={"op": "error", "error": error}))
    assert verdict.error is not None
    assert len(verdict.error.type) <= 200
    assert len(verdict.error.message) <= 10_000
    assert len(verdict.error.stack) <= 60


def test_statuses_read_like_sentences() -> None:
    """Signals by number and name; real-time ones have no name."""
    assert describe_status(11) == "killed by signal 11 (SIGSEGV)"
    assert describe_status(3 << 8) == "exited with code 3"
    assert describe_status(40) == "killed by signal 40"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        (b"0", 0),
        (b"9", 9),
        (b"256", 256),
        (b"65280", 65280),
        (b"", None),
        (b"-1", None),
        (b"1_0", None),
        (b" 1", None),
        (b"65536", None),
        (b"9" * 16, None),
        (b"127", None),
    ],
)
def test_a_wait_status_that_is_none_is_not_believed(text: bytes, status: int | None) -> None:
    """The pipe that brings it can be written to by whoever gets at it; the os module raises for some."""
    assert status_from(text) == status


def test_a_zygote_that_broke_the_protocol_is_a_crash_of_its_function() -> None:
    """It has run the function's module, so what it sends is the function's doing and not ours."""
    verdict = classify(Facts(LIMITS, zygote_loss="killed by signal 9", zygote_breach="says fork"))
    assert verdict.word == "crashed"
