"""What the long runs and the growth curves compute and draw. Nothing is measured here."""

from __future__ import annotations

import json
import random
import signal
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import growth, own_history, soak
from benchmarks.curves import Panel, panels
from benchmarks.daemon import MeasuredDaemon, write_project
from benchmarks.drift import Measure, drift_of
from benchmarks.model import CouldNotMeasure
from benchmarks.page import PAGE, replaced_between

MEMORY = Measure("memory", "MiB", 1.0, 0.05)
HOUR = [10.0 * step for step in range(361)]
HOST = {
    **dict.fromkeys(["measured_at", "version", "commit", "cpu", "kernel", "python"], "x"),
    "cpus": 2,
    "file_system": "ext4",
    "load": [0.5, 0.5, 0.5],
}


def noise(spread: float) -> list[float]:
    draw = random.Random(7)
    return [draw.uniform(-spread, spread) for _ in HOUR]


def test_noise_around_a_value_is_flat() -> None:
    """Garbage comes and goes."""
    found = drift_of(MEMORY, HOUR, [80 + one for one in noise(3)])
    assert found.is_flat
    assert 79 < found.middle < 81


def test_a_slow_leak_under_noise_is_found() -> None:
    """Ten MiB an hour are a dead daemon in a month."""
    found = drift_of(
        MEMORY, HOUR, [80 + at / 360 + one for at, one in zip(HOUR, noise(3), strict=True)]
    )
    assert not found.is_flat
    assert 8 < found.per_hour < 12


def test_the_begin_does_not_count_and_a_burst_does_not_either() -> None:
    """Caches fill once; ten samples of a burst bend nothing."""
    values = [40 + min(at, 600) / 15 for at in HOUR]
    values[300:310] = [200.0] * 10
    found = drift_of(MEMORY, HOUR, values)
    assert found.is_flat
    assert found.most == 200


def test_what_shrinks_leaks_nothing() -> None:
    """Only growth is a fault."""
    assert drift_of(MEMORY, HOUR, [100 - at / 100 for at in HOUR]).is_flat


def test_too_few_samples_say_nothing() -> None:
    """Better no verdict than a made up one."""
    with pytest.raises(ValueError, match="too seldom"):
        drift_of(MEMORY, [0.0, 1.0], [1.0, 1.0])


def test_panels_share_their_times_and_stay_inside() -> None:
    """One polyline for each measure, within its own panel."""
    drawn = panels("T < t", [Panel("a", "MiB", [1, 5, 2]), Panel("b", "", [0, 0, 0])], [0, 60, 120])
    root = ElementTree.fromstring(drawn)
    lines = [one.attrib["points"] for one in root.iter() if one.tag.endswith("polyline")]
    assert len(lines) == 2
    first = [tuple(map(float, pair.split(","))) for pair in lines[0].split()]
    assert len(first) == 3
    assert first[1][1] == min(y for _, y in first)
    height = float(root.attrib["viewBox"].split()[3])
    assert all(0 < y < height for _, y in first)
    with pytest.raises(ValueError, match="nothing to plot"):
        panels("T", [], [0, 1])


def test_a_soak_is_judged_by_every_measure_and_by_what_was_lost() -> None:
    """One that grows is named, and makes the whole run fail."""
    values = {one.name: [10.0] * len(HOUR) for one in soak.MEASURES}
    values["threads of the daemon"] = [at / 100 for at in HOUR]
    counts = dict.fromkeys(["events", "files", "invokes", "ticks", "attempts"], 5)
    found = {"seconds": HOUR, "values": values, "counts": counts, "lost": 1}
    report = soak.report_of(found, HOST, 60.0)
    assert not report["is_flat"]
    rows = soak.table(report).splitlines()
    assert next(row for row in rows if "**grows**" in row).startswith("| threads of the daemon")
    assert "1 lost" in rows[0]


def test_every_curve_has_a_plot_and_a_table() -> None:
    """From the values that it says it measures."""
    for name, (_, title, _, y_names) in growth.CURVES.items():
        points = [
            {"label": label, **dict.fromkeys(y_names, 2.5), "more": None} for label in ("1", "10")
        ]
        ElementTree.fromstring(growth.drawn(name, points))
        text = growth.section(name, {"machine": HOST, "points": points})
        assert f"growth-{name}.svg" in text
        assert title in text
        assert "| 10 | 2.5 |" in text
        assert "at scale" not in text
        assert "at scale 0.1" in growth.section(
            name, {"machine": HOST, "scale": 0.1, "points": points}
        )


def test_a_curve_that_cannot_be_measured_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A run of minutes does not end with nothing because one daemon did not start."""

    def broken(scratch: Path, scale: float) -> list[growth.Point]:
        raise CouldNotMeasure("the daemon ended")

    def works(scratch: Path, scale: float) -> list[growth.Point]:
        return [{"label": "1", "ms": scale}]

    curves = {name: (how, name, "x", ("ms",)) for name, how in (("a", broken), ("b", works))}
    monkeypatch.setattr(growth, "CURVES", curves)
    command = ["growth", "--patience", "0", "--scale", "0.5", "--directory", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert growth.main() == 1
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    said = capsys.readouterr()
    assert "cannot measure a: the daemon ended" in said.err
    assert json.loads(said.out) == {"b": [{"label": "1", "ms": 0.5}]}


def test_a_daemon_that_does_not_start_does_not_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else knows its process."""
    monkeypatch.setattr("benchmarks.daemon._START_S", 0.0)
    one = MeasuredDaemon(write_project(tmp_path, ""))
    with pytest.raises(CouldNotMeasure, match="waited 0 s in vain"):
        one.start()
    assert one._process is None


async def test_retention_is_measured_while_it_deletes_what_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A size that was measured before has lost rows: what deletes nothing looks fast and is in nobody's way."""
    monkeypatch.setattr(own_history, "DELETED", 250)
    monkeypatch.setattr(own_history, "TIMES", 5)
    sizes = [own_history.Size(600, 500), own_history.Size(900, 500), own_history.Size(900, 1000)]
    found = await own_history.run(tmp_path / "state", sizes)
    assert [one["deleted"] for one in found] == [250, 250, 250]


def test_the_page_has_a_place_for_each() -> None:
    """Else a long run ends with nothing kept."""
    page = PAGE.read_text(encoding="utf-8")
    for begin, end in ((growth.BEGIN, growth.END), (soak.BEGIN, soak.END)):
        once = replaced_between(page, begin, end, "now\n")
        assert once == replaced_between(once, begin, end, "now\n")
    with pytest.raises(ValueError, match="no place for results"):
        replaced_between("nothing", growth.BEGIN, growth.END, "now")
