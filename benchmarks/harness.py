"""Takes the rounds: ours and each peer in turn, the order turned round every other time."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable

from benchmarks.model import CouldNotMeasure, Group, Result, Row, RowResult, Sample, Stage
from benchmarks.usage import busy_share
from faasd.errors import FaasdError

__all__ = ["Quiet", "run_group", "selected"]

Tell = Callable[[str], None]
_LOOK_S = 0.2
_QUIET_SHARE = 0.2


def selected(names: Iterable[str], only: list[str]) -> list[str]:
    """Return the names that were asked for, in their own order; all without any. Raises ValueError."""
    known = list(names)
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ValueError(f"no group is named {unknown[0]!r}; there are {', '.join(known)}")
    return [name for name in known if not only or name in only]


class Quiet:
    """Waits, before each measurement, until other programs leave the processors alone, but not for ever."""

    def __init__(self, patience_s: float, look: Callable[[], float] | None = None) -> None:
        """`look` says which share of the processors is busy; by default over a fifth of a second."""
        self._patience_s = patience_s
        self._look = look or (lambda: busy_share(_LOOK_S))
        self.measurements = 0
        #: How many measurements began although other programs were busy.
        self.disturbed = 0

    def wait(self) -> None:
        """Wait for quiet; when it does not come in time, count it and go on."""
        deadline = time.monotonic() + self._patience_s
        is_quiet = self._look() <= _QUIET_SHARE
        while not is_quiet and time.monotonic() < deadline:
            is_quiet = self._look() <= _QUIET_SHARE
        self.measurements += 1
        self.disturbed += not is_quiet


def run_group(
    group: Group, stage: Stage, rounds: int, tell: Tell, quiet: Quiet | None = None
) -> list[RowResult]:
    """Open a group, take its rounds, close it."""
    quiet = quiet or Quiet(0.0)
    with (
        tempfile.TemporaryDirectory(prefix="faasd-bench-", dir=stage.directory) as scratch,
        group(Stage(scratch, stage.peers_python, stage.scale)) as rows,
    ):
        results = [_empty(row) for row in rows]
        for number in range(rounds):
            for result in results:
                _one_round(result, quiet, is_turned=number % 2 == 1)
                tell(f"  round {number + 1} {result.row.name}: {_latest(result)}")
        return results


def _empty(row: Row) -> RowResult:
    return RowResult(
        row,
        Result(row.ours.name, row.ours.lacks, None),
        [Result(peer.name, peer.lacks, peer.ratio) for peer in row.peers],
    )


def _one_round(result: RowResult, quiet: Quiet, *, is_turned: bool) -> None:
    """Measure each once. Who goes first changes, so that no one always meets the warmer machine."""
    pairs = list(
        zip([result.row.ours, *result.row.peers], [result.ours, *result.peers], strict=True)
    )
    for contestant, into in reversed(pairs) if is_turned else pairs:
        if into.reason is None:
            quiet.wait()
            _measure(contestant.measure, into)


def _measure(measure: Callable[[], Sample], into: Result) -> None:
    """Take one sample; who could not be measured once is not asked again, and has no number at all."""
    try:
        into.samples.append(measure())
    except (CouldNotMeasure, FaasdError) as error:
        into.reason = str(error)
    except subprocess.SubprocessError as error:
        into.reason = f"{error}"
    if into.reason is not None:
        into.samples.clear()


def _latest(result: RowResult) -> str:
    said = []
    for one in (result.ours, *result.peers):
        value = f"{one.samples[-1].value:.4g}" if one.samples else "not measured"
        said.append(f"{one.name} {value}")
    return ", ".join(said)
