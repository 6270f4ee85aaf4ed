"""Reads what a discovery process reports. It ran other people's code, so nothing is taken on trust."""

from __future__ import annotations

import json
from typing import Any

from faasd.model.declaration import Declared, Discovered, Module, Problem

__all__ = ["quoted", "read_report"]

FUNCTIONS_MAX = 1000
TEXT_MAX = 4000


def read_report(module: Module, data: bytes, output: str) -> Discovered:
    """Return what the report says; one that is malformed makes the module a broken one.

    `output` is the end of what the module printed; it is shown when the module failed without saying why.
    """
    try:
        reports = [json.loads(line) for line in data.splitlines()]
        if not reports:
            return _broken(module, "ended without a report" + quoted(output))
        parts = [_read_one(module, _as(dict, report)) for report in reports]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return _broken(module, f"sent a report that cannot be read ({error})" + quoted(output))
    declared = tuple(function for part in parts for function in part.declared)
    attributes = {name: fault for part in parts for name, fault in part.attributes.items()}
    problems = tuple(problem for part in parts for problem in part.problems)
    named = tuple(name for part in parts for name in part.layers_named)
    return Discovered(module, declared, attributes, problems, parts[0].file, named)


def _read_one(module: Module, report: dict[str, Any]) -> Discovered:
    functions = _as(list, report.get("functions", []))
    if len(functions) > FUNCTIONS_MAX:
        raise ValueError(f"more than {FUNCTIONS_MAX} functions")
    attributes = _as(dict, report.get("attributes", {}))
    file = report.get("file")
    return Discovered(
        module,
        tuple(_declared(_as(dict, function)) for function in functions),
        {
            str(name): None if fault is None else _text(fault)
            for name, fault in attributes.items()
            if name in module.attributes
        },
        tuple(
            _problem(module, _as(dict, problem))
            for problem in _as(list, report.get("problems", []))[:FUNCTIONS_MAX]
        ),
        # Never shown, so it stays as it is: a path may hold any byte.
        file[:TEXT_MAX] if isinstance(file, str) and file.startswith("/") else None,
        tuple(_text(name) for name in _as(list, report.get("layers_named", []))[:100]),
    )


def _declared(value: dict[str, Any]) -> Declared:
    return Declared(
        _text(value["name"]),
        _text(value["handler"]),
        _as(dict, value["settings"]),
        _text(value["file"]),
        _as(int, value["line"]),
    )


def _problem(module: Module, value: dict[str, Any]) -> Problem:
    frames = [_text(frame) for frame in _as(list, value.get("frames", []))[:20]]
    # A single frame is the problem's own place.
    trail = frames if len(frames) > 1 else []
    message = _text(value["message"]) + "".join(f"\n    {frame}" for frame in trail)
    line = value.get("line")
    function = value.get("function")
    return Problem(
        _text(value.get("file") or module.origin),
        message,
        line=None if line is None else _as(int, line),
        function=None if function is None else _text(function),
        is_warning=value.get("warning") is True,
    )


def _as(kind: type, value: Any) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind.__name__}, not {type(value).__name__}")
    return value


def _text(value: Any) -> str:
    """Return text that is safe to print: no control characters that could fool a terminal."""
    text = str(_as(str, value))[:TEXT_MAX]
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)


def quoted(output: str) -> str:
    """Return the last line of what a module printed, to be added to a message; nothing of nothing."""
    last = output.rpartition("\n")[2].strip()
    return f"; the last it printed was: {_text(last)}" if last else ""


def _broken(module: Module, message: str) -> Discovered:
    return Discovered(module, problems=(Problem(module.origin, message),))
