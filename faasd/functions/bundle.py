"""What is in a bundle: which of its modules may declare functions, and what it depends on. Reads, runs nothing."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from faasd.errors import BundleRefused
from faasd.functions.unpacking import is_clutter
from faasd.model.declaration import may_declare
from faasd.model.deployment import DEPENDENCIES_DIR

__all__ = ["Bundle", "handler_module", "is_left_out", "read_bundle", "read_wheel"]

ENTRY_POINTS = "faasd.functions"
HANDLER_MODULE = "_faasd_handler"
#: Where people keep modules, as seen from the top of what they hand over.
_CODE_ROOTS = (".", "src", "functions")
_EXTRA = re.compile(r";.*\bextra\s*==")
_HANDLER = re.compile(r"(?P<module>\w+(?:[./]\w+)*)(?P<separator>[.:])(?P<attribute>[A-Za-z_]\w*)")


@dataclass(frozen=True)
class Bundle:
    """A bundle, read."""

    root: Path  # What is put on the module path.
    modules: tuple[str, ...]  # Those that may declare functions.
    requirements: Path | None = None  # A requirements file of its own.
    depends_on: tuple[str, ...] = ()  # Requirements from its metadata, where it has no such file.


def is_left_out(path: Path) -> bool:
    """Whether something in a directory is not deployed: clutter, hidden names, virtual environments."""
    return (
        is_clutter(path)
        or path.name.startswith(".")
        or path.name in (DEPENDENCIES_DIR, "node_modules", "venv")
        or (path / "pyvenv.cfg").exists()
    )


def read_bundle(top: Path) -> Bundle:
    """Read an unpacked directory or zip archive. Raises BundleRefused."""
    project = _project(top)
    root, modules = _code(top)
    named = _entry_points_of(project)
    requirements = top / "requirements.txt"
    if requirements.is_file():
        return Bundle(root, named or modules, requirements)
    if "dependencies" in project.get("dynamic", ()):
        raise BundleRefused(
            "pyproject.toml computes its dependencies when it is built; build a wheel and deploy that, "
            "or write them into a requirements.txt"
        )
    return Bundle(root, named or modules, depends_on=tuple(project.get("dependencies", ())))


def read_wheel(code: Path) -> Bundle:
    """Read what a wheel alone was installed to. Raises BundleRefused."""
    found = sorted(code.glob("*.dist-info"))
    if len(found) != 1:
        raise BundleRefused(f"the wheel brings {len(found)} .dist-info directories instead of one")
    with (found[0] / "METADATA").open("rb") as file:
        metadata = BytesHeaderParser().parse(file)
    wanted = [one for one in metadata.get_all("Requires-Dist", []) if not _EXTRA.search(one)]
    named = _entry_points_in(found[0] / "entry_points.txt")
    return Bundle(code, named or tuple(_modules_in(code, ())), depends_on=tuple(wanted))


def handler_module(root: Path, handler: str, function: str) -> str:
    """Write a module that declares one handler, as `module.name` or `module:name`, a function; returns its name.

    For code that was written for Lambda and declares nothing. Raises BundleRefused.
    """
    match = _HANDLER.fullmatch(handler)
    if match is None:
        raise BundleRefused(
            f"expected a handler as module.name, such as lambda_function.lambda_handler, not {handler!r}"
        )
    module, attribute = match["module"].replace("/", "."), match["attribute"]
    path = root.joinpath(*module.split("."))
    if not path.with_suffix(".py").is_file() and not (path / "__init__.py").is_file():
        raise BundleRefused(f"there is no module {module!r} for the handler {handler!r}")
    (root / f"{HANDLER_MODULE}.py").write_text(
        f'"""Written when this was deployed with the handler {handler}."""\n\n'
        "from faasd import function\n"
        f"import {module} as module\n\n"
        f"handler = module.{attribute}\n"
        f"function(name={function!r})(handler)\n"
    )
    return HANDLER_MODULE


def _code(top: Path) -> tuple[Path, tuple[str, ...]]:
    vendored = set(_vendored(top))
    for name in _CODE_ROOTS:
        modules = tuple(_modules_in(top / name, vendored))
        if modules:
            return top / name, modules
    return top, ()


def _modules_in(directory: Path, vendored: Iterable[str]) -> Iterator[str]:
    """Yield the modules and packages in a directory, except tests and what was installed into it."""
    for path in sorted(directory.iterdir()) if directory.is_dir() else ():
        if not may_declare(path.name):
            continue
        is_module = path.suffix == ".py" and path.is_file()
        name = path.stem if is_module else path.name
        if (is_module or (path / "__init__.py").is_file()) and name not in vendored:
            yield name


def _vendored(top: Path) -> Iterator[str]:
    """Yield what `pip install --target` has put beside the handler, as is usual for Lambda."""
    for record in top.glob("*.dist-info/RECORD"):
        for line in record.read_text(errors="replace").splitlines():
            yield line.partition(",")[0].partition("/")[0].removesuffix(".py")


def _project(top: Path) -> dict[str, Any]:
    path = top / "pyproject.toml"
    if not path.is_file():
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BundleRefused(f"cannot read pyproject.toml: {error}") from error
    project: dict[str, Any] = document.get("project", {})
    if not project and "poetry" in document.get("tool", {}):
        raise BundleRefused(
            "pyproject.toml has Poetry's own dependencies; write them out with "
            "`poetry export -o requirements.txt`, or build a wheel and deploy that"
        )
    return project


def _entry_points_of(project: dict[str, Any]) -> tuple[str, ...]:
    points = project.get("entry-points", {}).get(ENTRY_POINTS, {})
    return tuple(dict.fromkeys(str(one).partition(":")[0] for one in points.values()))


def _entry_points_in(path: Path) -> tuple[str, ...]:
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    points = parser[ENTRY_POINTS].values() if parser.has_section(ENTRY_POINTS) else ()
    return tuple(dict.fromkeys(one.partition(":")[0].strip() for one in points))
