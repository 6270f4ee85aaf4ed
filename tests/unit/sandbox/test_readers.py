"""Reading the sandboxes' descriptors: each by whoever has it now, and nobody at another's expense."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from faasd.sandbox.readers import Readers


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    made = Readers()
    yield made
    made.close()


@pytest.fixture
async def pipes() -> AsyncIterator[list[tuple[int, int]]]:
    """Three pipes, with something in each of them."""
    made = [os.pipe() for _ in range(3)]
    for _, writing in made:
        os.write(writing, b"x")
    yield made
    for pipe in made:
        for fd in pipe:
            os.close(fd)


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_is_readable_is_read_until_it_is_let_go_of(
    readers: Readers, pipes: list[tuple[int, int]]
) -> None:
    """Nobody is called for a descriptor that is out of the list."""
    read: list[int] = []
    for reading, _ in pipes:
        readers.add(reading, lambda fd: read.append(os.read(fd, 1)[0]))
    await turns()
    assert len(read) == 3
    readers.remove(pipes[0][0])
    for _, writing in pipes:
        os.write(writing, b"x")
    await turns()
    assert len(read) == 5
    os.read(pipes[0][0], 1)


async def test_who_was_let_go_of_in_the_same_turn_is_not_called(
    readers: Readers, pipes: list[tuple[int, int]]
) -> None:
    """Its number may be another descriptor's by then, whose reader would take the one's news for its own."""
    called: list[int] = []

    def take_over(fd: int) -> None:
        called.append(fd)
        for reading, _ in pipes:
            readers.remove(reading)
        for reading, _ in pipes:
            if reading != fd:
                os.read(reading, 1)
                readers.add(reading, called.append)

    for reading, _ in pipes:
        readers.add(reading, take_over)
    await turns()
    assert len(called) == 1


async def test_one_that_fails_keeps_no_other_from_being_read(
    readers: Readers, pipes: list[tuple[int, int]]
) -> None:
    """As in the event loop's own list; what went wrong is told as there."""
    told: list[str] = []
    read: list[int] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, one: told.append(one["message"]))

    def fail(fd: int) -> None:
        os.read(fd, 1)
        raise ValueError

    for (reading, _), call in zip(pipes, (fail, fail, read.append), strict=True):
        readers.add(reading, call)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(told) == 2
    assert read
