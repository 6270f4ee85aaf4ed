"""Layers that settings name, and modules that were deployed, as the configuration finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faasd.errors import NotFound, VersionError
from faasd.model.deployment import Deployed
from faasd.model.layer import Layer
from tests.unit.config.conftest import Project

NEEDS_LAYER = """
    import of_the_layer
    from faasd import function

    @function(layers=["shared"])
    def f(event, context): ...
"""


@pytest.fixture
def published(tmp_path: Path) -> Callable[[Path, str], Layer]:
    """One published layer, `shared:2`, which has a module."""
    content = tmp_path / "state" / "layers" / "shared" / "2" / "content"
    (content / "python").mkdir(parents=True)
    (content / "python" / "of_the_layer.py").write_text("")

    def find(state_dir: Path, written: str) -> Layer:
        if written not in ("shared", "shared:2"):
            raise NotFound(f"there is no layer {written!r}")
        return Layer("shared:2", str(state_dir / "layers/shared/2/content"), "d")

    return find


TOML = '[daemon]\nstate_dir = "state"\n'


async def test_a_module_may_name_in_its_decorator_the_layer_that_its_imports_need(
    project: Project, published: Any
) -> None:
    """The import comes before the decorator is reached, so its text is read first."""
    project.write("functions/m.py", NEEDS_LAYER)

    loaded = await project.load(TOML, find_layer=published)

    assert [str(one) for one in loaded.problems] == []
    [function] = loaded.functions
    assert [one.name for one in function.layers] == ["shared:2"]


@pytest.mark.parametrize("table", ["defaults", "functions.f"])
async def test_layers_in_toml_are_there_at_the_import_too(
    table: str, project: Project, published: Any
) -> None:
    """And those of TOML take the place of the decorator's."""
    project.write("functions/m.py", NEEDS_LAYER.replace('(layers=["shared"])', ""))

    loaded = await project.load(f'{TOML}[{table}]\nlayers = "shared"\n', find_layer=published)

    assert [str(one) for one in loaded.problems] == []
    assert [one.name for one in loaded.functions[0].layers] == ["shared:2"]


async def test_a_layer_that_is_not_there_is_named_with_its_place(
    project: Project, published: Any
) -> None:
    """Both where the import needed it, and where it did not."""
    project.write("functions/m.py", NEEDS_LAYER.replace("shared", "shard"))
    problems = await project.problems(TOML, find_layer=published)
    assert "functions/m.py: layers: there is no layer 'shard'" in problems

    project.write("functions/m.py", "import faasd\n@faasd.function\ndef f(event, context): ...\n")
    toml = TOML + '[functions.f]\nlayers = ["shared", "./nowhere", "state/logs"]\n'
    (project.root / "state" / "logs").mkdir()
    problems = await project.problems(toml, find_layer=published)
    assert problems == [
        (
            "faasd.toml:4:21: functions.f.layers[1]: nowhere does not exist; a layer is a directory or the name of a "
            "published one"
        ),
        (
            "faasd.toml:4:34: functions.f.layers[2]: state/logs is in the state directory; publish it, and name it by "
            "its name"
        ),
    ]


async def test_a_layer_that_cannot_be_read_is_its_functions_problem_and_no_others(
    project: Project,
) -> None:
    """The disk may have a bad block; whoever has nothing to do with it runs."""

    def find(_state_dir: Path, written: str) -> Layer:
        raise VersionError(f"cannot read {written}: Input/output error")

    project.write("functions/m.py", "import faasd\n@faasd.function\ndef f(event, context): ...\n")
    project.write("functions/n.py", "import faasd\n@faasd.function\ndef g(event, context): ...\n")
    loaded = await project.load(f"{TOML}[functions.f]\nlayers = 'bad'\n", find_layer=find)
    assert [one.name for one in loaded.functions] == ["g"]
    [problem] = loaded.problems
    assert (problem.function, problem.message) == ("f", "cannot read bad: Input/output error")


async def test_a_directory_as_layer_changes_with_what_is_in_it(project: Project) -> None:
    """A zygote that has imported the old content must not serve the new."""
    project.write("functions/m.py", "import faasd\n@faasd.function(layers='./own')\ndef f(e, c): ...\n")  # fmt: skip
    project.write("own/python/x.py", "1\n")
    [before] = (await project.load(TOML)).functions
    project.write("own/python/x.py", "2\n")
    [after] = (await project.load(TOML)).functions

    assert before.layers[0].path == after.layers[0].path == str(project.root / "own")
    assert before.layers[0].digest != after.layers[0].digest
    assert before.version_with_layers != after.version_with_layers
    assert before.code_version == after.code_version


def deployed(project: Project, name: str, text: str, **given: Any) -> Deployed:
    top = f"state/deployments/{name}/v1"
    project.write(f"{top}/code/jobs.py", text)
    project.write(f"{top}/packages/of_{name}.py", "")
    (project.root / top / "code" / "__pypackages__").symlink_to("../packages")
    (project.root / f"state/deployments/{name}/current").symlink_to("v1")
    code_dir = str(project.root / f"state/deployments/{name}/current/code")
    return Deployed(name, "v1", code_dir, ("jobs",), **given)


async def test_deployed_modules_declare_functions_like_all_others(project: Project) -> None:
    """Two deployments may have modules of one name; each has its own packages; TOML has the last word."""
    text = "import faasd, of_{0}\n@faasd.function\ndef {0}(event, context): ...\n"
    both = [deployed(project, name, text.format(name)) for name in ("a", "b")]

    loaded = await project.load(TOML + '[functions.b]\ntimeout = "3s"\n', deployed=lambda _: both)

    assert [str(one) for one in loaded.problems] == []
    a, b = loaded.functions
    assert (a.name, b.name, b.limits.timeout_s) == ("a", "b", 3.0)
    assert a.bundle_dir == str(project.root / "state/deployments/a/v1")


async def test_a_name_that_two_sources_want_is_refused_naming_both(project: Project) -> None:
    """Which of the two runs must not depend on an order."""
    text = "import faasd\n@faasd.function\ndef f(event, context): ...\n"
    project.write("functions/m.py", text)
    one = deployed(project, "a", text)

    problems = await project.problems(TOML, deployed=lambda _: [one])

    assert problems == [
        (
            "state/deployments/a/current/code/jobs.py:2: functions.f: two functions are named 'f'; the other is at "
            "functions/m.py:2"
        )
    ]


async def test_a_deployment_made_for_another_python_is_warned_of(project: Project) -> None:
    """Compiled parts of its packages work with no other."""
    text = "import faasd\n@faasd.function\ndef f(event, context): ...\n"
    one = deployed(project, "a", text, problem="deployment 'a' was made for Python 3.9")

    loaded = await project.load(TOML, deployed=lambda _: [one])

    assert [problem.is_warning for problem in loaded.problems] == [True]
    assert [function.name for function in loaded.functions] == ["f"]


async def test_a_link_in_ones_own_code_shows_nothing_of_the_state_directory(
    project: Project,
) -> None:
    """Only what is a deployment's is shown; whoever names the logs like that sees nothing."""
    project.write("functions/m.py", "import faasd\n@faasd.function\ndef f(event, context): ...\n")
    (project.root / "state" / "packages").mkdir(parents=True)
    (project.root / "functions" / "__pypackages__").symlink_to(project.root / "state" / "packages")

    [function] = (await project.load(TOML)).functions

    assert function.bundle_dir == ""


@pytest.mark.parametrize("path", ["own", "own/python", "."])
async def test_nobody_may_write_into_a_layer(path: str, project: Project) -> None:
    """Whoever could would have his code run as another function, with that one's secrets."""
    text = "import faasd\n@faasd.function(layers='./own')\ndef f(e, c): ...\n@faasd.function\ndef g(e, c): ...\n"
    project.write("functions/m.py", text)
    project.write("own/python/x.py", "")

    problems = await project.problems(f'{TOML}[functions.g]\nwrite = ["{path}"]\n')

    assert len(problems) == 1
    if path != ".":  # Of which it is the least that is wrong.
        assert "reaches a layer of function 'f'" in problems[0]
