"""What docs/writing-functions.md and docs/delivery-guarantees.md tell people, tried on the real daemon."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.examples.running import Example, processes_in, wait_for

_CONFIG = """
    [daemon]
    state_dir = "state"

    [defaults]
    retry = { attempts = 1 }

    [functions.failing_command]
    command = ["sh", "-c", "echo first >&2; echo last words >&2; exit 3"]

    [functions.plain_command]
    command = ["sh", "-c", "cat"]
"""

_FUNCTIONS = """
    import asyncio, logging, os, subprocess, threading, time
    from faasd import SoftTimeout, function, queue

    @function
    def not_json(event, context):
        return {"a": [1, {2}]}

    @function
    def exits(event, context):
        raise SystemExit(3)

    @function
    def surroundings(event, context):
        with open(os.path.join(os.environ["TMPDIR"], "scratch"), "w") as file:
            file.write("gone soon")
        subprocess.Popen(["sleep", "1000"])
        return {"cwd": os.getcwd(), "tmp": os.environ["TMPDIR"], "env": sorted(os.environ)}

    @function(timeout="500ms", grace="5s")
    def tidies_up(event, context):
        try:
            time.sleep(60)
        except Exception:
            print("swallowed")
        except SoftTimeout:
            print("saved what there is")
            raise

    @function(timeout="500ms", grace="5s")
    async def tidies_up_async(event, context):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("saved what there is")
            raise

    @function(open_files=32)
    def opens(event, context):
        return [open("/dev/null") for _ in range(100)] and None

    @function(file_size="1MiB")
    def writes(event, context):
        with open(os.path.join(os.environ["TMPDIR"], "big"), "wb") as file:
            file.write(bytes(2 * 2**20))

    @function(output_limit="4KiB")
    def chats(event, context):
        for _ in range(200):
            print("x" * 50)
        return "finished"

    @function(payload_limit="2KiB")
    def returns_much(event, context):
        return "x" * 5000

    @function
    def logs(event, context):
        logging.info("unheard")
        logging.warning("heard")

    @function(triggers=[queue("orders")], on_success="function:thank", on_failure="queue:complaints")
    def take_order(event, context):
        return 100 // event["body"]

    @function
    def thank(event, context):
        return event

    @function(triggers=[queue("complaints")])
    def complain(event, context):
        return event["body"]

    @function(triggers=[queue("slow")], timeout="60s", retry={"attempts": 2})
    def slow(event, context):
        if context.attempt == 1:
            time.sleep(50)
        return context.attempt
"""


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Example]:
    folder = tmp_path_factory.mktemp("ex")
    (folder / "faasd.toml").write_text(textwrap.dedent(_CONFIG))
    (folder / "functions").mkdir()
    (folder / "functions" / "claims.py").write_text(textwrap.dedent(_FUNCTIONS))
    example = Example(folder)
    try:
        example.start()
        yield example
    finally:
        example.stop()


def _invoked(example: Example, name: str, event: Any = None) -> dict[str, Any]:
    """Invoke and return everything that is then known of the invocation."""
    return example.client.invocation(example.client.invoke(name, event)["id"])


@pytest.mark.parametrize(
    ("name", "outcome", "said"),
    [
        ("not_json", "error", "result['a'][1] is of type set"),
        ("exits", "crashed", "sys.exit(3)"),
        ("tidies_up", "timeout", "time limit"),
        ("tidies_up_async", "timeout", "time limit"),
        ("opens", "error", "Too many open files"),
        ("writes", "error", "File too large"),
        ("returns_much", "error", "payload_limit"),
        ("failing_command", "error", "exited with code 3: last words"),
    ],
)
def test_how_a_handler_ends_is_as_documented(
    claims: Example, name: str, outcome: str, said: str
) -> None:
    """Each row of the tables in writing-functions.md that names an outcome."""
    shown = _invoked(claims, name)
    assert shown["outcome"] == outcome
    assert said in shown["error"]["message"]
    if name.startswith("tidies_up"):
        assert shown["attempt_records"][0]["log_tail"].strip() == "saved what there is"


def test_surroundings_are_as_documented(claims: Example) -> None:
    """Directory of the code's kept version, a temporary directory of its own, a nearly empty environment, no survivors."""
    result = _invoked(claims, "surroundings")["result"]
    kept = claims.folder / "state" / "versions"
    assert Path(result["cwd"]).parent.parent == kept
    assert (Path(result["cwd"]) / "claims.py").exists() or list(Path(result["cwd"]).glob("*.py"))
    assert result["tmp"] == "/tmp"
    assert not Path("/tmp/scratch").exists()
    known = {"PATH", "LANG", "TZ", "HOME", "TMPDIR", "LAMBDA_TASK_ROOT", "_HANDLER"}
    odd = [name for name in result["env"] if not name.startswith(("FAASD_", "AWS_"))]
    assert set(odd) <= known
    assert not any("sleep" in command for command in processes_in(claims.folder).values())


def test_printing_past_the_limit_is_cut_and_the_attempt_goes_on(claims: Example) -> None:
    """A chatty but finite attempt survives, and says that something was dropped."""
    shown = _invoked(claims, "chats")
    assert (shown["outcome"], shown["result"]) == ("ok", "finished")
    assert shown["attempt_records"][0]["output_truncated"] is True
    assert "output_limit" in claims.faasd("logs", "--function", "chats")


def test_log_records_below_warning_are_not_kept_unless_asked_for(claims: Example) -> None:
    """As in any Python program: the root logger's level is WARNING."""
    _invoked(claims, "logs")
    said = claims.faasd("logs", "--function", "logs")
    assert "heard" in said
    assert "unheard" not in said


def test_a_command_reads_its_event_and_prints_its_result(claims: Example) -> None:
    """JSON in, JSON out."""
    event = {"text": "naïve", "numbers": [1, 2.5, None]}
    assert _invoked(claims, "plain_command", event)["result"] == event
    printed = claims.faasd("invoke", "plain_command", "--event", json.dumps(event))
    assert json.loads(printed) == event


def test_the_record_of_a_finished_invocation_is_sent_on(claims: Example) -> None:
    """A function gets its fields at the top level, a queue in `body`."""
    good, bad = (claims.client.enqueue("orders", divisor) for divisor in (4, 0))
    for name, id_, outcome in (("thank", good, "ok"), ("complain", bad, "error")):
        [row] = wait_for(name, lambda name=name: claims.invocations(function=name, state="done"))
        shown = claims.client.invocation(row["id"])
        record = shown["result"]
        assert record.keys() >= {"function", "event", "result", "error"}
        assert (record["invocation_id"], record["outcome"]) == (id_, outcome)
        assert (shown["parent_id"], record["attempts"]) == (id_, 1)


def test_after_a_crash_the_queue_runs_again_uncharged_and_a_direct_invoke_does_not(
    claims: Example,
) -> None:
    """Nobody waits for the answer of a direct invoke any more; a queued event was promised a run."""
    queued = claims.client.enqueue("slow", {})
    waiting = claims.invoke_in_background("slow")
    both = wait_for(
        "both run",
        lambda: (
            running
            if len(running := claims.invocations(function="slow", state="running")) == 2
            else None
        ),
    )
    [direct] = [row["id"] for row in both if row["id"] != queued]
    claims.kill9()
    assert waiting.wait(20) == 3
    claims.start()
    wait_for("it ran again", lambda: claims.client.invocation(queued)["state"] == "done")
    shown = claims.client.invocation(queued)
    assert [record["outcome"] for record in shown["attempt_records"]] == ["lost", "ok"]
    ended = claims.client.invocation(direct)
    assert (ended["state"], ended["outcome"], ended["attempts"]) == ("done", "lost", 1)
