"""examples/image_inbox does what its README says."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable

from PIL import Image

from tests.examples.running import Example, wait_for


def test_pictures_become_thumbnails_and_a_broken_one_is_put_aside(
    started: Callable[[str], Example],
) -> None:
    """The main job: real JPEGs in, small JPEGs out, originals filed by how it went."""
    example = started("image_inbox")
    folder = example.folder
    subprocess.run(["python", "make_pictures.py"], cwd=folder, env=example.environ, check=True)
    pictures = {"picture-1.jpg", "picture-2.jpg", "picture-3.jpg"}

    def filed() -> bool:
        done, failed = folder / "done", folder / "failed"
        return (
            done.exists()
            and failed.exists()
            and set(os.listdir(done)) == pictures
            and set(os.listdir(failed)) == {"broken.jpg", "broken.jpg.error.json"}
        )

    wait_for(f"all four are filed\n{example.log_text()}", filed)
    assert set(os.listdir(folder / "thumbnails")) == pictures
    assert os.listdir(folder / "inbox") == []
    for name in pictures:
        with Image.open(folder / "thumbnails" / name) as small:
            small.load()
            assert max(small.size) == 200

    sidecar = json.loads((folder / "failed" / "broken.jpg.error.json").read_text())
    assert sidecar["outcome"] == "error"
    assert "truncated" in json.dumps(sidecar)

    states = {row["state"]: row for row in example.invocations()}
    assert set(states) == {"done", "dead"}
    assert states["dead"]["attempts"] == 2
    [letter] = example.json("dead-letters", "list")
    assert letter["function"] == "thumbnail"
    assert "error" in example.faasd("why", letter["id"])
    assert "broken.jpg" in example.faasd("why", "failed/broken.jpg")


def test_a_repaired_picture_moved_back_into_the_inbox_is_tried_again(
    started: Callable[[str], Example],
) -> None:
    """Its content has changed, so it is a new file, although its name was seen before."""
    example = started("image_inbox")
    folder = example.folder
    subprocess.run(["python", "make_pictures.py", "1"], cwd=folder, env=example.environ, check=True)
    broken = folder / "failed" / "broken.jpg"
    wait_for("the broken picture has failed", (folder / "failed" / "broken.jpg.error.json").exists)
    Image.new("RGB", (300, 300), "teal").save(broken)
    broken.rename(folder / "inbox" / "broken.jpg")
    wait_for("the repaired picture is done", (folder / "done" / "broken.jpg").exists)
    assert (folder / "thumbnails" / "broken.jpg").exists()


def test_pictures_dropped_while_the_daemon_was_down_are_found_at_its_start(
    started: Callable[[str], Example],
) -> None:
    """The directory is the truth; being told of a change is only a hint."""
    example = started("image_inbox")
    example.stop()
    subprocess.run(
        ["python", "make_pictures.py", "2"], cwd=example.folder, env=example.environ, check=True
    )
    example.start()
    wait_for("both are done", (example.folder / "done" / "picture-2.jpg").exists)
    wait_for("both are done", (example.folder / "done" / "picture-1.jpg").exists)
