"""What is remembered of reloads."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from faasd.clock import FakeClock
from faasd.metrics import Registry, render
from faasd.model.reload import RELOAD_RESULTS, FunctionChange, LastReload, ReloadReport
from faasd.reload.record import ReloadRecord


def a_report(*changes: str) -> ReloadReport:
    return ReloadReport(
        tuple(FunctionChange(f"f{n}", one, reason="it is broken") for n, one in enumerate(changes))
    )


def measured(record: ReloadRecord) -> dict[str, dict[str, float]]:
    metrics = Registry()
    record.measure(metrics)
    return {
        family.name: {next(iter(one.labels.values())): one.value for one in family.samples}
        for family in text_string_to_metric_families(render(metrics))
    }


@pytest.mark.parametrize(
    ("changes", "digest", "result"),
    [
        (("changed", "unchanged"), "new", "applied"),
        (("removed",), "old", "applied"),
        (("unchanged",), "old", "unchanged"),
        ((), "old", "unchanged"),
        (("unchanged",), "new", "applied"),
        (("changed", "kept"), "new", "partial"),
        (("refused",), "old", "partial"),
    ],
)
def test_how_a_reload_ended(changes: tuple[str, ...], digest: str, result: str) -> None:
    """Settings of the daemon alone are a change too, and one broken function makes it partial."""
    record = ReloadRecord(FakeClock(50.0), "old")
    record.put_in_force(a_report(*changes), digest)
    assert record.last is not None
    assert (record.last.result, record.last.at, record.digest) == (result, 50.0, digest)
    assert (record.last.error is not None) == (result == "partial")


def test_functions_of_one_broken_module_share_a_sentence() -> None:
    """Twenty functions with the same syntax error are one mistake."""
    record = ReloadRecord(FakeClock(50.0), "old")
    record.put_in_force(a_report("kept", "changed", "kept", "refused"), "old")
    assert record.last is not None
    assert record.last.error == (
        "functions 'f0', 'f2' are kept: it is broken; function 'f3' is refused: it is broken"
    )


def test_a_refused_one_leaves_the_digest_and_is_forgotten_by_the_next() -> None:
    """The digest is of what is in force, and a mended file is no problem any more."""
    clock = FakeClock(50.0)
    record = ReloadRecord(clock, "old")
    record.refused("line 3: no")
    assert record.last == LastReload("refused", 50.0, "line 3: no")
    assert (record.refusal, record.digest, record.in_force_count) == ("line 3: no", "old", 0)
    clock.advance(5)
    record.put_in_force(a_report("unchanged"), "new")
    assert (record.refusal, record.digest, record.in_force_count) == (None, "new", 1)


def test_each_result_is_counted_from_zero_and_has_its_time() -> None:
    """An alert sees no increase in a series that begins with one."""
    clock = FakeClock(50.0)
    record = ReloadRecord(clock, "cafe")
    assert measured(record) == {
        "faasd_reloads": dict.fromkeys(RELOAD_RESULTS, 0),
        "faasd_configuration_info": {"cafe": 1},
    }
    record.put_in_force(a_report("changed"), "cafe")
    clock.advance(5)
    record.refused("no")
    record.refused("no")
    found = measured(record)
    assert found["faasd_reloads"] == {"applied": 1, "partial": 0, "unchanged": 0, "refused": 2}
    assert found["faasd_reload_timestamp_seconds"] == {"applied": 50.0, "refused": 55.0}
