"""How many spares wait: as many as arrive while one is replaced, none for what nobody uses."""

from __future__ import annotations

import pytest

from faasd.sandbox.spare_count import AUTO_MOST, Demand, is_memory_short, spares_wanted


def after(*times: float) -> Demand:
    demand = Demand()
    for at in times:
        demand = demand.after_arrival(at)
    return demand


def wanted(demand: Demand, at: float, **changes: object) -> int:
    given = {"refill_s": 0.005, "fixed": None, "most": 16, "has_memory": True, **changes}
    return spares_wanted(demand, at, **given)  # type: ignore[arg-type]


def every(interval_s: float, count: int) -> Demand:
    return after(*(number * interval_s for number in range(count)))


def test_a_function_that_nobody_has_used_has_none() -> None:
    """Scale to zero begins here."""
    assert wanted(Demand(), 0.0) == 0


def test_one_waits_after_the_first_arrival_and_for_a_while() -> None:
    """Half a minute, or some times the interval in which it comes, at most five minutes."""
    once = after(100.0)
    assert [wanted(once, 100.0 + later) for later in (0, 29, 31)] == [1, 1, 0]
    minutely = every(60.0, 10)
    assert [wanted(minutely, 540.0 + later) for later in (0, 200, 239, 241)] == [1, 1, 1, 0]
    hourly = every(3600.0, 10)
    assert [wanted(hourly, 9 * 3600.0 + later) for later in (299, 301)] == [1, 0]


@pytest.mark.parametrize(
    ("rate_per_s", "least", "most"), [(1, 1, 1), (50, 1, 3), (200, 3, 5), (2000, 8, 8)]
)
def test_more_wait_when_more_come(rate_per_s: int, least: int, most: int) -> None:
    """What arrives within a refill, and a margin for clusters."""
    demand = every(1 / rate_per_s, 30 * rate_per_s)
    assert least <= wanted(demand, 30.0) <= most <= AUTO_MOST


def test_the_rate_fades_when_nobody_comes() -> None:
    """So that spares are given back one after the other."""
    demand = every(0.005, 6000)
    counts = [wanted(demand, 30.0 + later) for later in (0, 10, 20, 29)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 1


def test_a_number_is_a_number_within_the_room_there_is() -> None:
    """Whether or not anybody comes."""
    assert wanted(Demand(), 0.0, fixed=3) == 3
    assert wanted(Demand(), 0.0, fixed=30, most=4) == 4
    assert wanted(every(0.001, 10_000), 10.0, fixed=0) == 0


def test_with_memory_short_nobody_waits() -> None:
    """A fixed number is given back too."""
    assert wanted(every(0.01, 100), 1.0, has_memory=False) == 0
    assert wanted(Demand(), 0.0, fixed=3, has_memory=False) == 0


def test_who_is_about_to_be_used_has_one() -> None:
    """A schedule that is about to fire, say."""
    prepared = Demand().prepared(60.0)
    assert [wanted(prepared, at) for at in (0.0, 59.0, 61.0)] == [1, 1, 0]


MEMINFO = "MemTotal:       16000000 kB\nMemFree:  100 kB\nMemAvailable:   {available} kB\n"
PRESSURE = (
    "some avg10={stalled} avg60=0.00 avg300=0.00 total=1\nfull avg10=99.00 avg60=0.00 total=0\n"
)


@pytest.mark.parametrize(
    ("available", "stalled", "is_short"),
    [(8_000_000, 0.0, False), (8_000_000, 40.0, True), (500_000, 0.0, True)],
)
def test_memory_is_short_when_little_is_left_or_somebody_waits_for_it(
    available: int, stalled: float, is_short: bool
) -> None:
    """Either is enough; free memory alone says nothing."""
    found = is_memory_short(
        MEMINFO.format(available=available), PRESSURE.format(stalled=f"{stalled:.2f}")
    )
    assert found is is_short
    assert is_memory_short(MEMINFO.format(available=available), None) is (available < 1_000_000)
