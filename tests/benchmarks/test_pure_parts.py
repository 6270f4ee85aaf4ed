"""What the benchmarks compute from their rounds. No peer is needed, and nothing is measured."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.__main__ import parse
from benchmarks.groups import GROUPS
from benchmarks.growth import parse as parse_growth
from benchmarks.harness import Quiet, run_group, selected
from benchmarks.load import request_bytes
from benchmarks.model import Bound, Contestant, CouldNotMeasure, Row, Sample, Stage
from benchmarks.page import BEGIN, END, PAGE, with_results
from benchmarks.plot import Line, plot
from benchmarks.summary import cpu_ratios, percentile, ratios, spread, verdict
from benchmarks.table import as_json, markdown, missed
from benchmarks.usage import cpu_s, descendants, longest_silence_s, memory_bytes
from tests.patience import patient

AT_LEAST_2 = Bound(2.0, is_at_least=True)


class Rounds:
    """A contestant that gives these values in turn, and notes that it was asked."""

    def __init__(self, name: str, values: list[float], asked: list[str]) -> None:
        self.name, self._values, self._asked = name, iter(values), asked

    def __call__(self) -> Sample:
        self._asked.append(self.name)
        return Sample(next(self._values), cpu_ms_each=2.0, memory_bytes=2**20)


def a_row(ours: Any, peer: Any, **changes: Any) -> Row:
    row = Row(
        "row",
        "a | row",
        "jobs/s",
        Contestant("faasd", ours),
        (Contestant("peer", peer, "durability", AT_LEAST_2),),
    )
    return replace(row, **changes)


def results_of(row: Row, tmp_path: Path, rounds: int) -> list[dict[str, Any]]:
    @contextmanager
    def group(stage: Stage) -> Iterator[list[Row]]:
        yield [row]

    stage = Stage(str(tmp_path), None, 1.0)
    quiet = Quiet(0.0, lambda: 0.0)
    return as_json(run_group(group, stage, rounds, lambda line: None, quiet))


def refusing() -> Sample:
    raise CouldNotMeasure("redis-server is not installed")


def test_the_median_stands_with_its_range() -> None:
    """One slow round moves the range, not the middle."""
    found = spread([3.0, 1.0, 50.0])
    assert (found.median, found.least, found.most) == (3.0, 1.0, 50.0)


def test_ratios_pair_neighbours_in_time() -> None:
    """A machine that halves its speed between two rounds leaves the ratio as it was."""
    ours = [Sample(100.0), Sample(50.0)]
    theirs = [Sample(50.0), Sample(25.0)]
    assert ratios(ours, theirs) == [2.0, 2.0]


def test_a_round_without_processor_time_has_no_ratio_of_it() -> None:
    """Nothing is made up for a contestant whose processor time is not known."""
    assert cpu_ratios([Sample(1, 3.0), Sample(1, 4.0)], [Sample(1, None), Sample(1, 2.0)]) == [2.0]


@pytest.mark.parametrize(("percent", "expected"), [(50, 2), (51, 3), (99, 4), (100, 4), (1, 1)])
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    """The nearest rank: half of 1, 2, 3, 4 do not exceed 2."""
    assert percentile([4, 2, 1, 3], percent) == expected


def test_no_values_have_no_percentile() -> None:
    """A row in which nothing happened must not look fast."""
    with pytest.raises(ValueError, match="no percentile"):
        percentile([], 50)


def test_a_verdict_knows_both_directions() -> None:
    """At least for rates, at most for times, and a missing number is neither."""
    at_most = Bound(10.0, is_at_least=False)
    assert verdict(AT_LEAST_2, 2.0) == "met"
    assert verdict(AT_LEAST_2, 1.9) == "missed"
    assert verdict(at_most, 10.0) == "met"
    assert verdict(at_most, 10.1) == "missed"
    assert verdict(at_most, None) == "not measured"
    assert verdict(None, 1.0) == ""


def test_ours_and_the_peer_take_turns(tmp_path: Path) -> None:
    """Nobody always goes first: the order turns round every other time."""
    asked: list[str] = []
    row = a_row(Rounds("faasd", [6, 8, 4], asked), Rounds("peer", [2, 2, 2], asked))
    [found] = results_of(row, tmp_path, 3)
    assert asked == ["faasd", "peer", "peer", "faasd", "faasd", "peer"]
    [peer] = found["peers"]
    assert peer["ratio"] == {"median": 3.0, "least": 2.0, "most": 4.0}
    assert (peer["target"], peer["verdict"]) == ("≥ 2", "met")


def test_who_cannot_be_measured_has_a_reason_and_no_number(tmp_path: Path) -> None:
    """The row stays in the table, with the reason in the place of the number, and counts as missed."""
    asked: list[str] = []
    found = results_of(a_row(Rounds("faasd", [6, 8], asked), refusing), tmp_path, 2)
    [peer] = found[0]["peers"]
    assert peer["value"] is None
    assert peer["ratio"] is None
    assert "not measured: redis-server is not installed" in markdown(found)
    assert missed(found) == ["row beside peer: not measured"]


def test_a_contestant_that_fails_later_keeps_no_number(tmp_path: Path) -> None:
    """Half of the rounds are no result."""
    values = iter([1.0])

    def once() -> Sample:
        for value in values:
            return Sample(value)
        raise CouldNotMeasure("the worker ended")

    [found] = results_of(a_row(once, refusing), tmp_path, 2)
    assert found["faasd"]["value"] is None
    assert found["faasd"]["reason"] == "the worker ended"


def test_a_missed_target_stays_in_the_table(tmp_path: Path) -> None:
    """In bold, with its ratio; cells cannot break the table."""
    asked: list[str] = []
    row = a_row(
        Rounds("faasd", [12345.0], asked),
        Rounds("peer", [12345.0], asked),
        absolute=Bound(1.0, is_at_least=False),
    )
    text = markdown(results_of(row, tmp_path, 1))
    lines = text.splitlines()
    assert len(lines) == 4, "a head, its rule, our own target, and the peer"
    assert "a \\| row" in lines[2]
    assert "≤ 1 | **missed**" in lines[2]
    assert "12,300 jobs/s; 2 ms CPU each, 1 MiB" in lines[3]
    assert "≥ 2 | **missed** | durability" in lines[3]


def test_groups_are_chosen_by_name() -> None:
    """In the order of the table, and a wrong name says which there are."""
    assert selected(["a", "b", "c"], ["c", "a"]) == ["a", "c"]
    assert selected(["a", "b"], []) == ["a", "b"]
    with pytest.raises(ValueError, match="no group is named 'x'; there are a, b"):
        selected(["a", "b"], ["x"])


def test_arguments_have_the_sizes_of_the_results_page() -> None:
    """Without arguments: everything, five rounds, full size."""
    options = parse([])
    assert (options.only, options.rounds, options.scale, options.json) == ([], 5, 1.0, False)
    assert parse(["--only", "queue", "--only", "files"]).only == ["queue", "files"]
    with pytest.raises(SystemExit):
        parse(["--rounds", "0"])


def test_every_group_says_what_it_measures() -> None:
    """`--list` is the first thing that a reader tries."""
    assert all(sentence for _, sentence in GROUPS.values())


def test_results_replace_earlier_results_and_nothing_else() -> None:
    """What people wrote around them stays; a page without a place is refused."""
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    written = with_results(page, {"enqueue": a_group()})
    assert written.startswith("before\n")
    assert written.endswith(f"{END}\nafter\n")
    assert "old" not in written
    assert with_results(written, {"enqueue": a_group()}) == written
    with pytest.raises(ValueError, match="no place for results"):
        with_results("no markers", {})


def test_the_real_page_has_a_place_for_results() -> None:
    """`--page` works on docs/benchmarks.md as it is."""
    page = with_results(PAGE.read_text(encoding="utf-8"), {"enqueue": a_group()})
    assert "| What |" in page
    assert "1 of 4 measurements began while other programs" in page


def a_group() -> dict[str, Any]:
    machine = dict.fromkeys(
        [
            "measured_at",
            "version",
            "commit",
            "cpu",
            "cpus",
            "memory_gib",
            "kernel",
            "python",
            "sqlite",
            "file_system",
        ],
        "1",
    )
    return {
        "about": "durable enqueue",
        "rounds": 1,
        "scale": 0.5,
        "machine": {**machine, "load": [0.5, 0.5, 0.5]},
        "load_after": [1.5, 1.0, 0.5],
        "measurements": 4,
        "disturbed": 1,
        "rows": [],
    }


def test_a_request_is_whole() -> None:
    """Head, empty line, body, and the body's length."""
    text = request_bytes("POST", "/x", b"{}")
    assert text.startswith(b"POST /x HTTP/1.1\r\n")
    assert text.endswith(b"Content-Length: 2\r\n\r\n{}")


def test_usage_sees_a_process_and_what_is_below_it() -> None:
    """A child counts while it lives, its processor time also after it was reaped."""
    me = os.getpid()
    before = cpu_s({me})
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        spent = 0
        while os.times().user < 0.1:
            spent += 1
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        assert child in descendants({me})
        assert memory_bytes({child}) > 0
    finally:
        os.close(writer)
        os.waitpid(child, 0)
    assert child not in descendants({me})
    assert cpu_s({me}) - before >= 0.05


@pytest.mark.parametrize(("nap_s", "least", "most"), [(600.0, 0.5, 1.5), (0.05, 0.0, 0.5)])
def test_who_polls_is_never_silent_for_long(nap_s: float, least: float, most: float) -> None:
    """The longest sleep tells a timer of a twentieth of a second from none at all."""
    code = f"import time; print(flush=True)\nwhile True: time.sleep({nap_s})"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            silence_s = longest_silence_s({child.pid}, 1.0)
        finally:
            child.kill()
    assert least <= silence_s <= patient(most)


def test_a_plot_is_well_formed_and_has_every_point() -> None:
    """Names are text and not markup, the highest value stays inside, and the axis begins at zero."""
    lines = [Line("a < b", [(0, 0.0), (1, 3.5)]), Line("other", [(1, 7.0)])]
    root = ElementTree.fromstring(plot("T & t", "x", "ms", lines, ["1", "10"]))
    circles = [one for one in root.iter() if one.tag.endswith("circle")]
    assert len(circles) == 3
    assert all(0 < float(one.attrib["cy"]) <= 250 for one in circles)
    texts = [one.text for one in root.iter() if one.tag.endswith("text")]
    assert {"a < b", "T & t", "1", "10", "0", "8"} <= set(texts)


def test_nothing_is_not_plotted() -> None:
    """An empty picture would look like a measurement."""
    with pytest.raises(ValueError, match="nothing to plot"):
        plot("T", "x", "y", [Line("a", [])], [])


def test_growth_takes_its_own_arguments() -> None:
    """A curve by name; an unknown one is refused."""
    assert parse_growth(["--only", "depth"]).only == ["depth"]
    with pytest.raises(SystemExit):
        parse_growth(["--only", "width"])


def test_a_measurement_waits_for_quiet() -> None:
    """The first quiet moment is taken, and nothing is counted as disturbed."""
    shares = iter([0.9, 0.5, 0.1])
    quiet = Quiet(60.0, lambda: next(shares))
    quiet.wait()
    assert (quiet.measurements, quiet.disturbed) == (1, 0)


def test_a_measurement_that_was_disturbed_is_counted() -> None:
    """Without patience it goes on at once, and the results page says how often."""
    quiet = Quiet(0.0, lambda: 0.9)
    quiet.wait()
    assert (quiet.measurements, quiet.disturbed) == (1, 1)
