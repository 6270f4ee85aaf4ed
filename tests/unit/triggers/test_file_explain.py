"""`faasd why PATH`: sentences that people can act on."""

from __future__ import annotations

import os

from tests.fakes.files_fixtures import RigMaker, make_rig
from tests.fakes.files_rig import wait_for

__all__ = ["make_rig"]


async def test_why_says_which_rule_ignores_a_name(make_rig: RigMaker) -> None:
    """With the very pattern, so that it can be changed."""
    rig = make_rig(pattern=("*.jpg",), exclude=("draft*",))
    triggers = await rig.start_and_scan()
    for name, expected in {
        "a.part": "inbox: ignored, the name matches the temporary pattern *.part",
        "a.txt": "inbox: ignored, the name does not match the pattern *.jpg",
        "draft.jpg": "inbox: ignored, the name matches the exclude pattern draft*",
        "sub/a.jpg": "inbox: ignored, it is in a sub-directory and the trigger is not recursive",
        "none.jpg": "inbox: there is no such file now",
    }.items():
        assert await triggers.explain(str(rig.inbox / name)) == [expected]


async def test_why_says_what_is_no_regular_file(make_rig: RigMaker) -> None:
    """A link is not followed, and nobody would guess so."""
    rig = make_rig()
    triggers = await rig.start_and_scan()
    (rig.inbox / "link").symlink_to("/etc/hostname")
    [sentence] = await triggers.explain(str(rig.inbox / "link"))
    assert sentence == "inbox: ignored, it is a symbolic link; only regular files count"


async def test_why_says_how_long_a_file_waits(make_rig: RigMaker) -> None:
    """Being written, open, or without its marker."""
    rig = make_rig(settle_s=30.0)
    triggers = await rig.start_and_scan()
    path = rig.write_old("a")
    await wait_for(lambda: rig.status().pending == 1)
    await rig.quiet()
    [sentence] = await triggers.explain(str(path))
    assert sentence.startswith("inbox: still being written: changed ")
    assert sentence.endswith("ago, settle is 30s")
    with (rig.inbox / "open").open("wb"):
        await wait_for(lambda: rig.status().pending == 2)
        [sentence] = await triggers.explain(str(rig.inbox / "open"))
        assert "has not closed it" in sentence
    await rig.stop()
    triggers = await rig.start_and_scan(marker=".ready")
    await wait_for(lambda: rig.status().pending == 2)
    [sentence] = await triggers.explain(str(path))
    assert "when a.ready exists" in sentence


async def test_why_tells_the_story_of_an_accepted_file(make_rig: RigMaker) -> None:
    """When, as which invocation, and how that ended."""
    rig = make_rig()
    failed = rig.base / "failed"
    triggers = await rig.start_and_scan(on_failure=f"move:{failed}")
    path = rig.drop("a")
    await rig.accepted(1)
    await rig.in_ledger(path, "accepted")
    [sentence] = await triggers.explain(str(path))
    assert f"as invocation {rig.intake.id_of(path)}, which is waiting" in sentence
    rig.end(path)
    await rig.in_ledger(path, "done")
    [sentence] = await triggers.explain(str(path))
    assert sentence.endswith("which ended ok")
    other = rig.drop("b")
    await rig.accepted(2)
    await rig.in_ledger(other, "accepted")
    rig.end(other, "timeout")
    await rig.in_ledger(failed / "b", "failed")
    for asked in (failed / "b", other):
        [sentence] = await triggers.explain(str(asked))
        assert "ended timeout" in sentence
        assert f"dropped as {other}" in sentence


async def test_why_of_a_directory_and_of_places_nobody_watches(make_rig: RigMaker) -> None:
    """The watch itself, a neighbour, and nothing at all."""
    rig = make_rig()
    triggers = await rig.start_and_scan()
    [sentence] = await triggers.explain(str(rig.inbox))
    assert "watches this directory (inotify) for thumbnail" in sentence
    [sentence] = await triggers.explain(str(rig.base / "x"))
    assert sentence == f"no watch covers this path; the nearest is {rig.inbox} (inbox)"
    assert await triggers.explain("/nowhere/near") == []
    os.rmdir(rig.inbox)
    await wait_for(rig.problem)
    assert "does not exist" in (await triggers.explain(str(rig.inbox)))[-1]
