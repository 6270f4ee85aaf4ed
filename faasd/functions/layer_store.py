"""Published layers in the state directory: `layers/NAME/VERSION/`, which never change once they are there.

A version is a directory with `layer.json` and `content/`. It appears by one rename. Deleting takes its
content and leaves `layer.json`, so that a number never means something else later.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from faasd.clock import Clock, to_iso
from faasd.errors import BundleRefused, InvalidSetting, NotFound
from faasd.functions.kept_files import names_in, text_of
from faasd.functions.sealing import seal, staging
from faasd.functions.unpacking import copy_directory, unpack_zip
from faasd.linux.sync import sync, write_synced
from faasd.model.layer import LAYER_NAME, Layer, split_layer
from faasd.model.suggest import did_you_mean

__all__ = ["LAYERS_DIR", "LayerStore", "LayerVersion", "take_in"]

LAYERS_DIR = "layers"
_RECORD = "layer.json"
_CONTENT = "content"


@dataclass(frozen=True)
class LayerVersion:
    """One version of a layer."""

    name: str
    version: int
    digest: str
    files: int
    size_bytes: int
    created_at: str
    description: str = ""

    @property
    def reference(self) -> str:
        """How functions name it."""
        return f"{self.name}:{self.version}"


def take_in(source: Path, into: Path) -> None:
    """Make an empty directory hold what a zip archive or a directory holds. Raises BundleRefused."""
    if source.is_dir():
        copy_directory(source, into)
    elif source.is_file():
        unpack_zip(source, into)
    else:
        raise BundleRefused(f"{source} is neither a directory nor a zip archive")


class LayerStore:
    """The layers of one state directory. Safe to use from several processes at once.

    What is there and cannot be read is a VersionError, of every method.
    """

    def __init__(self, state_dir: Path, clock: Clock | None = None) -> None:
        self._root = state_dir / LAYERS_DIR
        self._clock = clock or Clock()

    def publish(self, name: str, source: Path, description: str = "") -> tuple[LayerVersion, bool]:
        """Make a new version of what a directory or zip archive holds; on disk when this returns.

        When the newest version holds the same already, that is returned, with False. Raises InvalidSetting
        for an impossible name and BundleRefused for content that cannot be taken in.
        """
        if not LAYER_NAME.fullmatch(name):
            raise InvalidSetting(
                f"{name!r} cannot be the name of a layer: expected at most 100 letters, digits, dots, "
                "dashes and underscores, beginning with a letter or digit"
            )
        with staging(self._root) as stage:
            content = stage / _CONTENT
            content.mkdir()
            take_in(source, content)
            if not any(content.iterdir()):
                raise BundleRefused(f"{source} holds nothing that a layer could be made of")
            try:
                sealed = seal(content)
                newest = self._newest(name)
                if newest is not None and newest.digest == sealed.digest:
                    return newest, False
                return self._place(stage, name, description, asdict(sealed)), True
            except OSError as error:
                raise BundleRefused(
                    f"cannot keep layer {name!r} in {self._root}: {error.strerror}; nothing has changed"
                ) from error

    def _place(
        self, stage: Path, name: str, description: str, held: dict[str, object]
    ) -> LayerVersion:
        """Rename what is ready to the next free number; two who publish at once get two numbers."""
        created_at = to_iso(self._clock.now()) or ""
        top = self._root / name
        top.mkdir(mode=0o751, exist_ok=True)
        while True:
            number = 1 + max(self._numbers(name), default=0)
            record = {
                "name": name, "version": number, **held,
                "created_at": created_at, "description": description,
            }  # fmt: skip
            write_synced(stage / _RECORD, json.dumps(record, indent=1).encode() + b"\n")
            stage.chmod(0o755)
            (stage / _CONTENT).chmod(0o555)
            try:
                stage.rename(top / str(number))
            except OSError:
                if not (top / str(number)).exists():
                    raise
                continue  # Somebody else was faster.
            sync(top)
            sync(self._root)
            return _read(record)

    def versions(self, name: str | None = None) -> list[LayerVersion]:
        """Return every version that has not been deleted, by name and number."""
        names = [name] if name is not None else self._names()
        return [
            found
            for one in names
            for number in sorted(self._numbers(one))
            if (found := self._load(one, number)) is not None
        ]

    def find(self, written: str) -> tuple[LayerVersion, Path]:
        """Return what `NAME` (the newest) or `NAME:VERSION` means, and where its content is. Raises NotFound."""
        reference = split_layer(written)
        if reference is None:
            raise NotFound(
                f"{written!r} is no layer: expected a name, such as numpy, a name and version, such as "
                "numpy:3, or a directory, such as /srv/layers/numpy"
            )
        name, number = reference
        found = self._newest(name) if number is None else self._load(name, number)
        if found is None:
            raise NotFound(self._no_such(name, number))
        return found, self._content(name, found.version)

    def resolve(self, written: str) -> Layer:
        """Return the layer that a function's setting names. Raises NotFound."""
        found, path = self.find(written)
        return Layer(found.reference, str(path), found.digest)

    def delete(self, reference: str, users: Callable[[LayerVersion], list[str]]) -> LayerVersion:
        """Delete one version, unless `users` names somebody who needs it. Raises NotFound and BundleRefused."""
        split = split_layer(reference)
        if split is None or split[1] is None:
            raise InvalidSetting(f"expected NAME:VERSION, such as numpy:3, not {reference!r}")
        found, content = self.find(reference)
        using = users(found)
        if using:
            raise BundleRefused(
                f"layer {found.reference} is in use by {', '.join(using)}; give {'it' if len(using) == 1 else 'them'} "
                "another version first"
            )
        with staging(self._root) as stage:
            # Renaming takes the right to write to what is renamed.
            content.chmod(0o755)
            content.rename(stage / _CONTENT)
            sync(content.parent)
        return found

    def _no_such(self, name: str, number: int | None) -> str:
        there = [one.version for one in self.versions(name)]
        if there:
            versions = ", ".join(map(str, there))
            return f"layer {name!r} has no version {number}; there is {versions}"
        # A layer's directory outlives its last version, so that no number is given again.
        hint = did_you_mean(name, [one for one in self._names() if self._newest(one) is not None])
        return f"there is no layer {name!r}{hint or '; `faasd layers publish` makes one'}"

    def _newest(self, name: str) -> LayerVersion | None:
        return max(self.versions(name), key=lambda one: one.version, default=None)

    def _names(self) -> list[str]:
        return sorted(one for one in names_in(self._root) if LAYER_NAME.fullmatch(one))

    def _numbers(self, name: str) -> list[int]:
        """Return every number that was ever given, deleted ones included."""
        return [int(one) for one in names_in(self._root / name) if one.isdigit()]

    def _content(self, name: str, number: int) -> Path:
        return self._root / name / str(number) / _CONTENT

    def _load(self, name: str, number: int) -> LayerVersion | None:
        content = self._content(name, number)
        try:
            text = text_of(content.parent / _RECORD)
            record = None if text is None else json.loads(text)
        except ValueError:
            return None
        return _read(record) if record is not None and content.is_dir() else None


def _read(record: dict[str, object]) -> LayerVersion:
    return LayerVersion(**{name: record[name] for name in LayerVersion.__dataclass_fields__})  # type: ignore[arg-type]
