"""What wakes the daemon at the end of a sandbox: see docs/decisions/one-wake-at-the-end.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.containment.bench import Bench

HANDLERS = """
import os

def answer(event, context):
    print("before its report")
    return event

def leave(event, context):
    print("before its end", flush=True)
    os._exit(3)
"""


@pytest.fixture
def heard(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was called because a descriptor of a sandbox was readable, in order."""
    (tmp_path / "ends.py").write_text(HANDLERS)
    bench.code_dir = str(tmp_path)
    maker = bench.sandboxes._maker
    assert maker is not None
    readers, calls = maker._readers, list[str]()
    add = readers.add

    def counted(fd: int, call: Callable[[int], None]) -> None:
        def called(fd: int) -> None:
            calls.append(call.__name__)
            call(fd)

        add(fd, called)

    monkeypatch.setattr(readers, "add", counted)
    return calls


async def test_a_sandbox_that_has_reported_is_heard_of_no_more(
    bench: Bench, heard: list[str]
) -> None:
    """Its zygote says that it has reaped it; pipes, channel and pidfd need say nothing on the way there."""
    if not bench.sandboxes.walls()["memory_cgroup"] or not bench.sandboxes.walls()["namespaces"]:
        pytest.skip("without both a sandbox is not ended by us after its report")
    outcome = await bench.run("ends:answer", 1)
    assert (outcome.word, outcome.result_json) == ("ok", "1")
    assert bench.services.texts("stdout") == ["before its report"]
    assert heard[-1] == "_on_channel"
    assert heard.count("_on_channel") == 1
    assert "_on_gone" not in heard


async def test_one_that_ends_without_a_report_is_heard_of_at_once(
    bench: Bench, heard: list[str]
) -> None:
    """The control: by its own descriptors, whoever else says so later."""
    outcome = await bench.run("ends:leave", 1)
    assert (outcome.word, outcome.usage.cpu_s is not None) == ("crashed", True)
    assert bench.services.texts("stdout") == ["before its end"]
    assert "_on_channel" in heard
