"""What is in a bundle, read from its files alone."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from faasd.errors import BundleRefused
from faasd.functions.bundle import handler_module, is_left_out, read_bundle, read_wheel


@pytest.fixture
def top(tmp_path: Path) -> Path:
    path = tmp_path / "top"
    path.mkdir()
    return path


def write(top: Path, name: str, text: str = "") -> None:
    (top / name).parent.mkdir(parents=True, exist_ok=True)
    (top / name).write_text(dedent(text))


def test_modules_at_the_top_are_those_of_functions(top: Path) -> None:
    """As in a directory of functions: tests and names that begin with an underscore are none."""
    for name in (
        "app.py",
        "pkg/__init__.py",
        "_own.py",
        "test_app.py",
        "conftest.py",
        "data/x.csv",
    ):
        write(top, name)

    bundle = read_bundle(top)

    assert bundle.modules == ("app", "pkg")
    assert bundle.root == top
    assert (bundle.requirements, bundle.depends_on) == (None, ())


@pytest.mark.parametrize("directory", ["src", "functions"])
def test_code_in_a_directory_of_its_own_is_found(directory: str, top: Path) -> None:
    """A project is deployed as it is, with its configuration and its tests around the code."""
    write(top, f"{directory}/app.py")
    write(top, "tests/test_app.py")
    write(top, "README.md")

    bundle = read_bundle(top)

    assert (bundle.root, bundle.modules) == (top / directory, ("app",))


def test_what_was_installed_beside_a_handler_declares_no_functions(top: Path) -> None:
    """A zip made for Lambda has all that it depends on at its top, and importing that is of no use."""
    write(top, "lambda_function.py")
    write(top, "requests/__init__.py")
    write(top, "six.py")
    write(top, "requests-2.0.dist-info/RECORD", "requests/__init__.py,,\nsix.py,,\n")

    assert read_bundle(top).modules == ("lambda_function",)


def test_a_requirements_file_wins_over_the_projects_own_list(top: Path) -> None:
    """It is the pinned one, where both are there."""
    write(top, "app.py")
    write(top, "requirements.txt", "tiny==1.0\n")
    write(top, "pyproject.toml", '[project]\nname = "x"\ndependencies = ["tiny"]\n')

    assert read_bundle(top).requirements == top / "requirements.txt"


def test_the_projects_dependencies_and_entry_points_are_read(top: Path) -> None:
    """A project that names its modules of functions has only those imported."""
    write(top, "src/pkg/__init__.py")
    write(
        top,
        "pyproject.toml",
        """
        [project]
        name = "x"
        dependencies = ["tiny>=1", "other; python_version > '3'"]
        [project.entry-points."faasd.functions"]
        main = "pkg.functions"
        more = "pkg.more:anything"
        """,
    )

    bundle = read_bundle(top)

    assert bundle.modules == ("pkg.functions", "pkg.more")
    assert bundle.depends_on == ("tiny>=1", "other; python_version > '3'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[project]\nname = "x"\ndynamic = ["dependencies"]\n', "computes its dependencies"),
        ('[tool.poetry.dependencies]\nrequests = "*"\n', "poetry export"),
        ("[project\n", "cannot read pyproject.toml"),
    ],
)
def test_dependencies_that_cannot_be_read_are_no_reason_to_install_none(
    text: str, said: str, top: Path
) -> None:
    """A function without its packages would fail at its first event instead of now."""
    write(top, "app.py")
    write(top, "pyproject.toml", text)

    with pytest.raises(BundleRefused, match=said):
        read_bundle(top)


def test_a_wheel_says_what_it_needs_and_which_modules_have_functions(top: Path) -> None:
    """Extras are what nobody has asked for."""
    write(top, "pkg/__init__.py")
    write(
        top,
        "pkg-1.0.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: pkg\nVersion: 1.0\nRequires-Dist: tiny>=1\n"
        "Requires-Dist: pytest; extra == 'test'\nRequires-Dist: old; python_version < '3'\n\nText\n",
    )
    assert read_wheel(top).modules == ("pkg",)
    assert read_wheel(top).depends_on == ("tiny>=1", "old; python_version < '3'")

    write(top, "pkg-1.0.dist-info/entry_points.txt", "[faasd.functions]\nmain = pkg.functions\n")
    assert read_wheel(top).modules == ("pkg.functions",)


def test_a_handler_is_declared_by_a_module_beside_it(top: Path) -> None:
    """Code for Lambda declares nothing, so what was said at the command line stands in a file."""
    write(top, "lambda_function.py", "def lambda_handler(event, context): return 1\n")

    name = handler_module(top, "lambda_function.lambda_handler", "resize")

    text = (top / f"{name}.py").read_text()
    assert "import lambda_function as module" in text
    assert "function(name='resize')(handler)" in text


@pytest.mark.parametrize(
    "handler", ["nowhere.handler", "lambda_function", "a b.c", "x.y;import os", "../x.h"]
)
def test_a_handler_that_cannot_be_is_refused(handler: str, top: Path) -> None:
    """Its text becomes code, so it is a name and nothing else."""
    write(top, "lambda_function.py")

    with pytest.raises(BundleRefused):
        handler_module(top, handler, "f")


@pytest.mark.parametrize("name", [".git", ".env", "__pycache__", "venv", "__pypackages__", "x.pyc"])
def test_what_is_no_code_stays_where_it_is(name: str, tmp_path: Path) -> None:
    """A file of secrets beside the code must not be copied into the state directory."""
    assert is_left_out(tmp_path / name)
    assert not is_left_out(tmp_path / "app.py")
