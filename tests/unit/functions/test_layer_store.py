"""Layers: numbered versions that never change, whatever happens while one is made."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faasd.errors import BundleRefused, InvalidSetting, NotFound, VersionError
from faasd.functions.layer_store import LayerStore
from faasd.linux.trees import remove_tree
from tests.daemon.harness import tmpfs
from tests.patience import patient


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    (path / "python" / "tiny").mkdir(parents=True)
    (path / "python" / "tiny" / "__init__.py").write_text("ANSWER = 1\n")
    return path


@pytest.fixture
def store(tmp_path: Path) -> LayerStore:
    return LayerStore(tmp_path / "state")


def leftovers(store: LayerStore) -> list[str]:
    return sorted(path.name for path in store._root.glob(".*"))


def test_versions_are_numbered_and_found_by_name(store: LayerStore, source: Path) -> None:
    """As in Lambda: a name means the newest, a name with a number always the same."""
    first, is_new = store.publish("tiny", source, "the first")
    (source / "python" / "tiny" / "__init__.py").write_text("ANSWER = 2\n")
    second, _ = store.publish("tiny", source)

    assert is_new
    assert (first.reference, second.reference) == ("tiny:1", "tiny:2")
    assert store.versions() == [first, second]
    assert store.find("tiny")[0] == second
    found, content = store.find("tiny:1")
    assert found == first
    assert (content / "python/tiny/__init__.py").read_text() == "ANSWER = 1\n"
    assert store.resolve("tiny:1").digest != store.resolve("tiny:2").digest


def test_the_same_content_makes_no_new_version(store: LayerStore, source: Path) -> None:
    """A script that publishes at every run must not fill the disk."""
    first, _ = store.publish("tiny", source)
    again, is_new = store.publish("tiny", source)

    assert (again, is_new) == (first, False)
    assert leftovers(store) == []


def test_nothing_of_a_version_can_be_written(store: LayerStore, source: Path) -> None:
    """It is shared, and functions were checked with what it held."""
    store.publish("tiny", source)
    _, content = store.find("tiny")

    modes = {path.stat().st_mode & 0o222 for path in content.rglob("*")}
    assert modes == {0}


def test_a_deleted_number_is_not_given_again(store: LayerStore, source: Path) -> None:
    """Else `tiny:1` would come to mean something else in somebody's configuration."""
    store.publish("tiny", source)
    store.delete("tiny:1", lambda _: [])
    again, is_new = store.publish("tiny", source)

    assert is_new
    assert again.reference == "tiny:2"
    with pytest.raises(NotFound, match="no version 1; there is 2"):
        store.find("tiny:1")


def test_a_version_in_use_stays(store: LayerStore, source: Path) -> None:
    """Its functions would fail at their next cold start."""
    store.publish("tiny", source)

    with pytest.raises(BundleRefused, match="in use by function 'a', function 'b'"):
        store.delete("tiny:1", lambda _: ["function 'a'", "function 'b'"])
    assert store.find("tiny:1")


def test_what_does_not_exist_is_said_with_what_does(store: LayerStore, source: Path) -> None:
    """Most wrong names are misspelt ones."""
    store.publish("tiny", source)

    with pytest.raises(NotFound, match='did you mean "tiny"'):
        store.find("tinny")
    with pytest.raises(NotFound, match="expected a name"):
        store.find("a b")
    with pytest.raises(InvalidSetting, match="cannot be the name"):
        store.publish("../x", source)
    with pytest.raises(InvalidSetting, match="NAME:VERSION"):
        store.delete("tiny", lambda _: [])


def test_two_who_publish_at_once_get_two_versions(store: LayerStore, tmp_path: Path) -> None:
    """No lock is needed: a rename that finds its place taken takes the next."""
    sources = []
    for number in range(8):
        path = tmp_path / f"source-{number}"
        path.mkdir()
        (path / "x").write_text(str(number))
        sources.append(path)
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda path: store.publish("tiny", path)[0].version, sources))

    assert sorted(made) == list(range(1, 9))
    assert leftovers(store) == []


def test_a_publisher_that_is_killed_leaves_no_version_behind(tmp_path: Path, source: Path) -> None:
    """Half a layer must never be found, and what is left of it goes at the next publish."""
    os.mkfifo(tmp_path / "gate")
    code = (
        "import sys, pathlib\n"
        "from faasd.functions import layer_store\n"
        "layer_store.seal = lambda tree: (open(sys.argv[1], 'w').close(), __import__('signal').pause())\n"
        "layer_store.LayerStore(pathlib.Path(sys.argv[2])).publish('tiny', pathlib.Path(sys.argv[3]))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "gate"), str(tmp_path / "state"), str(source)]
    )
    (tmp_path / "gate").open().close()  # It has copied everything, and is about to place it.
    store = LayerStore(tmp_path / "state")
    staged = leftovers(store)
    child.send_signal(signal.SIGKILL)
    child.wait()

    assert len(staged) == 1
    assert store.versions() == []
    published, _ = store.publish("tiny", source)
    assert published.version == 1
    assert leftovers(store) == []


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    """Nothing half-written, and the room is free again."""
    (tmp_path / "state").mkdir()
    with tmpfs(tmp_path / "state", "2m"):
        (tmp_path / "big").mkdir()
        (tmp_path / "big" / "x").write_bytes(b"x" * 4_000_000)
        store = LayerStore(tmp_path / "state")

        with pytest.raises(BundleRefused, match="No space left"):
            store.publish("big", tmp_path / "big")

        assert store.versions() == []
        assert leftovers(store) == []


def test_who_may_not_write_is_told_who_may(tmp_path: Path, source: Path) -> None:
    """The state directory is the daemon's; most people who see this forgot `sudo -u`."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else for this")
    (tmp_path / "state").mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    code = (
        "import os, pathlib, sys\n"
        "from faasd.functions.layer_store import LayerStore\n"
        "os.setuid(65534)\n"
        "try: LayerStore(pathlib.Path(sys.argv[1])).publish('tiny', pathlib.Path('/etc'))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "state")],
        capture_output=True,
        text=True,
        check=True,
        timeout=patient(30),
    )
    assert "BundleRefused cannot write to" in done.stdout
    assert "sudo -u root" in done.stdout


def test_read_only_trees_can_be_removed_by_their_owner(tmp_path: Path) -> None:
    """What keeps people from changing a version must not keep the daemon from deleting it."""
    (tmp_path / "t" / "d").mkdir(parents=True)
    (tmp_path / "t" / "d" / "x").write_text("x")
    (tmp_path / "t" / "d").chmod(0o555)

    remove_tree(tmp_path / "t")

    assert not (tmp_path / "t").exists()


def test_a_layer_whose_last_version_is_gone_is_not_suggested(
    store: LayerStore, source: Path
) -> None:
    """Its directory stays, so that its numbers are not given again; that is no layer to mean."""
    store.publish("fonts", source)
    store.delete("fonts:1", lambda _: [])
    with pytest.raises(NotFound, match="there is no layer 'fonts'; `faasd layers publish` makes"):
        store.find("fonts")


def test_layers_that_cannot_be_read_are_not_taken_for_none(store: LayerStore, source: Path) -> None:
    """A function would be left out for want of a layer that is there, and a number be given twice."""
    assert store.versions() == []
    store._root.parent.mkdir()
    store._root.symlink_to(store._root)
    with pytest.raises(VersionError, match=f"cannot read {store._root}: Too many levels of symb"):
        store.versions()
    store._root.unlink()
    store.publish("tiny", source)
    record = store._root / "tiny" / "1" / "layer.json"
    text = record.read_text()
    record.unlink()
    assert store.versions() == []
    record.mkdir()
    for ask in (lambda: store.find("tiny"), lambda: store.publish("tiny", source)):
        with pytest.raises(
            VersionError, match=f"cannot read {record}: Is a directory; run this as"
        ):
            ask()
    record.rmdir()
    record.write_text(text)
    assert [one.reference for one in store.versions()] == ["tiny:1"]
