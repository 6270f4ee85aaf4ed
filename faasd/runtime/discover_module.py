"""What discovery looks at in one module: its import, its declarations, its handlers, its threads.

There is one such process per module at every start and reload, so what only some modules need
(difflib, inspect, traceback) is imported when one does.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import Any

from faasd import declare
from faasd.model.suggest import did_you_mean
from faasd.runtime import left_open
from faasd.runtime.module_path import module_path

__all__ = ["examine"]


class _TimeIsUp(BaseException):
    """Raised inside the import at its time limit, so that the traceback shows where it hangs."""


def examine(request: dict[str, Any]) -> dict[str, Any]:
    """Import one module and describe it. Never raises."""
    name, code_dir, timeout_s = request["module"], request["code_dir"], request["timeout_s"]
    own_path = list(sys.path)
    ours = left_open.descriptors()
    sys.path[:0] = module_path(code_dir, request["layers"])

    def time_is_up(*_: object) -> None:
        raise _TimeIsUp

    signal.signal(signal.SIGALRM, time_is_up)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        module = importlib.import_module(name)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException as error:  # noqa: BLE001 - Whatever the module raises is the answer.
        signal.setitimer(signal.ITIMER_REAL, 0)
        sys.path[:] = own_path
        return {
            "problems": [_import_problem(error, request)],
            "layers_named": _layers_named(name, code_dir),
        }
    # What is imported from here on is the standard library's, whatever stands beside the module.
    sys.path[:] = own_path
    problems: list[dict[str, Any]] = []
    functions = []
    for declaration in declare.DECLARATIONS:
        if _belongs(declaration, name):
            described = _describe(declaration, problems)
            if described is not None:
                functions.append(described)
    if not _tidies_up():
        texts = left_open.warnings(ours, code_dir)
        problems.extend({"message": text, "warning": True} for text in texts)
    return {
        "file": getattr(module, "__file__", None),
        "functions": functions,
        "attributes": {path: _handler_fault(module, path) for path in request["attributes"]},
        "problems": problems,
    }


def _tidies_up() -> bool:
    """Whether the module has hooks that run before a zygote forks: what is open now may be closed by then."""
    registry = sys.modules.get("snapshot_restore_py")
    return registry is not None and bool(registry.get_before_snapshot())


def _belongs(declaration: declare.Declaration, name: str) -> bool:
    """Whether this module, or one inside it, declares it; others that it imports report their own."""
    return declaration.module == name or declaration.module.startswith(name + ".")


def _describe(
    declaration: declare.Declaration, problems: list[dict[str, Any]]
) -> dict[str, Any] | None:
    place = {"file": declaration.file, "line": declaration.line, "function": declaration.name}
    module_name, path, fault = _place_of(declaration)
    fault = fault or _handler_fault(sys.modules.get(module_name), path)
    if fault is not None:
        problems.append({"message": fault, **place})
        return None
    settings = {}
    for name, value in declaration.settings.items():
        try:
            settings[name] = json.loads(json.dumps(value, default=_plain, allow_nan=False))
        except (TypeError, ValueError) as error:
            problems.append({"message": f"its setting {name!r} cannot be read: {error}", **place})
    handler = f"{module_name}:{path}"
    return {
        "name": declaration.name,
        "handler": handler,
        "settings": settings,
        "file": declaration.file,
        "line": declaration.line,
    }


def _place_of(declaration: declare.Declaration) -> tuple[str, str, str | None]:
    """Return the module and the name under which a sandbox finds a handler, or what is wrong.

    By its own name, as nearly always, or else by the name that its declaring module gives to it:
    a lambda, a partial, an object, or a function of another module has no other.
    """
    handler, declaring = declaration.handler, declaration.module
    path = str(getattr(handler, "__qualname__", ""))
    own_module = str(getattr(handler, "__module__", "")) if path else declaring
    found: Any = sys.modules.get(own_module) if path and "<" not in path else None
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is not None and _is_or_wraps(found, handler):
        return own_module, path, None
    for name, value in vars(sys.modules.get(declaring, object)).items():
        if value is handler:
            return declaring, name, None
    if found is None:
        kind = "a lambda" if "<lambda>" in path else "defined inside another function"
        if "<" not in path:
            kind = f"of type {type(handler).__name__}" if not path else f"nowhere as {path!r}"
        return (
            "",
            "",
            f"is {kind}; give it a name at the top of its module, so that a sandbox finds it",
        )
    if getattr(found, "__qualname__", None) == path and found.__module__ == own_module:
        return (
            "",
            "",
            f"is hidden by another {path!r} further down; give one of the two another name",
        )
    return own_module, path, None  # Another decorator stands above, and has put this in its place.


def _is_or_wraps(found: Any, handler: Any) -> bool:
    """Whether this is the handler, or made of it by decorators that say so."""
    for _ in range(100):
        if found is handler:
            return True
        found = getattr(found, "__wrapped__", None)
        if found is None:
            return False
    return False


def _plain(value: Any) -> Any:
    """Write what people naturally pass to a setting the way TOML would have it."""
    from datetime import datetime, timedelta

    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, timedelta):
        return f"{value.total_seconds():f}s"
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{value!r} is of type {type(value).__name__}")


def _handler_fault(module: Any, path: str) -> str | None:
    """Say what is wrong with a handler, or None."""
    owner, found = module, module
    for part in path.split("."):
        owner = found
        found = getattr(owner, part, None)
        if found is None:
            hint = did_you_mean(part, [name for name in dir(owner) if not name.startswith("_")])
            return f"there is no {part!r} in {getattr(owner, '__name__', owner)}{hint}"
    if not callable(found):
        return f"{path!r} is of type {type(found).__name__} and cannot be called"
    return None if _is_plain_handler(found) else _call_fault(found, path)


def _is_plain_handler(found: Any) -> bool:
    """Whether this is an ordinary function of two arguments, as nearly all are; never wrongly true."""
    code = getattr(found, "__code__", None)
    if type(found).__name__ != "function" or code is None or hasattr(found, "__wrapped__"):
        return False
    is_generator = code.co_flags & 0x220  # CO_GENERATOR, CO_ASYNC_GENERATOR
    return code.co_argcount == 2 and not code.co_kwonlyargcount and not is_generator


def _call_fault(found: Any, path: str) -> str | None:
    """Say what keeps something from being called as a handler, or None."""
    import inspect

    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        return f"{path!r} is a generator; a handler returns its result"
    try:
        signature = inspect.signature(found)
    except (TypeError, ValueError):
        return None  # Written in C without a signature: the call will tell.
    try:
        signature.bind(None, None)
    except TypeError:
        return f"{path}{signature} cannot be called as handler(event, context)"
    return None


def _layers_named(name: str, code_dir: str) -> list[str]:
    from faasd.runtime.named_layers import named_layers

    return named_layers(name, code_dir)


def _import_problem(error: BaseException, request: dict[str, Any]) -> dict[str, Any]:
    """Describe why the import failed, at the line of the user's own code that is nearest to it."""
    code_dir = request["code_dir"]
    if isinstance(error, SyntaxError) and error.filename:
        return {
            "message": f"cannot be imported: {type(error).__name__}: {error.msg}",
            "file": error.filename,
            "line": error.lineno,
        }
    import traceback

    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)
    ]
    own = [frame for frame in frames if code_dir and frame.filename.startswith(code_dir + os.sep)]
    near = own or frames
    return {
        "message": _import_message(error, request),
        "file": near[-1].filename if near else None,
        "line": near[-1].lineno if near else None,
        "frames": [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[-20:]],
    }


def _import_message(error: BaseException, request: dict[str, Any]) -> str:
    if isinstance(error, _TimeIsUp):
        return f"its import did not end within {request['timeout_s']:g}s; it was here"
    if isinstance(error, SystemExit):
        return (
            f"called sys.exit({error.code!r}) while it was imported; "
            'put what a script does under `if __name__ == "__main__":`'
        )
    text = _text_of(error)
    hint = ""
    if isinstance(error, ModuleNotFoundError):
        hint = f"; install it for {sys.executable}, or set `python` to the interpreter that has it"
    else:
        from faasd.runtime.discover_hint import import_hint

        said = import_hint(error, request["files"])
        hint = f"; {said}" if said is not None else ""
    return f"cannot be imported: {type(error).__name__}: {text}{hint}"


def _text_of(error: BaseException) -> str:
    try:
        return str(error)[:2000]
    except Exception as second:  # noqa: BLE001 - The exception's class is the user's own code.
        return f"(its text raised {type(second).__name__})"


def _is_ours(file: str) -> bool:
    return file.startswith("<frozen importlib") or os.path.dirname(file) in (
        os.path.dirname(os.path.abspath(__file__)),
        os.path.dirname(os.path.abspath(declare.__file__)),
        os.path.dirname(os.path.abspath(importlib.__file__)),
    )
