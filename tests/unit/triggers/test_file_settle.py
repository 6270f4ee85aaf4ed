"""When a file is complete, and when it is gone."""

from __future__ import annotations

from dataclasses import replace

from faasd.interfaces import FileRow
from faasd.triggers.file_settle import (
    Hint,
    Identity,
    Pending,
    Seen,
    SettleRules,
    gone,
    is_same_file,
    judge,
    sift,
    signed_64,
)

NOW = 1_750_000_000.0
RULES = SettleRules(settle_s=1.0, needs_marker=False, trusts_times=True, stable_inodes=True)
FOREIGN = replace(RULES, trusts_times=False)


def a_file(age_s: float = 0.0, *, size: int = 10, links: int = 1, marker: bool = False) -> Seen:
    changed_ns = round((NOW - age_s) * 1e9)
    return Seen(b"/in/a", Identity(1, 2, changed_ns, size), changed_ns, links, marker)


def judged(
    seen: Seen,
    before: Pending | None = None,
    hint: Hint = Hint.NONE,
    rules: SettleRules = RULES,
    at_s: float = 100.0,
) -> Pending | None:
    return judge(seen, before, hint, rules, now=NOW + at_s - 100.0, monotonic_s=at_s)


def test_a_file_renamed_in_is_complete_at_once() -> None:
    """Whoever renames has finished writing; waiting would only cost time."""
    assert judged(a_file(0.0), hint=Hint.RENAMED_IN) is None


def test_a_file_that_has_been_still_for_long_enough_is_complete_at_first_sight() -> None:
    """Files present before start must not wait once more."""
    assert judged(a_file(1.0)) is None
    assert judged(a_file(0.9)) is not None


def test_a_young_file_is_looked_at_again_when_it_can_be_complete() -> None:
    """Not earlier, which would be polling, and not later, which would be slow."""
    pending = judged(a_file(0.4))
    assert pending is not None
    assert pending.look_at_s is not None
    assert abs(pending.look_at_s - 100.6) < 1e-6


def test_a_change_starts_the_wait_anew() -> None:
    """A writer that reopens and appends must not be read half-way."""
    first = judged(a_file(0.0))
    grown = replace_size(a_file(-0.9), 20)
    again = judged(grown, first, at_s=100.9)
    assert again is not None
    assert again.since_s == 100.9
    assert again.look_at_s is not None
    assert abs(again.look_at_s - 101.9) < 1e-6


def replace_size(seen: Seen, size: int) -> Seen:
    return seen._replace(identity=seen.identity._replace(size=size))


def test_a_close_does_not_shorten_the_wait_of_a_young_file() -> None:
    """Programs close and reopen; only an unchanged second says that they are done."""
    assert judged(a_file(0.1), hint=Hint.CLOSED) is not None


def test_a_close_long_after_the_last_write_completes_the_file() -> None:
    """The writer slept on its descriptor; nothing is left to wait for."""
    created = judged(a_file(0.0), hint=Hint.CREATED)
    assert judged(a_file(0.0), created, Hint.CLOSED, at_s=105.0) is None


def test_a_file_whose_writer_pauses_is_not_complete_before_the_close() -> None:
    """A scanner writes for minutes, with pauses longer than settle."""
    created = judged(a_file(0.0), hint=Hint.CREATED)
    assert created is not None
    assert created.is_open
    assert judged(a_file(0.0), created, at_s=130.0) is not None
    assert judged(a_file(0.0), created, at_s=161.0) is None  # A missed close is not for ever.


def test_a_hard_link_is_not_waited_for() -> None:
    """It was created complete: nothing was opened, so no close will come."""
    linked = judged(a_file(0.0, links=2), hint=Hint.CREATED)
    assert linked is not None
    assert not linked.is_open


def test_with_a_marker_nothing_else_counts() -> None:
    """data.csv is complete when data.csv.ready exists, and not a moment before."""
    rules = replace(RULES, needs_marker=True)
    waiting = judged(a_file(1000.0), hint=Hint.RENAMED_IN, rules=rules)
    assert waiting is not None
    assert waiting.look_at_s is None
    assert judged(a_file(0.0, marker=True), rules=rules) is None


def test_times_of_a_foreign_clock_count_for_nothing() -> None:
    """A server whose clock is an hour behind stamps every file an hour old."""
    waiting = judged(a_file(3600.0), rules=FOREIGN)
    assert waiting is not None
    assert judged(a_file(3600.0), waiting, rules=FOREIGN, at_s=100.9) is not None
    assert judged(a_file(3600.0), waiting, rules=FOREIGN, at_s=101.0) is None


def test_a_file_from_the_future_settles_by_observation() -> None:
    """A wrong mtime must not keep a file for ever."""
    waiting = judged(a_file(-86400.0))
    assert waiting is not None
    assert judged(a_file(-86400.0), waiting, at_s=101.0) is None


def test_an_old_mtime_alone_does_not_make_a_file_complete() -> None:
    """`cp -p` sets the old time as its last act; the inode's own time says when that was."""
    copied = a_file(3600.0)._replace(ctime_ns=round((NOW - 0.1) * 1e9))
    assert judged(copied) is not None


def test_settle_zero_takes_a_closed_file_at_once_but_not_one_that_just_appeared() -> None:
    """A scan may meet a file in the instant of its creation, before any hint."""
    rules = replace(RULES, settle_s=0.0)
    assert judged(a_file(0.0), hint=Hint.CLOSED, rules=rules) is None
    assert judged(a_file(0.0), rules=rules) is not None
    assert judged(a_file(0.0), hint=Hint.CREATED, rules=rules) is not None


def row(path: bytes = b"/in/a", device: int = 1, inode: int = 2, **changes: object) -> FileRow:
    base = FileRow("inbox", path, device, inode, 5, 10, "done", "id", NOW)
    return replace(base, **changes)  # type: ignore[arg-type]


def test_the_same_file_on_a_renumbered_device_is_the_same() -> None:
    """A remounted file system must not look like a thousand new files."""
    assert is_same_file(row(), Identity(9, 2, 5, 10))
    assert not is_same_file(row(), Identity(1, 3, 5, 10))
    assert is_same_file(row(), Identity(1, 3, 5, 10), stable_inodes=False)
    assert not is_same_file(row(), Identity(1, 2, 6, 10))
    assert not is_same_file(row(), Identity(1, 2, 5, 11))


def is_gone(a_row: FileRow, directories: dict[bytes, int], **more: object) -> bool:
    settings: dict[str, object] = {"present": set(), "unread": set(), "devices": {}, **more}
    return bool(gone([a_row], directories=directories, root=b"/in", **settings))  # type: ignore[arg-type]


def test_a_row_is_gone_only_where_its_directory_was_read_on_its_own_device() -> None:
    """A vanished mount looks like an empty directory, and is none."""
    assert is_gone(row(), {b"/in": 1})
    assert not is_gone(row(), {b"/in": 7})
    assert not is_gone(row(), {b"/in": 1}, present={b"/in/a"})
    assert not is_gone(row(), {}, unread={b"/in"})
    assert is_gone(row(), {b"/in": 7}, devices={1: 7})
    assert is_gone(row(b"/in/sub/a"), {b"/in": 1})  # The sub-directory is gone as well.
    assert not is_gone(row(b"/in/sub/a"), {b"/in": 1}, unread={b"/in/sub"})
    assert not is_gone(row(b"/elsewhere/a"), {b"/in": 1})


def test_files_of_one_look_come_in_the_order_asked_for() -> None:
    """By name, or the oldest first."""
    files = [
        Seen(b"/in/" + name, Identity(1, n, mtime, 1), mtime, 1)
        for n, (name, mtime) in enumerate([(b"b", 1), (b"c", 3), (b"a", 2)])
    ]
    for order, expected in (("name", [b"a", b"b", b"c"]), ("mtime", [b"b", b"a", b"c"])):
        sifted = sift(files, {}, {}, {}, RULES, order=order, now=NOW, monotonic_s=1.0)
        assert [seen.path[-1:] for seen in sifted.complete] == expected


def test_numbers_that_sqlite_cannot_hold_are_folded() -> None:
    """Some file systems use all 64 bits of an inode number."""
    assert signed_64(2**64 - 1) == -1
    assert signed_64(2**63 - 1) == 2**63 - 1
