"""What the manual for operators lists is all there is."""

from __future__ import annotations

import re

from faasd.cli.exits import EXIT_CODES
from faasd.log_events import EVENTS
from tests.repository.log_events_page import logged_events
from tests.repository.source import ROOT


def test_every_event_of_the_log_is_explained_and_no_other() -> None:
    """Somebody finds a word in the journal at night, and its meaning in the manual."""
    assert set(logged_events()) == set(EVENTS), "add its meaning to faasd/log_events.py"
    assert [one for one in EVENTS if not re.fullmatch(r"[a-z]+(_[a-z]+)+", one)] == []


def test_the_manual_has_every_exit_code() -> None:
    """Scripts decide by them."""
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.partition("## Exit codes\n")[2].partition("**Of the daemon**")[0]
    listed = dict(re.findall(r"^\| (\d+) \| ([^|]*) \|", section, re.MULTILINE))
    assert listed == {str(code): meaning for code, meaning in EXIT_CODES.items()}
