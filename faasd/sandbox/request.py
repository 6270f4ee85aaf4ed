"""What a sandbox is sent for one attempt: a header and the event; and for several that it runs one after another."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from faasd import wire
from faasd.model.attempt import Attempt
from faasd.sandbox import policy
from faasd.sandbox.sandbox import Sandbox

__all__ = ["Begun", "frames_of_many", "request_frames"]

_BOOLS = ("false", "true")
_text_of = json.JSONEncoder().encode


@dataclass(frozen=True)
class Begun:
    """An attempt that was sent to its sandbox together with others; see burst.py."""

    at: float  # By the monotonic clock.
    texts: Sequence[bytes]  # Frames of its that have come already.
    is_first: bool
    is_last: bool
    was_reset: bool  # The channel, with something unread in it.
    is_oom: bool


def request_frames(
    attempt: Attempt,
    sandbox: Sandbox,
    deadline_at: float,
    secrets: Mapping[str, bytes],
    *,
    stays: bool,
    goes_on: bool = False,
) -> bytes:
    """Return the two frames.

    With `stays` the sandbox waits for another attempt after this one; with `goes_on` the next one follows at
    once, and begins without our saying so.
    """
    env = policy.attempt_environment(
        attempt, os.environ, sandbox.tmp_dir, deadline_at, sandbox.walls.identity
    )
    event = policy.event_json(attempt)
    timeout_s = attempt.function.limits.timeout_s
    header = policy.attempt_header(attempt, env, timeout_s, len(event), secrets)
    header["stays"] = stays
    header["goes_on"] = goes_on
    # In one that is renewed it ends by itself, but where somebody waits for the answer not before that: while it is there,
    # two processes mean that nothing is left behind.
    header["is_awaited"] = sandbox.ends_at_once and (sandbox.renewal is None or attempt.is_sync)
    return wire.encode(header) + wire.encode_raw(event)


def frames_of_many(
    attempts: Sequence[Attempt], sandbox: Sandbox, deadline_at: float, bytes_max: int
) -> list[bytes]:
    """Return the frames of as many of these attempts as fit; the sandbox runs them one after another.

    Where the header would say what the one before said, but for a few words, it has only those: of what a short
    attempt costs, both sides spent a fifth on the others.
    """
    frames: list[bytes] = []
    size = 0
    before: Attempt | None = None
    for attempt in attempts:
        one = _frames_behind(before, attempt, sandbox, deadline_at)
        size += len(one)
        if size > bytes_max and frames:
            break
        frames.append(one)
        before = attempt
    stays = sandbox.served + len(frames) < sandbox.function.reuse
    last = attempts[len(frames) - 1]
    before = attempts[len(frames) - 2] if frames[1:] else None
    frames[-1] = _frames_behind(before, last, sandbox, deadline_at, stays=stays, goes_on=False)
    return frames


def _frames_behind(
    before: Attempt | None,
    attempt: Attempt,
    sandbox: Sandbox,
    deadline_at: float,
    *,
    stays: bool = True,
    goes_on: bool = True,
) -> bytes:
    if before is None or not _is_like(attempt, before):
        return request_frames(attempt, sandbox, deadline_at, {}, stays=stays, goes_on=goes_on)
    event = policy.event_json(attempt)
    claim = attempt.claims[0]
    # As `wire.encode` would have it; to build an encoder of JSON for each took longer than all else here.
    header = (
        f'{{"is_like_before":true,"invocation_id":{_text_of(claim.invocation.id)},'
        f'"attempt":{claim.number},"event_bytes":{len(event)},'
        f'"stays":{_BOOLS[stays]},"goes_on":{_BOOLS[goes_on]}}}'
    )
    return wire.encode_raw(header.encode()) + wire.encode_raw(event)


def _is_like(attempt: Attempt, before: Attempt) -> bool:
    """Whether what the environment and the context say of two attempts differs by id and number alone."""
    its, others = attempt.claims[0].invocation, before.claims[0].invocation
    is_alike = its.trigger == others.trigger and its.scheduled_for == others.scheduled_for
    return is_alike and its.trigger != "files"  # The environment names the file.
