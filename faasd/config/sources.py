"""Which modules the `functions` setting and the handlers in TOML mean."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from faasd.config.document import Document
from faasd.model.declaration import Problem, may_declare
from faasd.model.deployment import Deployed

__all__ = ["Source", "code_dir_of", "find_sources"]

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Source:
    """One module that may declare functions."""

    name: str
    code_dir: str
    origin: str
    python: str | None = None  # The interpreter that it was deployed for.


def find_sources(
    document: Document,
    entries: tuple[str, ...],
    is_explicit: bool,
    deployed: Iterable[Deployed] = (),
) -> tuple[list[Source], list[Problem]]:
    """Return the modules of every entry and of deployments in service, and what is wrong with these.

    Of a directory: each `.py` file and each package in it, except tests and names that begin with
    an underscore or a dot. The default entry may be missing; one that somebody wrote may not.
    """
    sources: dict[tuple[str, str], Source] = {}
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        found, fault = _sources_of(document, entry)
        if fault is not None and (is_explicit or found):
            problems.append(document.problem(("daemon", "functions", index), fault))
        for source in found:
            fault = _name_fault(source)
            if fault is not None:
                problems.append(Problem(source.origin, fault))
            else:
                sources.setdefault((source.name, source.code_dir), source)
    found = list(sources.values())
    _add_deployed(deployed, found, problems)
    return found, problems


def _add_deployed(
    deployed: Iterable[Deployed], sources: list[Source], problems: list[Problem]
) -> None:
    for one in deployed:
        for module in one.modules:
            file = Path(one.code_dir, *module.split("."))
            package = file / "__init__.py"
            origin = package if package.is_file() else file.with_suffix(".py")
            source = Source(module, one.code_dir, str(origin), one.python)
            fault = _name_fault(source)
            if fault is None:
                sources.append(source)
            else:
                problems.append(Problem(source.origin, fault))
        if one.problem is not None:
            problems.append(Problem(one.code_dir, one.problem, is_warning=True))


def code_dir_of(module: str, document: Document, entries: tuple[str, ...]) -> str:
    """Return the directory that has a handler's module: one of `functions`, else the file's own.

    A module that is in none of them is an installed one; the file's directory does no harm then.
    """
    first = module.partition(".")[0]
    for entry in (*entries, "."):
        directory = document.base_dir / Path(entry).expanduser()
        if directory.suffix == ".py":
            directory = directory.parent
        package = directory / first
        is_package = (package / "__init__.py").is_file() or ("." in module and package.is_dir())
        if is_package or (directory / f"{first}.py").is_file():
            return str(directory.resolve())
    return str(document.base_dir)


def _sources_of(document: Document, entry: str) -> tuple[list[Source], str | None]:
    path = document.base_dir / Path(entry).expanduser()
    if path.is_dir():
        return _sources_in(path.resolve())
    if path.is_file() and path.suffix == ".py":
        path = path.resolve()
        return [Source(path.stem, str(path.parent), str(path))], None
    if "/" not in entry and not entry.endswith(".py") and "." in entry and _MODULE.fullmatch(entry):
        return [Source(entry, str(document.base_dir), str(document.path))], None
    if path.exists():
        return [], f"{path} is neither a directory nor a .py file"
    return [], f"{path} does not exist; expected a directory, a .py file or a dotted module name"


def _sources_in(directory: Path) -> tuple[list[Source], str | None]:
    try:
        paths = sorted(directory.iterdir())
    except OSError as error:
        return [], f"{directory} cannot be read: {error.strerror}"
    found = []
    for path in paths:
        if not may_declare(path.name):
            continue
        if path.suffix == ".py" and path.is_file():
            found.append(Source(path.stem, str(directory), str(path)))
        elif (path / "__init__.py").is_file():
            found.append(Source(path.name, str(directory), str(path / "__init__.py")))
    return found, None


def _name_fault(source: Source) -> str | None:
    first = source.name.partition(".")[0]
    if "." not in source.name and not re.fullmatch(r"[\w-]+", source.name):
        return f"{source.name!r} cannot be a module's name; use letters, digits and underscores"
    if first in sys.stdlib_module_names:
        return f"hides the standard library's module {first!r}; give the file another name"
    if first == "faasd":
        return "hides faasd itself; give the file another name"
    return None
