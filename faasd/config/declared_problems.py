"""What can be wrong with a declaration by itself: its name, and a second declaration in TOML."""

from __future__ import annotations

from faasd.config.layers import Layer, merge
from faasd.config.positions import KeyPath
from faasd.config.validate import Report, dotted
from faasd.config.values import Name
from faasd.errors import InvalidSetting
from faasd.model.declaration import Declared, Problem

__all__ = ["conflicts", "name_problems", "place_of", "report_of"]


def place_of(declared: Declared) -> str:
    """Return where it stands, for messages."""
    return f"{declared.file}:{declared.line}"


def report_of(declared: Declared) -> Report:
    """Return what makes problems at a decorator's line, with the setting's name as in TOML."""

    def report(path: KeyPath, message: str) -> Problem:
        setting = dotted(("functions", declared.name, *path))
        return Problem(
            declared.file, message, declared.line, setting=setting, function=declared.name
        )

    return report


def name_problems(name: str, report: Report) -> list[Problem]:
    """Return what is wrong with a function's name."""
    try:
        Name().read(name)
    except InvalidSetting as error:
        return [report((), f"this cannot be the name of a function: {error}")]
    return []


def conflicts(layer: Layer, declared: Declared) -> list[Problem]:
    """A function that Python declares may not be given another handler in TOML."""
    settings = merge([layer])
    message = f"the function is declared in Python already, at {place_of(declared)}; remove one of the two"
    return [
        layer.report((key,), message)
        for key in ("handler", "command")
        if settings[key] not in (None, declared.handler)
    ]
