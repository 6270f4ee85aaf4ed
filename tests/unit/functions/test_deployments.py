"""Deployments on disk: what is in service is neither lost nor left out without a word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faasd.errors import VersionError
from faasd.functions.deployments import CODE, PACKAGES, Deployment, DeploymentStore


def placed(store: DeploymentStore, version: str = "abc") -> bool:
    deployment = Deployment(
        "thumbs", version, "", "", CODE, ("app",), ("make",), (), None, "3.11", "", 0, 0
    )
    with store.staging() as stage:
        for part in (CODE, PACKAGES):
            (stage / part).mkdir()
        is_new = store.place(stage, deployment)
    store.switch("thumbs", version)
    return is_new


def test_a_damaged_record_of_what_is_in_service_is_told_and_mended_by_a_deploy(
    tmp_path: Path,
) -> None:
    """Else its functions would be gone at the next start, and nobody would know why."""
    store = DeploymentStore(tmp_path)
    assert placed(store)
    assert not placed(store)
    [whole] = store.deployed()
    assert (whole.modules, whole.problem) == (("app",), None)

    (store.root / "thumbs" / "abc" / "deployment.json").write_text("{")
    [damaged] = store.deployed()
    assert damaged.modules == ()
    assert "its record" in (damaged.problem or "")
    assert store.collect(keep=()) == []
    assert (store.root / "thumbs" / "abc" / CODE).is_dir()

    assert placed(store)
    assert store.deployed() == (whole,)


def test_versions_out_of_service_go_but_for_the_newest(tmp_path: Path) -> None:
    """What is in service stays, however old it is."""
    store = DeploymentStore(tmp_path)
    for at, version in enumerate(("first", "second", "third")):
        placed(store, version)
        os.utime(store.root / "thumbs" / version / "deployment.json", (at, at))
    store.switch("thumbs", "first")
    assert [one.name for one in store.collect(keep=(), per_name=1)] == ["second"]
    store.switch("thumbs", None)
    assert len(store.collect(keep=())) == 2
    assert not (store.root / "thumbs").exists()


def test_deployments_that_cannot_be_read_are_not_taken_for_none(tmp_path: Path) -> None:
    """A reload would take all their functions out of service, and a deploy remove what it cannot see."""
    store = DeploymentStore(tmp_path)
    assert store.deployed() == ()
    store.root.symlink_to(store.root)
    with pytest.raises(VersionError, match=f"cannot read {store.root}: Too many levels of symb"):
        store.deployed()
    store.root.unlink()

    placed(store)
    record = store.root / "thumbs" / "abc" / "deployment.json"
    text = record.read_text()
    record.unlink()
    record.mkdir()
    for ask in (store.deployed, lambda: placed(store), lambda: store.find("thumbs")):
        with pytest.raises(
            VersionError, match=f"cannot read {record}: Is a directory; run this as"
        ):
            ask()
    assert record.is_dir()
    record.rmdir()
    record.write_text(text)
    assert len(store.deployed()) == 1

    current = store.root / "thumbs" / "current"
    current.unlink()
    current.mkdir()
    with pytest.raises(VersionError, match=f"cannot read {current}: Invalid argument"):
        store.deployed()
