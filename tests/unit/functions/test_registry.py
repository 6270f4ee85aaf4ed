"""The catalogue of functions."""

from __future__ import annotations

import pytest

from faasd.functions.registry import Registry
from faasd.interfaces import Catalog
from faasd.model.function import Function
from faasd.model.trigger import FilesTrigger, QueueTrigger


def test_the_catalogue_knows_functions_and_the_queues_that_they_consume() -> None:
    """Intake asks it about every event."""
    watch = FilesTrigger("in", "/in", batch_size=5)
    mail = Function("mail", queues=(QueueTrigger("outbox"),))
    thumbs = Function("thumbs", files=(watch,))
    catalog: Catalog = Registry([thumbs, mail])
    assert [one.name for one in catalog.all()] == ["mail", "thumbs"]
    assert catalog.get("mail") is mail
    assert catalog.get("outbox") is None
    assert [lane.queue for lane in catalog.lanes()] == ["mail", "outbox", "thumbs", "thumbs/in"]
    assert catalog.consumer_of("outbox") is mail
    assert catalog.consumer_of("thumbs/in") is thumbs
    assert catalog.consumer_of("nothing") is None


def test_a_reload_swaps_everything_and_leaves_old_answers_alone() -> None:
    """Somebody who iterates over the functions must not meet half of a reload."""
    registry = Registry([Function("old")])
    before = registry.all()
    registry.replace([Function("new", queues=(QueueTrigger("q"),))])
    assert [one.name for one in before] == ["old"]
    assert [one.name for one in registry.all()] == ["new"]
    assert (registry.get("old"), registry.consumer_of("old")) == (None, None)
    assert len(registry.lanes()) == 2


def test_a_catalogue_that_contradicts_itself_is_refused_and_the_old_one_stays() -> None:
    """The loader never lets one through; a mistake of ours must not decide who gets an event."""
    registry = Registry([Function("a")])
    with pytest.raises(ValueError, match="two functions are named 'b'"):
        registry.replace([Function("b"), Function("b")])
    with pytest.raises(ValueError, match="queue 'b' has two consumers"):
        registry.replace([Function("a", queues=(QueueTrigger("b"),)), Function("b")])
    assert [one.name for one in registry.all()] == ["a"]
