"""What attempts printed."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from faasd.interfaces import LogLine
from faasd.model.attempt import Attempt, Claim, Lease, OutputLine
from faasd.model.invocation import Invocation
from faasd.model.retry import Spent
from faasd.store import log_files
from faasd.store.invocation_logs import FileInvocationLogs
from faasd.store.log_files import LogBudget, directory_name, functions_logged
from tests.conformance.making import START, an_attempt


def a_claim(invocation_id: str, number: int = 1) -> Claim:
    invocation = Invocation(
        invocation_id, 1, "send", "mail", "queue", "mail", "{}", "running", None, 0, START, START,
        None, None, None, None, Spent(), number, START, None, None, None, None,
    )  # fmt: skip
    return Claim(invocation, Lease(invocation_id, 1, START), number)


def line(text: str, at: float = START, **more: Any) -> OutputLine:
    return OutputLine(at, "stdout", text, **more)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "logs"


@pytest.fixture
def logs(directory: Path) -> Iterator[FileInvocationLogs]:
    logs = FileInvocationLogs(directory, LogBudget(function_bytes=5000, file_bytes=1000))
    yield logs
    logs.close()


A = an_attempt(a_claim("inv-a"), attempt_id="1")
B = an_attempt(a_claim("inv-b", 2), attempt_id="2")
BATCH = an_attempt(a_claim("inv-c", 1), a_claim("inv-d", 3), attempt_id="3")


async def texts(logs: FileInvocationLogs, **query: Any) -> list[str]:
    return [each.text for each in await logs.read(**query)]


async def test_lines_are_read_back_as_they_were(logs: FileInvocationLogs, directory: Path) -> None:
    """Whatever a handler prints: other scripts, control characters, half characters."""
    odd = "ünï\udc80\x00\u2028\r end"
    logs.append(A, [line(odd, level="info"), line("")])
    assert await logs.read("send") == [
        LogLine(START, "send", "inv-a", 1, "stdout", odd, "info"),
        LogLine(START, "send", "inv-a", 1, "stdout", ""),
    ]
    [first, _] = (directory / "send" / "current.jsonl").read_text("ascii").splitlines()
    assert list(json.loads(first)) == ["at", "invocation", "attempt", "stream", "level", "text"]


async def test_a_reading_takes_the_newest_that_match(logs: FileInvocationLogs) -> None:
    """From any number of files, by function, invocation and time."""
    other = replace(A, function=replace(A.function, name="other"))
    for n in range(60):
        logs.append(B if n % 2 else A, [line(f"line {n}", START + n)])
        logs.append(other, [line(f"other {n}", START + n + 0.5)])
    assert await texts(logs, function="send", limit=3) == ["line 57", "line 58", "line 59"]
    assert await texts(logs, limit=2) == ["line 59", "other 59"]
    assert await texts(logs, function="send", limit=0) == []
    assert await texts(logs, function="send", invocation_id="inv-b", limit=2) == [
        "line 57",
        "line 59",
    ]
    assert await texts(logs, function="send", since=START + 58) == ["line 58", "line 59"]
    assert await texts(logs, function="send", invocation_id="inv-") == []
    assert await texts(logs, function="none") == []
    assert await texts(logs, invocation_id="inv-b", since=START + 56) == ["line 57", "line 59"]


async def test_a_function_stays_within_its_budget_and_keeps_the_newest(
    logs: FileInvocationLogs, directory: Path
) -> None:
    """A handler that prints in a loop must not fill the disk."""
    for n in range(500):
        logs.append(A, [line(f"line {n}", START + n)])
    files = list((directory / "send").iterdir())
    assert sum(path.stat().st_size for path in files) <= 5000 + 100
    kept = await texts(logs, function="send")
    assert kept == [f"line {n}" for n in range(500 - len(kept), 500)]
    assert len(kept) > 20


async def test_every_member_of_a_batch_finds_its_lines_in_every_file(
    logs: FileInvocationLogs,
) -> None:
    """They are filed under the first; each file names the members, so rotation loses nobody."""
    for n in range(40):
        logs.append(BATCH, [line(f"line {n}", START + n)])
        logs.append(A, [line("other")])
    first = await logs.read("send", "inv-c")
    second = await logs.read("send", "inv-d")
    assert len(first) > 10
    assert [each.text for each in first] == [each.text for each in second]
    assert {(each.invocation_id, each.attempt) for each in second} == {("inv-d", 3)}


async def test_logs_outlive_a_restart_also_one_in_the_middle_of_a_line(
    logs: FileInvocationLogs, directory: Path
) -> None:
    """A cut line is left out, and does not take the next one with it."""
    logs.append(A, [line("before")])
    logs.close()
    with (directory / "send" / "current.jsonl").open("ab") as file:
        file.write(b'{"at": 1, "inv')
    again = FileInvocationLogs(directory)
    again.append(A, [line("after")])
    assert await texts(again, function="send") == ["before", "after"]
    again.close()


async def test_a_full_disk_is_counted_and_said_when_there_is_room(
    logs: FileInvocationLogs, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt goes on; its output is what suffers. No line is left torn."""
    logs.append(A, [line("before")])
    write = os.write

    def half_then_full(descriptor: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as full:
        full.setattr(log_files.os, "write", half_then_full)
        logs.append(A, [line("lost"), line("lost")])
        logs.append(A, [line("lost")])
    assert logs.dropped == 3
    assert logs.tail(A).splitlines() == ["before", "lost", "lost", "lost"]
    logs.append(A, [line("after")])
    found = await texts(logs, function="send")
    assert found == ["before", "3 lines were lost: they could not be written", "after"]


async def test_a_directory_that_was_removed_is_made_again(
    logs: FileInvocationLogs, directory: Path
) -> None:
    """People clean up by hand."""
    logs.append(A, [line("x" * 1200)])
    (directory / "send" / "current.jsonl").unlink()
    (directory / "send").rmdir()
    logs.append(A, [line("lost with it")])
    logs.append(A, [line("kept")])
    assert "kept" in await texts(logs, function="send")


async def test_the_tail_is_the_end_of_what_one_attempt_printed(logs: FileInvocationLogs) -> None:
    """In memory, bounded, and never half a character."""
    assert logs.tail(A) == ""
    logs.append(A, [line("one"), line("two")])
    logs.append(B, [line("other")])
    assert logs.tail(A) == "one\ntwo"
    assert logs.tail(A, 3) == "two"
    logs.append(A, [line("é" * 10)])
    assert logs.tail(A, 5) == "éé"
    for n in range(3000):
        logs.append(A, [line(f"line {n}")])
    tail = logs.tail(A)
    assert tail.endswith("line 2998\nline 2999")
    assert 4000 < len(tail) <= 4096
    assert sum(map(len, logs._tails[A.id].lines)) < 4096 + 20
    logs.append(B, [line("z" * 10_000)])
    assert logs.tail(B) == "z" * 4096
    logs.forget(A)
    logs.forget(A)
    assert logs.tail(A) == ""


async def test_a_subscriber_sees_each_line_once_until_it_leaves(logs: FileInvocationLogs) -> None:
    """For `logs -f`; also when two subscribe the same sink."""
    seen: list[LogLine] = []
    leave = logs.subscribe(seen.append)
    leave_too = logs.subscribe(seen.append)
    logs.append(A, [line("one")])
    leave()
    logs.append(A, [line("two")])
    leave_too()
    leave_too()
    logs.append(A, [line("three")])
    assert [each.text for each in seen] == ["one", "one", "two"]


@pytest.mark.parametrize(
    "name", ["send", "a b", "..", ".", ".hidden", "a/b", "é", "%2E", "x" * 300, "é" * 150]
)
def test_any_name_becomes_a_directory_of_its_own_and_is_found_again(
    logs: FileInvocationLogs, directory: Path, name: str
) -> None:
    """A name must never leave the directory of logs."""
    attempt = Attempt("1", replace(A.function, name=name), A.claims, START)
    logs.append(attempt, [line("hello")])
    assert (directory / directory_name(name)).resolve().parent == directory.resolve()
    assert functions_logged(directory) == [name]
    [found] = asyncio.run(logs.read())
    assert found.function == name


async def test_reading_while_writing_and_rotating_gives_each_line_once(
    logs: FileInvocationLogs,
) -> None:
    """A file that gets its number in the middle of a reading is not read twice."""
    done = asyncio.Event()

    async def write() -> None:
        for n in range(400):
            logs.append(A, [line(f"{n}", START + n)])
            if n % 5 == 0:
                await asyncio.sleep(0)
        done.set()

    writing = asyncio.create_task(write())
    while not done.is_set():
        found = await texts(logs, function="send")
        assert len(found) == len(set(found))
    await writing


def printed(logs: FileInvocationLogs, text: str, at: float, function: str = "send") -> None:
    logs.append(an_attempt(a_claim("i1"), function=function), [line(text, at=at)])


async def test_a_function_that_prints_many_short_lines_keeps_about_so_many(directory: Path) -> None:
    """A budget in bytes alone says little about how many lines there are to look through."""
    budget = LogBudget(function_bytes=2**20, file_bytes=2**14, function_lines=160)
    logs = FileInvocationLogs(directory, budget)
    for number in range(500):
        printed(logs, str(number), START)
    logs.close()
    logs = FileInvocationLogs(directory, budget)  # What a predecessor wrote counts too.
    for number in range(500, 1000):
        printed(logs, str(number), START)
    kept = await texts(logs)
    assert 140 <= len(kept) <= 160
    assert kept == [str(number) for number in range(1000 - len(kept), 1000)]
    logs.close()


async def test_old_lines_go_and_new_ones_stay(directory: Path) -> None:
    """What a function printed last year may hold what nobody wants kept; silence must not keep it."""
    now = time.time()
    logs = FileInvocationLogs(directory, LogBudget(kept_s=1600.0))
    printed(logs, "of a function that is gone", now - 2000, "gone")
    printed(logs, "old", now - 1700)
    os.utime(directory / "gone" / "current.jsonl", (now - 2000, now - 2000))
    logs.expire(now)
    assert not (directory / "gone").exists()
    assert await texts(logs) == ["old"]  # Written now, as far as the file system knows.
    os.utime(directory / "send" / "0001.jsonl", (now - 1700, now - 1700))
    printed(logs, "new", now)
    logs.expire(now)
    assert await texts(logs) == ["new"]
    printed(logs, "back again", now, "gone")
    assert await texts(logs, function="gone") == ["back again"]
    logs.close()


async def test_without_an_age_nothing_is_too_old(directory: Path) -> None:
    """The control: it is the budget that removes."""
    logs = FileInvocationLogs(directory, LogBudget(kept_s=None))
    printed(logs, "old", START)
    os.utime(directory / "send" / "current.jsonl", (START, START))
    logs.expire(time.time())
    assert await texts(logs) == ["old"]
    logs.close()


def test_a_directory_that_cannot_be_read_is_no_end_of_the_daemon(directory: Path) -> None:
    """Tidying up is done by a task that the daemon stops without."""
    directory.write_text("a file in its place")
    logs = FileInvocationLogs(directory, LogBudget(kept_s=60.0))
    logs.expire(time.time())
    assert directory.read_text() == "a file in its place"
