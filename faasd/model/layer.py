"""The layer: a shared read-only directory that a function's handler finds on its paths."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "LAYER_NAME",
    "Layer",
    "digest_of_layers",
    "is_layer_path",
    "layer_directories",
    "split_layer",
]

LAYER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Layer:
    """One layer of a function, found."""

    name: str  # `numpy:3`; of a directory that somebody named, its path.
    path: str  # Where its content is.
    digest: str  # Of its content: with another one the function's zygote is another.

    @property
    def is_published(self) -> bool:
        """Whether it is in the state directory and never changes."""
        return self.name != self.path


def is_layer_path(written: str) -> bool:
    """Whether this names a directory rather than a published layer."""
    return "/" in written or written.startswith("~")


def split_layer(written: str) -> tuple[str, int | None] | None:
    """Read `numpy` or `numpy:3`; None when it is neither."""
    name, separator, version = written.partition(":")
    if not LAYER_NAME.fullmatch(name) or (separator and not _VERSION.fullmatch(version)):
        return None
    return name, int(version) if separator else None


def layer_directories(path: str) -> dict[str, str]:
    """Return where a layer's programs and libraries are, by the variable that leads to them."""
    return {"PATH": path + "/bin", "LD_LIBRARY_PATH": path + "/lib"}


def digest_of_layers(layers: Sequence[Layer]) -> str:
    """Return a short hash of what layers hold, in their order."""
    return hashlib.sha256(" ".join(layer.digest for layer in layers).encode()).hexdigest()[:6]
