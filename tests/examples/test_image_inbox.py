"""examples/image_inbox does what its README says."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from PIL import Image

from tests.examples.running import Example, wait_for

_PICTURES = {"picture-1.jpg", "picture-2.jpg", "picture-3.jpg"}
_BROKEN = {"broken.jpg", "broken.jpg.error.json"}


def _names(directory: Path) -> set[str]:
    return set(os.listdir(directory)) if directory.exists() else set()


def test_pictures_become_thumbnails_and_a_broken_one_is_put_aside(image_inbox: Example) -> None:
    """The main job: real JPEGs in, small JPEGs out, originals filed by how it went."""
    folder = image_inbox.folder
    subprocess.run(["python", "make_pictures.py"], cwd=folder, env=image_inbox.environ, check=True)
    wait_for(
        f"all four are filed\n{image_inbox.log_text()}",
        lambda: _names(folder / "done") == _PICTURES and _names(folder / "failed") == _BROKEN,
    )
    assert _names(folder / "thumbnails") == _PICTURES
    assert _names(folder / "inbox") == set()
    for name in _PICTURES:
        with Image.open(folder / "thumbnails" / name) as small:
            small.load()
            assert max(small.size) == 200

    sidecar = json.loads((folder / "failed" / "broken.jpg.error.json").read_text())
    assert sidecar["outcome"] == "error"
    assert "truncated" in json.dumps(sidecar)
    [letter] = image_inbox.json("dead-letters", "list")
    assert (letter["function"], letter["outcome"], letter["attempts"]) == ("thumbnail", "error", 2)
    assert "truncated" in image_inbox.faasd("why", letter["id"])
    assert "broken.jpg" in image_inbox.faasd("why", "failed/broken.jpg")


def test_a_picture_repaired_in_failed_is_tried_again_when_moved_back(image_inbox: Example) -> None:
    """Its content has changed, so it is a new file, although its name was seen before."""
    inbox, failed, done = (image_inbox.folder / name for name in ("inbox", "failed", "done"))
    (inbox / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 and nothing more")
    wait_for("it has failed", (failed / "torn.jpg.error.json").exists)
    Image.new("RGB", (300, 300), "teal").save(failed / "torn.jpg")
    (failed / "torn.jpg").rename(inbox / "torn.jpg")
    wait_for("the repaired picture is done", (done / "torn.jpg").exists)
    assert (image_inbox.folder / "thumbnails" / "torn.jpg").exists()


def test_pictures_dropped_while_the_daemon_was_down_are_found_at_its_start(
    image_inbox: Example,
) -> None:
    """The directory is the truth; being told of a change is only a hint."""
    image_inbox.stop()
    Image.new("RGB", (300, 200), "navy").save(image_inbox.folder / "inbox" / "night.jpg")
    image_inbox.start()
    wait_for("it is done", (image_inbox.folder / "done" / "night.jpg").exists)
