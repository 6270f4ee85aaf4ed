"""What the places say about one function, laid over each other: defaults, decorator, TOML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faasd.config.positions import KeyPath
from faasd.config.settings import FunctionSettings, RetrySettings, explicit
from faasd.config.trigger_settings import Settings
from faasd.config.validate import Report, keys_of
from faasd.model.declaration import Declared, Module, Problem

__all__ = ["Draft", "Layer", "Merged", "merge"]

#: Tables that are laid over each other key by key, not as a whole.
_TABLES = ("retry", "env")


@dataclass(frozen=True)
class Layer:
    """What one place says, and how to name a position in it."""

    settings: Settings
    report: Report
    is_defaults: bool = False


@dataclass
class Draft:
    """One function on its way: what is known of it until it is whole, or left out."""

    name: str
    layers: list[Layer]  # The weakest first.
    origin: str
    declared: Declared | None = None
    found_in: Module | None = None  # Where its decorator was found.


@dataclass(frozen=True)
class Merged:
    """The settings in force, and for each the place that it came from."""

    values: dict[str, Any]
    layers: dict[str, Layer]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def is_given(self, name: str) -> bool:
        """Whether somebody wrote this setting for this function, rather than for all."""
        return name in self.layers and not self.layers[name].is_defaults

    @property
    def is_runnable(self) -> bool:
        """Whether these settings alone say what runs."""
        return self["handler"] is not None or self["command"] is not None

    def problem(self, name: str, message: str, *below: str | int) -> Problem:
        """Return a problem at the place where a setting was written; `below` goes deeper into it."""
        key = {attribute: key for key, attribute in keys_of(FunctionSettings).items()}[name]
        path: KeyPath = (key, *below)
        if name in self.layers:
            return self.layers[name].report(path, message)
        return self.layers[""].report((), f"{key}: {message}")


def merge(layers: Sequence[Layer]) -> Merged:
    """Lay the stronger over the weaker, setting by setting; `retry` and `env` key by key."""
    values: dict[str, Any] = dict(FunctionSettings())
    tables: dict[str, dict[str, Any]] = {name: {} for name in _TABLES}
    # Where a function was declared at all: for settings that nobody wrote.
    origins: dict[str, Layer] = {"": layers[-1]}
    for layer in layers:
        for name, value in explicit(layer.settings).items():
            origins[name] = layer
            if name in tables:
                tables[name] |= explicit(value) if isinstance(value, Settings) else value
            else:
                values[name] = value
    values["env"] = tables["env"]
    # A first wait longer than the default's longest one says how long waits may get.
    values["retry"] = dict(RetrySettings()) | tables["retry"]
    if "max_s" not in tables["retry"]:
        values["retry"]["max_s"] = max(values["retry"]["max_s"], values["retry"]["first_s"])
    return Merged(values, origins)
