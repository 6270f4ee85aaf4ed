"""The daemon's own log stream, when the other side misbehaves."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from faasd.linux.journal import JournalSender
from faasd.logs import JournalLog, LogStream, journal_fields
from tests.unit.linux.test_journal import Journal


def test_lines_beyond_what_is_kept_are_dropped_and_counted_and_the_rest_is_whole() -> None:
    """A hanging reader costs a bounded memory, and learns later what it has missed."""
    reading, writing = os.pipe()
    stream = LogStream(writing)
    line = "x" * 999 + "\n"
    for _ in range(1500):
        stream.write(line)
    got = b""
    while b"log_lines_dropped" not in got:
        got += os.read(reading, 2**20)
        stream.write("last\n" if len(got) > 2**20 else "")
    lines = got.splitlines()
    kept = [one for one in lines if one == b"x" * 999]
    notes = [json.loads(one) for one in lines if one.startswith(b"{")]
    assert [note["event"] for note in notes] == ["log_lines_dropped"]
    assert len(kept) + notes[0]["count"] == 1500
    assert len(kept) * 1000 <= 2**20 + 65536
    os.close(reading)
    stream.write("nobody hears this\n")
    os.close(writing)


@pytest.mark.parametrize(
    ("env", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_a_terminal_that_wants_no_colour_gets_none(env: dict[str, str], is_coloured: bool) -> None:
    """Who sets NO_COLOR means every program, also the one that stays in the foreground."""
    code = (
        "from faasd import logs; logs.configure(); logs.get_logger('x').info('daemon_ready', pid=1)"
    )
    ours, theirs = os.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", code],
            env={"TERM": "xterm", "PATH": os.environ["PATH"], **env},
            stderr=theirs,
            check=True,
        )
        text = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "daemon_ready" in text
    assert ("\x1b[" in text) is is_coloured


# ---- the journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal")
    yield made
    made.socket.close()


@pytest.mark.parametrize(
    ("level", "priority"),
    [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2), ("odd", 6)],
)
def test_each_level_is_a_priority_of_syslog(level: str, priority: int) -> None:
    """`journalctl -p warning` shows what went wrong, and nothing else."""
    assert journal_fields({"event": "x", "level": level})["PRIORITY"] == str(priority)


def test_each_value_is_a_field_and_the_message_is_for_people() -> None:
    """`journalctl FAASD_FUNCTION=resize` finds what concerns one function."""
    record = {
        "event": "attempt_finished",
        "level": "info",
        "timestamp": "now",
        "room": "dispatch",
        "function": "resize",
        "duration_ms": 21.5,
        "error": 'no such "file"',
        "paths": ["a", "b"],
        "gone": None,
    }
    assert journal_fields(record) == {
        "MESSAGE": "attempt_finished function=resize duration_ms=21.5 "
        r'error="no such \"file\"" paths="[\"a\", \"b\"]" gone=null',
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "faasd",
        "FAASD_EVENT": "attempt_finished",
        "FAASD_room": "dispatch",
        "FAASD_function": "resize",
        "FAASD_duration_ms": "21.5",
        "FAASD_error": 'no such "file"',
        "FAASD_paths": '["a", "b"]',
        "FAASD_gone": "null",
    }


def test_what_a_busy_journal_does_not_take_comes_later_and_the_rest_is_counted(
    journal: Journal,
) -> None:
    """As with lines: a bounded memory, and nobody waits."""
    sender = JournalSender(str(journal.path))
    log = JournalLog(sender)
    for number in range(300):
        log.write({"event": "said", "number": number, "text": "x" * 9000})
    heard: list[dict[str, str]] = []
    journal.socket.setblocking(False)
    while not any("FAASD_COUNT" in one for one in heard):
        with suppress(BlockingIOError):
            while True:
                heard.append(journal.entry())
        log.write({"event": "pushed"})
    sender.close()
    said = [int(one["FAASD_NUMBER"]) for one in heard if one["FAASD_EVENT"] == "said"]
    [note] = [one for one in heard if "FAASD_COUNT" in one]
    assert 50 < len(said) < 200
    assert said == list(range(len(said)))
    assert (note["FAASD_EVENT"], note["FAASD_COUNT"]) == ("log_lines_dropped", str(300 - len(said)))


_UNDER_SYSTEMD = """
    import logging, os, sys
    from faasd import logs
    from faasd.linux import journal

    found = os.fstat(2)
    os.environ["JOURNAL_STREAM"] = f"{found.st_dev}:{found.st_ino + int(sys.argv[2])}"
    logs.JournalSender = lambda: journal.JournalSender(sys.argv[1])
    logs.configure(sys.argv[3])
    log = logs.get_logger("daemon")
    try:
        1 / 0
    except ZeroDivisionError:
        log.error("daemon_broke", function="f", exc_info=True)
        logging.getLogger("some.library").exception("it says")
    log.debug("unheard")
"""


def run_under_systemd(*arguments: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(_UNDER_SYSTEMD), *arguments]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True)
    return done.stderr


def test_where_standard_error_is_the_journal_records_go_there_with_their_fields(
    journal: Journal,
) -> None:
    """Those of libraries too, with their tracebacks; and nothing is said twice."""
    assert run_under_systemd(str(journal.path), "0", "auto") == ""
    first, second = journal.entry(), journal.entry()
    assert first["FAASD_EVENT"] == "daemon_broke"
    assert (first["FAASD_FUNCTION"], first["PRIORITY"]) == ("f", "3")
    assert first["MESSAGE"].startswith("daemon_broke function=f\nTraceback")
    assert (second["FAASD_EVENT"], second["FAASD_LOGGER"]) == ("it says", "some.library")
    assert "ZeroDivisionError" in second["MESSAGE"]
    journal.socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        journal.entry()


@pytest.mark.parametrize(
    ("path", "off_by", "log_format"),
    [("there", "1", "auto"), ("there", "0", "json"), ("away", "0", "auto")],
    ids=["redirected", "json-asked-for", "no-journal"],
)
def test_elsewhere_records_are_lines_of_json(
    journal: Journal, path: str, off_by: str, log_format: str
) -> None:
    """Standard error leads elsewhere, somebody asked for lines, or nobody listens."""
    where = str(journal.path) if path == "there" else "/nonexistent/journal"
    lines = run_under_systemd(where, off_by, log_format).splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["daemon_broke", "it says"]


# ---- turns of an event loop


async def test_lines_of_one_turn_of_the_loop_are_handed_over_together_and_in_order() -> None:
    """The first at once, so that whoever hangs in this turn has said so; the others at its end."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    stream = LogStream(writing)
    for text in ("one\n", "two\n", "three\n"):
        stream.write(text)
    assert os.read(reading, 100) == b"one\n"
    await asyncio.to_thread(stream.write, "from a thread\n")
    await asyncio.sleep(0)
    assert os.read(reading, 100) == b"two\nthree\nfrom a thread\n"
    stream.write("x" * 3000 + "\n")
    stream.write("y" * 3000 + "\n")
    await asyncio.sleep(0)
    assert os.read(reading, 10_000) == b"x" * 3000 + b"\n" + b"y" * 3000 + b"\n"
    os.close(reading)
    os.close(writing)


# ---- the short way of most lines

_BOTH_WAYS = """
import json, sys, structlog
from faasd import logs

for level in ("info", "warning"):
    logs.configure("json", level, sys.stdout)
    values = {"function": "é \\n", "duration_ms": 1.5, "path": object, "nothing": None}
    for log in (logs.get_logger("dispatch"), structlog.get_logger(room="dispatch")):
        log.info("attempt_finished", **values)
"""


def test_a_line_that_goes_the_short_way_is_the_one_that_structlog_writes() -> None:
    """The same fields in the same order, and none where its level is not wanted."""
    said = subprocess.run(
        [sys.executable, "-c", _BOTH_WAYS], capture_output=True, text=True, check=True
    )
    short, long = [json.loads(line) for line in said.stdout.splitlines()]
    assert list(short) == list(long)
    assert short.pop("timestamp")[:10] == long.pop("timestamp")[:10]
    assert short == long


def test_a_line_with_an_exception_says_where_it_came_from() -> None:
    """Which the short way could not."""
    code = """
import sys
from faasd import logs
logs.configure("json", "info", sys.stdout)
try:
    1 / 0
except ZeroDivisionError:
    logs.get_logger("dispatch").info("attempt_broke", exc_info=True)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ZeroDivisionError" in json.loads(said.stdout)["exception"]
