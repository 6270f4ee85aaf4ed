"""The guard against a function that feeds its own trigger: what it counts."""

from __future__ import annotations

from faasd.triggers.file_loop import GENERATIONS_MAX, ROUNDS_MAX, LoopGuard


def test_a_chain_of_files_each_born_while_the_last_ran_climbs() -> None:
    """That is what a loop looks like from outside."""
    guard = LoopGuard(grace_s=0.1)
    guard.accepted("0", 0)
    for number in range(1, GENERATIONS_MAX + 1):
        generation = guard.generation_of_new(100.0, by_scan=False)
        assert generation == number
        assert guard.holds(generation) is (number == GENERATIONS_MAX)
        guard.accepted(str(number), generation)
        guard.finished(str(number - 1), 100.0)


def test_a_backlog_of_any_length_is_one_generation() -> None:
    """Ten thousand files dropped while the first runs are no chain."""
    guard = LoopGuard(grace_s=0.1)
    guard.accepted("first", 0)
    for number in range(10_000):
        assert guard.generation_of_new(100.0, by_scan=False) == 1
        guard.accepted(str(number), 1)


def test_a_file_that_appears_while_nothing_runs_was_written_by_somebody_else() -> None:
    """The one thing that can be known for sure."""
    guard = LoopGuard(grace_s=0.1)
    guard.accepted("a", 7)
    guard.finished("a", 99.0)
    assert guard.generation_of_new(100.0, by_scan=False) == 0


def test_what_a_scan_finds_may_have_been_written_since_the_last_one() -> None:
    """Without hints the loop would hide between two looks."""
    guard = LoopGuard(grace_s=0.1)
    guard.scan_began()
    guard.accepted("a", 3)
    guard.finished("a", 99.0)
    guard.scan_began()
    assert guard.generation_of_new(100.0, by_scan=True) == 4
    guard.scan_began()
    assert guard.generation_of_new(100.0, by_scan=True) == 0


def test_rounds_of_silence_trip_it_and_proof_of_another_writer_does_not() -> None:
    """It pauses only what fed itself in every single round."""
    guard = LoopGuard(grace_s=0.1)
    assert [guard.was_silent() for _ in range(ROUNDS_MAX + 1)] == [True] * ROUNDS_MAX + [False]
    assert guard.is_tripped
    guard.reset()
    for _ in range(50):
        assert guard.was_silent()
        guard.somebody_else_writes()
    assert not guard.is_tripped
    assert not guard.holds(GENERATIONS_MAX)  # Each proof makes the next test rarer.


def test_a_file_heard_of_just_after_the_end_was_perhaps_written_before_it() -> None:
    """The news of a file comes by another way than the end of its writer."""
    guard = LoopGuard(grace_s=0.1)
    guard.accepted("a", 3)
    guard.finished("a", 100.0)
    assert guard.generation_of_new(100.05, by_scan=False) == 4
    assert guard.generation_of_new(100.2, by_scan=False) == 0
