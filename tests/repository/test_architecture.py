"""ARCHITECTURE.md tells of files that exist, and of every package."""

from __future__ import annotations

import re
from pathlib import Path

from tests.repository.source import ROOT

_PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def _code_map() -> dict[str, list[str]]:
    """Return what the code map says: the places that a paragraph is about → the names in it."""
    section = _PAGE.split("## Code map")[1].split("\n## ")[0]
    paragraphs = re.findall(r"^\*\*(.+?)\*\*: (.*?)(?=\n\n|\Z)", section, re.DOTALL | re.MULTILINE)
    return {head: re.findall(r"`(\w+)`", text) for head, text in paragraphs}


def test_every_file_that_the_code_map_names_exists() -> None:
    """A map that leads nowhere is worse than none."""
    for head, names in _code_map().items():
        for place in re.findall(r"`([\w./]+)`", head):
            path = ROOT / "faasd" / place
            assert path.exists(), head
            if path.is_dir():
                missing = [name for name in names if not _is_there(path, name)]
                assert missing == [], f"{place} has no {missing}"


def _is_there(directory: Path, name: str) -> bool:
    return (directory / f"{name}.py").exists() or bool(
        [file for file in directory.glob("*.py") if re.search(rf"\b{name}\b", file.read_text())]
    )


def test_every_package_and_top_module_stands_in_the_code_map() -> None:
    """Whoever adds a room says what it is for."""
    heads = " ".join(_code_map())
    for path in sorted((ROOT / "faasd").iterdir()):
        if path.name in {"__init__.py", "__main__.py", "__pycache__", "py.typed"}:
            continue
        assert f"`{path.name}" in heads, path.name


def test_the_rings_on_the_page_are_those_of_the_import_contract() -> None:
    """The picture and the contract that holds it are one."""
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    contract = settings.split("layers = [")[1].split("]")[0]
    wanted = [set(re.findall(r"faasd\.(\w+)", line)) for line in contract.strip().splitlines()]
    block = _PAGE.split("## Rings")[1].split("```")[1]
    drawn = [
        set(re.findall(r"\b[a-z_]{3,}\b", line.split("  the only")[0]))
        for line in block.strip().splitlines()
    ]
    assert drawn == wanted
