"""Trees that were closed against writing go whole, and nothing beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from faasd.linux.trees import remove_tree


def test_directories_without_any_mode_go_and_what_links_lead_to_stays(tmp_path: Path) -> None:
    """Kept code is read-only, and code that was looked at may have closed what it was given."""
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o500)
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    (tree / "a" / "b" / "file").write_text("x")
    (tree / "a" / "link").symlink_to(outside)
    for closed in (tree / "a" / "b", tree / "a", tree):
        closed.chmod(0)
    remove_tree(tree)
    assert not tree.exists()
    assert outside.stat().st_mode & 0o777 == 0o500


def test_a_link_in_the_place_of_a_tree_is_not_followed(tmp_path: Path) -> None:
    """What it leads to may be somebody else's, and we may be root."""
    inner = tmp_path / "others" / "inner"
    inner.mkdir(parents=True)
    inner.chmod(0o755)
    (tmp_path / "link").symlink_to(tmp_path / "others")
    with pytest.raises(OSError, match="symbolic link"):
        remove_tree(tmp_path / "link")
    remove_tree(tmp_path / "link", ignores_errors=True)
    assert inner.stat().st_mode & 0o777 == 0o755


def test_what_is_not_there_is_told_unless_nobody_asks(tmp_path: Path) -> None:
    """Who tidies up after a crash finds much that is gone already."""
    with pytest.raises(FileNotFoundError):
        remove_tree(tmp_path / "gone")
    remove_tree(tmp_path / "gone", ignores_errors=True)
