"""Which version a word means, and who may say it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from faasd.clock import Clock
from faasd.errors import NotFound
from faasd.functions.versions import VersionStore
from faasd.model.code import ServedVersion
from faasd.reload.versions_in_force import VersionsInForce
from faasd.store.open import open_store


async def never(_: object) -> object:
    raise AssertionError("nothing is to be read")


@pytest.fixture
async def versions(tmp_path: Path) -> AsyncIterator[VersionsInForce]:
    store = await open_store(tmp_path / "state", Clock())
    kept = VersionStore(tmp_path / "state" / "versions")
    yield VersionsInForce(kept, store.versions, never, Clock())  # type: ignore[arg-type]
    await store.close()


async def serve(versions: VersionsInForce, tmp_path: Path, text: str, at: float) -> ServedVersion:
    code = tmp_path / "functions"
    code.mkdir(exist_ok=True)
    (code / "app.py").write_text(text)
    kept = versions.store.add(str(code), now=at)
    one = ServedVersion("f", kept.version, str(code), at)
    await versions._known.served([one])
    return one


async def test_a_version_is_found_by_its_beginning_or_its_alias(
    versions: VersionsInForce, tmp_path: Path
) -> None:
    """Nobody types twelve characters; and what means two versions means none."""
    first = await serve(versions, tmp_path, "1", 1.0)
    await serve(versions, tmp_path, "2", 2.0)
    assert (await versions.find("f", first.version[:6])).version == first.version
    await versions.name("f", "stable", first)
    assert (await versions.find("f", "stable")).version == first.version
    for wanted in ("", "none", "../.."):
        with pytest.raises(NotFound, match=r"no such version|more than one"):
            await versions.find("f", wanted)


async def test_who_may_only_send_events_names_aliases(
    versions: VersionsInForce, tmp_path: Path
) -> None:
    """An old version may have the hole that the new one mends."""
    first = await serve(versions, tmp_path, "1", 1.0)
    with pytest.raises(NotFound, match="only administrators"):
        await versions.find("f", first.version, only_aliases=True)
    await versions.name("f", "stable", first)
    assert (await versions.find("f", "stable", only_aliases=True)).version == first.version


async def test_what_is_pinned_or_named_is_not_collected(
    versions: VersionsInForce, tmp_path: Path
) -> None:
    """Going back must be possible for as long as somebody says so."""
    served = [await serve(versions, tmp_path, str(n), float(n)) for n in range(14)]
    await versions.pin("f", served[0])
    await versions.name("f", "old", served[1])
    await versions.collect([], {served[2].version})
    kept = {one.version for one in versions.store.list()}
    assert {one.version for one in served[:3]} <= kept
    assert served[3].version not in kept
    known = {one.version for one in (await versions.known()).served}
    assert served[3].version not in known
