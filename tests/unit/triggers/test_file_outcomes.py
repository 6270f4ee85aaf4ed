"""on_success and on_failure, also when the daemon died in between; and `files retry`."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from faasd.errors import Conflict, EventRefused, NotFound
from tests.fakes.files_fixtures import RigMaker, make_rig
from tests.fakes.files_rig import FilesRig, wait_for

__all__ = ["make_rig"]


async def accepted_file(rig: FilesRig, name: str = "a.csv", content: bytes = b"x") -> Path:
    """Drop a file and wait until it is in the ledger."""
    count = len(rig.intake.events)
    path = rig.drop(name, content)
    await rig.accepted(count + 1)
    await rig.in_ledger(path, "accepted")
    return path


# ---- on_success


async def test_keep_leaves_the_file_and_remembers_it(make_rig: RigMaker) -> None:
    """Nothing is touched unless somebody asked for it."""
    rig = make_rig()
    await rig.start_and_scan()
    path = await accepted_file(rig)
    rig.end(path)
    await rig.in_ledger(path, "done")
    assert path.read_bytes() == b"x"


async def test_delete_removes_the_file_and_its_row(make_rig: RigMaker) -> None:
    """The ledger holds what lies in the directory, and this no longer does."""
    rig = make_rig(on_success="delete")
    await rig.start_and_scan()
    path = await accepted_file(rig)
    rig.end(path)
    await rig.in_ledger(path, None)
    assert not path.exists()


async def test_move_makes_the_directory_and_numbers_a_taken_name(make_rig: RigMaker) -> None:
    """Nothing is ever overwritten."""
    rig = make_rig()
    done = rig.base / "deep" / "done"
    await rig.start_and_scan(on_success=f"move:{done}")
    for content in (b"first", b"second"):
        path = await accepted_file(rig, content=content)
        rig.end(path)
        await rig.in_ledger(path, None)
    assert (done / "a.csv").read_bytes() == b"first"
    assert (done / "a.1.csv").read_bytes() == b"second"
    assert list(rig.inbox.iterdir()) == []


async def test_the_marker_goes_where_its_file_goes(make_rig: RigMaker) -> None:
    """It would stay for ever, or complete the next file of that name too early."""
    rig = make_rig(marker=".ready")
    done = rig.base / "done"
    await rig.start_and_scan(on_success=f"move:{done}")
    path = rig.drop("a.csv")
    rig.drop("a.csv.ready")
    await rig.accepted(1)
    await rig.in_ledger(path, "accepted")
    rig.end(path)
    await rig.in_ledger(path, None)
    assert list(rig.inbox.iterdir()) == []
    assert (done / "a.csv.ready").exists()


@pytest.mark.parametrize("action", ["delete", "move:../done"])
async def test_a_file_replaced_while_processed_is_a_new_file(
    make_rig: RigMaker, action: str
) -> None:
    """The end of the old one's invocation must not touch it; it gets an event of its own."""
    rig = make_rig(on_success=action)
    await rig.start_and_scan()
    path = await accepted_file(rig, content=b"old")
    first = rig.intake.id_of(path)
    await accepted_file(rig, content=b"newer")
    state = rig.intake.end(first)
    assert rig.triggers is not None
    rig.triggers.settled(first, state)
    await rig.quiet()
    assert path.read_bytes() == b"newer"
    rig.end(path)
    await rig.in_ledger(path, None)
    assert not path.exists()


async def test_a_file_replaced_unseen_is_not_deleted(make_rig: RigMaker) -> None:
    """Even when the end of the invocation is heard of before the new file is."""
    rig = make_rig(on_success="delete", settle_s=0.3)
    await rig.start_and_scan()
    path = await accepted_file(rig, content=b"old")
    path.write_bytes(b"written over")
    rig.end(path)
    await rig.accepted(2)
    assert path.read_bytes() == b"written over"


@pytest.mark.parametrize("hinted", [True, False])
async def test_actions_are_carried_out_though_the_daemon_died_in_between(
    make_rig: RigMaker, hinted: bool
) -> None:
    """The invocation ended while nobody watched; the start finds it by the ledger."""
    rig = make_rig(on_success="delete")
    await rig.start_and_scan()
    path = await accepted_file(rig)
    if not hinted:  # The control: the same end, heard of while running.
        rig.end(path)
    else:
        await rig.stop()
        rig.intake.end(rig.intake.id_of(path))
        await rig.start()
    await rig.in_ledger(path, None)
    assert not path.exists()


async def test_a_lost_hint_is_made_up_for_by_the_next_round(make_rig: RigMaker) -> None:
    """`settled` is a hint; the truth is in history."""
    rig = make_rig(on_success="delete", rescan_interval_s=0.2)
    await rig.start_and_scan()
    path = await accepted_file(rig)
    rig.intake.end(rig.intake.id_of(path))
    await rig.in_ledger(path, None)


async def test_an_end_before_accept_returns_is_not_lost(make_rig: RigMaker) -> None:
    """A warm function takes less time than the transaction's way back."""
    rig = make_rig(on_success="delete")
    triggers = await rig.start_and_scan()

    def end_at_once(event: object) -> None:
        invocation_id = event.id  # type: ignore[attr-defined]
        triggers.settled(invocation_id, rig.intake.end(invocation_id))

    rig.intake.on_accept = end_at_once
    path = rig.drop("a")
    await wait_for(lambda: not path.exists(), "the file to be deleted")


async def test_an_action_that_fails_is_said_and_tried_again(make_rig: RigMaker) -> None:
    """The file stays, the row stays `accepted`, and nobody has to restart anything."""
    rig = make_rig(rescan_interval_s=0.2)
    blocked = rig.base / "done"
    blocked.write_bytes(b"a file where the directory should be")
    await rig.start_and_scan(on_success=f"move:{blocked}")
    path = await accepted_file(rig)
    rig.end(path)
    await wait_for(lambda: "cannot move" in rig.problem())
    assert rig.ledger.state_of(path) == "accepted"
    blocked.unlink()
    await rig.in_ledger(path, None)
    assert (blocked / "a.csv").exists()
    await wait_for(lambda: not rig.problem())


async def test_a_target_that_is_the_watched_directory_itself_is_refused(
    make_rig: RigMaker,
) -> None:
    """Each move would be a new file."""
    rig = make_rig(on_success="move:.")
    await rig.start_and_scan()
    path = await accepted_file(rig)
    rig.end(path)
    await wait_for(lambda: "watched directory itself" in rig.problem())
    assert path.exists()


@pytest.mark.parametrize("state", ["filtered", "forgotten"])
async def test_what_never_ran_by_somebodys_wish_stays(make_rig: RigMaker, state: str) -> None:
    """A filtered event is neither a success nor a failure."""
    rig = make_rig(on_success="delete", on_failure="delete")
    if state == "filtered":
        await rig.start_and_scan(filter=({"name": ["b"]},))
        path = rig.drop("a")
    else:
        await rig.start_and_scan()
        path = await accepted_file(rig)
        await rig.stop()
        rig.intake.lose(rig.intake.id_of(path))
        key = ("inbox", os.fsencode(path))
        rig.ledger.rows[key] = type(rig.ledger.rows[key])(
            **{**rig.ledger.rows[key].__dict__, "seen_at": 0.0}
        )
        await rig.start()
    await rig.in_ledger(path, "done")
    assert path.exists()


# ---- on_failure


async def test_a_failed_file_is_moved_aside_with_a_sidecar_that_tells_why(
    make_rig: RigMaker,
) -> None:
    """Whoever finds it in the morning should not need the database."""
    rig = make_rig()
    failed = rig.base / "failed"
    await rig.start_and_scan(on_failure=f"move:{failed}")
    path = await accepted_file(rig)
    invocation_id = rig.end(path, "error")
    moved = failed / "a.csv"
    await rig.in_ledger(moved, "failed")
    assert not path.exists()
    said = json.loads((failed / "a.csv.error.json").read_text())
    assert said["path"] == str(path)
    assert said["invocation_id"] == invocation_id
    assert (said["outcome"], said["attempts"]) == ("error", 3)
    assert said["error"]["message"] == "no such colour"
    assert said["log_tail"] == "the last words"
    assert rig.status().failed == 1


@pytest.mark.parametrize(
    ("outcome", "state"), [("timeout", "dead"), ("cancelled", "cancelled"), ("expired", "skipped")]
)
async def test_every_end_but_ok_is_a_failure(make_rig: RigMaker, outcome: str, state: str) -> None:
    """A file that was not processed must not look as if it was."""
    rig = make_rig(on_success="delete")
    await rig.start_and_scan()
    path = await accepted_file(rig)
    rig.end(path, outcome, state=state)
    await rig.in_ledger(path, "failed")
    assert path.exists()
    assert outcome in (rig.ledger.rows["inbox", os.fsencode(path)].detail or "")


async def test_a_kept_failure_is_not_run_again_by_itself(make_rig: RigMaker) -> None:
    """Its attempts are used up; only people send it round again."""
    rig = make_rig()
    await rig.start_and_scan()
    path = await accepted_file(rig)
    rig.end(path, "error")
    await rig.in_ledger(path, "failed")
    await rig.stop()
    await rig.start_and_scan()
    await rig.quiet()
    assert len(rig.intake.events) == 1


async def test_a_redriven_failure_that_ends_well_becomes_a_success(make_rig: RigMaker) -> None:
    """`dead-letters redrive` runs the same invocation again."""
    rig = make_rig(on_success="delete")
    await rig.start_and_scan()
    path = await accepted_file(rig)
    rig.end(path, "error")
    await rig.in_ledger(path, "failed")
    rig.end(path, "ok")
    await rig.in_ledger(path, None)
    assert not path.exists()


async def test_a_moved_failure_is_forgotten_when_somebody_removes_it(make_rig: RigMaker) -> None:
    """It was dealt with by hand."""
    rig = make_rig()
    failed = rig.base / "failed"
    await rig.start_and_scan(on_failure=f"move:{failed}")
    path = await accepted_file(rig)
    rig.end(path, "error")
    await rig.in_ledger(failed / "a.csv", "failed")
    await rig.quiet()
    await rig.in_ledger(failed / "a.csv", "failed")
    (failed / "a.csv").unlink()
    await rig.quiet()
    assert rig.ledger.rows == {}


# ---- retry


@pytest.mark.parametrize("target", ["../failed", "failed"])
@pytest.mark.parametrize("named", ["where it is now", "where it was dropped", "its directory"])
async def test_retry_brings_a_moved_failure_back(
    make_rig: RigMaker, named: str, target: str
) -> None:
    """By the path that people have at hand, and without its sidecar."""
    rig = make_rig(recursive=True)
    failed = {"failed": rig.inbox / "failed", "../failed": rig.base / "failed"}[target]
    triggers = await rig.start_and_scan(on_failure=f"move:{target}")
    path = await accepted_file(rig)
    rig.end(path, "error")
    await rig.in_ledger(failed / "a.csv", "failed")
    await rig.quiet()
    await rig.in_ledger(failed / "a.csv", "failed")
    asked = {
        "where it is now": failed / "a.csv",
        "where it was dropped": path,
        "its directory": failed,
    }
    [acceptance] = await triggers.retry(str(asked[named]))
    assert acceptance.id == rig.intake.events[1].id
    assert rig.intake.paths() == [str(path)] * 2
    assert os.listdir(failed) == []
    await rig.quiet()
    assert len(rig.intake.events) == 2
    assert len(rig.ledger.rows) == 1
    assert rig.ledger.state_of(path) == "accepted"


async def test_retry_of_a_kept_file_accepts_it_anew(make_rig: RigMaker) -> None:
    """The same identity, wanted once more: the origin key must not swallow it."""
    rig = make_rig()
    triggers = await rig.start_and_scan()
    path = await accepted_file(rig)
    rig.end(path, "error")
    await rig.in_ledger(path, "failed")
    [acceptance] = await triggers.retry(str(path))
    assert acceptance.state == "waiting"
    assert len(rig.intake.events) == 2
    rig.end(path)
    await rig.in_ledger(path, "done")


async def test_retry_of_a_directory_takes_every_failed_file_below(make_rig: RigMaker) -> None:
    """And leaves alone what went well."""
    rig = make_rig()
    triggers = await rig.start_and_scan()
    paths = [await accepted_file(rig, name) for name in ("a", "b", "c")]
    rig.end(paths[0], "error")
    rig.end(paths[1], "error")
    rig.end(paths[2])
    for path, state in zip(paths, ("failed", "failed", "done"), strict=True):
        await rig.in_ledger(path, state)
    assert len(await triggers.retry(str(rig.inbox))) == 2
    assert rig.intake.names()[3:] == ["a", "b"]


async def test_retry_finds_by_its_sidecar_what_the_ledger_has_lost(make_rig: RigMaker) -> None:
    """A database restored from last week still lets the files be retried."""
    rig = make_rig()
    failed = rig.base / "failed"
    await rig.start_and_scan(on_failure=f"move:{failed}")
    path = await accepted_file(rig)
    rig.end(path, "error")
    await rig.in_ledger(failed / "a.csv", "failed")
    await rig.stop()
    rig.ledger.rows.clear()
    triggers = await rig.start_and_scan()
    await triggers.retry(str(failed / "a.csv"))
    assert rig.intake.paths() == [str(path)] * 2


async def test_retry_says_what_it_cannot_do(make_rig: RigMaker) -> None:
    """Unknown, still running, or refused: three different things to do next."""
    rig = make_rig()
    triggers = await rig.start_and_scan()
    with pytest.raises(NotFound, match="files list"):
        await triggers.retry(str(rig.inbox / "nothing"))
    path = await accepted_file(rig)
    with pytest.raises(Conflict, match="being processed"):
        await triggers.retry(str(path))
    rig.end(path, "error")
    await rig.in_ledger(path, "failed")
    rig.intake.refuse = lambda _: True
    with pytest.raises(EventRefused, match="too large"):
        await triggers.retry(str(path))
    await rig.in_ledger(path, "failed")
