"""What no function may be given is refused where it is written, with the reason."""

from __future__ import annotations

import pytest

from tests.unit.config.conftest import Project

FUNCTIONS = """
from faasd import function

@function{settings}
def f(event, context):
    pass
"""


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ('read = ["."]', "holds the state directory"),
        ('read = ["state/faasd.db"]', "is in the state directory"),
        ('write = ["secrets"]', "is the secrets"),
        ('read = ["secrets/token"]', "is in the secrets"),
        ('read = ["run"]', "holds the daemon's socket"),
        ('write = ["functions"]', "holds the code of function 'f'"),
        ('read = ["other"]', "holds the code of function 'g'"),
        ('triggers = [{ type = "files", path = "state" }]', "is the state directory"),
    ],
)
async def test_a_path_that_reaches_too_far_is_refused(
    project: Project, settings: str, fault: str
) -> None:
    """The message names the path, what is in it, and what to do; its line is the setting's."""
    project.write("functions/mine.py", FUNCTIONS.format(settings=""))
    project.write("other/theirs.py", FUNCTIONS.format(settings="").replace("def f", "def g"))
    problems = await project.problems(
        '[daemon]\nstate_dir = "state"\nsocket = "run/faasd.sock"\nfunctions = ["functions", "other"]\n'
        f"[functions.f]\n{settings}\n"
    )
    assert len(problems) == 1
    assert fault in problems[0]
    assert "name what is beside it instead" in problems[0]
    assert "faasd.toml:6" in problems[0]


@pytest.mark.parametrize(
    "settings", ['read = ["data"]', 'write = ["out", "functions/cache"]', 'read = ["functions"]']
)
async def test_what_is_beside_is_allowed(project: Project, settings: str) -> None:
    """The control."""
    project.write("functions/mine.py", FUNCTIONS.format(settings=""))
    toml = f'[daemon]\nstate_dir = "state"\n[functions.f]\n{settings}\n'
    assert await project.problems(toml) == []
