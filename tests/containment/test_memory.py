"""The memory cap counts the whole tree's real memory, and going over it always has the same name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.containment.bench import Bench

CAP = 64 * 2**20


@pytest.mark.parametrize("handler", ["fill", "fill_in_child", "fill_in_ten"])
async def test_going_over_the_cap_is_oom_wherever_in_the_tree(
    any_bench: Bench, handler: str
) -> None:
    """One process, its child, or ten children together: the user reads the same word."""
    event = {"bytes": 3 * CAP}
    outcome = await any_bench.run(handler, event, memory_bytes=CAP)

    assert outcome.word == "oom"
    assert outcome.error is not None
    assert outcome.error.message.startswith("went over its memory cap of 64MiB (peak ")


async def test_the_same_allocation_under_a_cap_that_allows_it_succeeds(any_bench: Bench) -> None:
    """The control: it is the cap that ends it, nothing else."""
    outcome = await any_bench.run("fill_at_once", {"bytes": 2 * CAP}, memory_bytes=4 * CAP)

    assert outcome.result_json == str(2 * CAP)
    assert outcome.usage.memory_peak_bytes is not None
    assert outcome.usage.memory_peak_bytes > 2 * CAP


async def test_one_allocation_far_over_the_cap_is_oom(any_bench: Bench) -> None:
    """With a cgroup the kernel kills; with RLIMIT_DATA it refuses, and MemoryError means the cap."""
    outcome = await any_bench.run("fill_at_once", {"bytes": 2**30}, memory_bytes=CAP)

    assert outcome.word == "oom"


async def test_shared_memory_counts_where_there_is_a_cgroup(bench: Bench) -> None:
    """A file in memory is memory."""
    if "memory-cgroup" in (await bench.run("echo")).degraded:
        pytest.skip("this host has no writable memory cgroup")
    assert (
        await bench.run("fill_shared_memory", {"bytes": 2 * CAP}, memory_bytes=CAP)
    ).word == "oom"
    control = await bench.run("fill_shared_memory", {"bytes": 2 * CAP}, memory_bytes=4 * CAP)
    assert control.word == "ok"


@pytest.mark.parametrize("place", ["/tmp", "/dev/shm"])
async def test_files_in_memory_count_where_there_is_a_cgroup(bench: Bench, place: str) -> None:
    """The private directories are memory as well: `tmp_size` does not add to `memory`."""
    degraded = (await bench.run("echo")).degraded
    if {"memory-cgroup", "tmp-quota"} & set(degraded):
        pytest.skip(f"this host has not all that this needs: {', '.join(degraded)} missing")
    fill = f"head -c {2 * CAP} /dev/zero > {place}/much"
    for memory_bytes, word in ((CAP, "oom"), (4 * CAP, "ok")):
        limits = {"memory_bytes": memory_bytes, "tmp_size_bytes": 4 * CAP}
        outcome = await bench.run(None, command=("sh", "-c", fill), **limits)
        assert outcome.word == word


async def test_a_handlers_own_memory_error_is_an_error_where_a_cgroup_keeps_the_cap(
    bench: Bench,
) -> None:
    """Only under RLIMIT_DATA does MemoryError say something about the cap."""
    outcome = await bench.run("import_failing_memory")
    if "memory-cgroup" not in outcome.degraded:
        assert outcome.word == "error"


async def test_an_import_over_the_cap_is_oom_too(any_bench: Bench, tmp_path: Path) -> None:
    """The import is charged to the zygote's own group with the function's cap."""
    (tmp_path / "greedy.py").write_text(
        "kept = []\nwhile True: kept.append(bytearray(b'x') * 2**20)\n"
    )
    any_bench.code_dir = str(tmp_path)
    outcome = await any_bench.run("greedy:handler", memory_bytes=CAP)

    assert outcome.word == "oom"


async def test_one_attempts_memory_leaves_anothers_alone(bench: Bench) -> None:
    """Each attempt has its own group: a killed neighbour changes nothing for who stays below."""
    import asyncio

    results: list[Any] = await asyncio.gather(
        bench.run("fill", memory_bytes=CAP),
        bench.run("fill_at_once", {"bytes": CAP // 2}, memory_bytes=2 * CAP),
    )
    assert [outcome.word for outcome in results] == ["oom", "ok"]
