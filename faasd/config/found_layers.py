"""Finds the layers that settings name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from faasd.errors import NotFound, VersionError
from faasd.model.below import is_in
from faasd.model.declaration import Discovered, Module, Problem
from faasd.model.layer import Layer, is_layer_path

__all__ = [
    "FindLayer",
    "FindPublished",
    "layer_finder",
    "resolve_layers",
    "with_named_layers",
]

#: What a setting names → the layer. Raises NotFound, and VersionError for one that cannot be read.
FindLayer = Callable[[str], Layer]
#: (state directory, NAME or NAME:VERSION) → the published layer. Raises NotFound.
FindPublished = Callable[[Path, str], Layer]


def layer_finder(
    base_dir: Path,
    state_dir: Path,
    find_published: FindPublished,
    digest_of: Callable[[str, Sequence[str]], str],
) -> FindLayer:
    """Return what finds layers for one configuration, each once.

    A directory is taken as it is now: `digest_of` says what it holds.
    """
    known: dict[str, Layer] = {}

    def find(written: str) -> Layer:
        if written not in known:
            known[written] = look(written)
        return known[written]

    def look(written: str) -> Layer:
        if not is_layer_path(written):
            return find_published(state_dir, written)
        path = os.path.normpath(base_dir / Path(written).expanduser())
        if not Path(path).is_dir():
            what = "is not a directory" if Path(path).exists() else "does not exist"
            raise NotFound(f"{path} {what}; a layer is a directory or the name of a published one")
        if is_in(os.path.realpath(path), os.path.realpath(state_dir)):
            raise NotFound(f"{path} is in the state directory; publish it, and name it by its name")
        return Layer(path, path, digest_of(path, ()))

    return find


def resolve_layers(
    written: Iterable[str], find: FindLayer
) -> tuple[list[Layer], list[tuple[int, str]]]:
    """Return the layers, each once, and what is wrong with the others, by their index."""
    found: dict[str, Layer] = {}
    faults = []
    for index, one in enumerate(written):
        try:
            layer = find(one)
        except (NotFound, VersionError) as error:
            faults.append((index, str(error)))
        else:
            found.setdefault(layer.path, layer)
    return list(found.values()), faults


def with_named_layers(
    answers: Iterable[Discovered], find: FindLayer
) -> tuple[list[Module], list[Problem]]:
    """Return broken modules with the layers that their own decorators name, and what is wrong with those.

    What such a module imports from a layer at its top is there only when the layer is known, and the decorator,
    which is further down, never came to say so; its text did.
    """
    modules, problems = [], []
    for answer in answers:
        if not answer.is_broken:
            continue
        module = answer.module
        named, faults = resolve_layers(answer.layers_named, find)
        problems += [Problem(module.origin, fault, setting="layers") for _, fault in faults]
        paths = dict.fromkeys((*module.layers, *(layer.path for layer in named)))
        if tuple(paths) != module.layers:
            modules.append(replace(module, layers=tuple(paths)))
    return modules, problems
