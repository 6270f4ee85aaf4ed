"""Everything that one trigger has seen and not accepted yet: pending, ready, held back, refused."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from faasd.triggers.file_loop import LoopGuard
from faasd.triggers.file_settle import Identity, Pending, Seen, Sifted

__all__ = ["Backlog", "Ready"]

_REFUSED_S = 60.0


@dataclass(frozen=True, slots=True)
class Ready:
    """A complete file that waits for its turn."""

    seen: Seen
    generation: int
    found_at_s: float


class Backlog:
    """Files between their first sight and their acceptance. In memory only: a scan finds them again."""

    def __init__(self, guard: LoopGuard) -> None:
        self.pending: dict[bytes, Pending] = {}
        self.ready: dict[bytes, Ready] = {}
        self.held: dict[bytes, Ready] = {}  # By the guard against self-feeding functions.
        self.refusals: dict[bytes, str] = {}  # Those pending ones that intake has refused.
        self._generations: dict[bytes, int] = {}  # Of everything in here, from first sight on.
        self._looks: list[tuple[float, bytes]] = []  # A heap of when to look at what.
        self._guard = guard

    @property
    def count(self) -> int:
        """How many files are in here."""
        return len(self.pending) + len(self.ready) + len(self.held)

    @property
    def next_look_s(self) -> float | None:
        """When the next file wants to be looked at."""
        return self._looks[0][0] if self._looks else None

    def take(
        self, sifted: Sifted, generation: int, now_s: float, epoch_s: float | None = None
    ) -> None:
        """Take over what a look came to. `generation` is that of files never seen before.

        `epoch_s` is the wall clock's zero on the monotonic clock; None where files' times are not by our clock.
        """
        self.forget(sifted.settled)
        has_outside = False

        def generation_of(path: bytes, ctime_ns: int) -> int:
            nonlocal has_outside
            known = self._generations.get(path)
            if known is not None:
                return known
            is_cleared = epoch_s is not None and self._guard.is_cleared(ctime_ns / 1e9 + epoch_s)
            new = 0 if is_cleared else generation
            has_outside |= new == 0
            return new

        for seen in sifted.complete:
            if self._is_complete(seen.path, seen.identity):
                continue
            its_generation = generation_of(seen.path, seen.ctime_ns)
            self.forget((seen.path,))
            self._generations[seen.path] = its_generation
            where = self.held if self._guard.holds(its_generation) else self.ready
            where[seen.path] = Ready(seen, its_generation, now_s)
        for path, pending in sifted.waiting.items():
            if self._is_complete(path, pending.identity):
                continue  # A look without the hint cannot know that it was renamed in.
            its_generation = generation_of(path, pending.ctime_ns)
            self.forget((path,))
            self._wait(path, pending, its_generation)
        if has_outside:
            self._guard.chain_ended()
            if self.held and not self._guard.is_tripped:
                self._guard.somebody_else_writes()
                self.release_held()

    def due(self, now_s: float, count_max: int) -> list[bytes]:
        """Take out the paths whose time to settle has passed."""
        due: dict[bytes, None] = {}
        while self._looks and self._looks[0][0] <= now_s and len(due) < count_max:
            _, path = heapq.heappop(self._looks)
            if path in self.pending:
                due[path] = None
        return list(due)

    def batch(self, count_max: int) -> list[Ready]:
        """Return the first ready files, in order."""
        return list(islice(self.ready.values(), count_max))

    def unready(self, paths: Iterable[bytes]) -> None:
        """Take files out of the ready ones because they changed; somebody looks at them next."""
        for path in paths:
            self.ready.pop(path, None)

    def refuse(self, refused: Sequence[tuple[Seen, int, str]], now_s: float) -> None:
        """Keep files that intake has refused, to be tried again."""
        for seen, generation, sentence in refused:
            pending = Pending(seen.identity, now_s, now_s + _REFUSED_S, is_open=False)
            self._wait(seen.path, pending, generation)
            self.refusals[seen.path] = sentence

    def hints_were_lost(self) -> None:
        """Wait for no close any more: it may have been among the lost hints."""
        for path, pending in list(self.pending.items()):
            if pending.is_open:
                self.pending[path] = replace(pending, is_open=False)

    def release_held(self) -> None:
        """Let held files go."""
        self.ready.update(self.held)
        self.held.clear()

    def forget(self, paths: Iterable[bytes]) -> None:
        """Drop files, wherever they are."""
        for path in paths:
            self.pending.pop(path, None)
            self.ready.pop(path, None)
            self.held.pop(path, None)
            self.refusals.pop(path, None)
            self._generations.pop(path, None)

    def forget_absent(self, present: Collection[bytes], unread: Iterable[bytes]) -> None:
        """Drop the files that a scan of the whole tree did not find, except in unread directories."""
        prefixes = tuple(directory + b"/" for directory in unread)
        absent = [
            path
            for path in self._generations
            if path not in present and not path.startswith(prefixes)
        ]
        self.forget(absent)

    def _is_complete(self, path: bytes, identity: Identity) -> bool:
        """Whether this very file was found complete before and waits for its turn."""
        waits = self.ready.get(path) or self.held.get(path)
        return waits is not None and waits.seen.identity == identity

    def _wait(self, path: bytes, pending: Pending, generation: int) -> None:
        self._generations[path] = generation
        self.pending[path] = pending
        if pending.look_at_s is not None:
            heapq.heappush(self._looks, (pending.look_at_s, path))
