"""Judges one table of settings: all its mistakes at once, each with its place and the likely intention."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from faasd.config.positions import KeyPath
from faasd.config.settings import DaemonSettings, DefaultSettings, FunctionSettings, RetrySettings
from faasd.config.trigger_settings import (
    AtSettings,
    CronSettings,
    EverySettings,
    FilesSettings,
    QueueSettings,
    Settings,
)
from faasd.config.values import Kind
from faasd.model.declaration import Problem
from faasd.model.suggest import did_you_mean

__all__ = ["Report", "dotted", "keys_of", "unit_of", "validate"]

Model = TypeVar("Model", bound=Settings)

#: Without these, nobody knows what the function runs.
_ESSENTIAL = {"handler", "command"}

#: Makes a problem of a path within the table that is judged, and a message.
Report = Callable[[KeyPath, str], Problem]

TRIGGER_MODELS: dict[str, type[Settings]] = {
    "cron": CronSettings,
    "every": EverySettings,
    "at": AtSettings,
    "files": FilesSettings,
    "queue": QueueSettings,
}
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def validate(model: type[Model], table: Any, report: Report) -> tuple[Model | None, list[Problem]]:
    """Return the settings, and everything that is wrong with them.

    With problems, what is returned lacks the settings that are wrong. It is only good for finding the
    mistakes that show later, so that people learn of all at once; None where that could mislead.
    """
    try:
        return model.model_validate(table), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems = [_problem(model, detail, report) for detail in details]
    return _what_is_left(model, table, [_locate(model, one["loc"])[0] for one in details]), problems


def _what_is_left(model: type[Model], table: Any, wrong: list[KeyPath]) -> Model | None:
    """Return the settings without the wrong ones, or without the tables and lists that hold these."""
    tops = {path[0] for path in wrong if path}
    if not isinstance(table, dict) or not tops or tops & _ESSENTIAL:
        return None
    # A trigger's bounds depend on the timeout.
    tops |= {"triggers"} if "timeout" in tops else set()
    for paths in (wrong, [(top,) for top in tops]):
        rest = copy.deepcopy(table)
        for path in [*paths, *[(top,) for top in tops if top not in {one[0] for one in wrong}]]:
            _remove(rest, path)
        try:
            return model.model_validate(rest)
        except ValidationError:
            continue
    return None


def _remove(table: Any, path: KeyPath) -> None:
    *above, last = path
    for part in above:
        try:
            table = table[part]
        except (KeyError, IndexError, TypeError):
            return
    # Not from a list: the places of its other items would no longer be those in the file.
    if isinstance(table, dict):
        table.pop(last, None)


def keys_of(model: type[BaseModel]) -> dict[str, str]:
    """Return the attribute of each setting by its name in TOML."""
    return {field.alias or name: name for name, field in model.model_fields.items()}


def unit_of(model: type[BaseModel], key: str) -> str:
    """Say what is written in a setting: a kind with its bounds, or a plain type."""
    field = model.model_fields[keys_of(model)[key]]
    for kind in field.metadata:
        if isinstance(kind, Kind):
            return kind.unit
    return "text" if field.annotation is str else "value"


def dotted(path: KeyPath) -> str:
    """Write a path as people do: `functions.thumbnail.triggers[0].path`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _problem(model: type[Settings], detail: ErrorDetails, report: Report) -> Problem:
    path, owner = _locate(model, detail["loc"])
    return report(path, _message(owner, path, detail))


def _locate(model: type[Settings], loc: tuple[str | int, ...]) -> tuple[KeyPath, type[Settings]]:
    """Return the path without the union's tag, and the model that owns its last key."""
    if loc[:1] == ("triggers",) and len(loc) > 2:
        # Pydantic puts the chosen member of the union behind the index.
        return (*loc[:2], *loc[3:]), TRIGGER_MODELS.get(str(loc[2]), model)
    if loc[:1] == ("retry",) and len(loc) > 1:
        return loc, RetrySettings
    return loc, model


def _message(owner: type[Settings], path: KeyPath, detail: ErrorDetails) -> str:
    kind, value = detail["type"], detail["input"]
    context = detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        return _unknown(owner, str(path[-1]))
    if kind == "missing":
        return f"is required; expected {unit_of(owner, str(path[-1]))}"
    if kind == "literal_error":
        words = str(context["expected"]).replace("'", '"')
        hint = did_you_mean(str(value), words.replace('"', "").replace(" or ", ", ").split(", "))
        return f"expected {words}, not {value!r}{hint}"
    if kind == "greater_than_equal":
        return f"expected at least {context['ge']}, not {value!r}"
    if kind == "less_than_equal":
        return f"expected at most {context['le']}, not {value!r}"
    if kind == "union_tag_invalid":
        hint = did_you_mean(str(context["tag"]), TRIGGER_MODELS)
        return f"no trigger has the type {context['tag']!r}; expected one of {_quoted()}{hint}"
    if kind == "union_tag_not_found":
        return f"a trigger needs a type; expected type = one of {_quoted()}"
    if kind in _TYPES:
        return f"expected {_TYPES[kind]}, not {value!r}{_type_hint(kind, value)}"
    return f"{detail['msg']}, not {value!r}"


def _quoted() -> str:
    return ", ".join(f'"{word}"' for word in TRIGGER_MODELS)


def _type_hint(kind: str, value: Any) -> str:
    if kind == "string_type" and isinstance(value, int | float):
        return f'; did you mean "{str(value).lower()}"?'
    if kind in ("int_type", "float_type") and isinstance(value, str) and value.strip().isdigit():
        return f"; did you mean {value.strip()}, without quotes?"
    if kind == "bool_type" and str(value).lower() in ("true", "false", "yes", "no", "on", "off"):
        yes = str(value).lower() in ("true", "yes", "on")
        return f"; did you mean {'true' if yes else 'false'}, without quotes?"
    if kind == "list_type" and isinstance(value, str | dict):
        return "; put it in brackets: [...]"
    return ""


def _unknown(owner: type[Settings], key: str) -> str:
    place = next((place for place, model in _places() if key in keys_of(model)), None)
    hint = f"; it is a setting of {place}" if place else did_you_mean(key, keys_of(owner))
    return f"unknown setting{hint}"


def _places() -> list[tuple[str, type[Settings]]]:
    return [
        ("[daemon]", DaemonSettings),
        ("[defaults] and of functions", DefaultSettings),
        ("[functions.NAME]", FunctionSettings),
        ("retry", RetrySettings),
        *((f'triggers of type "{kind}"', model) for kind, model in TRIGGER_MODELS.items()),
    ]
