"""Paths that no function may be given: where the daemon keeps its own, and where other functions' code is."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from faasd.config.assemble import Assembled
from faasd.config.settings import DaemonSettings
from faasd.model.below import is_in
from faasd.model.declaration import Problem

__all__ = ["forbidden_paths"]


def forbidden_paths(everything: Sequence[Assembled], daemon: DaemonSettings) -> list[Problem]:
    """Return a problem for each path in `read`, `write` and a files trigger that reaches what it must not."""
    places = {
        "the state directory": os.path.realpath(daemon.state_dir),
        "the daemon's socket": os.path.realpath(daemon.socket),
        "the secrets": os.path.realpath(daemon.secrets_dir),
    }
    problems = []
    for one in everything:
        for setting, path, *below in _paths(one):
            fault = _own_fault(os.path.realpath(path), places)
            fault = fault or _code_fault(setting, os.path.realpath(path), one, everything)
            if fault is not None:
                message = f"{path} {fault}; name what is beside it instead"
                problems.append(one.merged.problem(setting, message, *below))
    return problems


def _paths(one: Assembled) -> Iterator[tuple[str, str, *tuple[str | int, ...]]]:
    given = one.function.permissions
    for setting, paths in (("read", given.read), ("write", given.write)):
        for index, path in enumerate(paths):
            yield setting, path, index
    for watch in one.function.files:
        yield "triggers", watch.path, one.triggers.indexes["files", watch.name], "path"


def _own_fault(path: str, places: dict[str, str]) -> str | None:
    for what, place in places.items():
        if is_in(path, place):
            where = "is" if path == place else "is in"
            return f"{where} {what} ({place}), which no function may touch"
        if is_in(place, path):
            return f"holds {what} ({place}), which no function may touch"
    return None


def _code_fault(
    setting: str, path: str, one: Assembled, everything: Sequence[Assembled]
) -> str | None:
    own = os.path.realpath(one.function.code_dir)
    for other in everything:
        layers = [one.path for one in other.function.layers if not one.is_published]
        # As `write` of somebody it would be a way into the code of whoever has it as a layer.
        for layer in layers if setting == "write" else ():
            if is_in(os.path.realpath(layer), path) or is_in(path, os.path.realpath(layer)):
                return f"reaches a layer of function {other.function.name!r} ({layer}), which no function may change"
        # A command's directory is the configuration's, in which there is more than code.
        if other.function.handler is None:
            continue
        code_dir = os.path.realpath(other.function.code_dir)
        if not is_in(code_dir, path):
            continue
        if setting == "write":
            return f"holds the code of function {other.function.name!r} ({code_dir}), which no function may change"
        if not is_in(code_dir, own):
            return f"holds the code of function {other.function.name!r} ({code_dir}), which is not this one's"
    return None
