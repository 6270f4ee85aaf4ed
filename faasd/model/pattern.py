"""Filter patterns in EventBridge's syntax: which events a trigger lets through. Pure.

A pattern is an object. Every field that it names must be in the event and match one of the listed
alternatives; fields that it does not name do not matter. docs/triggers/filters.md has examples.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Any

from faasd.model.suggest import did_you_mean

__all__ = ["matches", "validate"]

_OPERATORS = (
    "prefix",
    "suffix",
    "equals-ignore-case",
    "wildcard",
    "numeric",
    "anything-but",
    "exists",
    "cidr",
)
_COMPARISONS = ("=", "<", "<=", ">", ">=")
_EXAMPLE = '["value"] or [{"prefix": "a"}]'


def matches(pattern: Any, event: Any) -> bool:
    """Whether an event passes a pattern that `validate` found nothing wrong with."""
    top = event if isinstance(event, dict) else {}
    return _object_matches(pattern, top, [top])


def validate(pattern: Any) -> list[str]:
    """Return everything that is wrong with a pattern, one sentence each; empty when it is fine."""
    if not isinstance(pattern, dict):
        return [f"expected an object of fields, not {pattern!r}"]
    if not pattern:
        return ["expected at least one field; leave the pattern out to let every event through"]
    return _problems(pattern, "")


def _object_matches(
    pattern: dict[str, Any], one: dict[str, Any], everyone: list[dict[str, Any]]
) -> bool:
    """Whether one object matches; `everyone` is it and its siblings in arrays, which `exists` asks too.

    The fields of one nested pattern are looked for in one element of an array, not spread over several.
    """
    for key, wanted in pattern.items():
        if key == "$or":
            if not any(_object_matches(branch, one, everyone) for branch in wanted):
                return False
        elif isinstance(wanted, dict):
            # A missing object is as good as an empty one: `exists: false` must see what it lacks.
            nested = _flat(one.get(key), of=dict) or [{}]
            siblings = [item for other in everyone for item in _flat(other.get(key), of=dict)]
            if not any(_object_matches(wanted, item, siblings) for item in nested):
                return False
        else:
            values = _leaves(one, key)
            exists = bool(values) or any(_leaves(other, key) for other in everyone)
            if not any(_alternative_matches(choice, values, exists) for choice in wanted):
                return False
    return True


def _alternative_matches(choice: Any, values: list[Any], exists: bool) -> bool:
    if isinstance(choice, dict) and "exists" in choice:
        return bool(values) if choice["exists"] else not exists
    return any(_value_matches(choice, value) for value in values)


def _leaves(one: dict[str, Any], key: str) -> list[Any]:
    """Return the values of a field: itself, or the elements of an array; no objects."""
    return _flat(one[key], of=object) if key in one else []


def _flat(value: Any, *, of: type) -> list[Any]:
    """Return the objects (`of=dict`) or the other values inside a value and its nested arrays."""
    found: list[Any] = []
    rest = [value]  # Not by recursion, which a deeply nested event could exhaust.
    while rest:
        item = rest.pop()
        if isinstance(item, list):
            rest.extend(reversed(item))
        elif isinstance(item, dict) == (of is dict):
            found.append(item)
    return found


def _value_matches(alternative: Any, value: Any) -> bool:
    if not isinstance(alternative, dict):
        return _equal(alternative, value)
    [(operator, wanted)] = alternative.items()
    if operator == "anything-but":
        return not _is_excepted(wanted, value)
    if operator == "numeric":
        return _is_number(value) and _in_range(wanted, value)
    if not isinstance(value, str):
        return False
    if operator == "cidr":
        return _in_network(wanted, value)
    return _text_matches(operator, wanted, value)


def _text_matches(operator: str, wanted: Any, value: str) -> bool:
    if isinstance(wanted, dict):  # {"prefix": {"equals-ignore-case": "AbC"}}
        return _text_matches(operator, wanted["equals-ignore-case"].lower(), value.lower())
    if operator == "prefix":
        return value.startswith(wanted)
    if operator == "suffix":
        return value.endswith(wanted)
    if operator == "equals-ignore-case":
        return bool(value.lower() == wanted.lower())
    return _wildcard_matches(wanted, value)


def _is_excepted(wanted: Any, value: Any) -> bool:
    """Whether `anything-but` names this value: a value, a list of them, or a text operator on either."""
    if isinstance(wanted, dict):
        [(operator, texts)] = wanted.items()
        if not isinstance(value, str):
            return False
        listed = texts if isinstance(texts, list) else [texts]
        return any(_text_matches(operator, text, value) for text in listed)
    listed = wanted if isinstance(wanted, list) else [wanted]
    return any(_equal(one, value) for one in listed)


def _equal(wanted: Any, value: Any) -> bool:
    """Compare as JSON does: true is not 1, and 1 is 1.0."""
    if isinstance(wanted, bool) or isinstance(value, bool):
        return wanted is value
    return bool(wanted == value)


def _in_range(wanted: list[Any], value: float) -> bool:
    for comparison, bound in zip(wanted[::2], wanted[1::2]):
        holds = {
            "=": value == bound,
            "<": value < bound,
            "<=": value <= bound,
            ">": value > bound,
            ">=": value >= bound,
        }[comparison]
        if not holds:
            return False
    return True


def _in_network(wanted: str, value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    return address in _network(wanted)


@lru_cache(maxsize=1024)
def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(text, strict=False)


def _wildcard_matches(wanted: str, value: str) -> bool:
    """Match piece by piece, the leftmost each time: no text can make that slow."""
    pieces = _wildcard_pieces(wanted)
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return value == first
    at, end = len(first), len(value) - len(last)
    if at > end or not value.startswith(first) or not value.endswith(last):
        return False
    for piece in pieces[1:-1]:
        at = value.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True


@lru_cache(maxsize=1024)
def _wildcard_pieces(text: str) -> tuple[str, ...]:
    r"""Cut a wildcard at its stars; `\*` is a star and `\\` a backslash."""
    pieces = [""]
    for part in re.findall(r"\\[*\\]|[\s\S]", text):
        if part == "*":
            pieces.append("")
        else:
            pieces[-1] += part[-1]
    return tuple(pieces)


def _problems(pattern: dict[str, Any], path: str) -> list[str]:
    problems: list[str] = []
    for key, wanted in pattern.items():
        here = f"{path}.{key}" if path else str(key)
        if key == "$or":
            problems += _or_problems(wanted, path, here)
        elif isinstance(wanted, dict):
            problems += _nested_problems(wanted, key, here)
        elif not isinstance(wanted, list):
            problems.append(f"{here}: expected a list such as {_EXAMPLE}, not {wanted!r}")
        elif not wanted:
            problems.append(f"{here}: an empty list matches nothing; name at least one value")
        else:
            for choice in wanted:
                problems += _choice_problems(choice, here)
    return problems


def _or_problems(wanted: Any, path: str, here: str) -> list[str]:
    if not isinstance(wanted, list) or not all(isinstance(one, dict) and one for one in wanted):
        return [f"{here}: expected a list of patterns"]
    if len(wanted) < 2:
        return [f"{here}: expected at least two patterns"]
    return [problem for branch in wanted for problem in _problems(branch, path)]


def _nested_problems(wanted: dict[str, Any], key: str, here: str) -> list[str]:
    if not wanted:
        return [f"{here}: expected at least one field"]
    is_fields = any(isinstance(one, (dict, list)) for one in wanted.values())
    if set(wanted) <= set(_OPERATORS) and not is_fields:
        written = ", ".join(f'"{operator}"' for operator in wanted)
        return [f"{here}: {written} stands in a list: {{{key!r}: [{{{written}: …}}]}}"]
    return _problems(wanted, here)


def _choice_problems(choice: Any, here: str) -> list[str]:
    if isinstance(choice, list):
        return [f"{here}: expected a value or an operator, not the list {choice!r}"]
    if not isinstance(choice, dict):
        return []
    if len(choice) != 1:
        return [f"{here}: expected one operator in each object, not {len(choice)}"]
    [(operator, wanted)] = choice.items()
    if operator not in _OPERATORS:
        hint = did_you_mean(str(operator), _OPERATORS) or f"; there are {', '.join(_OPERATORS)}"
        return [f"{here}: {operator!r} is no operator{hint}"]
    problem = _operand_problem(operator, wanted)
    return [f"{here}: {operator}: {problem}"] if problem else []


def _operand_problem(operator: str, wanted: Any) -> str | None:
    if operator == "exists":
        return None if isinstance(wanted, bool) else f"expected true or false, not {wanted!r}"
    if operator == "numeric":
        return _numeric_problem(wanted)
    if operator == "anything-but":
        return _anything_but_problem(wanted)
    if operator == "cidr":
        try:
            _network(wanted)
        except (ValueError, TypeError):
            return f'expected a network such as "10.0.0.0/24", not {wanted!r}'
        return None
    return _text_problem(operator, wanted)


def _text_problem(operator: str, wanted: Any) -> str | None:
    if operator in ("prefix", "suffix") and isinstance(wanted, dict):
        if list(wanted) == ["equals-ignore-case"]:
            return _text_problem("equals-ignore-case", wanted["equals-ignore-case"])
        return f'expected text or {{"equals-ignore-case": "text"}}, not {wanted!r}'
    if not isinstance(wanted, str):
        return f"expected text, not {wanted!r}"
    if operator == "wildcard" and "" in _wildcard_pieces(wanted)[1:-1]:
        return f"stars next to each other in {wanted!r}; one is enough"
    return None


def _anything_but_problem(wanted: Any) -> str | None:
    if isinstance(wanted, dict):
        operators = ("prefix", "suffix", "equals-ignore-case", "wildcard")
        if len(wanted) != 1 or next(iter(wanted)) not in operators:
            return f"expected one of {', '.join(operators)}, not {wanted!r}"
        [(operator, texts)] = wanted.items()
        listed = texts if isinstance(texts, list) else [texts]
        problems = [_text_problem(operator, text) for text in listed]
        return next((problem for problem in problems if problem), None)
    listed = wanted if isinstance(wanted, list) else [wanted]
    if not listed:
        return "expected at least one value"
    if any(isinstance(one, (dict, list)) for one in listed):
        return f"expected values, not {wanted!r}"
    return None


def _numeric_problem(wanted: Any) -> str | None:
    expected = 'expected a comparison such as [">", 0, "<=", 5]'
    if not isinstance(wanted, list) or len(wanted) not in (2, 4):
        return f"{expected}, not {wanted!r}"
    if not all(_is_number(bound) for bound in wanted[1::2]):
        return f"{expected}, not {wanted!r}"
    for comparison in wanted[::2]:
        if comparison not in _COMPARISONS:
            return f"expected one of {', '.join(_COMPARISONS)}, not {comparison!r}"
    if len(wanted) == 4 and not (wanted[0] in (">", ">=") and wanted[2] in ("<", "<=")):
        return f"a range goes from low to high: {expected[9:]}, not {wanted!r}"
    if len(wanted) == 4 and wanted[1] >= wanted[3]:
        return f"the lower bound of {wanted!r} is not below the upper"
    return None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
