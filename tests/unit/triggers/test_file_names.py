"""Which names in a watched directory count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from faasd.model.trigger import FilesTrigger
from faasd.triggers.file_names import move_target, name_rules, numbered, temporary, with_suffix

TRIGGER = FilesTrigger(name="inbox", path="/srv/inbox")


@pytest.mark.parametrize(
    "name",
    [
        ".hidden",
        ".photo.jpg.Xa81Qz",
        "a.part",
        "a.tmp",
        ".a.swp",
        "a.swp",
        "a~",
        "a.filepart",
        "a.crdownload",
    ],
)
def test_names_that_writers_use_meanwhile_are_temporary(name: str) -> None:
    """An upload tool shows its half-written file under such a name and renames it when done."""
    assert temporary(name.encode()) is not None
    assert name_rules(TRIGGER).why_ignored(name.encode()) is not None


@pytest.mark.parametrize("name", ["a", "a.jpg", "part", "tmp.csv", "a.tmpl", "party.parts", "~a"])
def test_ordinary_names_are_not_temporary(name: str) -> None:
    """The control: a rule that is too wide loses files."""
    assert name_rules(TRIGGER).why_ignored(name.encode()) is None


@pytest.mark.parametrize(
    ("pattern", "path", "counts"),
    [
        ("*.jpg", "a.jpg", True),
        ("*.jpg", "sub/a.jpg", True),  # A plain pattern is about names.
        ("*.jpg", "a.jpeg", False),
        ("*.jpg", "a.JPG", False),
        ("sub/*.jpg", "sub/a.jpg", True),
        ("sub/*.jpg", "sub/deep/a.jpg", False),
        ("sub/**/*.jpg", "sub/deep/er/a.jpg", True),
        ("sub/**/*.jpg", "sub/a.jpg", True),
        ("**", "sub/a.jpg", True),
        ("a?c", "abc", True),
        ("a[bx]c", "axc", True),
        ("a[!b]c", "abc", False),
        ("a[!b]c", "axc", True),
        ("a[", "a[", True),
        ("a.b", "axb", False),
        ("*", "two\nlines", True),
        ("*.jpg", "caf\udce9.jpg", True),
    ],
)
def test_a_pattern_matches_as_documented(pattern: str, path: str, counts: bool) -> None:
    """Globs are the one thing that people write about names, so each rule of them is pinned."""
    rules = name_rules(replace(TRIGGER, pattern=(pattern,), recursive=True))
    why = rules.why_ignored(path.encode("utf-8", "surrogateescape"))
    assert (why is None) is counts


def test_exclude_wins_over_pattern() -> None:
    """What is named in both is left out, and `why` names the exclude pattern."""
    rules = name_rules(replace(TRIGGER, pattern=("*.csv",), exclude=("draft-*",)))
    assert rules.why_ignored(b"a.csv") is None
    assert "draft-*" in (rules.why_ignored(b"draft-a.csv") or "")


def test_markers_and_sidecars_are_no_events() -> None:
    """Both tell of another file."""
    rules = name_rules(replace(TRIGGER, marker=".ready"))
    assert "marker" in (rules.why_ignored(b"data.csv.ready") or "")
    assert rules.marked_by(b"data.csv.ready") == b"data.csv"
    assert rules.marked_by(b"data.csv") is None
    assert "sidecar" in (rules.why_ignored(b"data.csv.error.json") or "")


def test_a_recursive_trigger_stays_out_of_dot_directories_and_its_own_targets() -> None:
    """What has been moved to done must not come back as new."""
    rules = name_rules(replace(TRIGGER, recursive=True, on_success="move:done"))
    assert rules.descends(b"sub")
    assert not rules.descends(b".git")
    assert not rules.descends(b"done")
    assert rules.why_not_below(b"done/a.csv") is not None
    assert rules.why_not_below(b"sub/a.csv") is None
    assert "recursive" in (name_rules(TRIGGER).why_not_below(b"sub/a.csv") or "")


def test_a_relative_move_target_starts_at_the_watched_directory() -> None:
    """The daemon's working directory means nothing to whoever wrote the setting."""
    assert move_target(b"/srv/inbox", "move:../done") == b"/srv/done"
    assert move_target(b"/srv/inbox", "move:/else/where/") == b"/else/where"
    assert move_target(b"/srv/inbox", "keep") is None


def test_a_numbered_name_keeps_its_extension_and_fits() -> None:
    """`name.1.ext` opens with the same program, and 255 bytes are all that a name may have."""
    assert numbered(b"a.csv", 1) == b"a.1.csv"
    assert numbered(b"noext", 2) == b"noext.2"
    assert numbered(b"a.tar.gz", 3) == b"a.tar.3.gz"
    assert numbered(b".csv", 1) == b".csv.1"
    long = b"x" * 251 + b".csv"
    assert len(numbered(long, 7)) == 255
    assert numbered(long, 7).endswith(b".7.csv")
    assert len(with_suffix(b"y" * 255, b".error.json")) == 255
