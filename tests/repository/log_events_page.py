"""docs/log-events.md: every event of the daemon's log, with the levels and fields it is logged with."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from faasd.log_events import EVENTS
from tests.repository.source import modules, parsed

__all__ = ["logged_events", "render_log_events"]

_LEVELS = ("debug", "info", "warning", "error", "exception")

_HEAD = """\
# Events of the daemon's log

Generated from the code by `make generate`. [Operations](operations.md#logs) says where the log is. What
functions print is not in it: `faasd logs`.

Every record has `event`, `level`, `timestamp` and `room`, the part of the program that speaks. In systemd's
journal each value is also a field: `FAASD_EVENT`, `FAASD_FUNCTION`, and `PRIORITY` for the level.

| Event | Level | With | Means |
| --- | --- | --- | --- |
"""


@dataclass
class Logged:
    """How an event is logged, wherever it is."""

    levels: set[str] = field(default_factory=set)
    fields: list[str] = field(default_factory=list)


def logged_events() -> dict[str, Logged]:
    """Return every event that the code logs."""
    found: dict[str, Logged] = {}
    for path in modules():
        tree = parsed(path)
        makers = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        for scope in [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]:
            for call in [node for node in ast.walk(scope) if isinstance(node, ast.Call)]:
                for event, levels in _events(call, scope):
                    logged = found.setdefault(event, Logged())
                    logged.levels |= levels
                    names = dict.fromkeys(_fields(call, makers))
                    logged.fields += [one for one in names if one not in logged.fields]
            for event, levels in _notes(scope):
                found.setdefault(event, Logged(fields=["count"])).levels |= levels
    return found


def _events(call: ast.Call, scope: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """Yield the event of `_log.level("event")`, of `log("event")` and of `report("event")`."""
    if not call.args or not isinstance(call.args[0], ast.Constant):
        return
    event = call.args[0].value
    if not isinstance(event, str):
        return
    match call.func:
        case ast.Attribute(value=ast.Name(id="_log"), attr=level) if level in _LEVELS:
            yield event, {level}
        case ast.Name(id="log"):
            yield (
                event,
                {
                    node.attr
                    for node in ast.walk(scope)
                    if isinstance(node, ast.Attribute)
                    and isinstance(node.value, ast.Name)
                    and node.value.id == "_log"
                    and node.attr in _LEVELS
                },
            )
        case ast.Attribute(attr="report" | "_report"):
            yield event, {"warning"}


def _notes(scope: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """Yield what is written without a logger: {"event": "…"}."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Dict):
            keys = [getattr(key, "value", None) for key in node.keys]
            if keys[:1] == ["event"] and isinstance(node.values[0], ast.Constant):
                yield str(node.values[0].value), {"warning"}


def _fields(call: ast.Call, makers: Mapping[str, ast.AST]) -> Iterator[str]:
    """Yield the names of fields. `makers` are the module's functions, which may give some of them: `**fields_of(…)`."""
    for keyword in call.keywords:
        if keyword.arg == "exc_info":
            yield "exception"
        elif keyword.arg == "extra" or keyword.arg is None:
            given = keyword.value
            if isinstance(given, ast.Call) and isinstance(given.func, ast.Name):
                given = makers.get(given.func.id, given)
            for node in _in_order(given):
                if isinstance(node, ast.Dict):
                    yield from (
                        str(key.value) for key in node.keys if isinstance(key, ast.Constant)
                    )
        else:
            yield keyword.arg
    if isinstance(call.func, ast.Attribute) and call.func.attr == "exception":
        yield "exception"


def _in_order(node: ast.AST) -> list[ast.AST]:
    """Return all that is below a node, as it stands in the source."""
    return sorted(
        ast.walk(node), key=lambda one: (getattr(one, "lineno", 0), getattr(one, "col_offset", 0))
    )


def render_log_events() -> str:
    """Return the page, in the order of the list."""
    logged = logged_events()
    rows = []
    for event, meaning in EVENTS.items():
        how = logged.get(event, Logged())
        levels = [level for level in _LEVELS if level in how.levels and level != "exception"]
        levels += ["error"] if "exception" in how.levels else []
        fields = ", ".join(f"`{one}`" for one in how.fields)
        rows.append(f"| `{event}` | {', '.join(levels)} | {fields} | {meaning} |\n")
    return _HEAD + "".join(rows)
