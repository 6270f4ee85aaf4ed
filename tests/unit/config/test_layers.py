"""Laying over each other what several places say of one function."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from faasd.config.layers import Layer, merge
from faasd.config.settings import FunctionSettings
from faasd.model.declaration import Problem


def _layer(**given: Any) -> Layer:
    return Layer(FunctionSettings(**given), lambda path, message: Problem("", message))


def test_what_nobody_says_is_the_default_and_nobody_elses() -> None:
    """A list that two functions had in common would let one change what the other may do."""
    first, second = merge([_layer()]), merge([_layer(timeout="5s")])
    assert (first["timeout_s"], second["timeout_s"]) == (60.0, 5.0)
    shared = [
        name
        for name, value in first.values.items()
        if isinstance(value, (list, dict)) and value is second[name]
    ]
    assert shared == []


def test_defaults_are_known_without_a_look_at_any_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Eleven merges are made for each function, and such looks were nine tenths of each."""

    def look(*_: object, **__: object) -> None:
        raise AssertionError("looked at a signature")

    merge([_layer()])
    monkeypatch.setattr(inspect.Signature, "from_callable", look)
    assert merge([_layer()])["timeout_s"] == 60.0
