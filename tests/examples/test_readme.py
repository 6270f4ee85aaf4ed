"""README.md: its tour works as written, and what it points to exists."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.examples.running import REPOSITORY, Example, processes_in, wait_for

_README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
_PAGES = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    *(
        f"docs/{path.relative_to(REPOSITORY / 'docs')}"
        for path in (REPOSITORY / "docs").rglob("*.md")
    ),
    *(
        f"examples/{path.name}/README.md"
        for path in (REPOSITORY / "examples").iterdir()
        if path.is_dir()
    ),
    "examples/README.md",
]


def _tour() -> list[str]:
    """Return the commands of the five-minute tour, line by line, as they stand in the README."""
    section = _README.split("## Five minutes")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


@pytest.fixture
def walked(scratch: Path) -> Iterator[tuple[Example, str]]:
    """Walks the tour in one shell, the daemon in its background; yields the folder and what was printed."""
    folder = scratch / "shop"
    example = Example(folder)
    lines = ["set -e"]
    for line in _tour():
        if (
            line == "faasd run"
        ):  # The one command that stays: the tour continues in a second terminal.
            lines.append("faasd run >daemon.log 2>&1 & echo $! >daemon.pid")
            lines.append(
                "until faasd status >/dev/null 2>&1; do kill -0 $(cat daemon.pid); sleep 0.1; done"
            )
        else:
            lines.append(line)
    ended = subprocess.run(
        ["sh", "-c", "\n".join(lines)],
        cwd=scratch,
        env=example.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    said = f"{ended.stdout}\n{ended.stderr}\n{example.log_text()}"
    try:
        assert ended.returncode == 0, said
        yield example, ended.stdout
    finally:
        pid_file = folder / "daemon.pid"
        if pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGTERM)
        wait_for("everything has ended", lambda: not processes_in(scratch))


def test_the_tour_works_line_by_line(walked: tuple[Example, str]) -> None:
    """A new user types exactly this, and sees exactly what is promised around it."""
    example, said = walked
    assert "Hello, Ada" in said
    wait_for("the file is moved to done/", (example.folder / "done" / "first.txt").exists)
    counted = example.json("invocations", "list", "--function", "count_words")
    assert [row["outcome"] for row in counted] == ["ok"]
    [letter] = wait_for(
        "the greeting for nobody is a dead letter", lambda: example.json("dead-letters", "list")
    )
    assert letter["function"] == "greet"
    # On a slow machine it is dead before the tour's last line, which sends it back for three more.
    assert letter["attempts"] in (3, 6)
    greeted = example.json("invocations", "list", "--function", "greet", "--outcome", "ok")
    results = [example.json("invocations", "show", row["id"])["result"] for row in greeted]
    assert "Hello, Grace" in results


def test_the_make_targets_that_the_readme_names_exist() -> None:
    """`make demo` and `make test` are the first two commands that anybody is told."""
    targets = set(re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (REPOSITORY / page).read_text()))
        assert named <= targets, page


@pytest.mark.parametrize("page", sorted(set(_PAGES)))
def test_links_lead_to_files_and_headings_that_exist(page: str) -> None:
    """A reader who follows a link arrives."""
    source = REPOSITORY / page
    for target in re.findall(r"\]\(([^)#\s]*(?:#[^)\s]*)?)\)", source.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (source.parent / path).resolve() if path else source
        assert file.exists(), f"{page} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(one) for one in headings}, f"{page} links to {target}"


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(
    "page", ["docs/writing-functions.md", "docs/triggers.md", "docs/triggers/queue.md"]
)
def test_python_in_the_docs_is_python(page: str) -> None:
    """A reader copies it; it must at least parse."""
    blocks = re.findall(r"```python\n(.*?)```", (REPOSITORY / page).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, page, "exec")


def _typed(text: str) -> list[list[str]]:
    """Return every `faasd …` of a page, in shell blocks and in running text, as words."""
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
    found = [
        *re.findall(r"`(faasd [^`\n]*)`", text),
        *re.findall(r"^\s*(faasd .*)$", shell, re.MULTILINE),
    ]
    return [line.split(" #")[0].split()[1:] for line in found]


def test_commands_and_options_in_docs_and_examples_exist() -> None:
    """No page tells anybody to type a command or an option that there is not."""
    listed = subprocess.run(
        [sys.executable, "-c", _LIST_COMMANDS], capture_output=True, text=True, check=True
    )
    options: dict[str, list[str]] = json.loads(listed.stdout)
    for page in sorted(set(_PAGES)):
        for words in _typed((REPOSITORY / page).read_text(encoding="utf-8")):
            name = " ".join(words[:2]) if " ".join(words[:2]) in options else words[0]
            if not re.fullmatch(r"[a-z]", name[0]):
                continue  # An option of `faasd` itself, or a placeholder.
            where = f"{page}: faasd {' '.join(words)}"
            assert name in options, where
            assert "VERB" not in options[name] or len(words) == 1, where
            for word in words[1:]:
                if re.match(r"--?[a-z]", word):
                    assert word.split("=")[0] in options[name], where


_LIST_COMMANDS = """
import json, click
from faasd.cli.group import COMMANDS, faasd
context = click.Context(faasd)
found = {}
def note(name, command):
    found[name] = [text for one in command.params for text in one.opts] + ["--help"]
    for verb, one in getattr(command, "commands", {}).items():
        found[name] += [] if "VERB" in found[name] else ["VERB"]
        note(f"{name} {verb}", one)
for name in COMMANDS:
    note(name, faasd.get_command(context, name))
print(json.dumps(found))
"""
