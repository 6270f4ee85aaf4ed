"""The descriptor that hears of changes of the wall clock."""

from __future__ import annotations

import os
import select

from faasd.linux.clock_change import acknowledge, open_clock_change


def test_an_unchanged_clock_is_silent_and_acknowledging_it_says_so() -> None:
    """A daemon that was woken for nothing must not take that for a change.

    The change itself is not tested: it would set the clock of the whole machine.
    """
    fd = open_clock_change()
    try:
        assert select.select([fd], [], [], 0) == ([], [], [])
        assert acknowledge(fd) is False
        assert os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[timerfd]"
    finally:
        os.close(fd)


def test_the_timer_is_armed_to_be_cancelled_by_a_change() -> None:
    """The kernel shows the flags: absolute, and cancelled on set."""
    fd = open_clock_change()
    try:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            shown = dict(line.strip().split(": ", 1) for line in file if ": " in line)
    finally:
        os.close(fd)
    assert shown["clockid"] == "0"
    assert int(shown["settime flags"], 8) == 0b11
