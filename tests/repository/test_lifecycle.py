"""The page about the life of an invocation says all that the code says."""

from __future__ import annotations

from faasd.model.invocation import FINAL_STATES, STATE_MEANINGS, TRANSITIONS
from faasd.model.outcome import CHARGED, OUTCOME_MEANINGS, REASON_MEANINGS, UNCHARGED
from tests.repository.lifecycle import render_lifecycle


def test_every_move_stands_in_the_diagram_and_in_the_table() -> None:
    """Readers without a Mermaid renderer, and screen readers, get the same moves."""
    page = render_lifecycle()
    for before, after in TRANSITIONS:
        assert f"    {before or '[*]'} --> {after}: " in page
        assert f"| {f'`{before}`' if before else '(new)'} | `{after}` | " in page


def test_every_state_outcome_and_reason_is_explained() -> None:
    """The words are closed sets; a new one cannot be forgotten here."""
    page = render_lifecycle()
    for word in [*STATE_MEANINGS, *OUTCOME_MEANINGS, *REASON_MEANINGS]:
        assert f"\n| `{word}` | " in page


def test_a_diagram_label_has_no_second_colon() -> None:
    """Mermaid would take the rest of the label for something else and draw nothing."""
    lines = [line for line in render_lifecycle().splitlines() if " --> " in line]
    assert lines
    assert all(line.count(":") <= 1 and ";" not in line for line in lines)


def test_the_table_of_transitions_leaves_no_state_without_a_way_in_or_out() -> None:
    """A state nobody reaches, or nobody leaves and that is not final, is a mistake in the model."""
    assert {after for _, after in TRANSITIONS} == set(STATE_MEANINGS)
    leaving = {before for before, _ in TRANSITIONS if before}
    assert set(STATE_MEANINGS) - leaving <= FINAL_STATES


def test_every_failed_outcome_is_either_charged_or_capped() -> None:
    """An outcome that is neither would be tried again for ever."""
    assert not CHARGED & UNCHARGED
    assert set(OUTCOME_MEANINGS) == CHARGED | UNCHARGED | {"ok", "cancelled"}
