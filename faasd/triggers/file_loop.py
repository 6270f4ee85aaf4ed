"""The guard against a function that feeds its own trigger. Pure: told what happens, says what may.

Nobody can see who wrote a file. What can be seen is *when*: a file that appears while no invocation
of the trigger is unfinished was written by somebody else, and has generation 0. Any other has one
more than the lowest generation that is unfinished, or than the one that has just ended, unless the
kernel's time of its last change says that it came after that end: no process of an invocation
outlives it. A function that feeds itself climbs without end, but so does a busy drop box, for a while.
So when generation `GENERATIONS_MAX` is reached, files of it are held back until all invocations of the
trigger are final, and a moment longer:

* A file appears in that silence: somebody else writes. Everything goes on, and the next such test
  comes only at twice the generation.
* Silence: the held files are let go as one round. After `ROUNDS_MAX` rounds, each of which brought new
  files while it ran and none in the silence after it, the trigger is stopped, with a sentence that says so.

Nothing is lost either way: held files stay where they are.
"""

from __future__ import annotations

import math
from collections.abc import KeysView

__all__ = ["GENERATIONS_MAX", "ROUNDS_MAX", "LoopGuard"]

GENERATIONS_MAX = 10
ROUNDS_MAX = 5
_LIMIT_MAX = 10_000


class LoopGuard:
    """Follows one trigger's generations."""

    def __init__(self, *, grace_s: float) -> None:
        """`grace_s` is how much later than the file itself the news of it may arrive."""
        self._grace_s = grace_s
        self.is_tripped = False
        self.rounds = 0
        self._limit = GENERATIONS_MAX
        self._unfinished: dict[str, int] = {}
        self._count_by_generation: dict[int, int] = {}
        self._ended_last = 0  # The generation of the invocation that ended last, and when.
        self._ended_at_s = -math.inf
        self._ended_since_scan: set[int] = set()
        self._ended_before_scan: set[int] = set()

    @property
    def unfinished(self) -> KeysView[str]:
        """The invocations that may still run."""
        return self._unfinished.keys()

    @property
    def is_idle(self) -> bool:
        """Whether no invocation of the trigger is unfinished."""
        return not self._unfinished

    def accepted(self, invocation_id: str, generation: int) -> None:
        """Note that an invocation may run from now on."""
        if invocation_id not in self._unfinished:
            self._unfinished[invocation_id] = generation
            count = self._count_by_generation.get(generation, 0)
            self._count_by_generation[generation] = count + 1

    def finished(self, invocation_id: str, now_s: float) -> None:
        """Note that an invocation is final, or was never made."""
        generation = self._unfinished.pop(invocation_id, None)
        if generation is None:
            return
        self._ended_since_scan.add(generation)
        self._ended_last, self._ended_at_s = generation, now_s
        self._count_by_generation[generation] -= 1
        if not self._count_by_generation[generation]:
            del self._count_by_generation[generation]

    def scan_began(self) -> None:
        """Note that a scan begins: what it finds appeared since the one before began."""
        self._ended_before_scan = self._ended_since_scan
        self._ended_since_scan = set()

    def generation_of_new(self, now_s: float, *, by_scan: bool) -> int:
        """Return the generation of a file that is seen for the first time just now."""
        if self._count_by_generation:
            return 1 + min(self._count_by_generation)
        possible = set(self._ended_since_scan | self._ended_before_scan) if by_scan else set()
        # The end of an invocation may be heard of before the file that it wrote just before.
        if now_s - self._ended_at_s <= self._grace_s:
            possible.add(self._ended_last)
        return 1 + max(possible) if possible else 0

    def is_cleared(self, appeared_s: float) -> bool:
        """Whether a file cannot be our own doing, having appeared (monotonic) when all had ended."""
        return self.is_idle and appeared_s > self._ended_at_s

    def holds(self, generation: int) -> bool:
        """Whether a file of this generation must wait for the silence."""
        return self.is_tripped or generation >= self._limit

    def chain_ended(self) -> None:
        """Note a file of generation 0: what came before did not cause it."""
        self.rounds = 0

    def somebody_else_writes(self) -> None:
        """Note the proof: a file appeared in the silence."""
        self.rounds = 0
        self._limit = min(self._limit * 2, _LIMIT_MAX)

    def was_silent(self) -> bool:
        """Note that a silence passed without a file; returns whether the held files may go."""
        self.rounds += 1
        self.is_tripped = self.rounds > ROUNDS_MAX
        return not self.is_tripped

    def reset(self) -> None:
        """Begin anew, as after somebody looked into it."""
        self.is_tripped = False
        self.rounds = 0
        self._limit = GENERATIONS_MAX
