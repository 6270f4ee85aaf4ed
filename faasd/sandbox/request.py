"""What a sandbox is sent for one attempt: a header and the event."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from faasd import wire
from faasd.model.attempt import Attempt
from faasd.sandbox import policy
from faasd.sandbox.sandbox import Sandbox

__all__ = ["Begun", "request_frames"]


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
    header["is_awaited"] = sandbox.ends_at_once
    return wire.encode(header) + wire.encode_raw(event)
