"""When is a file complete, and when is it really gone? Pure: no clock, no disk, no store.

A scan says what is there now; this module compares it with what was there before and says which
files are complete, which wait and until when, and which ledger rows may be forgotten.

Complete is, in this order:

1. With a marker: the marker exists. Nothing else counts then.
2. It was renamed in (a hint of the watch). Whoever renames has finished writing.
3. It has been the same for `settle_s`: no change between two looks that far apart, or, where the
   file system keeps its times by our clock, times that are at least that old. A file that was
   seen to be created and has not been closed since waits for the close first, for a writer may
   pause for longer than `settle_s`; but not for ever, since a close can be missed.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from faasd.interfaces import FileRow

__all__ = [
    "Hint",
    "Identity",
    "Pending",
    "Seen",
    "SettleRules",
    "Sifted",
    "gone",
    "is_same_file",
    "judge",
    "sift",
    "signed_64",
]

_OPEN_PATIENCE_S_MIN = 60.0
_OPEN_PATIENCE_SETTLES = 10
#: However short `settle_s` is, a file that no hint tells of is not taken the moment it appears.
_UNHINTED_S_MIN = 0.1


class Hint(enum.IntEnum):
    """What the watch said last about a path. Only ever a hint."""

    NONE = 0
    CREATED = 1  # Opened with O_CREAT, or linked in: perhaps still being written.
    CLOSED = 2  # Closed after having been open for writing.
    RENAMED_IN = 3


class Identity(NamedTuple):
    """What makes a file this file. The same path with another identity is a new file."""

    device: int
    inode: int
    mtime_ns: int
    size: int


class Seen(NamedTuple):
    """A regular file as one look found it. `path` is absolute."""

    path: bytes
    identity: Identity
    ctime_ns: int
    links: int
    has_marker: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """A file that is there and not complete."""

    identity: Identity
    since_s: float  # Monotonic: when it was first seen like this.
    look_at_s: float | None  # Monotonic: when to look again; None: only a hint or a scan can tell.
    is_open: bool  # Seen to be created and not closed since.
    ctime_ns: int = 0


@dataclass(frozen=True, slots=True)
class SettleRules:
    """How a trigger tells a complete file."""

    settle_s: float
    needs_marker: bool
    trusts_times: bool  # The file system's times come from our own clock.
    stable_inodes: bool  # Inode numbers survive a remount.

    @property
    def open_patience_s(self) -> float:
        """How long an unclosed file that no longer changes is waited for."""
        return max(_OPEN_PATIENCE_S_MIN, _OPEN_PATIENCE_SETTLES * self.settle_s)


def judge(
    seen: Seen,
    before: Pending | None,
    hint: Hint,
    rules: SettleRules,
    *,
    now: float,
    monotonic_s: float,
) -> Pending | None:
    """Say whether a file is complete (None), or how it waits."""
    is_same = before is not None and before.identity == seen.identity
    since_s = before.since_s if before is not None and is_same else monotonic_s
    if rules.needs_marker:
        if seen.has_marker:
            return None
        return Pending(seen.identity, since_s, None, is_open=False, ctime_ns=seen.ctime_ns)
    if hint is Hint.RENAMED_IN:
        return None
    is_open = hint is Hint.CREATED or (
        before is not None and before.is_open and hint is not Hint.CLOSED
    )
    # A hard link is created complete: nothing was opened, so no close will come.
    is_open = is_open and seen.links == 1
    quiet_s = monotonic_s - since_s
    if rules.trusts_times:
        # ctime too: `cp -p` and `tar x` set an old mtime as their last act, and nobody can set ctime.
        changed_at = max(seen.identity.mtime_ns, seen.ctime_ns) / 1e9
        quiet_s = max(quiet_s, now - changed_at)
    if is_open:
        enough_s = rules.open_patience_s
    elif hint is Hint.CLOSED:
        enough_s = rules.settle_s
    else:  # It may have been created this very instant.
        enough_s = max(rules.settle_s, _UNHINTED_S_MIN)
    if quiet_s >= enough_s:
        return None
    look_at_s = monotonic_s + max(enough_s - quiet_s, 0.001)
    return Pending(seen.identity, since_s, look_at_s, is_open, seen.ctime_ns)


def is_same_file(row: FileRow, identity: Identity, *, stable_inodes: bool = True) -> bool:
    """Whether what is at a row's path is still the file that the row tells of.

    The device does not count: a remounted file system may come back under another number, and its
    thousand files with it. Where inode numbers are made up at mount time they do not count either.
    """
    if (row.mtime_ns, row.size) != (identity.mtime_ns, identity.size):
        return False
    return row.inode == identity.inode or not stable_inodes


@dataclass(frozen=True, slots=True)
class Sifted:
    """What a look comes to: complete files in order, those that wait, those known already."""

    complete: list[Seen]
    waiting: dict[bytes, Pending]
    settled: list[bytes]  # Neither new nor changed.

    def parts(self, count_max: int) -> Iterator[Sifted]:
        """Yield the same in smaller parts, in order."""
        for first in range(0, len(self.complete), count_max):
            yield Sifted(self.complete[first : first + count_max], {}, [])
        waiting = iter(self.waiting.items())
        while part := dict(islice(waiting, count_max)):
            yield Sifted([], part, [])
        if self.settled:
            yield Sifted([], {}, self.settled)


def sift(
    files: Iterable[Seen],
    rows: Mapping[bytes, FileRow],
    before: Mapping[bytes, Pending],
    hints: Mapping[bytes, Hint],
    rules: SettleRules,
    *,
    order: str,
    now: float,
    monotonic_s: float,
) -> Sifted:
    """Judge every file of one look."""
    sifted = Sifted([], {}, [])
    for seen in files:
        row = rows.get(seen.path)
        if row is not None and is_same_file(row, seen.identity, stable_inodes=rules.stable_inodes):
            sifted.settled.append(seen.path)
            continue
        verdict = judge(
            seen,
            before.get(seen.path),
            hints.get(seen.path, Hint.NONE),
            rules,
            now=now,
            monotonic_s=monotonic_s,
        )
        if verdict is None:
            sifted.complete.append(seen)
        else:
            sifted.waiting[seen.path] = verdict
    sifted.complete.sort(key=_by_mtime if order == "mtime" else _by_name)
    return sifted


def _by_name(seen: Seen) -> bytes:
    return seen.path


def _by_mtime(seen: Seen) -> tuple[int, bytes]:
    return seen.identity.mtime_ns, seen.path


def gone(
    rows: Iterable[FileRow],
    *,
    present: AbstractSet[bytes],
    directories: Mapping[bytes, int],
    unread: AbstractSet[bytes],
    devices: Mapping[int, int],
    root: bytes,
) -> list[bytes]:
    """Return the paths below `root` that are verifiably no longer there.

    `directories` are those read from end to end in this scan, with their device; `unread` those
    that could not be. A row is gone only if the nearest directory above it that still exists was
    read, and lies on the row's own device: otherwise a mount has vanished, not a file. `devices`
    says under which number a remounted device came back.
    """
    found = []
    prefix = root.rstrip(b"/") + b"/"
    for row in rows:
        if row.path in present or not row.path.startswith(prefix):
            continue
        parent = row.path.rpartition(b"/")[0]
        while parent not in directories and parent not in unread and len(parent) > len(root):
            parent = parent.rpartition(b"/")[0]
        if parent in unread or parent not in directories:
            continue
        if directories[parent] == devices.get(row.device, row.device):
            found.append(row.path)
    return found


def signed_64(number: int) -> int:
    """Fold an unsigned 64-bit number into what an SQLite integer can hold."""
    return number - 2**64 if number >= 2**63 else number
