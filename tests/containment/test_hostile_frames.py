"""What comes out of a sandbox or a zygote is hostile: each attack ends alone, and the daemon goes on."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from faasd.model.function import Function
from faasd.model.limits import Limits
from faasd.model.outcome import Outcome
from faasd.model.permissions import Permissions
from tests.containment.bench import Bench, an_attempt
from tests.patience import patient

#: A neighbour's warm attempt takes some milliseconds; one that waits for a stalled daemon takes seconds.
NEIGHBOUR_S = 1.0
#: Not every way of building walls has all of them; the frames are checked in each.
_LOOSE = Permissions(containment="best-effort")
#: What a zygote and a prepared workspace may keep open here for the next attempt.
KEPT_MAX = 4


def _descriptors() -> dict[str, str]:
    """Return what is open here; but for the files of control groups, a fixed number for each group that is kept."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
    return {name: what for name, what in found.items() if not what.startswith("/sys/fs/cgroup/")}


@asynccontextmanager
async def _unharmed(bench: Bench) -> AsyncIterator[None]:
    """Neighbours run on meanwhile with their usual latency, and no descriptor is left here afterwards."""
    neighbour = bench.function("echo", permissions=_LOOSE)
    # Two at once, so that what is kept for later attempts is there already.
    await asyncio.gather(*(bench.run_attempt(an_attempt(neighbour, 1)) for _ in range(2)))
    before = _descriptors()
    took: list[float] = []
    is_over = False

    async def run_neighbours() -> None:
        while not is_over or not took:
            began = time.monotonic()
            outcome = await bench.run_attempt(an_attempt(neighbour, 1))
            assert outcome.word == "ok", outcome
            took.append(time.monotonic() - began)
            await asyncio.sleep(0.02)

    running = asyncio.create_task(run_neighbours())
    try:
        yield
    finally:
        is_over = True
        await running
    assert sorted(took)[len(took) // 2] < patient(NEIGHBOUR_S), took
    assert max(took) < patient(3 * NEIGHBOUR_S), took
    deadline = time.monotonic() + patient(10)
    while len(_descriptors()) > len(before) + KEPT_MAX:
        left = Counter(_descriptors().values()) - Counter(before.values())
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.01)


async def _attack(bench: Bench, handler: str, event: Any = None, **limits: Any) -> Outcome:
    async with _unharmed(bench):
        limits = {"timeout_s": patient(10.0), "permissions": _LOOSE, **limits}
        return await bench.run(f"hostile_frames:{handler}", event, **limits)


LOG = b'{"op":"log","at":0,"level":"INFO","text":""}'


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"hex": "00000005" + b"12345".hex()}, "not a JSON object"),
        ({"hex": "7fffffff"}, "over the limit"),
        ({"hex": "0000000a7b"}, "incomplete"),
        ({"texts": ['{"op":"log","at":1e999,"level":[],"text":{}}', "{"]}, "not JSON"),
        ({"texts": ['{"op":"log","at":1' + "0" * 400 + ',"level":"","text":""}']}, "too large"),
        ({"texts": ['{"op":"log","at":{},"level":"","text":""}']}, "dict"),
        ({"texts": ['{"op":"log","at":"x","level":"","text":""}']}, "float"),
        ({"texts": ['{"op":{"a":1}}']}, "says"),
        ({"texts": ['{"op":["result"]}']}, "says"),
        ({"texts": ['{"op":null}']}, "says"),
        ({"texts": ["[]"]}, "not a JSON object"),
        ({"texts": ["\udcff\udcfe{}"]}, "not JSON"),
        ({"texts": ['{"op":"result"}', "nonsense"]}, "Expecting value"),
        ({"texts": ['{"op":"result"}', "NaN"]}, "NaN"),
        ({"texts": ['{"op":"result"}']}, "incomplete"),
        ({"texts": ['{"op":"forked","id":1,"fds":1}']}, "'forked'"),
        ({"texts": ['{"op":"ended","id":1}']}, "'ended'"),
    ],
)
async def test_what_is_no_protocol_is_crashed_and_says_why(
    bench: Bench, event: dict[str, Any], said: str
) -> None:
    """Wrong lengths, wrong types in every field, wrong encodings, frames of other protocols."""
    outcome = await _attack(bench, "send_raw", event)
    assert outcome.word == "crashed", outcome
    assert outcome.error is not None
    assert said in outcome.error.message


@pytest.mark.parametrize(
    "text",
    [
        '{"op":"error"}',
        '{"op":"error","error":[]}',
        '{"op":"error","error":{"type":{},"message":[[]],"stack":"x"}}',
        '{"op":"error","error":{"type":"E","message":"\\ud800","stack":[1,{},null]}}',
        '{"op":"init-error","error":7}',
    ],
)
async def test_a_report_with_odd_fields_is_still_a_report(bench: Bench, text: str) -> None:
    """Its fields become text, of bounded length, whatever they were."""
    outcome = await _attack(bench, "send_raw", {"texts": [text]})
    assert outcome.word in ("error", "init-error")
    assert outcome.error is not None
    json.dumps(outcome.error.to_json()).encode()


@pytest.mark.parametrize("depth", [2_000, 1_000_000])
async def test_deep_nesting_is_crashed(bench: Bench, depth: int) -> None:
    """It would overflow the stack of a parser that follows it."""
    assert (await _attack(bench, "send_deep", {"depth": depth})).word == "crashed"


async def test_half_a_frame_and_silence_is_a_timeout_like_any_other(bench: Bench) -> None:
    """Nobody waits for the rest but the attempt's own time limit."""
    event = {"hex": "000000ff7b", "hang": True}
    assert (await _attack(bench, "send_raw", event, timeout_s=0.5)).word == "timeout"


async def test_a_promise_of_a_gigabyte_is_not_believed(bench: Bench) -> None:
    """Nothing is set aside for it."""
    assert (await _attack(bench, "send_promise_of_a_gigabyte")).word == "crashed"


@pytest.mark.parametrize(
    "frame", [LOG.decode(), '{"op":"progress","x":1}'], ids=["log", "progress"]
)
async def test_a_flood_of_small_frames_waits_in_the_sandbox_and_not_in_the_daemon(
    bench: Bench, frame: str
) -> None:
    """The channel rests in proportion to what it costs, so the others keep their share of the daemon."""
    began_cpu_s, began = time.process_time(), time.monotonic()
    outcome = await _attack(bench, "flood", {"frame": json.loads(frame)}, timeout_s=2.0)
    assert outcome.word in (("output-limit", "timeout") if frame == LOG.decode() else ("timeout",))
    share = (time.process_time() - began_cpu_s) / (time.monotonic() - began)
    assert share < 0.7, f"the flood had {share:.0%} of the daemon's processor"


async def test_a_flood_of_empty_lines_is_ended(bench: Bench) -> None:
    """They cost a byte each to print, and are counted for what they cost to keep."""
    assert (await _attack(bench, "flood_newlines")).word == "output-limit"


async def test_answers_that_nobody_fetches_do_not_pile_up(bench: Bench) -> None:
    """While they wait, no further request is taken."""
    answer = {"result": "x" * 2**20}
    given = 0

    async def invoke(_attempt: Any, _request: Any) -> dict[str, Any]:
        nonlocal given
        given += 1
        return answer

    bench.services.invoke = invoke  # type: ignore[method-assign]
    assert (await _attack(bench, "ask_and_never_fetch", timeout_s=1.0)).word == "timeout"
    assert 1 <= given <= 100  # Some at once, and what the socket itself holds.


async def test_requests_in_masses_are_served_in_turn(bench: Bench) -> None:
    """The control of the one before: whoever fetches his answers gets them all."""
    outcome = await _attack(bench, "enqueue_in_masses", {"count": 250})
    assert outcome.result_json == '"sent"'
    assert len(bench.services.requests) == 1000


async def test_descriptors_sent_over_the_channel_do_not_arrive(bench: Bench) -> None:
    """Nobody asked for any, so the kernel drops them; two hundred at a time."""
    assert (await _attack(bench, "pass_descriptors", {"times": 50})).result_json == '"passed"'


async def test_a_second_report_spoils_the_first(bench: Bench) -> None:
    """Which of the two was meant, nobody can know."""
    outcome = await _attack(bench, "result_twice")
    assert outcome.word == "crashed"
    assert outcome.error is not None
    assert "after the report" in outcome.error.message


async def test_a_report_of_the_handlers_own_is_never_a_success_of_the_next(bench: Bench) -> None:
    """It says that it failed and then returns: it has failed, or said two things, whichever was seen."""
    outcome = await _attack(bench, "result_after_error")
    assert outcome.word in ("error", "crashed")


async def test_a_closed_channel_is_crashed(bench: Bench) -> None:
    """What was returned could not be told."""
    assert (await _attack(bench, "close_channel")).word == "crashed"


async def test_a_grandchild_that_keeps_the_channel_delays_nobody(both_benches: Bench) -> None:
    """Not even one that talks without end."""
    began = time.monotonic()
    outcome = await _attack(both_benches, "leave_a_holder")
    assert outcome.word in ("ok", "crashed")
    assert time.monotonic() - began < patient(5.0)


@pytest.mark.parametrize("text", ["9999999999999999", "-1", "1_0", "٣", "\0", "65537 "])
async def test_a_forged_end_is_no_end(bench: Bench, text: str) -> None:
    """The pipe that tells how the handler ended can be written to by whoever gets at it."""
    assert (await _attack(bench, "forge_status", {"text": text})).word == "crashed"


# The zygote.


def _from_zygote(attack: str, handler: str = "harmless", **env: str) -> Function:
    given = Permissions(env={"ATTACK": attack, **env} if attack else env, containment="best-effort")
    limits = Limits(timeout_s=2.0, init_timeout_s=2.0)
    from tests.containment.bench import FUNCTIONS

    return Function(
        f"bad-{attack}", f"hostile_zygote:{handler}", code_dir=str(FUNCTIONS), limits=limits,
        permissions=given, spares=0,
    )  # fmt: skip


_AS_SOON_AS_SAID = [
    "garbage", "gigabyte", "deep", "ready-without-fields", "ready-nan", "ready-huge",
    "ready-endless", "ready-alone-odd", "fds-odd", "fds-promised", "fds-negative", "id-odd", "no-op", "unknown-op",
    "ended-of-another", "descriptors", "frames", "close", "half", "exit",
    "init-error-odd", "init-error-stack",
]  # fmt: skip


@pytest.mark.parametrize("attack", _AS_SOON_AS_SAID)
async def test_a_module_that_attacks_the_zygotes_socket_harms_only_its_own_function(
    bench: Bench, attack: str
) -> None:
    """It ends as a failed import or a crash, at once or at its time limit, and twice the same way."""
    async with _unharmed(bench):
        for _ in range(2):
            outcome = await bench.run_attempt(an_attempt(_from_zygote(attack), 1))
            assert outcome.word in ("init-error", "crashed"), outcome
            assert outcome.error is not None
            json.dumps(outcome.error.to_json()).encode()


async def test_a_module_that_forks_and_lets_both_go_on_harms_only_its_own_function(
    bench: Bench,
) -> None:
    """Two zygotes on one socket: whichever is heard first serves, until the other is heard as well."""
    async with _unharmed(bench):
        for _ in range(3):
            outcome = await bench.run_attempt(an_attempt(_from_zygote("fork-and-go-on"), 1))
            assert outcome.word in ("ok", "init-error", "crashed"), outcome


#: Since Linux 6.5, and not in the socket module.
_SO_PEERPIDFD = 77


@pytest.mark.parametrize("attack", ["pidfd-of-daemon", "pidfd-of-itself", "no-pidfd"])
async def test_a_zygote_that_shows_another_process_as_its_child_is_found_out(
    bench: Bench, attack: str
) -> None:
    """The daemon would kill that process at the time limit: most of all, itself."""
    if attack == "pidfd-of-daemon":
        _skip_without_pidfds_of_peers()
    async with _unharmed(bench):
        outcome = await bench.run_attempt(an_attempt(_from_zygote(attack), 1))
        assert outcome.word in ("crashed", "init-error"), outcome
        assert outcome.error is not None
        if outcome.word == "crashed":
            assert "no child of it" in outcome.error.message


def _skip_without_pidfds_of_peers() -> None:
    """A zygote that asks for the daemon's pidfd in vain has nothing to show."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            os.close(theirs.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD))
        except OSError as error:
            pytest.skip(f"this kernel has no SO_PEERPIDFD: {error.strerror}")


async def test_the_kernel_does_hand_out_the_daemons_pidfd() -> None:
    """The control: without it, the test above would prove nothing on this kernel."""
    _skip_without_pidfds_of_peers()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pidfd = theirs.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        assert f"Pid:\t{os.getpid()}\n" in file.read()
    os.close(pidfd)


async def test_an_attempt_that_speaks_for_others_over_its_zygotes_socket_takes_only_its_own_zygote_down(
    bench: Bench,
) -> None:
    """`ended` for an attempt that nobody runs there is a breach, and its zygote ends for it."""
    async with _unharmed(bench):
        function = _from_zygote("", "speak_for_others", KEEP="1")
        outcome = await bench.run_attempt(an_attempt(function, {"id": 10**6}))
        assert outcome.word == "crashed", outcome
        assert outcome.error is not None
        assert "broke the protocol" in outcome.error.message


async def test_a_zygote_without_an_attack_works(bench: Bench) -> None:
    """The control of all of these: the module itself is sound."""
    assert (await bench.run_attempt(an_attempt(_from_zygote(""), 7))).result_json == "7"


async def test_a_module_cannot_kill_the_zygotes_parent(bench: Bench) -> None:
    """In a PID namespace of its own it has none that it could name."""
    async with _unharmed(bench):
        assert (await bench.run_attempt(an_attempt(_from_zygote("kill-parent"), 7))).word == "ok"
