"""What a handler is given, what it may return, and what is made of how it ends."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from faasd.model.function import Function
from faasd.model.permissions import Permissions
from faasd.model.units import format_duration
from tests.containment.bench import FUNCTIONS, Bench, an_attempt
from tests.patience import patient


async def test_a_handler_gets_its_event_and_its_return_value_is_the_result(
    both_benches: Bench,
) -> None:
    """The contract of `handler(event, context)`."""
    outcome = await both_benches.run("echo", {"a": [1, None, "é\udcff"]})

    assert outcome.word == "ok"
    assert json.loads(outcome.result_json or "") == {"a": [1, None, "é\udcff"]}
    assert outcome.usage.init_s is not None
    assert outcome.usage.cpu_s is not None
    assert (await both_benches.run("echo")).usage.init_s is None  # Only the first start was cold.


async def test_a_batch_arrives_as_records(bench: Bench) -> None:
    """Even a batch of one."""
    attempt = an_attempt(bench.function("echo"), {"n": 1}, {"n": 2}, is_batch=True)
    assert (await bench.run_attempt(attempt)).result_json == '{"records":[{"n":1},{"n":2}]}'


async def test_a_batch_may_be_larger_than_one_payload(bench: Bench) -> None:
    """The payload limit is each event's own."""
    function = bench.function("count_records", payload_limit_bytes=100_000)
    attempt = an_attempt(function, *["x" * 90_000] * 10, is_batch=True)
    assert (await bench.run_attempt(attempt)).result_json == "10"


async def test_an_environment_that_cannot_be_set_is_our_failure_and_says_so(bench: Bench) -> None:
    """It spends no attempt of the handler's."""
    command = Function("cmd", command=("true",), permissions=Permissions(env={"A": "nul\0"}))
    outcome = await bench.run_attempt(an_attempt(command))
    assert outcome.word == "sandbox-failed"
    assert outcome.error is not None
    assert "null byte" in outcome.error.message


async def test_an_async_handler_is_awaited(bench: Bench) -> None:
    """`async def` needs nothing else."""
    assert (await bench.run("echo_later", 1)).result_json == '{"later":1}'


async def test_a_handlers_surroundings_are_its_own(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment, directory and input are clean; what it was given is there."""
    monkeypatch.setenv("SECRET_OF_THE_DAEMON", "x")
    monkeypatch.setenv("PASSED", "on")
    given = Permissions(
        env={"COLOUR": "blue", "FAASD_FUNCTION": "a lie"}, pass_env=("PASSED", "UNSET")
    )
    outcome = await bench.run("about", permissions=given, memory_bytes=128 * 2**20)
    found = json.loads(outcome.result_json or "")

    assert "SECRET_OF_THE_DAEMON" not in found["env"]
    assert found["env"]["PASSED"] == "on"
    assert found["env"]["COLOUR"] == "blue"
    assert found["env"]["FAASD_FUNCTION"] == "about"
    assert found["env"]["AWS_LAMBDA_FUNCTION_NAME"] == "about"
    assert found["memory"] == found["env"]["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "128"
    assert found["cwd"] == str(FUNCTIONS)
    assert found["stdin"] == ""
    assert found["request"] == found["env"]["FAASD_INVOCATION_ID"]
    limit_ms = 1000 * patient(20.0)
    assert limit_ms / 2 < found["remaining"] <= limit_ms
    assert found["pid"] == 2  # Of a PID namespace of its own, after the sandbox's first process.


async def test_the_private_temporary_directory_goes_with_the_attempt(bench: Bench) -> None:
    """Whatever was left in it, and however it was locked."""
    outcome = await bench.run("leave_file")

    assert outcome.word == "ok"
    # A checkout below /tmp is to be seen there.
    own = {Path(__file__).relative_to("/tmp").parts[0]} if __file__.startswith("/tmp/") else set()
    assert {*json.loads((await bench.run("list_tmp")).result_json or "")} - own == set()


async def test_random_numbers_differ_between_sandboxes_of_one_zygote(bench: Bench) -> None:
    """A forked generator would draw the same numbers in every attempt."""
    drawn = {(await bench.run("draw")).result_json for _ in range(3)}
    assert len(drawn) == 3


async def test_limits_of_the_process_are_set_but_never_on_address_space(bench: Bench) -> None:
    """RLIMIT_AS breaks runtimes that reserve much and use little."""
    outcome = await bench.run("limits", open_files=77, file_size_bytes=4096)
    assert json.loads(outcome.result_json or "") == {
        "NOFILE": 77,
        "FSIZE": 4096,
        "CORE": 1,
        "AS": -1,
    }


async def test_processor_time_of_an_attempt_is_counted(both_benches: Bench) -> None:
    """The sandbox's processes are reaped by its first one, so their time reaches us."""
    outcome = await both_benches.run("spin", 0.2)
    assert outcome.usage.cpu_s is not None
    assert 0.2 <= outcome.usage.cpu_s < 2.0


async def test_an_exception_is_an_error_with_the_handlers_own_frames(bench: Bench) -> None:
    """Nobody wants to read ours."""
    error = (await bench.run("fail")).error
    assert error is not None
    assert (error.type, error.message) == ("ValueError", "no good")
    assert [frame.splitlines()[0].rpartition(" in ")[2] for frame in error.stack] == [
        "fail",
        "inner",
    ]
    assert error.stack[1].endswith('raise ValueError("no good")')


async def test_an_exception_without_a_text_is_an_error_still(bench: Bench) -> None:
    """Its __str__ raises, and that is not our end."""
    error = (await bench.run("fail_unprintably")).error
    assert error is not None
    assert error.type == "Unprintable"


@pytest.mark.parametrize(
    ("handler", "kind", "message"),
    [
        ("return_unencodable", "TypeError", "result['a'][1]['b'] is of type set"),
        ("return_nan", "ValueError", "result[0] is nan"),
        ("return_loop", "ValueError", "nested too deeply, or within itself"),
    ],
)
async def test_a_result_that_is_not_json_is_an_error_that_says_where(
    bench: Bench, handler: str, kind: str, message: str
) -> None:
    """The path in the value is what the author needs."""
    outcome = await bench.run(handler)
    assert outcome.word == "error"
    assert outcome.error is not None
    assert outcome.error.type == kind
    assert message in outcome.error.message


async def test_a_result_over_the_payload_limit_is_an_error_that_names_it(bench: Bench) -> None:
    """And one just below it passes: the control."""
    refused = await bench.run("return_large", 4096, payload_limit_bytes=4096)
    assert refused.word == "error"
    assert refused.error is not None
    assert refused.error.type == "ResultTooLarge"
    assert "payload_limit of 4KiB" in refused.error.message
    assert (await bench.run("return_large", 4094, payload_limit_bytes=4096)).word == "ok"


async def test_large_events_and_results_pass(bench: Bench) -> None:
    """Larger than any socket buffer."""
    outcome = await bench.run("echo", "x" * 5_000_000)
    assert outcome.result_json == '"' + "x" * 5_000_000 + '"'


@pytest.mark.parametrize(
    ("handler", "event", "message"),
    [
        ("call_exit", 0, "called sys.exit(0)"),
        ("call_exit", "why", "called sys.exit('why')"),
        ("exit_at_once", 3, "exited with code 3 without a report"),
        ("exit_at_once", 0, "exited with code 0 without a report"),
        ("kill_itself", 11, "killed by signal 11 (SIGSEGV)"),
        ("kill_itself", 9, "killed by signal 9 (SIGKILL)"),
        ("abort", None, "killed by signal 6 (SIGABRT)"),
        ("close_all_fds", None, "could not report its end"),
        ("send_half_a_frame_and_exit", None, "its last frame is incomplete"),
        ("send_two_reports", None, "a frame came after the report"),
        ("send_garbage", {"hex": "ffffffff"}, "over the limit"),
        ("send_garbage", {"hex": "000000022222"}, "not a JSON object"),
        ("send_garbage", {"hex": "00000002ff7d"}, "not JSON"),
        ("send_garbage", {"hex": "0000000d" + b'{"op":"what"}'.hex()}, "'what'"),
        ("send_garbage", {"hex": "0000000c" + b'{"op":"log"}'.hex()}, "'at'"),
    ],
)
async def test_an_end_without_a_sound_report_is_crashed_and_says_how(
    bench: Bench, handler: str, event: object, message: str
) -> None:
    """Signals keep their meaning inside a sandbox, and garbage is nobody's success."""
    outcome = await bench.run(handler, event)
    assert outcome.word == "crashed"
    assert outcome.error is not None
    assert message in outcome.error.message
    assert outcome.usage.wall_s < patient(5.0)


async def test_closing_the_low_descriptors_harms_nobody(bench: Bench) -> None:
    """As programs do that turn themselves into daemons."""
    assert (await bench.run("close_low_fds")).result_json == '"closed"'


async def test_a_forked_child_that_returns_does_not_report(bench: Bench) -> None:
    """The report is the handler's own process's."""
    assert (await bench.run("return_from_forked_child")).result_json == '"from the parent"'


async def test_what_a_handler_forks_has_locks_of_its_own(bench: Bench) -> None:
    """The fork that makes a sandbox does without Python's hooks for that; those of handlers must not."""
    outcome = await bench.run("fork_beside_a_held_lock")
    assert outcome.result_json == "1", outcome  # The child's threads.
    assert bench.services.texts("stderr") == ["WARNING shop: from a child"]


async def test_a_modules_time_limit_for_its_sockets_is_not_the_channels(bench: Bench) -> None:
    """A spare waits longer than any page takes, and so does who invokes another function."""
    assert (await bench.run("impatient:timeout_of_channel")).result_json == "null"


async def test_a_zygote_holds_little_that_its_module_has_not_asked_for(bench: Bench) -> None:
    """What it holds, the kernel copies twice for each sandbox: tables of pages, and lists of mapped files."""
    found = json.loads((await bench.run("imports_nothing:about")).result_json or "")
    heavy = {"asyncio", "base64", "dataclasses", "datetime", "inspect", "pathlib", "socket"}
    assert heavy & set(found["modules"]) == set()
    # What it calls of the C library is looked up once, and not in each sandbox anew.
    assert found["is_bound"]
    assert "LD_BIND_NOW" not in found["env"]


async def test_print_stderr_and_logging_are_captured_with_their_streams(bench: Bench) -> None:
    """Log records keep their level; a forked child's go to stderr, where they cannot break a frame."""
    await bench.run("log")
    logged = [(line.level, line.text) for line in bench.services.lines if line.stream == "log"]
    assert logged[:2] == [("WARNING", "shop: low on tea"), ("ERROR", "shop: no cup")]
    assert logged[-1] == ("ERROR", "KeyError: 'cup'")
    assert bench.services.texts("stdout") == ["printed"]
    assert bench.services.texts("stderr") == ["ERROR shop: from a forked child"]


async def test_output_that_is_not_utf8_shows_as_escapes(bench: Bench) -> None:
    """And a last line without a newline is a line."""
    await bench.run("print_bytes")
    assert bench.services.texts("stdout") == ["caf\\xe9 \\xff", "é" * 10]
    assert bench.services.texts("stderr") == ["no newline at the end"]


async def test_a_long_line_is_cut_visibly(bench: Bench) -> None:
    """Its length is said."""
    await bench.run("print_long_line", line_limit_bytes=100)
    assert bench.services.texts("stdout") == ["z" * 100 + "…[truncated 4900 bytes]"]


async def test_a_chatty_handler_survives_with_its_output_cut(bench: Bench) -> None:
    """Dropping is said once, in the log and in the outcome."""
    outcome = await bench.run("print_much", {"lines": 40}, output_limit_bytes=1000)
    assert (outcome.word, outcome.output_truncated) == ("ok", True)
    assert len(bench.services.texts("stdout")) == 10
    assert bench.services.texts("faasd") == [
        "output_limit of 1000B reached; what is printed from here on is dropped"
    ]
    control = await bench.run("print_much", {"lines": 10}, output_limit_bytes=1000)
    assert not control.output_truncated


async def test_an_endless_printer_is_ended(both_benches: Bench) -> None:
    """Long before its time limit."""
    outcome = await both_benches.run("print_for_ever", output_limit_bytes=100_000)
    assert outcome.word == "output-limit"
    assert outcome.usage.wall_s < patient(5.0)


async def test_a_handler_may_ask_the_daemon(bench: Bench) -> None:
    """context.enqueue and context.invoke are requests that wait for their answers."""
    outcome = await bench.run("enqueue")
    assert outcome.result_json == '["q1",{"y":2},"i1"]'
    assert bench.services.requests[0] == {
        "queue": "letters", "body": {"n": 1}, "delay": "5s", "key": "k", "dedup": "d", "priority": 3,
        "expires": None,
    }  # fmt: skip
    assert bench.services.requests[2] == {"function": "other", "event": None, "wait": False}


async def test_what_the_daemon_refuses_is_raised_in_the_handler(bench: Bench) -> None:
    """With the error's own type, so that it can be caught."""
    error = (await bench.run("enqueue_nowhere")).error
    assert error is not None
    assert (error.type, error.message) == ("UnknownQueue", "no function consumes queue 'nowhere'")


async def test_a_flood_of_requests_is_answered_in_its_turn(bench: Bench) -> None:
    """A bounded number is served at once; the rest waits in the sandbox's own socket."""
    assert (await bench.run("flood_requests")).result_json == '"answered"'
    assert len(bench.services.requests) == 200


async def test_progress_reaches_the_daemon(bench: Bench) -> None:
    """Without waiting; of several that come at once the last one counts."""
    await bench.run("progress")
    assert bench.services.progressed[-1] == {"value": {"done": 2}}


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError", "nothing_of_that_name"),
        ("def f(:", "SyntaxError", "broken.py"),
        ("1/0", "ZeroDivisionError", "division by zero"),
        ("import sys; sys.exit(3)", "SystemExit", "called sys.exit(3) while it was imported"),
        ("raise BaseException('odd')", "BaseException", "odd"),
        ("import os; os._exit(4)", "InitCrashed", "exited with code 4"),
        ("import ctypes; ctypes.string_at(0)", "InitCrashed", "killed by signal 11 (SIGSEGV)"),
        ("while True: pass", "InitTimeout", f"init_timeout of {format_duration(patient(0.3))}"),
        ("handler = 3", "HandlerNotCallable", "broken:handler is of type int"),
        ("def other(): pass", "HandlerNotFound", "it has other"),
    ],
)
async def test_an_import_that_fails_says_how(
    bench: Bench, tmp_path: Path, source: str, kind: str, message: str
) -> None:
    """And what it printed is in the attempt's log."""
    (tmp_path / "broken.py").write_text(
        f"{'' if kind == 'SyntaxError' else 'print(1, flush=True)'}\n{source}\n"
    )
    bench.code_dir = str(tmp_path)
    init_timeout_s = patient(0.3) if kind == "InitTimeout" else 20.0
    outcome = await bench.run("broken:handler", init_timeout_s=init_timeout_s)

    assert outcome.word == "init-error"
    assert outcome.error is not None
    assert outcome.error.type == kind
    assert message in outcome.error.message + "".join(outcome.error.stack)
    assert bench.services.texts("stdout") == ([] if kind == "SyntaxError" else ["1"])


async def test_a_missing_module_says_where_it_was_looked_for(bench: Bench) -> None:
    """The usual mistake of a first configuration."""
    error = (await bench.run("no_such_module:handler")).error
    assert error is not None
    assert f"there is no module 'no_such_module' in {FUNCTIONS}" in error.message


async def test_a_failed_import_is_tried_again_on_a_later_attempt(tmp_path: Path) -> None:
    """A failure is shared for a second and no longer."""
    import asyncio

    from faasd.clock import FakeClock
    from faasd.sandbox.sandboxes import ProcessSandboxes

    (tmp_path / "counting.py").write_text("open('tries', 'a').write('x')\n1/0\n")
    clock = FakeClock()
    sandboxes = ProcessSandboxes(tmp_path / "state", clock)
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        bench.code_dir = str(tmp_path)
        (tmp_path / "tries").touch()
        given = Permissions(write=(str(tmp_path / "tries"),))
        attempts = (bench.run("counting:handler", permissions=given) for _ in range(3))
        await asyncio.gather(*attempts)
        assert (tmp_path / "tries").read_text() == "x"
        clock.advance(2.0)
        again = await bench.run("counting:handler", permissions=given)
        assert again.word == "init-error"
        assert (tmp_path / "tries").read_text() == "xx"
    finally:
        await sandboxes.stop()


async def test_a_zygote_that_died_is_replaced(bench: Bench) -> None:
    """The next attempt is a cold start, not a failure."""
    first = await bench.run("echo", 1)
    pool = bench.sandboxes._pool
    assert pool is not None
    [entry] = pool._entries.values()
    zygote = entry.task.result()
    zygote.kill()
    await zygote.exited
    second = await bench.run("echo", 2)

    assert (first.word, second.word) == ("ok", "ok")
    assert second.usage.init_s is not None


async def test_retired_zygotes_end_and_kept_ones_stay(bench: Bench) -> None:
    """A reload lets old code go."""
    kept, old = bench.function("echo"), bench.function("draw")
    await bench.sandboxes.warm(kept)
    await bench.sandboxes.warm(old)
    pool = bench.sandboxes._pool
    assert pool is not None
    zygotes = {entry.task.get_name(): entry.task.result() for entry in pool._entries.values()}
    await bench.sandboxes.retire([kept])
    await zygotes["draw"].exited

    assert zygotes["echo"].is_alive
    assert (await bench.run("draw")).word == "ok"


async def test_an_idle_zygote_is_let_go(tmp_path: Path) -> None:
    """Scale to zero."""
    from faasd.sandbox.sandboxes import ProcessSandboxes

    sandboxes = ProcessSandboxes(tmp_path, zygote_idle_s=0.05)
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        await bench.run("echo", 1)
        pool = sandboxes._pool
        assert pool is not None
        [entry] = pool._entries.values()
        await entry.task.result().exited
        assert (await bench.run("echo", 2)).usage.init_s is not None
    finally:
        await sandboxes.stop()


async def test_a_zygote_that_is_kept_warm_outlives_the_others(tmp_path: Path) -> None:
    """It has been idle for longer than the one that is let go."""
    from faasd.sandbox.sandboxes import ProcessSandboxes

    sandboxes = ProcessSandboxes(tmp_path, zygote_idle_s=0.05)
    await sandboxes.start()
    try:
        bench = Bench(sandboxes)
        await bench.run("echo", 1, keep_warm=True)
        await bench.run("draw")
        pool = sandboxes._pool
        assert pool is not None
        kept, other = (entry.task.result() for entry in pool._entries.values())
        await other.exited
        assert kept.is_alive
        assert (await bench.run("echo", 2, keep_warm=True)).usage.init_s is None
    finally:
        await sandboxes.stop()


async def test_warm_raises_what_is_wrong_with_an_import(bench: Bench) -> None:
    """`faasd check` and a reload want an exception, not an outcome."""
    from faasd.errors import ZygoteInitFailed

    with pytest.raises(ZygoteInitFailed, match="cannot import no_such_module:handler"):
        await bench.sandboxes.warm(bench.function("no_such_module:handler"))


async def test_an_interpreter_that_does_not_exist_is_our_failure_to_say(bench: Bench) -> None:
    """`sandbox-failed`, naming it."""
    outcome = await bench.run("echo", python="/nowhere/python3")
    assert outcome.word == "sandbox-failed"
    assert outcome.error is not None
    assert "/nowhere/python3" in outcome.error.message


async def test_a_zygote_that_is_retired_while_it_is_awaited_is_of_use_first(bench: Bench) -> None:
    """A reload must not turn an attempt that begins just now into a failure of ours."""
    running = asyncio.ensure_future(bench.run("echo", 1))
    pool = bench.sandboxes._pool
    assert pool is not None
    while not pool._entries:
        await asyncio.sleep(0)
    [entry] = pool._entries.values()
    assert not entry.task.done()
    await bench.sandboxes.retire([])
    assert (await running).word == "ok"
    await entry.task.result().exited
