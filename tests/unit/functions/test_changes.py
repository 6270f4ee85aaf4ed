"""What a new reading of the configuration changes."""

from __future__ import annotations

from dataclasses import replace

from faasd.functions.changes import NewReading, settle
from faasd.model.function import Function

A = Function("a", handler="one:a", code_dir="/kept/1", source_dir="/srv/f", code_version="1")
B = Function("b", handler="two.sub:b", code_dir="/kept/1", source_dir="/srv/f", code_version="1")
A2 = replace(A, code_dir="/kept/2", code_version="2")


def reading(*functions: Function, **more: dict[str, str]) -> NewReading:
    broken = {("two", "/srv/f"): "it is broken"} if "broken" in more else {}
    return NewReading(functions, more.get("left_out", {}), broken)


def words(settled: object) -> dict[str, str]:
    return {one.function: one.change for one in settled.changes}  # type: ignore[attr-defined]


def test_each_function_is_told_apart() -> None:
    """Whoever reloads wants to know what became of each."""
    settled = settle([A, B], reading(A2, Function("c")))
    assert words(settled) == {"c": "added", "a": "changed", "b": "removed"}
    assert settled.functions == (A2, Function("c"))
    [changed] = [one for one in settled.changes if one.function == "a"]
    assert (changed.before, changed.code_version) == ("1", "2")


def test_what_has_not_changed_stays_the_same_object() -> None:
    """Zygotes and identities are found by it; where a declaration stands in its file does not count."""
    settled = settle([A], reading(replace(A, origin="/srv/f/one.py:99")))
    assert words(settled) == {"a": "unchanged"}
    assert settled.functions[0] is A


def test_a_broken_function_stays_as_it_was_and_a_new_one_is_refused() -> None:
    """One typing error must neither stop its function nor hold up the others."""
    settled = settle([A], reading(left_out={"a": "its timeout is no time", "new": "so it is"}))
    assert words(settled) == {"a": "kept", "new": "refused"}
    assert settled.functions == (A,)
    assert [one.reason for one in settled.changes] == ["its timeout is no time", "so it is"]


def test_functions_of_a_module_that_cannot_be_imported_stay_as_they_were() -> None:
    """Nobody knows what the module declares, so what it declared before holds; packages included."""
    settled = settle([A, B], reading(A2, broken={}))
    assert words(settled) == {"a": "changed", "b": "kept"}
    assert settled.functions == (A2, B)


def test_one_that_moved_to_another_module_is_not_kept() -> None:
    """The module that it was in may be broken: the declaration that was found counts."""
    moved = replace(B, handler="one:b")
    assert settle([B], reading(moved, broken={})).functions == (moved,)
