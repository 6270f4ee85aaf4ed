"""What enqueues without a daemon have done, counted for the metrics of the next one.

A file beside the database, read and written by whoever holds the state directory. It is no record: the
events themselves are, and a count that a power cut takes is missing in a metric and nowhere else.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from faasd.model.invocation import Acceptance, NewInvocation

__all__ = ["TALLY_NAME", "Tally", "add_to_tally", "take_tally"]

TALLY_NAME = "enqueued.json"

#: Queue and reason why it will not run, "" for those that will → how many.
Tally = Counter[tuple[str, str]]


def add_to_tally(
    state_dir: Path, new: Sequence[NewInvocation], acceptances: Sequence[Acceptance]
) -> None:
    """Count events that have just been stored. What cannot be counted is stored all the same: never raises OSError."""
    tally = _read(state_dir)
    for one, acceptance in zip(new, acceptances, strict=True):
        word = "duplicate" if acceptance.state == "duplicate" else acceptance.reason or ""
        tally[one.queue, word if acceptance.state in ("duplicate", "skipped") else ""] += 1
    fresh = state_dir / f".{TALLY_NAME}.new"
    with contextlib.suppress(OSError):
        fresh.unlink(missing_ok=True)
        # Of root's and in another user's directory: what is opened here is always a new file.
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            if os.geteuid() == 0:  # The daemon is to read it.
                owner = state_dir.stat()
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            json.dump([[*key, count] for key, count in tally.items()], file)
        fresh.replace(state_dir / TALLY_NAME)


def take_tally(state_dir: Path) -> Tally:
    """Return what was counted since it was last taken. Raises nothing: what is not whole counts nothing."""
    tally = _read(state_dir)
    with contextlib.suppress(OSError):
        (state_dir / TALLY_NAME).unlink()
    return tally


def _read(state_dir: Path) -> Tally:
    try:
        rows = json.loads((state_dir / TALLY_NAME).read_bytes())
        return Counter({(str(queue), str(word)): int(count) for queue, word, count in rows})
    except (OSError, ValueError, TypeError):
        return Counter()
