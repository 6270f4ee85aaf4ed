"""Functions of one module share its import, and nothing else: each is itself, and none reaches another one's attempts."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.permissions import Permissions
from faasd.sandbox.sandboxes import ProcessSandboxes
from tests.containment.bench import FUNCTIONS, Bench, an_attempt, skip_where_none_waits
from tests.patience import patient


def functions_of(
    bench: Bench, handlers: Sequence[str] = ("one", "two"), module: str = "sharing", **settings: Any
) -> list[Function]:
    settings.setdefault("spares", 0)
    settings.setdefault("limits", Limits(timeout_s=patient(20.0)))
    made = [Function(n, f"{module}:{n}", code_dir=str(FUNCTIONS), **settings) for n in handlers]
    return [bench._contained(one) for one in made]


async def told(bench: Bench, function: Function, **event: Any) -> dict[str, Any]:
    outcome = await bench.run_attempt(an_attempt(function, event))
    assert outcome.word == "ok", outcome
    return dict(json.loads(outcome.result_json or ""))


async def tokens(bench: Bench, functions: Sequence[Function]) -> set[str]:
    return {(await told(bench, function))["token"] for function in functions}


def zygotes(bench: Bench) -> int:
    pool = bench.sandboxes._the_pool()
    return sum(entry.is_made() for entry in pool._entries.values())


async def test_a_module_is_imported_once_for_its_functions(any_bench: Bench) -> None:
    """And each is told what the import printed, where people look for it."""
    functions = functions_of(any_bench, ("one", "two", "later"))
    await any_bench.sandboxes.retire(functions)
    [token] = await tokens(any_bench, functions)
    assert [token] == list(await tokens(any_bench, functions))
    assert zygotes(any_bench) == 1
    assert any_bench.services.texts("stdout") == [f"imported {token}"] * 3
    uses = [any_bench.sandboxes.zygote_use(one) for one in functions]
    assert uses[0].shared_with == ("two", "later")
    assert {one.own_because for one in uses} == {""}


async def test_functions_that_begin_together_wait_for_one_import(bench: Bench) -> None:
    """The second does not start what the first has begun."""
    functions = functions_of(bench, ("one", "two", "later"))
    await bench.sandboxes.retire(functions)
    found = await asyncio.gather(*(told(bench, one) for one in functions))
    assert len({one["token"] for one in found}) == 1


@pytest.mark.parametrize("reuse", [1, 3])
async def test_each_is_itself(any_bench: Bench, reuse: int) -> None:
    """In its environment and in its context, in fresh sandboxes, warm ones and spares; async handlers as well."""
    functions = functions_of(any_bench, ("one", "two", "later"), reuse=reuse, spares=1)
    await any_bench.sandboxes.retire(functions)
    for function in functions * 3:
        found = await told(any_bench, function)
        name = function.name
        assert [found[k] for k in ("name", "function", "context")] == [name] * 3
        assert found["handler"] == function.handler
        assert found["log_group"] == f"/aws/lambda/{name}"


async def test_with_another_environment_a_function_has_its_own(bench: Bench) -> None:
    """Its import may look at that; the control is above."""
    one, two = functions_of(bench)
    other = dataclasses.replace(two.permissions, env={"TABLE": "x"})
    two = dataclasses.replace(two, permissions=other)
    await bench.sandboxes.retire([one, two])
    assert len(await tokens(bench, [one, two])) == 2


async def test_who_looks_at_its_name_when_it_is_imported_has_the_right_one(
    any_bench: Bench,
) -> None:
    """So it is imported for each, also when several begin together, and stays so when it is started again."""
    functions = functions_of(any_bench, module="sharing_not")
    await any_bench.sandboxes.retire(functions)
    found = await asyncio.gather(*(told(any_bench, one) for one in functions))
    assert [one["at_import"] for one in found] == ["one", "two"]
    assert zygotes(any_bench) == 2
    [*_, said] = [any_bench.sandboxes.zygote_use(one).own_because for one in functions]
    assert "which function it is" in said
    lines = any_bench.services.texts("stdout")
    assert sorted(line for line in lines if "for" in line) == [
        "imported for one",
        "imported for two",
    ]


async def test_an_import_that_fails_for_one_fails_for_that_one(any_bench: Bench) -> None:
    """Whoever waited for it has a try of its own; and each hears of its own failure."""
    functions = functions_of(any_bench, ("broken", "one"), module="sharing_not")
    await any_bench.sandboxes.retire(functions)
    runs = [any_bench.run_attempt(an_attempt(one)) for one in functions]
    broken, one = await asyncio.gather(*runs)
    assert broken.word == "init-error"
    assert broken.error is not None
    assert "not for this one" in broken.error.message
    assert one.word == "ok"


async def test_a_handler_that_is_not_there_is_missed_by_its_function_alone(bench: Bench) -> None:
    """Whichever is asked for first."""
    for handlers in (("one", "missing"), ("missing", "one")):
        functions = functions_of(bench, handlers)
        await bench.sandboxes.retire(functions)
        outcomes = [await bench.run_attempt(an_attempt(one)) for one in functions]
        words = {f.name: (o.word, o.error) for f, o in zip(functions, outcomes, strict=True)}
        assert words["one"][0] == "ok"
        word, error = words["missing"]
        assert word == "init-error"
        assert error is not None
        assert "has no 'missing'" in error.message
        await bench.sandboxes.retire([])


@pytest.mark.parametrize("leaves", ["descriptor", "memory", "thread", "process", "program"])
async def test_what_an_import_leaves_is_its_functions_own(bench: Bench, leaves: str) -> None:
    """By a pipe, for one, attempts of two functions could speak to each other. A program has the environment."""
    permissions = Permissions(env={"LEAVES": leaves})
    functions = functions_of(bench, module="sharing_left", permissions=permissions)
    await bench.sandboxes.retire(functions)
    assert len(await tokens(bench, functions)) == 2
    said = bench.sandboxes.zygote_use(functions[0]).own_because
    assert ("runs a program" if leaves in ("process", "program") else "leaves something") in said


async def test_an_import_that_leaves_nothing_is_shared(bench: Bench) -> None:
    """The control."""
    functions = functions_of(bench, module="sharing_left")
    await bench.sandboxes.retire(functions)
    assert len(await tokens(bench, functions)) == 1


@pytest.mark.parametrize("is_shared", [True, False])
async def test_an_attempt_sees_nothing_of_another_functions(
    both_benches: Bench, tmp_path: Path, is_shared: bool
) -> None:
    """While it runs: neither its files nor its processes. The control shows that they are there to be seen."""
    bench = both_benches
    gate = tmp_path / "gate"
    given = Permissions(read=(str(tmp_path),))
    one, two = functions_of(bench, permissions=given)
    await bench.sandboxes.retire([one, two] if is_shared else [one])
    mine = asyncio.create_task(told(bench, one, leave="secret", until=str(gate)))
    other = two if is_shared else one  # The control is another attempt at the same function.
    await told(bench, other)
    found = await told(bench, other)
    gate.touch()
    its = await mine
    assert its["token"] == found["token"]
    if bench.containment == "strict":
        assert "secret" in its["tmp"]
        assert "secret" not in found["tmp"]
        assert (len(found["pids"]) <= 1) is is_shared


async def test_nobody_connects_to_another_functions_loopback(bench: Bench, tmp_path: Path) -> None:
    """The control is another attempt at the same function."""
    gate = tmp_path / "gate"
    nowhere = Permissions(network=False, read=(str(tmp_path),), write=(str(tmp_path),))
    one, two = functions_of(bench, permissions=nowhere)
    await bench.sandboxes.retire([one, two])
    events = {"listens": True, "says": str(tmp_path / "listening"), "until": str(gate)}
    listening = asyncio.create_task(told(bench, one, **events))
    await _until((tmp_path / "listening").exists)
    assert (await told(bench, two, connects=True))["connected"] is False
    assert (await told(bench, one, connects=True))["connected"] is True
    gate.touch()
    await listening
    assert "loopback" in bench.sandboxes.zygote_use(one).own_because


async def test_private_directories_are_private(any_bench: Bench) -> None:
    """On a disk as well: a function's next attempt, or another function's, finds nothing of the one before."""
    functions = functions_of(any_bench)
    await any_bench.sandboxes.retire(functions)
    for function in functions * 2:
        assert "secret" not in (await told(any_bench, function))["tmp"]
        assert "secret" in (await told(any_bench, function, leave="secret"))["tmp"]


async def test_functions_with_other_secrets_do_not_share(tmp_path: Path) -> None:
    """An attempt that was given one has it in its memory; no other function's is forked beside it."""
    (tmp_path / "secrets").mkdir(mode=0o700)
    key = tmp_path / "secrets" / "key"
    key.touch(0o600)
    key.write_text("x")
    sandboxes = ProcessSandboxes(tmp_path / "state", secrets_dir=tmp_path / "secrets")
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        one, two = functions_of(bench)
        secret = dataclasses.replace(one, permissions=Permissions(secrets=("key",)))
        three = dataclasses.replace(secret, name="three")
        await sandboxes.retire([secret, two, three])
        found = [await told(bench, one) for one in (secret, two, three)]
        assert [one["secrets"] for one in found] == [[name] if name else [] for name in KEYS]
        assert found[0]["token"] == found[2]["token"] != found[1]["token"]
    finally:
        await sandboxes.stop()


KEYS = ["CREDENTIALS_DIRECTORY", "", "CREDENTIALS_DIRECTORY"]


async def test_one_functions_end_is_not_anothers(bench: Bench, tmp_path: Path) -> None:
    """Out of memory, killed at its time limit: whoever runs beside it goes on, and its next attempt has the same import."""
    gate = tmp_path / "gate"
    given = Permissions(read=(str(tmp_path),))
    one, two, greedy = functions_of(bench, ("one", "two", "later"), permissions=given)
    impatient = dataclasses.replace(one, limits=Limits(timeout_s=0.3, grace_s=0.05))
    await bench.sandboxes.retire([impatient, two, greedy])
    running = asyncio.create_task(told(bench, two, until=str(gate)))
    event = {"until": str(tmp_path / "never")}
    assert (await bench.run_attempt(an_attempt(impatient, event))).word == "timeout"
    assert (await bench.run_attempt(an_attempt(greedy, {"fill": True}))).word == "oom"
    gate.touch()
    assert (await running)["token"] in await tokens(bench, [two, greedy])


@pytest.mark.parametrize("keeps_warm", [False, True])
async def test_an_import_goes_when_none_of_its_functions_uses_it(
    tmp_path: Path, keeps_warm: bool
) -> None:
    """Only then; and it stays for all when one keeps it warm, until that one is gone."""
    sandboxes = ProcessSandboxes(tmp_path / "state", zygote_idle_s=0.05)
    await sandboxes.start()
    try:
        bench, gate = Bench(sandboxes), tmp_path / "gate"
        given = Permissions(read=(str(tmp_path),))
        one, two, three = functions_of(bench, ("one", "two", "later"), permissions=given)
        kept = dataclasses.replace(three, keep_warm=keeps_warm)
        await sandboxes.retire([one, two, kept])
        running = asyncio.create_task(told(bench, one, until=str(gate)))
        await told(bench, kept)
        first = await told(bench, two)
        pool = sandboxes._the_pool()
        [entry] = pool._entries.values()
        loop = asyncio.get_running_loop()
        await _until(lambda: loop.time() - entry.task.result().last_used > 0.2)
        assert pool.stands(two)
        gate.touch()
        assert (await running)["token"] == first["token"]
        if keeps_warm:
            await _until(lambda: loop.time() - entry.task.result().last_used > 0.2)
            assert pool.stands(two)
            await sandboxes.retire([one, two])
        await _until(lambda: not pool._entries)
    finally:
        await sandboxes.stop()


async def _until(condition: Any) -> None:
    async with asyncio.timeout(patient(10.0)):
        while not condition():
            await asyncio.sleep(0.005)


async def test_a_reload_ends_it_for_those_whose_code_is_new(bench: Bench) -> None:
    """And for all of them together; a function that joins or leaves ends it for nobody."""
    one, two, later = functions_of(bench, ("one", "two", "later"))
    await bench.sandboxes.retire([one, two, later])
    [first] = await tokens(bench, [one, two, later])
    await bench.sandboxes.retire([one, two])
    assert await tokens(bench, [one, two]) == {first}
    await bench.sandboxes.retire([one, two, later])
    assert await tokens(bench, [one, two, later]) == {first}
    new = [dataclasses.replace(f, code_version="2") for f in (one, two, later)]
    await bench.sandboxes.retire(new)
    [second] = await tokens(bench, new)
    assert second != first
    assert zygotes(bench) == 1


async def test_there_is_room_for_all_that_use_it(bench: Bench, tmp_path: Path) -> None:
    """Functions that run one attempt at a time do so beside each other, and one more that joins does as well."""
    gate = tmp_path / "gate"
    given = Permissions(read=(str(tmp_path),))
    functions = functions_of(bench, ("one", "two", "later"), concurrency=1, permissions=given)
    await bench.sandboxes.retire(functions[:2])
    await tokens(bench, functions[:2])
    await bench.sandboxes.retire(functions)
    runs = [asyncio.create_task(told(bench, one, until=str(gate))) for one in functions]
    waiting = bench.sandboxes._running
    await _until(lambda: sum(one is not None for one in waiting.values()) == 3)
    gate.touch()
    assert len({one["token"] for one in await asyncio.gather(*runs)}) == 1


async def test_warm_sandboxes_are_each_functions_own(any_bench: Bench) -> None:
    """One that served a function serves no other one."""
    functions = functions_of(any_bench, reuse=10)
    await skip_where_none_waits(any_bench, functions[0])
    await any_bench.sandboxes.retire(functions)
    for function in functions * 3:
        assert (await told(any_bench, function))["name"] == function.name
    assert any_bench.sandboxes.waiting() == {("one", "warm"): 1, ("two", "warm"): 1}


async def test_memory_is_shared(bench: Bench) -> None:
    """What counts once: the second function has no zygote that weighs anything."""
    functions = functions_of(bench, ("one", "two", "later"))
    await bench.sandboxes.retire(functions)
    await tokens(bench, functions)
    pids = [p for p in os.listdir("/proc") if p.isdigit() and _is_zygote_of(int(p), bench)]
    assert len(pids) == 1
    await bench.sandboxes.retire([])
    await tokens(bench, functions)  # The control: as long as nobody says who belongs together.
    pids = [p for p in os.listdir("/proc") if p.isdigit() and _is_zygote_of(int(p), bench)]
    assert len(pids) == 3


def _is_zygote_of(pid: int, bench: Bench) -> bool:
    try:
        comm = Path(f"/proc/{pid}/comm").read_text()
        environ = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return comm == "faasd-zygote\n" and bench.sandboxes._state_hash.encode() in environ
