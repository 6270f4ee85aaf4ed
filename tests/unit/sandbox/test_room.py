"""Places in a zygote: handed on in order, and never lost with who stops waiting."""

from __future__ import annotations

import asyncio

from faasd.sandbox.room import Room


def never() -> asyncio.Future[str]:
    return asyncio.get_running_loop().create_future()


async def test_places_are_handed_on_in_the_order_of_coming() -> None:
    """Nobody who comes later without waiting slips in."""
    room = Room(1)
    assert await room.take(never())
    order = []

    async def wait(name: str) -> None:
        assert await room.take(never())
        order.append(name)

    waiting = [asyncio.create_task(wait(name)) for name in "ab"]
    await asyncio.sleep(0)
    room.give_back()
    assert not room.take_nowait()
    await waiting[0]
    room.give_back()
    await waiting[1]
    room.give_back()
    assert order == ["a", "b"]
    assert room.take_nowait()


async def test_who_stops_waiting_leaves_no_place_taken() -> None:
    """By its stop, or by being cancelled, even when the place came in the same moment."""
    room = Room(1)
    assert room.take_nowait()
    stop = never()
    stopped = asyncio.create_task(room.take(stop))
    cancelled = asyncio.create_task(room.take(never()))
    await asyncio.sleep(0)
    stop.set_result("cancelled")
    assert await stopped is False
    room.give_back()
    cancelled.cancel()
    await asyncio.wait({cancelled})
    assert room.take_nowait()


async def test_a_room_without_bounds_has_a_place_for_everybody() -> None:
    """Where nothing is prepared for each of them."""
    room = Room(None)
    assert all(room.take_nowait() for _ in range(1000))
    room.give_back()
