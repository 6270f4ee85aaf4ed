"""The walls: one vocabulary for `degraded`, `faasd doctor`, refusals and hints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["WALLS", "MissingWall", "Wall", "refusal"]


@dataclass(frozen=True)
class Wall:
    """One wall: what it promises, and what is left of the promise on a host that cannot build it.

    With `refuses`, nothing else keeps the promise, so a function with `containment = "strict"` does not
    run without it. Else `instead` says what still does.
    """

    name: str
    meaning: str
    refuses: bool
    instead: str


_ALL = (
    Wall(
        "files",
        "A function opens only files that it was given.",
        True,
        "Nothing: it may open whatever its user may.",
    ),
    Wall(
        "tmp-quota",
        "Its private temporary directory holds tmp_size and no more.",
        False,
        "The directory's size is looked at every quarter of a second, and who is over it is ended; a burst can go beyond.",
    ),
    Wall(
        "private-proc",
        "Its /proc shows its own processes and no others.",
        False,
        "The files wall lets it open little of /proc besides its own entries; names of processes are visible.",
    ),
    Wall(
        "pid-namespace",
        "Its processes see no others, and the kernel ends all of them together.",
        False,
        "Every zygote adopts what its sandboxes leave and ends it before the outcome is announced.",
    ),
    Wall(
        "system-calls",
        "System calls that no function needs are refused.",
        True,
        "Nothing: it may make every call that the kernel allows its user.",
    ),
    Wall(
        "network",
        "It reaches only what `network` allows.",
        True,
        "Nothing: it may connect to whatever the host may.",
    ),
    Wall(
        "memory-cgroup",
        "The kernel itself keeps the whole process tree under its memory cap.",
        False,
        "RLIMIT_DATA and a look at the tree's memory every 50 ms; a fast burst can go beyond the cap.",
    ),
    Wall(
        "process-cap",
        "It has at most `processes` processes and threads.",
        True,
        "Nothing: of root's processes the kernel counts none.",
    ),
    Wall(
        "cpu-cap",
        "It gets at most `cpu` processors' worth of time.",
        True,
        "Nothing: it competes like any other process.",
    ),
    Wall(
        "user",
        "It runs as the user that it names.",
        True,
        "Nothing: it runs as the daemon's user.",
    ),
    Wall(
        "signals",
        "It cannot signal processes outside its sandbox.",
        False,
        "no_new_privs and the kernel's own rule: it can signal processes of its own user.",
    ),
    Wall(
        "abstract-sockets",
        "It cannot connect to abstract Unix sockets outside its sandbox.",
        False,
        "Only what listens there: abstract sockets of this host that check nobody are open to it.",
    ),
    Wall(
        "local-sockets",
        "Of /run, /tmp and /dev/shm it sees only what it was given, so it connects to no other service there.",
        False,
        "Only what listens there: a Unix socket that its user may write, and that checks nobody, is open to it.",
    ),
)

#: Every wall by name, in the order of docs and tables.
WALLS = {wall.name: wall for wall in _ALL}


@dataclass(frozen=True)
class MissingWall:
    """A wall that a function is promised and this host does not build, or builds less well."""

    wall: str  # A key of WALLS.
    reason: str
    remedy: str

    @property
    def refuses(self) -> bool:
        """Whether a strict function does not run without it."""
        return WALLS[self.wall].refuses

    def __str__(self) -> str:
        return f"the wall {self.wall!r} cannot be built: {self.reason}; {self.remedy}"


def refusal(containment: str, missing: Sequence[MissingWall]) -> str | None:
    """Say why a function with this `containment` does not run; None when it does."""
    if containment != "strict":
        return None
    walls = [one for one in missing if one.refuses]
    if not walls:
        return None
    way_out = 'or set containment = "best-effort" to run it without'
    return "; ".join([*map(str, walls), way_out])
