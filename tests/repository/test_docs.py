"""The pages for people: their links lead somewhere, and the glossary has each word once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.repository.source import ROOT

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)


def _pages() -> list[str]:
    places = [one for one in ROOT.iterdir() if one.is_dir() and not one.name.startswith(".")]
    found = [*ROOT.glob("*.md"), *(page for place in places for page in place.rglob("*.md"))]
    return sorted(str(one.relative_to(ROOT)) for one in found)


def _anchors(page: Path) -> set[str]:
    """Return where a link may lead in a page: its headings as GitHub and others spell them."""
    text = _FENCED.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", _pages())
def test_every_link_of_a_page_leads_to_a_page_and_a_heading_that_are_there(page: str) -> None:
    """Pages are renamed and split; whoever follows a link at night has no time to search."""
    here = ROOT / page
    astray = []
    for target in _LINK.findall(_FENCED.sub("", here.read_text(encoding="utf-8"))):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        there = (here.parent / path) if path else here
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            astray.append(target)
    assert astray == []


def test_the_glossary_has_each_word_once() -> None:
    """Two meanings of one word are what it is there to prevent."""
    page = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]+?) \|", page, re.MULTILINE)[2:]
    words = [word for row in rows for word in row.split(", ")]
    assert sorted(words) == sorted(set(words))
