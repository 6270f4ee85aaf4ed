"""How code is kept for one reading of the configuration: as it is now, or as a version that was asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from faasd.clock import Clock
from faasd.errors import CodeTooLarge, VersionError
from faasd.functions.code_version import code_version
from faasd.functions.versions import VersionStore
from faasd.model.code import KeepCode, KeptCode

__all__ = ["keeper"]


def keeper(
    store: VersionStore,
    clock: Clock,
    *,
    asked_for: Mapping[str, str] | None = None,
    may_run_in_place: bool = False,
) -> KeepCode:
    """Return what keeps a directory, or one file, of code.

    `asked_for` names by source the version that is taken instead of what is there now. What is too large to
    be code is used in place. So is, with `may_run_in_place`, what cannot be kept, for a daemon that must start
    on a full disk; else VersionError is raised. A version that was asked for and is gone raises it always.
    """
    wanted = asked_for or {}

    def keep(root: str, link: Collection[str], leave_out: Collection[str]) -> KeptCode:
        if root in wanted:
            version = store.get(wanted[root])
            if version is None:
                raise VersionError(
                    f"version {wanted[root]} of {root} is not kept any more; `faasd functions versions` lists those that are"
                )
            return _kept(root, version.version)
        try:
            return _kept(
                root, store.add(root, now=clock.now(), link=link, leave_out=leave_out).version
            )
        except VersionError as error:
            if not (may_run_in_place or isinstance(error, CodeTooLarge)):
                raise
            version_here = code_version(root, [*link, *leave_out])
            return KeptCode(root, version_here, root, str(error))

    def _kept(root: str, version: str) -> KeptCode:
        path = store.path(version)
        return KeptCode(
            root, version, str(path / Path(root).name if Path(root).is_file() else path)
        )

    return keep
