"""What of the state directory is within reach of those that have it: a deployment's files, and published layers."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from faasd.model.below import is_in
from faasd.model.declaration import Module
from faasd.model.deployment import DEPENDENCIES_DIR
from faasd.model.function import Function

__all__ = ["bundle_of", "reveal_to_function", "reveal_to_module"]


def bundle_of(code_dir: str, state_dir: Path) -> str | None:
    """Return the deployed bundle that a directory of code belongs to, also that of a kept version of it."""
    packages = os.path.realpath(os.path.join(code_dir, DEPENDENCIES_DIR))
    place, name = os.path.split(packages)
    is_ours = is_in(place, os.path.realpath(state_dir / "deployments"))
    return place if is_ours and name == "packages" and Path(packages).is_dir() else None


def reveal_to_module(module: Module, state_dir: Path) -> Module:
    """Return a module with what it may see of the state directory while it is imported."""
    bundle = bundle_of(module.code_dir, state_dir) if module.code_dir else None
    published = str(state_dir / "layers")
    layers = [path for path in module.layers if is_in(path, published)]
    return replace(module, shown=(*module.shown, *([bundle] if bundle else []), *layers))


def reveal_to_function(function: Function, state_dir: Path) -> Function:
    """Return a function with what it may see of the state directory while it runs."""
    if function.handler is None:
        return function
    bundle = bundle_of(function.code_dir, state_dir)
    if bundle is None:
        return function
    # In place, without the link that says which version is in service: that is not in the function's view.
    if not function.copy_dir:
        function = replace(function, code_dir=os.path.realpath(function.code_dir))
    return replace(function, bundle_dir=bundle)
