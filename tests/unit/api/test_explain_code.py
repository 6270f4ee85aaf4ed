"""Which code ran and which is in force, in sentences: a table of situations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from faasd.api.explain_code import CodeFacts, explain_code, explain_code_of_invocation
from faasd.model.reload import LastReload
from tests.fakes.api_fakes import ECHO

CODE = replace(ECHO, code_version="v2", copy_dir="/state/versions/v2")
REFUSED = LastReload("refused", 0.0, "faasd.toml:3:1: unknown\nfaasd.toml:4:1: unknown")


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, ["Version v2 of its code is in force."]),
        ({"since": 0.0}, ["Version v2 of its code is in force since 1970-01-01T00:00:00.000Z."]),
        (
            {"is_pinned": True},
            [
                (
                    "Version v2 of its code is in force. It is pinned to that; `faasd functions unpin echo` "
                    "runs what is on the disk."
                )
            ],
        ),
        (
            {"kept": "app.py:3: NameError.", "last_reload": LastReload("partial", 0.0, "x")},
            [
                "Version v2 of its code is in force.",
                "What its files say now is not in force: app.py:3: NameError.",
            ],
        ),
        (
            {"last_reload": REFUSED},
            [
                "Version v2 of its code is in force.",
                (
                    "The last reload, at 1970-01-01T00:00:00.000Z, was refused, and nothing has changed: "
                    "faasd.toml:3:1: unknown; faasd.toml:4:1: unknown."
                ),
            ],
        ),
        ({"last_reload": LastReload("applied", 0.0)}, ["Version v2 of its code is in force."]),
    ],
)
def test_a_function_says_what_serves_and_what_keeps_a_newer_one_away(
    facts: dict[str, Any], said: list[str]
) -> None:
    """Who has edited a file and sees no effect asks this first."""
    assert explain_code(CodeFacts(CODE, **facts)) == said


def test_code_that_runs_in_place_says_why_no_version_can_be_relied_on() -> None:
    """A change there needs no reload, which surprises those who wait for one."""
    function = replace(ECHO, code_version="v2", in_place_because="it is too large")
    [said] = explain_code(CodeFacts(function))
    assert "because it is too large; it was version v2 when it was read" in said


@pytest.mark.parametrize(
    ("state", "ran", "said"),
    [
        ("waiting", None, "It is to run version v2 of the code."),
        ("waiting", "v1", "Attempt 2 ran version v1 of the code; version v2 is in force now."),
        ("running", "v2", "Attempt 2 runs version v2 of the code, which is in force."),
        ("running", "v1", "Attempt 2 runs version v1 of the code; version v2 is in force now."),
        ("done", "v2", "Attempt 2 ran version v2 of the code, which is in force."),
        ("done", "v1", "Attempt 2 ran version v1 of the code; version v2 is in force now."),
    ],
)
def test_an_invocation_says_which_code_it_meets(state: str, ran: str | None, said: str) -> None:
    """A failure of code that has been replaced since is another failure than one of today's."""
    told = explain_code_of_invocation(CodeFacts(CODE), state=state, number=2, ran=ran)
    assert told == [said]


def test_what_waits_says_that_what_it_will_run_is_not_what_the_files_say() -> None:
    """Of what has run already that is no reason for anything."""
    facts = CodeFacts(CODE, last_reload=REFUSED)
    waiting = explain_code_of_invocation(facts, state="waiting", number=0, ran=None)
    assert "was refused" in " ".join(waiting)
    done = explain_code_of_invocation(facts, state="done", number=1, ran="v2")
    assert "was refused" not in " ".join(done)


def test_a_skipped_one_ran_no_code() -> None:
    """It says why it did not run, and no version has to do with that."""
    assert explain_code_of_invocation(CodeFacts(CODE), state="skipped", number=0, ran=None) == []
