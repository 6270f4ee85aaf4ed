"""Every function's crash-loop breaker, in memory: asked before an attempt begins, told when it has ended."""

from __future__ import annotations

from collections.abc import Callable

from faasd.clock import Clock, to_iso
from faasd.dispatch import breaker as rules
from faasd.dispatch.breaker import CLOSED, Breaker, BreakerPolicy
from faasd.errors import Conflict
from faasd.interfaces import BreakerStatus
from faasd.logs import get_logger
from faasd.model.attempt import Attempt
from faasd.model.outcome import Outcome

__all__ = ["Breakers"]

_log = get_logger("dispatch")


class Breakers:
    """The breakers by name of function. A restart forgets them: see docs/decisions/breaker.md."""

    def __init__(
        self,
        clock: Clock,
        noise: Callable[[], float],
        on_change: Callable[[], None],
        policy: BreakerPolicy | None = None,
    ) -> None:
        """`on_change` hears when a function that was held back may run, now or later."""
        self._clock = clock
        self._noise = noise
        self._on_change = on_change
        self._policy = policy or BreakerPolicy()
        self._breakers: dict[str, Breaker] = {}  # Those that are not as new.

    def is_open(self, name: str) -> bool:
        """Whether the function is held back, but for one trial when its pause is over."""
        return self._of(name).is_open

    def may_begin(self, name: str) -> bool:
        """Whether an attempt may begin; while `is_open`, only one, which must `reserve` at once."""
        return rules.may_begin(self._of(name), self._clock.monotonic())

    def next_look_at(self, name: str) -> float | None:
        """Return when `may_begin` may change by itself, on the wall clock; None for when woken."""
        breaker = self._of(name)
        if breaker.retry_at is None or breaker.trial is not None:
            return None
        return self._wall(breaker.retry_at)

    def reserve(self, name: str) -> None:
        """Keep the trial for the caller, who then begins an attempt or says `release`."""
        self._put(name, rules.reserved(self._of(name)))

    def release(self, name: str) -> None:
        """Give back a reserved trial that found nothing to run; does nothing once it has begun."""
        self._put(name, rules.released(self._of(name)))

    def check(self, name: str) -> None:
        """Raise Conflict, with the reason, when nothing of the function may begin now."""
        if self.may_begin(name):
            return
        status = self.status(name)
        until = (
            "until its trial ends" if status.retry_at is None else f"to {to_iso(status.retry_at)}"
        )
        raise Conflict(
            f"function {name!r} is held back by its breaker {until}: {status.deaths} attempts in a row "
            f"died, the last as {status.outcome}; `faasd functions resume {name}` lets it run now"
        )

    def began(self, attempt: Attempt) -> None:
        """Take note that an attempt begins."""
        name = attempt.function.name
        was = self._of(name)
        if was is CLOSED:
            return
        now = rules.began(was, attempt.id)
        self._put(name, now)
        if now.trial != was.trial:
            _log.info("breaker_half_opened", function=name, openings=now.openings)

    def ended(self, attempt: Attempt, outcome: Outcome | None) -> None:
        """Take note of how an attempt ended; None when nobody knows. The second time changes nothing."""
        name = attempt.function.name
        was = self._of(name)
        if was is CLOSED and outcome is not None and outcome.word not in rules.DEATHS:
            return  # As nearly always.
        ids = [claim.invocation.id for claim in attempt.claims]
        word = outcome.word if outcome is not None else "cancelled"
        noise = self._noise()
        now = self._clock.monotonic()
        after = rules.ended(was, attempt.id, ids, word, self._policy, now, noise)
        if after == was:
            return
        self._put(name, after)
        if after.openings > was.openings:
            _log.error(
                "breaker_opened",
                function=name,
                deaths=after.deaths,
                outcome=word,
                openings=after.openings,
                pause_s=round((after.retry_at or now) - now, 1),
                **({"error": outcome.error.message[:500]} if outcome and outcome.error else {}),
            )
        elif was.is_open and not after.is_open:
            _log.warning("breaker_closed", function=name, outcome=word)
        if was.is_open:
            self._on_change()

    def close(self, name: str) -> bool:
        """Close it by hand, and forget what led to it; returns whether it was open."""
        was = self._breakers.pop(name, CLOSED)
        if was.is_open:
            _log.warning("breaker_closed", function=name, outcome=None)
            self._on_change()
        return was.is_open

    def status(self, name: str) -> BreakerStatus:
        """Return where a function's breaker stands."""
        breaker = self._of(name)
        state = "closed" if not breaker.is_open else "half-open" if breaker.trial else "open"
        return BreakerStatus(
            state=state,
            deaths=breaker.deaths,
            openings=breaker.openings,
            opened_at=None if breaker.opened_at is None else self._wall(breaker.opened_at),
            retry_at=self._wall(breaker.retry_at or 0.0) if state == "open" else None,
            outcome=breaker.word,
        )

    def _of(self, name: str) -> Breaker:
        return self._breakers.get(name, CLOSED)

    def _put(self, name: str, breaker: Breaker) -> None:
        if breaker == CLOSED:
            self._breakers.pop(name, None)
        else:
            self._breakers[name] = breaker

    def _wall(self, at: float) -> float:
        return self._clock.now() + (at - self._clock.monotonic())
