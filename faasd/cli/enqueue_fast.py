"""The small parser of `faasd enqueue`: what it reads, it reads as click would; the rest it leaves to click."""

from __future__ import annotations

from faasd.cli.enqueue_events import BATCH_MAX, enqueue_events
from faasd.cli.exits import INTERRUPTED, complain, exit_code_of
from faasd.errors import FaasdError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["enqueue_without_click"]

_TEXTS = ("--delay", "--key", "--dedup", "--expires", "--config")
_NUMBERS = ("--priority", "--batch")


def enqueue_without_click(arguments: list[str]) -> int | None:
    """Run `faasd enqueue …` and return its exit code; None when click has to look at the arguments."""
    parsed = _parse(arguments)
    if parsed is None:
        return None
    names, options = parsed
    try:
        return enqueue_events(
            names[0],
            names[1] if len(names) == 2 else None,
            options={name: options.get(f"--{name}") for name in _EVENT_OPTIONS},
            batch=options.get("--batch"),
            config=options.get("--config"),
            as_json="--json" in options,
        )
    except FaasdError as error:
        complain(str(error))
        return exit_code_of(error)
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED


_EVENT_OPTIONS = ("delay", "key", "dedup", "priority", "expires")


def _parse(arguments: list[str]) -> tuple[list[str], dict[str, Any]] | None:
    """Return (QUEUE and perhaps its event, options by name), or None."""
    names: list[str] = []
    options: dict[str, Any] = {}
    rest = iter(arguments)
    is_past_command = False
    for argument in rest:
        name, equals, value = argument.partition("=")
        if name in _TEXTS or name in _NUMBERS:
            if not is_past_command and name != "--config":
                return None
            taken = value if equals else next(rest, None)
            if taken is None:
                return None
            options[name] = taken
        elif argument == "--json" and is_past_command:
            options["--json"] = True
        elif argument.startswith("-") and argument != "-":
            return None
        elif not is_past_command:
            if argument != "enqueue":
                return None
            is_past_command = True
        else:
            names.append(argument)
    if not 1 <= len(names) <= 2 or not is_past_command:
        return None
    return (names, options) if _read_numbers(options) else None


def _read_numbers(options: dict[str, Any]) -> bool:
    for name in _NUMBERS:
        text = options.get(name)
        if text is None:
            continue
        digits = text[1:] if text[:1] == "-" else text
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
            return False
        options[name] = int(text)
    return bool(1 <= options.get("--batch", 1) <= BATCH_MAX)
