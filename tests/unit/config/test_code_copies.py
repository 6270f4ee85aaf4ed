"""Functions run from kept versions, and people read of their sources."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from faasd.clock import Clock
from faasd.config.command_code import script_of
from faasd.errors import VersionError
from faasd.functions.keeper import keeper
from faasd.functions.versions import VersionStore
from tests.unit.config.conftest import Project

DECLARED = "from faasd import function\n\n@function\ndef f(e, c): ...\n"


def keep(state_dir: Path):  # type: ignore[no-untyped-def]
    return keeper(VersionStore(state_dir / "versions"), Clock())


async def test_what_is_checked_is_the_copy_that_runs(project: Project) -> None:
    """Else an edit between the check and the first start would run unseen."""
    project.write("functions/a.py", DECLARED)
    loaded = await project.load('[daemon]\nstate_dir = "state"\n', keep_code=keep)
    assert loaded.problems == ()
    [function] = loaded.functions
    source = str(project.root / "functions")
    assert function.code_dir == function.copy_dir
    assert function.source_dir == source
    assert (
        Path(function.copy_dir) == project.root / "state/versions" / function.code_version / "code"
    )
    assert function.origin == f"{source}/a.py:3"
    assert function.readable_code == (function.copy_dir, source)


async def test_mistakes_are_told_at_the_source(project: Project) -> None:
    """Nobody can mend a copy."""
    project.write("functions/a.py", "import os\n\nnonsense\n")
    loaded = await project.load('[daemon]\nstate_dir = "state"\n', keep_code=keep)
    [problem] = loaded.errors
    assert (problem.path, problem.line) == (str(project.root / "functions/a.py"), 3)
    assert "versions" not in str(problem)
    assert loaded.broken == {("a", str(project.root / "functions")): str(problem)}


async def test_data_amid_code_is_linked_not_copied(project: Project) -> None:
    """A log that the function writes must not make a new version of its code with every line."""
    project.write(
        "functions/a.py", DECLARED.replace("@function", '@function(write=["functions/out"])')
    )
    project.write("functions/out/log", "1")
    toml = '[daemon]\nstate_dir = "state"\n'
    [first] = (await project.load(toml, keep_code=keep)).functions
    assert os.readlink(f"{first.copy_dir}/out") == str(project.root / "functions/out")
    project.write("functions/out/log", "2")
    [second] = (await project.load(toml, keep_code=keep)).functions
    assert first == second


async def test_a_version_that_was_asked_for_is_taken_instead_of_what_is_there(
    project: Project,
) -> None:
    """That is what going back means; and one that is gone is an error, never the newest instead."""
    project.write("functions/a.py", DECLARED)
    toml = '[daemon]\nstate_dir = "state"\n'
    [first] = (await project.load(toml, keep_code=keep)).functions
    project.write("functions/a.py", DECLARED + "x = 1\n")
    store = VersionStore(project.root / "state/versions")
    asked = {first.source_dir: first.code_version}
    pinned = keeper(store, Clock(), asked_for=asked)
    assert (await project.load(toml, keep_code=lambda _: pinned)).functions == (first,)
    gone = keeper(store, Clock(), asked_for={first.source_dir: "abc"})
    with pytest.raises(VersionError, match=r"abc of .* is not kept any more"):
        await project.load(toml, keep_code=lambda _: gone)


@pytest.mark.parametrize(
    ("command", "script"),
    [
        (["jobs/a.sh"], (0, "jobs/a.sh", "jobs")),
        (["./top.sh", "jobs/a.sh"], None),
        (["/bin/sh", "jobs/a.sh"], (1, "jobs/a.sh", "jobs")),
        (["/bin/cp", "data.csv", "/tmp"], None),
        (["/bin/sh", "-c", "exit"], None),
        (["/bin/sh", "jobs"], None),
    ],
)
def test_a_command_s_script_is_its_program_or_what_an_interpreter_runs(
    tmp_path: Path, command: list[str], script: tuple[int, str, str] | None
) -> None:
    """Other arguments are data: of them a command must not get a copy."""
    (tmp_path / "jobs").mkdir()
    for name in ("jobs/a.sh", "top.sh", "data.csv"):
        (tmp_path / name).touch()
    expected = script and (script[0], str(tmp_path / script[1]), str(tmp_path / script[2]))
    assert script_of(command, tmp_path) == expected
