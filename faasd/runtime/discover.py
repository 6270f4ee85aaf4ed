"""The looker: one per interpreter. It imports nothing of anybody's, and forks a process for each module that is looked at.

Called as `PYTHON -I bootstrap.py discover FD`, with the daemon at the other end of socket FD. A look is a frame
{"timeout_s"} with four descriptors: the request (JSON in memory, read by the fork alone: it may hold what other modules must not
see), the report's pipe, the pipe for what is printed, and a socket for the look itself. On that the answer is one
frame, after all that the look had started is gone: {"status": of its keeper} or {"failed": why there was none}. Who
closes the other end of it early has the look killed.
"""

from __future__ import annotations

import gc
import os
import select
import signal
from _socket import socket as Socket  # noqa: N812 - see faasd/wire.py.
from typing import Any, NoReturn

from faasd import wire
from faasd.errors import WireError
from faasd.linux import clone, proc_tree, process
from faasd.runtime import discover_keeper

__all__ = ["Look", "Looker", "main"]

_APART = clone.NEWPID | clone.NEWIPC | clone.NEWUTS


def main(arguments: list[str]) -> None:
    """Serve the daemon at the other end of descriptor `arguments[0]` until it closes."""
    control = Socket(fileno=int(arguments[0]))
    os.set_inheritable(control.fileno(), False)
    process.set_name("faasd-looker")
    # What a look could not end itself, because it was killed, comes here.
    process.become_subreaper()
    discover_keeper.prepare()
    # What is here stays as it is, so no look's collection of garbage touches, and so copies, it.
    gc.collect()
    gc.freeze()
    Looker(control).serve()
    os._exit(0)  # Nothing is left to be tidied up, which takes an interpreter as long as a look.


class Look:
    """One module that is being looked at."""

    def __init__(
        self, timeout_s: float, request: int, report: int, output: int, answer: int
    ) -> None:
        self.timeout_s = timeout_s
        self.given = (request, report, output)
        self.answer = Socket(fileno=answer)
        # With a user namespace first, as root too: then no capability is worth anything outside.
        users = (clone.NEWUSER, 0) if os.geteuid() == 0 else (clone.NEWUSER,)
        #: What is tried, the best first; the last is to have no namespace at all.
        self.tries = [_APART | user | view for user in users for view in (clone.NEWNS, 0)] + [0]
        self.flags = 0
        self.pid = 0


class Looker:
    """Forks a keeper for each look and says when it has ended."""

    def __init__(self, control: Socket) -> None:
        self._control = control
        self._poll = select.poll()
        self._poll.register(control, select.POLLIN)
        self._keepers: dict[int, Look] = {}  # By pidfd.
        self._answers: dict[int, Look] = {}  # By the descriptor of the look's socket.

    def serve(self) -> None:
        """Work until the daemon closes its end, then end everything below."""
        try:
            while self._serve_once():
                pass
        except (OSError, WireError):
            pass  # The daemon died within a frame.
        proc_tree.end_all([os.getpid()])

    def _serve_once(self) -> bool:
        # One alone, as what follows may give the numbers of others to new descriptors.
        fd = self._poll.poll()[0][0]
        if fd in self._keepers:
            self._ended(fd)
        elif fd in self._answers:
            self._kill(fd)
        else:
            frame, fds = wire.receive_with_fds(self._control, wire.CONTROL_BYTES_MAX)
            if frame is None:
                return False
            look = Look(float(wire.decode(frame)["timeout_s"]), *fds)
            self._answers[look.answer.fileno()] = look
            self._poll.register(look.answer, select.POLLIN)
            self._fork(look)
        return True

    def _fork(self, look: Look) -> None:
        """Fork the keeper of a look, into the best namespaces that were not tried yet."""
        why = ""
        while look.tries:
            look.flags = look.tries.pop(0)
            try:
                look.pid, pidfd = clone.fork(look.flags, is_plain=True)
            except OSError as error:
                why = str(error)
                continue
            if look.pid == 0:
                self._become_keeper(look)
            self._keepers[pidfd] = look
            self._poll.register(pidfd, select.POLLIN)
            return
        self._conclude(look, {"failed": why})

    def _become_keeper(self, look: Look) -> NoReturn:
        """Let go of all that is not this look's, and be its keeper."""
        self._control.close()
        for pidfd in self._keepers:
            os.close(pidfd)
        for one in self._answers.values():
            one.answer.close()
            if one is not look:
                for fd in one.given:
                    os.close(fd)
        discover_keeper.run(look.given, look.timeout_s, look.flags)

    def _kill(self, answer: int) -> None:
        """Nobody waits for this look any more."""
        self._poll.unregister(answer)
        look = self._answers[answer]
        look.tries.clear()
        os.kill(look.pid, signal.SIGKILL)  # Not reaped yet, so the number is still its own.

    def _ended(self, pidfd: int) -> None:
        look = self._keepers.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(look.pid, 0)
        code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        if not look.flags & clone.NEWPID:
            # Its orphans, of a keeper that was killed.
            proc_tree.end_all([os.getpid()], keep=[one.pid for one in self._keepers.values()])
        elif code == discover_keeper.NOT_APART and look.tries:
            self._fork(look)
            return
        self._conclude(look, {"status": code})

    def _conclude(self, look: Look, answer: dict[str, Any]) -> None:
        """Answer, and let go of all that is the look's."""
        del self._answers[look.answer.fileno()]
        try:
            self._poll.unregister(look.answer)
        except KeyError:
            pass  # It has hung up.
        try:
            wire.send(look.answer, answer)
        except OSError:
            pass  # Nobody listens any more.
        look.answer.close()
        for fd in look.given:
            os.close(fd)
