"""Takes the rounds: ours and each peer in turn, the order turned round every other time."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Iterable

from benchmarks.model import CouldNotMeasure, Group, Result, Row, RowResult, Sample, Stage
from faasd.errors import FaasdError

__all__ = ["run_group", "selected"]

Tell = Callable[[str], None]


def selected(names: Iterable[str], only: list[str]) -> list[str]:
    """Return the names that were asked for, in their own order; all without any. Raises ValueError."""
    known = list(names)
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ValueError(f"no group is named {unknown[0]!r}; there are {', '.join(known)}")
    return [name for name in known if not only or name in only]


def run_group(group: Group, stage: Stage, rounds: int, tell: Tell) -> list[RowResult]:
    """Open a group, take its rounds, close it."""
    with (
        tempfile.TemporaryDirectory(prefix="faasd-bench-", dir=stage.directory) as scratch,
        group(Stage(scratch, stage.peers_python, stage.scale)) as rows,
    ):
        results = [_empty(row) for row in rows]
        for number in range(rounds):
            for result in results:
                _one_round(result, is_turned=number % 2 == 1)
                tell(f"  round {number + 1} {result.row.name}: {_latest(result)}")
        return results


def _empty(row: Row) -> RowResult:
    return RowResult(
        row,
        Result(row.ours.name, row.ours.lacks, None),
        [Result(peer.name, peer.lacks, peer.ratio) for peer in row.peers],
    )


def _one_round(result: RowResult, *, is_turned: bool) -> None:
    """Measure each once. Who goes first changes, so that no one always meets the warmer machine."""
    pairs = list(
        zip([result.row.ours, *result.row.peers], [result.ours, *result.peers], strict=True)
    )
    for contestant, into in reversed(pairs) if is_turned else pairs:
        if into.reason is None:
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
