"""Rules about the source that no linter knows."""

from __future__ import annotations

import ast
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository.source import ROOT, is_sandboxed, modules, parsed, those_of_tests

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 40

#: Longer modules, each with the reason why it is not two.
LONG_MODULES: dict[str, str] = {
    "faasd/config/settings.py": "Every setting is declared once, and all of them in one list.",
    "faasd/daemon.py": "The one file that sees every implementation ties all of them together.",
    "faasd/interfaces.py": "All the seams on one page can be held against each other.",
}

#: Longer functions, as "path:name", each with the reason why it is not two.
LONG_FUNCTIONS: dict[str, str] = {
    "faasd/triggers/file_directory.py:WatchedDirectory.__init__": (
        "It names the state that the steps share, each with its comment."
    ),
}

#: Modules without `__all__`, each with the reason.
WITHOUT_ALL: dict[str, str] = {
    "faasd/runtime/bootstrap.py": "It is run by its path and imported by nobody.",
    "faasd/__main__.py": "It is run by `python -m faasd` and imported by nobody.",
}

OLD_PYTHONS = [
    *Path.home().glob(".pyenv/versions/3.9.*/bin/python"),
    *(path for one in os.get_exec_path() if (path := Path(one, "python3.9")).exists()),
]


def functions(
    tree: ast.AST, prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Yield every function with its dotted name."""
    for node in ast.iter_child_nodes(tree):
        name = f"{prefix}{getattr(node, 'name', '')}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield name, node
        inner = (
            f"{name}."
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            else prefix
        )
        yield from functions(node, inner)


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of a function's body, its docstring and the functions inside it left out."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    inner = [
        one
        for statement in body
        for one in ast.walk(statement)
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return (
        (body[-1].end_lineno or 0)
        - body[0].lineno
        + 1
        - sum((one.end_lineno or 0) - one.lineno for one in inner)
    )


def test_modules_are_short() -> None:
    """What fits on a few screens can be read before it is changed."""
    long = {
        path for path in modules() if len((ROOT / path).read_text().splitlines()) > MODULE_LINES_MAX
    }
    assert long <= set(LONG_MODULES), "shorten it, or give the reason in LONG_MODULES"
    assert set(LONG_MODULES) <= set(modules())
    assert all(reason.endswith(".") for reason in LONG_MODULES.values())


def test_functions_are_short() -> None:
    """A function is one thought."""
    long = {
        f"{path}:{name}"
        for path in modules()
        for name, function in functions(parsed(path))
        if body_lines(function) > FUNCTION_LINES_MAX
    }
    assert long <= set(LONG_FUNCTIONS), "split it, or give the reason in LONG_FUNCTIONS"
    assert {name.partition(":")[0] for name in LONG_FUNCTIONS} <= set(modules())
    assert all(reason.endswith(".") for reason in LONG_FUNCTIONS.values())


def test_package_files_are_empty() -> None:
    """An import of one module must not pay for its neighbours; only the authoring API is a package's."""
    packages = [
        path for path in modules() if path.endswith("/__init__.py") and path != "faasd/__init__.py"
    ]
    assert [path for path in packages if (ROOT / path).read_text().strip()] == []
    directories = {str(Path(path).parent) for path in modules()}
    assert directories == {str(Path(path).parent) for path in packages} | {"faasd"}


def exported(tree: ast.Module) -> list[str] | None:
    """Return the names in `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(one, ast.Name) and one.id == "__all__" for one in node.targets
        ):
            return list(ast.literal_eval(node.value))
    return None


def defined(body: list[ast.stmt]) -> Iterator[tuple[str, bool]]:
    """Yield each name that a module makes, and whether it is a class or function of its own."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, True
        elif isinstance(node, ast.Assign):
            yield from (
                (one.id, False)
                for target in node.targets
                for one in ast.walk(target)
                if isinstance(one, ast.Name)
            )
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, False
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from (((one.asname or one.name), False) for one in node.names)
        elif isinstance(node, ast.If):
            yield from defined([*node.body, *node.orelse])


@pytest.mark.parametrize("path", [path for path in modules() if (ROOT / path).read_text().strip()])
def test_what_a_module_offers_is_what_it_names(path: str) -> None:
    """`__all__` is the contents page: nothing on it is missing, and nothing public is left off it."""
    names = exported(parsed(path))
    if names is None:
        assert path in WITHOUT_ALL, "give it an `__all__`"
        return
    made = dict(defined(parsed(path).body))
    assert len(names) == len(set(names))
    assert set(names) <= set(made), "named and not there"
    public = {name for name, is_own in made.items() if is_own and not name.startswith("_")}
    # `overload` in declare.py stands in for the one of typing; subcommands are found by their group.
    if path != "faasd/declare.py" and not path.startswith("faasd/cli/"):
        assert public <= set(names), "public and not named"


def _file_of(module: str | None) -> str:
    return f"{(module or '').replace('.', '/')}.py"


def test_modules_use_only_what_others_offer() -> None:
    """What is not on a module's contents page may change without a look at the rest."""
    offers = {path: exported(parsed(path)) for path in modules()}
    taken = [
        f"{path}:{node.lineno}: {node.module}.{alias.name}"
        for path in modules()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.ImportFrom) and (target := _file_of(node.module)) in offers
        for alias in node.names
        if alias.name not in (offers[target] or [])
    ]
    assert taken == []


@pytest.mark.parametrize("path", [path for path in modules() if is_sandboxed(path)])
def test_the_sandboxed_side_is_written_for_python_3_9(path: str) -> None:
    """A function may name any interpreter from 3.9 on, and this code runs inside it."""
    text = (ROOT / path).read_text()
    tree = ast.parse(text, path, feature_version=(3, 9))
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Match), f"{path}:{node.lineno}: `match` is of 3.10"
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "dataclass":
            given = {keyword.arg for keyword in node.keywords}
            assert not given & {"slots", "kw_only"}, f"{path}:{node.lineno}: {given} are of 3.10"
    has_annotations = any(isinstance(node, ast.arg | ast.AnnAssign) for node in ast.walk(tree))
    assert "from __future__ import annotations" in text or not has_annotations


@pytest.mark.skipif(not OLD_PYTHONS, reason="no CPython 3.9 on this host")
def test_the_sandboxed_side_can_be_imported_by_python_3_9() -> None:
    """What only fails when it is evaluated, such as `int | None` at run time, fails here."""
    paths = [path for path in modules() if is_sandboxed(path) and not path.endswith("bootstrap.py")]
    names = [path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in paths]
    code = f"import importlib, sys; sys.path.insert(0, {str(ROOT)!r}); [importlib.import_module(n) for n in {names}]"
    command = [str(OLD_PYTHONS[0]), "-I", "-W", "error", "-B", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_test_says_why_it_exists() -> None:
    """When it fails in a year, its docstring is what tells whether the code or the test is wrong."""
    silent = [
        f"{path}:{function.lineno}"
        for path in those_of_tests()
        for name, function in functions(parsed(path))
        if name.rpartition(".")[2].startswith("test_") and ast.get_docstring(function) is None
    ]
    assert silent == []
