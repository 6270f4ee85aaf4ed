"""Filter patterns: which events pass, and what is said about a pattern that cannot be meant."""

from __future__ import annotations

from typing import Any

import pytest

from faasd.model.pattern import matches, validate

EVENT = {
    "trigger": "queue",
    "body": {
        "name": "report.JPG",
        "state": "Running",
        "count": 5,
        "ratio": 0.5,
        "ok": True,
        "nothing": None,
        "tags": ["red", "green"],
        "empty": [],
        "address": "10.0.0.17",
        "address6": "2001:db8::17",
        "path": "logs/2026/11/app.log",
        "star": "a*b",
        "owner": {"id": 7},
        "lines": [{"sku": "a", "count": 1}, {"sku": "b", "count": 2, "gift": True}],
    },
}

# What stands under "body" in the pattern, and whether the event above passes.
TABLE: list[tuple[dict[str, Any], bool]] = [
    ({"state": ["Running"]}, True),
    ({"state": ["running"]}, False),
    ({"state": ["Stopped", "Running"]}, True),
    ({"state": ["Running"], "count": [6]}, False),
    ({"count": [5]}, True),
    ({"count": [5.0]}, True),
    ({"count": ["5"]}, False),
    ({"ok": [True]}, True),
    ({"ok": [1]}, False),
    ({"count": [True]}, False),
    ({"nothing": [None]}, True),
    ({"absent": [None]}, False),
    ({"tags": ["green"]}, True),
    ({"tags": ["blue"]}, False),
    ({"tags": ["blue", "red"]}, True),
    ({"owner": {"id": [7]}}, True),
    ({"owner": [7]}, False),
    ({"owner": {"id": {"deeper": [7]}}}, False),
    ({"lines": {"sku": ["b"]}}, True),
    ({"lines": {"sku": ["b"], "count": [2]}}, True),
    ({"lines": {"sku": ["b"], "count": [1]}}, False),  # No single element has both.
    ({"name": [{"prefix": "report"}]}, True),
    ({"name": [{"prefix": "Report"}]}, False),
    ({"name": [{"prefix": {"equals-ignore-case": "REP"}}]}, True),
    ({"name": [{"suffix": ".jpg"}]}, False),
    ({"name": [{"suffix": {"equals-ignore-case": ".jpg"}}]}, True),
    ({"name": [{"equals-ignore-case": "REPORT.jpg"}]}, True),
    ({"name": [{"equals-ignore-case": "report"}]}, False),
    ({"count": [{"prefix": "5"}]}, False),
    ({"tags": [{"prefix": "gr"}]}, True),
    ({"path": [{"wildcard": "logs/*/app.log"}]}, True),
    ({"path": [{"wildcard": "logs/*/*.log"}]}, True),
    ({"path": [{"wildcard": "*"}]}, True),
    ({"path": [{"wildcard": "logs/*"}]}, True),
    ({"path": [{"wildcard": "*/app"}]}, False),
    ({"path": [{"wildcard": "logs/*logs*"}]}, False),
    ({"path": [{"wildcard": "logs/2026/11/app.log*app.log"}]}, False),
    ({"star": [{"wildcard": "a\\*b"}]}, True),
    ({"state": [{"wildcard": "R\\*g"}]}, False),
    ({"count": [{"numeric": ["=", 5]}]}, True),
    ({"count": [{"numeric": ["<", 5]}]}, False),
    ({"count": [{"numeric": ["<=", 5]}]}, True),
    ({"count": [{"numeric": [">", 5]}]}, False),
    ({"count": [{"numeric": [">=", 5]}]}, True),
    ({"count": [{"numeric": [">", 0, "<=", 5]}]}, True),
    ({"count": [{"numeric": [">", 0, "<", 5]}]}, False),
    ({"ratio": [{"numeric": [">", 0, "<", 1]}]}, True),
    ({"ok": [{"numeric": ["=", 1]}]}, False),
    ({"state": [{"numeric": ["=", 5]}]}, False),
    ({"state": [{"anything-but": "Stopped"}]}, True),
    ({"state": [{"anything-but": "Running"}]}, False),
    ({"state": [{"anything-but": ["Stopped", "Running"]}]}, False),
    ({"count": [{"anything-but": [1, 2]}]}, True),
    ({"count": [{"anything-but": 5}]}, False),
    ({"tags": [{"anything-but": "red"}]}, True),  # Green is anything but red.
    ({"tags": [{"anything-but": ["red", "green"]}]}, False),
    ({"absent": [{"anything-but": "red"}]}, False),
    ({"name": [{"anything-but": {"prefix": "rep"}}]}, False),
    ({"name": [{"anything-but": {"prefix": ["x", "rep"]}}]}, False),
    ({"name": [{"anything-but": {"prefix": ["x", "y"]}}]}, True),
    ({"name": [{"anything-but": {"suffix": ".png"}}]}, True),
    ({"name": [{"anything-but": {"equals-ignore-case": ["report.jpg"]}}]}, False),
    ({"path": [{"anything-but": {"wildcard": "logs/*"}}]}, False),
    ({"path": [{"anything-but": {"wildcard": "*.txt"}}]}, True),
    ({"state": [{"exists": True}]}, True),
    ({"absent": [{"exists": True}]}, False),
    ({"absent": [{"exists": False}]}, True),
    ({"state": [{"exists": False}]}, False),
    ({"nothing": [{"exists": True}]}, True),
    ({"owner": [{"exists": True}]}, False),  # Only values exist, not the objects around them.
    ({"empty": [{"exists": True}]}, False),
    ({"missing": {"inner": [{"exists": False}]}}, True),
    ({"state": {"inner": [{"exists": False}]}}, True),
    ({"missing": {"inner": ["x"]}}, False),
    ({"lines": {"gift": [{"exists": True}]}}, True),
    ({"lines": {"gift": [{"exists": False}]}}, False),  # One of the elements has it.
    ({"lines": {"price": [{"exists": False}]}}, True),
    ({"address": [{"cidr": "10.0.0.0/24"}]}, True),
    ({"address": [{"cidr": "10.0.1.0/24"}]}, False),
    ({"address": [{"cidr": "2001:db8::/32"}]}, False),
    ({"address6": [{"cidr": "2001:db8::/32"}]}, True),
    ({"state": [{"cidr": "10.0.0.0/8"}]}, False),
    ({"state": ["Stopped", {"prefix": "Run"}]}, True),
    ({"$or": [{"state": ["Stopped"]}, {"count": [{"numeric": [">", 3]}]}]}, True),
    ({"$or": [{"state": ["Stopped"]}, {"count": [{"numeric": [">", 9]}]}]}, False),
    ({"tags": ["red"], "$or": [{"state": ["Stopped"]}, {"ok": [True]}]}, True),
    ({"tags": ["blue"], "$or": [{"state": ["Running"]}, {"ok": [True]}]}, False),
    ({"$or": [{"$or": [{"ok": [True]}, {"ok": [3]}]}, {"ok": [4]}], "count": [5]}, True),
]


@pytest.mark.parametrize(("pattern", "passes"), TABLE, ids=[str(row[0]) for row in TABLE])
def test_a_pattern_lets_through_what_eventbridge_would(
    pattern: dict[str, Any], passes: bool
) -> None:
    """People bring their patterns along; every row is a valid one, and says what passes."""
    whole = {"body": pattern}
    assert validate(whole) == []
    assert matches(whole, EVENT) is passes


BROKEN: list[tuple[Any, str]] = [
    ([], "expected an object of fields"),
    ({}, "at least one field"),
    ({"a": "b"}, "a: expected a list"),
    ({"a": []}, "a: an empty list matches nothing"),
    ({"a": {}}, "a: expected at least one field"),
    ({"a": {"b": {"c": 3}}}, "a.b.c: expected a list"),
    ({"a": {"prefix": "x"}}, '"prefix" stands in a list'),
    ({"a": [["b"]]}, "not the list"),
    ({"a": [{"prefx": "b"}]}, 'did you mean "prefix"'),
    ({"a": [{"between": [1, 2]}]}, "'between' is no operator; there are prefix"),
    ({"a": [{"prefix": "b", "suffix": "c"}]}, "one operator in each object, not 2"),
    ({"a": [{"prefix": 3}]}, "expected text, not 3"),
    ({"a": [{"suffix": {"prefix": "x"}}]}, "equals-ignore-case"),
    ({"a": [{"wildcard": "a**b"}]}, "stars next to each other"),
    ({"a": [{"exists": "yes"}]}, "true or false"),
    ({"a": [{"cidr": "10.0.0.300"}]}, "expected a network"),
    ({"a": [{"numeric": [">"]}]}, "expected a comparison"),
    ({"a": [{"numeric": [">", "3"]}]}, "expected a comparison"),
    ({"a": [{"numeric": ["!=", 3]}]}, "'!='"),
    ({"a": [{"numeric": ["<", 5, ">", 3]}]}, "from low to high"),
    ({"a": [{"numeric": [">", 5, "<", 3]}]}, "not below the upper"),
    ({"a": [{"anything-but": []}]}, "at least one value"),
    ({"a": [{"anything-but": {"numeric": ["=", 1]}}]}, "expected one of prefix"),
    ({"a": [{"anything-but": [{"prefix": "a"}]}]}, "expected values"),
    ({"$or": [{"a": [1]}]}, "at least two"),
    ({"$or": {"a": [1]}}, "expected a list of patterns"),
    ({"$or": [{"a": [1]}, {"b": 2}]}, "b: expected a list"),
]


@pytest.mark.parametrize(("pattern", "said"), BROKEN, ids=[str(row[0]) for row in BROKEN])
def test_a_pattern_that_cannot_be_meant_is_named_with_its_place(pattern: Any, said: str) -> None:
    """A pattern that silently matches nothing is a trigger that silently never fires."""
    [problem] = validate(pattern)
    assert said in problem


def test_every_problem_of_a_pattern_is_said_at_once() -> None:
    """One mistake per attempt makes a long evening."""
    assert len(validate({"a": "b", "c": [{"nope": 1}], "d": {"e": []}})) == 3


def test_a_field_may_be_called_like_an_operator() -> None:
    """S3-like events have fields named prefix and suffix."""
    pattern = {"rule": {"prefix": ["logs/"]}}
    assert validate(pattern) == []
    assert matches(pattern, {"rule": {"prefix": "logs/"}})


@pytest.mark.parametrize("event", ["text", 3, None, ["list"]])
def test_an_event_that_is_no_object_has_no_fields(event: Any) -> None:
    """A direct invoke may carry any JSON value."""
    assert not matches({"a": ["text"]}, event)
    assert matches({"a": [{"exists": False}]}, event)


def test_hostile_events_neither_exhaust_the_stack_nor_the_processor() -> None:
    """Filters run on what strangers send, before anything else looks at it."""
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    assert matches({"a": ["x"]}, {"a": deep})
    while isinstance(deep, list):  # Taken apart by hand: freeing it would recurse.
        deep = deep[0]
    text = "a" * 100_000
    assert not matches({"a": [{"wildcard": "*a" * 40 + "*b"}]}, {"a": text})
