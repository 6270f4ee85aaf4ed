"""How people declare functions and triggers in Python: plain callables in, plain dictionaries out.

Nothing is judged here. The same models that judge the TOML file judge these dictionaries when the
daemon reads them, so a mistake gets the same message in both places. That holds for a misspelt
setting too: it is kept rather than refused, because a TypeError would end the module's import and
hide its other mistakes. Type checkers see the exact signatures. The command line imports this module
as well, so it imports nothing itself.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import Any, TypeVar, Union, overload

    Handler = TypeVar("Handler", bound=Callable[..., Any])
    TriggerCall = TypeVar("TriggerCall", bound=Callable[..., dict[str, Any]])
    Filter = Union[Mapping[str, Any], Sequence[Mapping[str, Any]]]
    Names = Union[str, Sequence[str]]
    Moment = Union[str, datetime]
    Place = Union[str, Path]
else:

    def overload(stub):
        """Stand in for typing.overload, whose import would cost more than this module."""
        return stub


__all__ = ["DECLARATIONS", "Declaration", "at", "cron", "every", "files", "function", "queue"]


class Declaration:
    """What one use of `@function` has said."""

    __slots__ = ("file", "handler", "line", "module", "name", "settings")

    def __init__(
        self,
        name: str,
        handler: Callable[..., Any],
        settings: dict[str, Any],
        place: tuple[str, int],
        module: str,
    ) -> None:
        self.name = name
        self.handler = handler
        self.settings = settings
        self.file, self.line = place
        self.module = module  # The one whose import has used the decorator.


#: Everything that has been declared in this process, in order. Discovery reads it.
DECLARATIONS: list[Declaration] = []


# For type checkers: the decorated name keeps its type, with and without parentheses.
@overload
def function(handler: Handler, /) -> Handler: ...  # noqa: D103
@overload
def function(  # noqa: D103, F811
    *,
    name: str | None = ...,
    triggers: Sequence[Mapping[str, Any]] | None = ...,
    enabled: bool | None = ...,
    python: Place | None = ...,
    layers: Names | Sequence[Place] | None = ...,
    timeout: str | None = ...,
    grace: str | None = ...,
    memory: str | None = ...,
    cpu: float | None = ...,
    cpu_time: str | None = ...,
    processes: int | None = ...,
    open_files: int | None = ...,
    file_size: str | None = ...,
    tmp_size: str | None = ...,
    oom_score_adj: int | None = ...,
    output_limit: str | None = ...,
    line_limit: str | None = ...,
    payload_limit: str | None = ...,
    init_timeout: str | None = ...,
    concurrency: int | None = ...,
    reuse: int | None = ...,
    recycle_memory: str | None = ...,
    spares: int | str | None = ...,
    keep_warm: bool | None = ...,
    retry: Mapping[str, Any] | None = ...,
    expires: str | None = ...,
    dead_letter: bool | None = ...,
    env: Mapping[str, str] | None = ...,
    pass_env: Sequence[str] | None = ...,
    read: Names | Sequence[Place] | None = ...,
    write: Names | Sequence[Place] | None = ...,
    network: bool | Sequence[int] | Mapping[str, Sequence[int]] | None = ...,
    secrets: Names | None = ...,
    user: str | None = ...,
    containment: str | None = ...,
    on_success: Names | None = ...,
    on_failure: Names | None = ...,
) -> Callable[[Handler], Handler]: ...
def function(  # noqa: F811
    handler: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    triggers: Sequence[Mapping[str, Any]] | None = None,
    enabled: bool | None = None,
    python: Place | None = None,
    layers: Names | Sequence[Place] | None = None,
    timeout: str | None = None,
    grace: str | None = None,
    memory: str | None = None,
    cpu: float | None = None,
    cpu_time: str | None = None,
    processes: int | None = None,
    open_files: int | None = None,
    file_size: str | None = None,
    tmp_size: str | None = None,
    oom_score_adj: int | None = None,
    output_limit: str | None = None,
    line_limit: str | None = None,
    payload_limit: str | None = None,
    init_timeout: str | None = None,
    concurrency: int | None = None,
    reuse: int | None = None,
    recycle_memory: str | None = None,
    spares: int | str | None = None,
    keep_warm: bool | None = None,
    retry: Mapping[str, Any] | None = None,
    expires: str | None = None,
    dead_letter: bool | None = None,
    env: Mapping[str, str] | None = None,
    pass_env: Sequence[str] | None = None,
    read: Names | Sequence[Place] | None = None,
    write: Names | Sequence[Place] | None = None,
    network: bool | Sequence[int] | Mapping[str, Sequence[int]] | None = None,
    secrets: Names | None = None,
    user: str | None = None,
    containment: str | None = None,
    on_success: Names | None = None,
    on_failure: Names | None = None,
    **unknown: Any,
) -> Any:
    """Declare that faasd runs this callable, as `@function` or `@function(timeout="30s", ...)`.

    The decorated name stays what it was: call it in a unit test as `name(event, context)`. Without
    `name` the function is named like the callable. Settings in TOML win over those given here;
    docs/configuration.md describes each of them.
    """
    settings = _given(locals())
    settings.pop("handler", None)
    name = settings.pop("name", None)
    settings.update(settings.pop("unknown"))

    def declare(handler: Callable[..., Any]) -> Callable[..., Any]:
        DECLARATIONS.append(_declaration(handler, name, settings))
        return handler

    return declare if handler is None else declare(handler)


def _keeps_unknown(call: TriggerCall) -> TriggerCall:
    """Keep names that a trigger does not have, and do without the one that it must have.

    Only `type` is refused as Python does it, since every trigger has that key already.
    """
    first = call.__code__.co_varnames[0]
    known = {first, "type", *(call.__kwdefaults__ or ())}

    def keep(*values: Any, **named: Any) -> dict[str, Any]:
        unknown = {name: named.pop(name) for name in set(named) - known}
        if not values:
            named.setdefault(first, None)
        return {**call(*values, **named), **unknown}

    keep.__name__, keep.__doc__ = call.__name__, call.__doc__
    keep.__wrapped__ = call  # type: ignore[attr-defined] # Where inspect finds the signature.
    return keep  # type: ignore[return-value]


@_keeps_unknown
def cron(
    expression: str,
    *,
    timezone: str | None = None,
    catch_up: str | None = None,
    catch_up_window: str | None = None,
    overlap: str | None = None,
    start_deadline: str | None = None,
    jitter: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    name: str | None = None,
    filter: Filter | None = None,  # noqa: A002 - The setting's name.
) -> dict[str, Any]:
    """Run at the times that a cron expression names, for example `cron("0 3 * * *")`."""
    return {"type": "cron", **_given(locals())}


@_keeps_unknown
def every(
    interval: str,
    *,
    catch_up: str | None = None,
    catch_up_window: str | None = None,
    overlap: str | None = None,
    start_deadline: str | None = None,
    jitter: str | None = None,
    start: Moment | None = None,
    end: Moment | None = None,
    name: str | None = None,
    filter: Filter | None = None,  # noqa: A002
) -> dict[str, Any]:
    """Run again and again, this far apart, for example `every("5m")`."""
    return {"type": "every", **_given(locals())}


@_keeps_unknown
def at(
    time: Moment,
    *,
    timezone: str | None = None,
    catch_up: str | None = None,
    catch_up_window: str | None = None,
    overlap: str | None = None,
    start_deadline: str | None = None,
    name: str | None = None,
    filter: Filter | None = None,  # noqa: A002
) -> dict[str, Any]:
    """Run once, at this time, for example `at("2030-01-01T00:00:00Z")`."""
    return {"type": "at", **_given(locals())}


@_keeps_unknown
def files(
    path: Place,
    *,
    pattern: Names | None = None,
    exclude: Names | None = None,
    recursive: bool | None = None,
    settle: str | None = None,
    marker: str | None = None,
    order: str | None = None,
    polling: bool | None = None,
    poll_interval: str | None = None,
    batch_size: int | None = None,
    batch_window: str | None = None,
    on_success: str | None = None,
    on_failure: str | None = None,
    name: str | None = None,
    filter: Filter | None = None,  # noqa: A002
) -> dict[str, Any]:
    """Run for each complete file in a directory, for example `files("/srv/inbox", pattern="*.csv")`."""
    return {"type": "files", **_given(locals())}


@_keeps_unknown
def queue(
    name: str,
    *,
    batch_size: int | None = None,
    batch_window: str | None = None,
    concurrency: int | None = None,
    key_concurrency: int | None = None,
    rate: str | None = None,
    visibility_timeout: str | None = None,
    filter: Filter | None = None,  # noqa: A002
) -> dict[str, Any]:
    """Run for each event of a named queue, for example `queue("emails")`."""
    return {"type": "queue", **_given(locals())}


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Keep what the caller has said; None is how all of these spell "not said"."""
    return {name: value for name, value in arguments.items() if value is not None}


def _declaration(
    handler: Callable[..., Any], name: str | None, settings: dict[str, Any]
) -> Declaration:
    code = getattr(handler, "__code__", None)
    frame = sys._getframe()  # noqa: SLF001 - The documented way without importing inspect.
    while frame.f_back is not None and frame.f_code.co_filename == __file__:
        frame = frame.f_back
    if code is None:  # A class, a partial or another object: say where the decorator was used.
        place = frame.f_code.co_filename, frame.f_lineno
    else:
        place = code.co_filename, code.co_firstlineno
    # A decorator of people's own may call this one, so look for the module that is being imported.
    while frame.f_back is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    own_name = str(name or getattr(handler, "__name__", ""))
    module = str(frame.f_globals.get("__name__", ""))
    return Declaration(own_name, handler, dict(settings), place, module)
