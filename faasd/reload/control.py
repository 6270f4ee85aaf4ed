"""What people ask about the code that is in service: reload, versions, going back, names for versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from faasd.config.values import Name
from faasd.errors import NotFound, ReloadRefused
from faasd.functions.registry import Registry
from faasd.model.function import Function
from faasd.model.reload import FunctionVersion, LastReload, ReloadReport
from faasd.model.suggest import did_you_mean
from faasd.reload.reloading import Reloading

__all__ = ["CodeInService"]


class CodeInService:
    """Implements the seam `CodeControl` of the API."""

    def __init__(self, reloading: Reloading, registry: Registry) -> None:
        self._reloading = reloading
        self._versions = reloading.versions
        self._registry = registry

    @property
    def kept(self) -> Mapping[str, str]:
        """Functions whose new code or settings are broken, each with the reason."""
        return self._reloading.kept

    @property
    def last_reload(self) -> LastReload | None:
        """How the last reload since the start ended; None before the first."""
        return self._reloading.record.last

    def left_open(self, function: Function) -> Sequence[str]:
        """Say what the import of a function leaves behind that its attempts would share."""
        return self._versions.left_open(function)

    async def reload(self) -> ReloadReport:
        """Put in force what the files say now. Raises ReloadRefused, and then everything stays as it was."""
        return await self._reloading.reload()

    async def roll_back(self, name: str, wanted: str | None) -> ReloadReport:
        """Put an earlier version of a function in service, and keep it there until somebody says otherwise."""
        return await self._reloading.one_by_one(lambda: self._roll_back(name, wanted))

    async def unpin(self, name: str) -> ReloadReport:
        """Put in service what is on the disk, and follow it again."""
        return await self._reloading.one_by_one(lambda: self._unpin(name))

    async def versions_of(self, name: str) -> Sequence[FunctionVersion]:
        """Return the versions that a function had in service, the last first. Raises NotFound."""
        function = self._registry.get(name)
        known = await self._versions.known()
        if function is None and not known.served_by(name):
            raise self._unknown(name)
        pin = known.pins.get(name)
        names: dict[str, list[str]] = {}
        for (of, alias), version in sorted(known.aliases.items()):
            if of == name:
                names.setdefault(version.version, []).append(alias)
        found = []
        for one in known.served_by(name):
            kept = self._versions.store.get(one.version)
            found.append(
                FunctionVersion(
                    one.version,
                    one.source,
                    one.served_at,
                    function is not None and function.code_version == one.version,
                    pin is not None and pin.version == one.version,
                    tuple(names.get(one.version, ())),
                    kept is not None,
                    None if kept is None else kept.files,
                    None if kept is None else kept.bytes,
                )
            )
        return found

    async def pinned(self) -> Mapping[str, str]:
        """Return the version of each function that stays at one whatever the disk says."""
        return {name: pin.version for name, pin in (await self._versions.known()).pins.items()}

    async def function_at(self, name: str, wanted: str, *, only_aliases: bool = False) -> Function:
        """Return a function with the code of a version, or of an alias. Raises NotFound or VersionError.

        An old version may have the hole that the new one mends, so not everybody may run any.
        """
        version = await self._versions.find(name, wanted, only_aliases=only_aliases)
        return await self._versions.at(name, version)

    async def set_alias(self, name: str, alias: str, wanted: str | None) -> str | None:
        """Name a version, and return it in full; with None, take the name away. Raises InvalidSetting."""
        Name().read(alias)
        version = None if wanted is None else await self._versions.find(name, wanted)
        await self._versions.name(name, alias, version)
        return None if version is None else version.version

    def _unknown(self, name: str) -> NotFound:
        names = [one.name for one in self._registry.all()]
        return NotFound(f"no function is named {name!r}{did_you_mean(name, names, or_list=True)}")

    async def _roll_back(self, name: str, wanted: str | None) -> ReloadReport:
        function = self._registry.get(name)
        if wanted is not None:
            version = await self._versions.find(name, wanted)
        elif function is not None:
            version = await self._versions.previous(function)
        else:
            raise self._unknown(name)
        now = await self._versions.at(name, version)
        await self._versions.pin(name, version)
        return await self._reloading.swap_one(name, now, f"pinned to version {version.version}")

    async def _unpin(self, name: str) -> ReloadReport:
        if name not in (await self._versions.known()).pins:
            raise NotFound(f"function {name!r} is not pinned: it runs what is on the disk already")
        loaded = await self._versions.read()
        now = next((one for one in loaded.functions if one.name == name), None)
        if now is None:
            why = (
                loaded.left_out.get(name) or "; ".join(map(str, loaded.errors)) or "it is not there"
            )
            raise ReloadRefused(
                f"function {name!r} stays pinned, for what is on the disk cannot run: {why}"
            )
        await self._versions.pin(name, None)
        return await self._reloading.swap_one(name, now, "follows the code on the disk again")
