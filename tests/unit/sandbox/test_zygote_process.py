"""How long the daemon waits for a zygote that has to fork."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from faasd import wire
from faasd.errors import SandboxError
from faasd.linux import process
from faasd.sandbox import zygote_process
from faasd.sandbox.zygote_process import Zygote


@pytest.fixture
def child() -> Iterator[int]:
    """A process that could be a zygote; returns its pidfd."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    pidfd = os.pidfd_open(pid)
    yield pidfd
    process.send_signal(pidfd, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(pidfd)


async def test_a_fork_waits_while_the_zygote_answers_others_and_not_beyond(
    child: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy host many wait for their turn; to give one up costs every attempt of the zygote."""
    loop = asyncio.get_running_loop()
    now = 1000.0
    monkeypatch.setattr(loop, "time", lambda: now)
    due: list[tuple[float, object, tuple[object, ...]]] = []

    def call_later(delay_s: float, call: object, *arguments: object) -> asyncio.Handle:
        due.append((delay_s, call, arguments))
        return asyncio.Handle(lambda: None, (), loop)

    limit_s = zygote_process._FORK_TIMEOUT_S
    ours, theirs = socket.socketpair()
    with theirs:
        zygote = Zygote("key", ours, child, loop.create_future(), None)
        monkeypatch.setattr(loop, "call_later", call_later)
        forks = [asyncio.ensure_future(zygote.fork(number, {}, [])) for number in (1, 2)]
        await asyncio.sleep(0)
        assert [delay_s for delay_s, _, _ in due] == [limit_s, limit_s]
        now += limit_s - 1
        wire.send(theirs, {"op": "fork-failed", "id": 1, "message": "no room"})
        with pytest.raises(SandboxError, match="no room"):
            await forks[0]

        now += 1
        zygote._time_out(2)
        assert not forks[1].done()
        assert (
            due[-1][0] == limit_s - 1
        )  # It is asked again when nothing has been heard for so long.
        now += limit_s - 1
        zygote._time_out(2)
        with pytest.raises(SandboxError, match="no answer"):
            await forks[1]
        with contextlib.suppress(SandboxError):
            zygote._channel.close("over")
