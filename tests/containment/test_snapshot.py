"""A zygote is a snapshot: hooks before and after it, nothing that two attempts draw alike, words about what is shared."""

from __future__ import annotations

import json
import socket
import sqlite3
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from faasd.model.outcome import Outcome
from faasd.model.permissions import Permissions
from tests.containment.bench import Bench

HOOKS = """
    import os
    from snapshot_restore_py import register_after_restore, register_before_snapshot

    calls = []

    @register_before_snapshot
    def first():
        calls.append(["before", "first", os.getpid()])

    def second(*args, **kwargs):
        calls.append(["before", "second", list(args), kwargs])

    register_before_snapshot(second, 1, two=2)

    @register_after_restore
    def third():
        calls.append(["after", "third", os.getpid()])

    register_after_restore(lambda word: calls.append(["after", word]), "fourth")

    def handler(event, context):
        return {"calls": calls, "pid": os.getpid(), "names": [first.__name__, third.__name__]}
    """


@pytest.fixture
def write(bench: Bench, tmp_path: Path) -> Any:
    """Write the module that the bench's functions are in."""

    def write_module(source: str, name: str = "snapped") -> None:
        code = tmp_path / "code"
        code.mkdir(exist_ok=True)
        (code / f"{name}.py").write_text(dedent(source))
        bench.code_dir = str(code)

    return write_module


def result_of(outcome: Outcome) -> Any:
    assert outcome.word == "ok", outcome.error
    return json.loads(outcome.result_json or "")


async def test_hooks_run_in_the_zygote_backwards_and_in_each_fork_forwards(
    bench: Bench, write: Any
) -> None:
    """The orders that AWS documents; those before once for all attempts, those after once for each."""
    write(HOOKS)
    seen = []
    for _ in range(2):
        found = result_of(await bench.run("snapped:handler"))
        before, after = found["calls"][:2], found["calls"][2:]
        assert before[0] == ["before", "second", [1], {"two": 2}]
        assert before[1][:2] == ["before", "first"]
        assert after == [["after", "third", found["pid"]], ["after", "fourth"]]
        assert found["names"] == ["first", "third"]
        seen.append(before)
    assert seen[0] == seen[1]


async def test_the_package_of_that_name_is_taken_where_there_is_one(
    bench: Bench, write: Any
) -> None:
    """Whatever version a function brings: its own registry is asked, by the names that AWS's runtime asks."""
    registry = """
        MINE = True
        after = []
        def register_after_restore(func, *args, **kwargs):
            after.append((func, args, kwargs))
            return func
        def get_before_snapshot(): return []
        def get_after_restore(): return after
        """
    write(registry, "snapshot_restore_py")
    write("""
        import snapshot_restore_py
        seen = []
        snapshot_restore_py.register_after_restore(seen.append, "called")
        def handler(event, context):
            return [snapshot_restore_py.MINE, seen]
        """)
    assert result_of(await bench.run("snapped:handler")) == [True, ["called"]]


async def test_a_hook_before_that_raises_is_an_init_error(bench: Bench, write: Any) -> None:
    """With its name: the import itself went well."""
    write("""
        from snapshot_restore_py import register_before_snapshot
        @register_before_snapshot
        def prepare():
            raise ValueError("no cache")
        def handler(event, context): ...
        """)
    outcome = await bench.run("snapped:handler")
    assert outcome.word == "init-error"
    assert outcome.error is not None
    assert outcome.error.type == "ValueError"
    assert outcome.error.message.endswith(
        "the before-snapshot hook 'prepare' raised ValueError: no cache"
    )
    assert any("in prepare" in frame for frame in outcome.error.stack)


async def test_a_hook_before_that_hangs_is_ended_with_the_import(bench: Bench, write: Any) -> None:
    """It counts as part of it."""
    write("""
        import time
        from snapshot_restore_py import register_before_snapshot
        register_before_snapshot(time.sleep, 600)
        def handler(event, context): ...
        """)
    outcome = await bench.run("snapped:handler", init_timeout_s=0.5)
    assert (outcome.word, outcome.error and outcome.error.type) == ("init-error", "InitTimeout")


@pytest.mark.parametrize("raised", ["ConnectionError('no server')", "SystemExit(3)"])
async def test_a_hook_after_that_raises_is_the_attempts_error(
    bench: Bench, write: Any, raised: str
) -> None:
    """The handler is not called: it counts on what the hook does."""
    write(f"""
        from snapshot_restore_py import register_after_restore
        @register_after_restore
        def reconnect():
            raise {raised}
        def handler(event, context):
            print("called")
        """)
    outcome = await bench.run("snapped:handler")
    assert outcome.word == "error"
    assert outcome.error is not None
    assert outcome.error.type == "AfterRestoreFailed"
    assert outcome.error.message.startswith("the after-restore hook 'reconnect' raised ")
    assert any("in reconnect" in frame for frame in outcome.error.stack)
    assert bench.services.texts("stdout") == []


async def test_a_hook_after_has_the_attempts_time_and_walls(bench: Bench, write: Any) -> None:
    """It is part of the attempt, and so is what it prints."""
    write("""
        import time
        from snapshot_restore_py import register_after_restore
        @register_after_restore
        def slow():
            print("waiting")
            time.sleep(600)
        def handler(event, context): ...
        """)
    outcome = await bench.run("snapped:handler", timeout_s=0.5, grace_s=0.1)
    assert outcome.word == "timeout"
    assert bench.services.texts("stdout") == ["waiting"]


DRAWS = """
    import random, secrets, ssl, tempfile, uuid
    import numpy

    random.seed(1)
    numpy.random.seed(1)
    tempfile.mktemp()  # Makes the generator of names.
    ssl.RAND_bytes(1)

    def handler(event, context):
        return {
            "random": random.random(),
            "numpy": numpy.random.random(),
            "tempfile": tempfile.mktemp(),
            "uuid4": str(uuid.uuid4()),
            "uuid1": str(uuid.uuid1()),
            "secrets": secrets.token_hex(),
            "ssl": ssl.RAND_bytes(8).hex(),
        }
    """


async def test_no_two_attempts_draw_the_same(bench: Bench, write: Any) -> None:
    """Though all are copies of one process in which every generator was made, and two were seeded."""
    write(DRAWS)
    first, second = [result_of(await bench.run("snapped:handler")) for _ in range(2)]
    assert {name for name in first if first[name] == second[name]} == set()


async def test_a_generator_of_the_modules_own_is_the_same_and_is_warned_about(
    bench: Bench, write: Any
) -> None:
    """The control: this is what forking does to a generator that nobody seeds anew."""
    write("""
        import random, numpy
        mine, theirs = random.Random(), numpy.random.default_rng()
        really = random.SystemRandom()
        def handler(event, context):
            return [mine.random(), theirs.random()]
        """)
    first, second = [result_of(await bench.run("snapped:handler")) for _ in range(2)]
    assert first == second
    said = bench.services.texts("stderr")
    assert [line.split(":")[2].split()[0] for line in said] == ["snapped.mine", "snapped.theirs"]


async def test_what_an_import_leaves_open_is_named_once(
    bench: Bench, write: Any, tmp_path: Path
) -> None:
    """A connection, a database, a file, a thread: each attempt would have a copy, or none."""
    sqlite3.connect(tmp_path / "data.db").execute("CREATE TABLE t (x)").connection.close()
    (tmp_path / "model.bin").write_bytes(b"x" * 100)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        write(f"""
            import asyncio, socket, sqlite3, threading
            client = socket.create_connection(("127.0.0.1", {port}))
            database = sqlite3.connect({str(tmp_path / "data.db")!r})
            database.execute("SELECT * FROM t")
            model = open({str(tmp_path / "model.bin")!r}, "rb")
            loop = asyncio.new_event_loop()
            event = threading.Event()
            threading.Thread(target=event.wait, name="poller", daemon=True).start()
            def handler(event, context): ...
            """)
        given = Permissions(read=(str(tmp_path),), write=(str(tmp_path),))
        for _ in range(2):
            outcome = await bench.run("snapped:handler", permissions=given)
            assert outcome.word == "ok", outcome.error
    said = bench.services.texts("stderr")
    assert len(said) == 5, said
    for line, what in zip(
        said,
        [
            f"a connection to 127.0.0.1:{port} open",
            f"the SQLite database '{tmp_path}/data.db' open",
            f"the file '{tmp_path}/model.bin' open",
            "an event loop open",
            "started 1 thread while it was imported (poller)",
        ],
        strict=True,
    ):
        assert line.startswith("faasd: warning: ")
        assert what in line


async def test_what_a_hook_before_closes_is_not_warned_about(bench: Bench, write: Any) -> None:
    """That is what it is for; the control is the test above."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        write(f"""
            import socket
            from snapshot_restore_py import register_before_snapshot
            client = socket.create_connection({server.getsockname()!r})
            register_before_snapshot(client.close)
            def handler(event, context): ...
            """)
        assert (await bench.run("snapped:handler")).word == "ok"
    assert bench.services.texts("stderr") == []


async def test_a_library_that_keeps_threads_works_in_each_fork(bench: Bench, write: Any) -> None:
    """numpy's OpenBLAS starts some on import and waits for them before a fork: in a process that never had them, for ever."""
    write("""
        import numpy
        square = numpy.ones((300, 300))
        square @ square
        def handler(event, context):
            return float((square @ square)[0, 0])
        """)
    for _ in range(2):
        assert result_of(await bench.run("snapped:handler", timeout_s=10.0)) == 300.0
    assert bench.services.texts("stderr") == []
