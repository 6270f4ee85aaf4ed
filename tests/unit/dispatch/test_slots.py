"""How much may run now."""

from __future__ import annotations

from faasd.dispatch.slots import RateWindow, Slots
from faasd.model.function import Function, Lane


def test_the_smallest_of_all_caps_decides() -> None:
    """Global slots, the function's concurrency and the queue's: the tightest one counts."""
    slots = Slots(10)
    function = Function("f", concurrency=4)
    lane = Lane("q", "f", concurrency=2)
    assert slots.free_for(function, lane) == 2
    slots.take("f", "q")
    assert slots.free_for(function, lane) == 1
    slots.take("f", "other")
    slots.take("f", "other")
    assert slots.free_for(function, lane) == 1
    slots.take("f", "other")
    assert slots.free_for(function, lane) == 0
    slots.give("f", "other")
    assert slots.free_for(function, lane) == 1


def test_a_waiting_caller_keeps_a_slot_from_the_queues() -> None:
    """Else a busy queue would take every slot that becomes free and the caller would wait for ever."""
    slots = Slots(1)
    slots.reserved = 1
    assert slots.free_for(Function("f"), Lane("q", "f")) == 0
    assert slots.free_for(Function("f"), None) == 1


def test_a_rate_window_slides() -> None:
    """Never more than the count in any span of that length, whatever the grid."""
    window = RateWindow(3, 10.0)
    window.take(2, 100.0)
    window.take(1, 105.0)
    assert window.free(109.9) == 0
    assert window.next_free_at() == 110.0
    assert window.free(110.0) == 2
    assert window.free(115.0) == 3


def test_a_changed_rate_starts_a_new_window_and_an_unchanged_one_is_kept() -> None:
    """A reload must not hand out the same rate twice."""
    slots = Slots(1)
    first = slots.rate_of(Lane("q", "f", rate=(1, 1.0)))
    assert first is not None
    assert slots.rate_of(Lane("q", "f", rate=(1, 1.0))) is first
    assert slots.rate_of(Lane("q", "f", rate=(2, 1.0))) is not first
    assert slots.rate_of(Lane("q", "f")) is None
