"""What a sandbox's first process tells is three numbers within bounds, once for each attempt; anything else ends it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from faasd.sandbox import renewal
from faasd.sandbox.readers import Readers
from faasd.sandbox.renewal import Renewal
from tests.patience import patient


class Told:
    """A renewal with its other end in the test's hand."""

    def __init__(self) -> None:
        self.readers = Readers()
        self.breaches = 0
        self.stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.renewal = Renewal(self.readers, self._breach)
        self.first = socket.socket(fileno=self.renewal.child_fd)
        self.renewal.listen()

    def _breach(self) -> None:
        self.breaches += 1


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    made = Told()
    yield made
    made.renewal.close()
    made.first.close()
    made.readers.close()


async def test_an_end_is_told_once(told: Told) -> None:
    """With how it ended, what was used, and whether the sandbox is as new."""
    told.first.send(b"0 1500000 1")
    assert await told.renewal.has_renewed(told.stop)
    assert told.renewal.end == (0, 1.5, True)
    assert not told.breaches


async def test_who_ends_too_is_not_renewed(told: Told) -> None:
    """The status is that of the handler's process."""
    told.first.send(b"139 1 0")
    told.first.close()
    assert not await told.renewal.has_renewed(told.stop)
    assert told.renewal.status() == 139


@pytest.mark.parametrize(
    "text",
    [
        b"", b"0", b"0 0", b"0 0 1 1", b"-1 0 1", b"0 1e3 1", b"0 " + b"9" * 60, b"\xff \xfe 1",
        b"0 1 1\n", b"+0 1 1", b"0  1", b"0 \xc2\xb2 1",
    ],
)  # fmt: skip
async def test_what_is_no_end_is_none(told: Told, text: bytes) -> None:
    """Nothing of it is believed, and nobody waits for more of it."""
    told.first.send(text)
    assert not await told.renewal.has_renewed(told.stop)
    assert told.renewal.end is None


async def test_a_status_that_is_none_is_left_out(told: Told) -> None:
    """As from the pipe that a sandbox has elsewhere."""
    told.first.send(b"99999999 1 1")
    assert await told.renewal.has_renewed(told.stop)
    assert told.renewal.status() is None


async def test_speaking_twice_is_a_breach(told: Told) -> None:
    """One word for each attempt: a sandbox that says more gets no other attempt, and is not read on."""
    heard = asyncio.get_running_loop().create_future()
    told.renewal.on_end = lambda: heard.set_result(None)
    told.first.send(b"0 1 1")
    await heard
    for _ in range(3):
        told.first.send(b"0 1 1")
    while not told.breaches:
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert told.breaches == 1
    assert told.renewal.is_worn
    told.renewal.begin([], is_awaited=True)  # What it had said before is not believed of this one.
    assert not await told.renewal.has_renewed(told.stop)


async def test_an_attempt_that_is_to_end_at_once_is_not_waited_for(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its handler's process could go on after its report; who says something in time is heard all the same."""
    monkeypatch.setattr(renewal, "_PATIENCE_S", 3600.0)
    asyncio.get_running_loop().call_soon(told.stop.set_result, None)
    async with asyncio.timeout(patient(5.0)):
        assert not await told.renewal.has_renewed(told.stop)
        assert not await told.renewal.has_renewed(told.stop)


async def test_a_sandbox_that_has_gone_cannot_begin_again(told: Told) -> None:
    """So its attempt goes to another one."""
    told.first.close()
    assert not told.renewal.begin([], is_awaited=True)
