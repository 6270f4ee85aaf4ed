"""Which version of its code each function runs: the newest that works, or the one that it is pinned to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from faasd.clock import Clock, to_iso
from faasd.config.loader import Loaded
from faasd.errors import FaasdError, NotFound, VersionError
from faasd.functions.changes import NewReading, Settled, settle
from faasd.functions.keeper import keeper
from faasd.functions.versions import VersionStore
from faasd.logs import get_logger
from faasd.model.code import KeepCode, KnownVersions, ServedVersion
from faasd.model.function import Function
from faasd.model.reload import FunctionChange
from faasd.store.code_versions import SqliteCodeVersions

__all__ = ["InForce", "Load", "VersionsInForce"]

_log = get_logger("functions")

#: Reads the configuration with the code kept in this way.
Load = Callable[[Callable[[Path], KeepCode]], Awaitable[Loaded]]


@dataclass(frozen=True)
class InForce:
    """What is in service after a reading, and which functions must not run although they are there."""

    settled: Settled
    refusals: Mapping[str, str] = field(default_factory=dict)
    #: Functions that were in service once and are declared no more.
    gone: frozenset[str] = frozenset()


class VersionsInForce:
    """Decides between what is on the disk now and what is kept."""

    def __init__(
        self, store: VersionStore, known: SqliteCodeVersions, load: Load, clock: Clock
    ) -> None:
        self.store = store
        self._known = known
        self._load = load
        self._clock = clock
        self._loaded: dict[tuple[str, str], Loaded] = {}  # (source, version) → read from it.
        self._left_open: dict[tuple[str, str], tuple[str, ...]] = {}  # By function and version.

    async def read(self) -> Loaded:
        """Read the configuration anew, its code kept as it is now. Raises VersionError."""
        return await self._load(lambda _: keeper(self.store, self._clock))

    async def known(self) -> KnownVersions:
        """Return what is known of versions, over restarts."""
        return await self._known.load()

    async def decide(self, before: Sequence[Function], loaded: Loaded) -> InForce:
        """Return what is in service after this reading, when `before` was in service until now.

        A function whose code or settings are broken keeps what it had, also from before a restart. One that
        is pinned has its version, with the settings that the configuration file has now.
        """
        self._loaded.clear()
        in_service = {(one.name, one.code_version) for one in before}
        self._left_open = {k: said for k, said in self._left_open.items() if k in in_service}
        self._note_left_open(loaded)
        known = await self._known.load()
        reading = NewReading(loaded.functions, loaded.left_out, loaded.broken)
        settled = settle(before, reading)
        settled = await self._with_last_served(settled, loaded, known)
        found = await self._with_pins(settled, before, known)
        there = {one.name for one in found.settled.functions} | set(loaded.left_out)
        unknown = {directory for _, directory in loaded.broken}
        served = (one for one in known.served if one.source not in unknown)
        gone = frozenset(one.function for one in served if one.function not in there)
        return replace(found, gone=gone)

    async def at(self, name: str, version: ServedVersion) -> Function:
        """Return a function as it is with this version of its code. Raises VersionError."""
        key = (version.source, version.version)
        if key not in self._loaded:
            asked_for = {version.source: version.version}
            self._loaded[key] = await self._load(
                lambda _: keeper(self.store, self._clock, asked_for=asked_for)
            )
        loaded = self._loaded[key]
        self._note_left_open(loaded)
        for function in loaded.functions:
            if function.name == name and function.code_version == version.version:
                return function
        why = loaded.left_out.get(name) or next(iter(loaded.broken.values()), None)
        why = why or "; ".join(map(str, loaded.fatal)) or f"it declares no function {name!r}"
        raise VersionError(f"version {version.version} of function {name!r} cannot run: {why}")

    def left_open(self, function: Function) -> tuple[str, ...]:
        """Say what the import of a function, as it is, leaves behind that does not bear being forked."""
        return self._left_open.get((function.name, function.code_version), ())

    def _note_left_open(self, loaded: Loaded) -> None:
        for one in loaded.functions:
            self._left_open[one.name, one.code_version] = loaded.left_open.get(one.name, ())

    async def find(self, name: str, wanted: str, *, only_aliases: bool = False) -> ServedVersion:
        """Return what an alias, a version or the beginning of one means. Raises NotFound."""
        known = await self._known.load()
        named = known.aliases.get((name, wanted))
        if named is not None:
            return named
        if only_aliases:
            raise NotFound(
                f"function {name!r} has no alias {wanted!r}; only administrators name versions themselves"
            )
        found = [one for one in known.served_by(name) if one.version.startswith(wanted) and wanted]
        found = [one for one in found if self.store.get(one.version) is not None]
        if len(found) != 1:
            what = (
                "more than one version begins so" if found else "no such version or alias is kept"
            )
            raise NotFound(
                f"function {name!r} has no version {wanted!r}: {what}; see `faasd functions versions {name}`"
            )
        return found[0]

    async def previous(self, function: Function) -> ServedVersion:
        """Return the version that was in service before the present one. Raises NotFound."""
        for one in (await self._known.load()).served_by(function.name):
            if one.version != function.code_version and self.store.get(one.version) is not None:
                return one
        raise NotFound(
            f"no earlier version of function {function.name!r} is kept; see `faasd functions versions {function.name}`"
        )

    async def pin(self, name: str, version: ServedVersion | None) -> None:
        """Pin a function to a version; None ends that."""
        since = None if version is None else replace(version, served_at=self._clock.now())
        await self._known.pin(name, since)

    async def name(self, name: str, alias: str, version: ServedVersion | None) -> None:
        """Give a version a name; None takes the name away."""
        await self._known.name(name, alias, version)

    async def served(self, functions: Iterable[Function], gone: Collection[str]) -> None:
        """Write down what is in service now; of functions that are gone nothing is to be brought back."""
        known = {(one.function, one.version) for one in _last_of_each(await self._known.load())}
        now = self._clock.now()
        await self._known.served(
            [
                ServedVersion(one.name, one.code_version, one.source_dir, now)
                for one in functions
                if one.copy_dir and (one.name, one.code_version) not in known
            ],
            gone,
        )

    async def collect(self, functions: Sequence[Function], in_use: Collection[str]) -> None:
        """Remove versions that nobody needs: neither in service, pinned, named, in use, nor of the newest."""
        known = await self._known.load()
        keep = {*in_use, *(one.code_version for one in functions)}
        keep |= {one.version for one in (*known.pins.values(), *known.aliases.values())}
        keep |= {one.version for one in _last_of_each(known)}
        sources = {one.source_dir for one in functions}
        removed = await asyncio.to_thread(self.store.collect, keep, sources=sources)
        if removed:
            _log.info("versions_removed", versions=list(removed))
            await self._known.forget(removed)

    async def _with_last_served(
        self, settled: Settled, loaded: Loaded, known: KnownVersions
    ) -> Settled:
        """Bring back, at a start, functions that cannot be loaded now as they were last in service."""
        present = {one.name for one in settled.functions}
        broken_dirs = {directory: why for (_, directory), why in loaded.broken.items()}
        functions, changes = list(settled.functions), list(settled.changes)
        for one in _last_of_each(known):
            why = loaded.left_out.get(one.function) or broken_dirs.get(one.source)
            if one.function in present or why is None or one.function in loaded.disabled:
                continue
            try:
                function = await self.at(one.function, one)
            except FaasdError as error:
                _log.warning("version_not_restored", function=one.function, reason=str(error))
                continue
            functions.append(function)
            changes = [change for change in changes if change.function != one.function]
            word = FunctionChange(one.function, "kept", one.version, one.version, why)
            changes.append(word)
        return Settled(tuple(functions), tuple(changes))

    async def _with_pins(
        self, settled: Settled, before: Sequence[Function], known: KnownVersions
    ) -> InForce:
        functions = {one.name: one for one in settled.functions}
        changes = {one.function: one for one in settled.changes}
        old = {one.name: one for one in before}
        refusals = {}
        for name, pin in known.pins.items():
            was = old.get(name)
            since = f"pinned to version {pin.version} since {to_iso(pin.served_at)}"
            try:
                now = await self.at(name, pin)
            except FaasdError as error:
                if was is not None:
                    functions[name] = was
                    reason = f"{since}: {error}"
                    changes[name] = _pinned("kept", name, was, was, reason)
                elif name in functions:
                    refusals[name] = (
                        f"it is {since}, but {error}; `faasd functions unpin {name}` runs the code on the disk"
                    )
                continue
            [change] = settle([was] if was else [], NewReading([now], {}, {})).changes
            functions[name] = was if was is not None and change.change == "unchanged" else now
            changes[name] = replace(change, reason=since)
        return InForce(Settled(tuple(functions.values()), tuple(changes.values())), refusals)


def _pinned(word: str, name: str, was: Function, now: Function, reason: str) -> FunctionChange:
    return FunctionChange(name, word, now.code_version, was.code_version, reason)


def _last_of_each(known: KnownVersions) -> list[ServedVersion]:
    """Return for each function the version that it had in service last."""
    last: dict[str, ServedVersion] = {}
    for one in known.served:
        last.setdefault(one.function, one)
    return list(last.values())
