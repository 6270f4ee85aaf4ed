"""The soft signal: SIGTERM as an exception in the handler, while it runs and not a moment longer."""

from __future__ import annotations

import os
import signal
import threading

# Not through `signal`, which makes enums of all that was set before, 64 blocked signals among it.
from _signal import SIG_BLOCK, SIG_DFL, SIG_IGN, SIG_SETMASK, getsignal, pthread_sigmask  # type: ignore[import-not-found]
from _signal import signal as handle_signal
from typing import Any

from faasd.model.context import SoftTimeout

__all__ = ["SoftStop"]


class SoftStop:
    """SIGTERM raises SoftTimeout, while the handler runs and not a moment longer."""

    def __init__(self) -> None:
        self._handler = self._raise  # One object, by which it is known.
        self._is_armed = False
        self.has_come = False  # Whatever it found: no other attempt is to begin in this process.
        self._ours: list[Any] = [self._handler]
        self._is_known = False  # To those that the handler forks.
        self._held_back = threading.local()  # The signal mask of each thread that forks.

    def adopt(self) -> None:
        """Take the present handler for ours as well."""
        self._ours.append(getsignal(signal.SIGTERM))

    def arm(self) -> None:
        """From here on the signal raises; one that came before the first time does so now."""
        if self.has_come:
            raise SoftTimeout("the time of an attempt before is over")
        self._is_armed = True
        # To set and reset it for each attempt would be system calls; the handler may have set one of its own.
        if getsignal(signal.SIGTERM) is not self._handler:
            handle_signal(signal.SIGTERM, self._handler)
        if self._is_known:
            return
        self._is_known = True
        # What the handler forks must end when the handler says so, as elsewhere: a process of a pool that is
        # told to terminate while it waits in C would never come to run our Python.
        os.register_at_fork(
            before=self._hold_back,
            after_in_parent=self._let_through,
            after_in_child=self._forget_in_child,
        )
        pthread_sigmask(SIG_SETMASK, ())

    def disarm(self) -> None:
        """From here on the signal is ignored: the report is on its way."""
        self._is_armed = False
        if getsignal(signal.SIGTERM) is self._handler:
            return
        try:
            handle_signal(signal.SIGTERM, SIG_IGN)
        except ValueError:
            pass  # A thread that the handler forked in; its main thread is elsewhere.

    def _hold_back(self) -> None:
        # A signal that reached the child before it had forgotten our handler would be lost.
        self._held_back.mask = pthread_sigmask(SIG_BLOCK, (signal.SIGTERM,))

    def _let_through(self) -> None:
        pthread_sigmask(SIG_SETMASK, self._held_back.mask)

    def _forget_in_child(self) -> None:
        if getsignal(signal.SIGTERM) in self._ours:
            handle_signal(signal.SIGTERM, SIG_DFL)
        self._let_through()

    def _raise(self, _number: int, _frame: Any) -> None:
        self.has_come = True
        if self._is_armed:
            raise SoftTimeout("the attempt's time is over")
