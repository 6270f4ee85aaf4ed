"""Installs what a bundle depends on into a directory of its own, by uv where there is one, else by pip.

It takes wheels only, unless that is lifted: building a package runs code of its maker's at once, with that user's rights.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import faasd
from faasd.errors import BundleRefused
from faasd.linux import process, seccomp

__all__ = ["Installer", "builds_wanted", "find_installer"]

_LINES_KEPT = 20
_BOOTSTRAP = os.path.join(
    os.path.dirname(os.path.abspath(faasd.__file__)), "runtime", "bootstrap.py"
)
#: A requirement that an index answers, and that can therefore be held to wheels.
_NAMED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\s*(\[[^\]]*\])?\s*([<>=!~;(].*)?")
#: Options of requirement files with which nothing is built.
_HARMLESS = re.compile(
    r"(-r|-c|-i|-f|--requirement|--constraint|--index-url|--extra-index-url|--find-links|--no-index|--require-hashes"
    r"|--only-binary|--prefer-binary|--pre|--trusted-host|--hash)([ =].*)?"
)
_INCLUDES = re.compile(r"(?:-r|-c|--requirement|--constraint)[ =]*(?P<path>\S+)")
#: Settings of pip's that would have it install elsewhere.
_ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PYTHONDONTWRITEBYTECODE")


@dataclass(frozen=True)
class Installer:
    """One way to install, with what to call first."""

    name: str  # `uv` or `pip`
    command: tuple[str, ...]
    python: str
    options: tuple[str, ...] = ()
    allow_build: bool = False

    def install(
        self, requirements: Path, into: Path, on_line: Callable[[str], None], *, alone: str = ""
    ) -> None:
        """Install what a requirements file names, or one file `alone` without its dependencies.

        Raises BundleRefused with the installer's last lines.
        """
        if not self.allow_build and self.name == "pip" and not alone:
            wanted = next(builds_wanted(requirements), None)
            if wanted is not None:
                raise BundleRefused(
                    f"{wanted!r} in {requirements.name} would be built here, which runs its code as you, outside "
                    "of all walls; name a wheel, or allow that with --allow-build"
                )
        what = ("--no-deps", alone) if alone else ("--requirement", str(requirements))
        command = [*self._called(), "--target", str(into), *self._kind(), *self.options, *what]
        if not alone and "--hash=" in requirements.read_text(errors="replace"):
            command.append("--require-hashes")
        _run(command, requirements.parent, on_line, self.name, self._hint())
        (into / ".lock").unlink(missing_ok=True)  # Of uv's.

    @property
    def _is_hindered(self) -> bool:
        """Whether pip is kept from starting programs, without which it cannot build."""
        return self.name == "pip" and not self.allow_build and seccomp.is_available()

    def _called(self) -> tuple[str, ...]:
        if self._is_hindered:
            return (self.python, "-I", _BOOTSTRAP, "pip_install", "install")
        return self.command

    def _hint(self) -> str:
        if not self._is_hindered:
            return ""
        return (
            "\nWhere it says that an operation is not permitted, a package that is no wheel would have to be built for "
            "this, which runs its code as you, outside of all walls; depend on a wheel of it, or allow that "
            "with --allow-build"
        )

    def _kind(self) -> tuple[str, ...]:
        if self.name == "uv":
            # Copied: a link into uv's cache would change with it, and the cache with us.
            common = ("--python", self.python, "--link-mode", "copy", "--compile-bytecode")
            return common if self.allow_build else (*common, "--no-build")
        return () if self.allow_build else ("--only-binary", ":all:")


def find_installer(
    python: str, options: Sequence[str] = (), *, allow_build: bool = False, use: str | None = None
) -> Installer:
    """Return uv where it is in PATH, else the interpreter's own pip. Raises BundleRefused."""
    uv = shutil.which("uv") if use in (None, "uv") else None
    if uv is not None:
        return Installer("uv", (uv, "pip", "install"), python, tuple(options), allow_build)
    # Isolated: with the bundle's directory on its path, a `json.py` in there would be run.
    pip = (python, "-I", "-m", "pip", "install")
    if use in (None, "pip") and _has_pip(python):
        return Installer("pip", pip, python, tuple(options), allow_build)
    raise BundleRefused(
        f"there is nothing to install with: no uv in PATH, and {python} has no pip; "
        f"install uv, or pip for that interpreter (Debian: apt install python3-pip)"
    )


def _has_pip(python: str) -> bool:
    # Importing pip to ask for its version would take half a second.
    code = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pip') is None)"
    try:
        done = subprocess.run((python, "-I", "-c", code), capture_output=True, check=False, cwd="/")
    except OSError:
        return False
    return done.returncode == 0


def builds_wanted(requirements: Path, seen: frozenset[Path] = frozenset()) -> Iterator[str]:
    """Yield the lines of a requirements file, and of those it includes, for which pip would build a package.

    `--only-binary` holds pip to wheels for what it looks up by name, and for nothing else.
    """
    try:
        text = requirements.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BundleRefused(f"cannot read {requirements}: {error.strerror}") from error
    for line in text.replace("\\\n", " ").splitlines():
        wanted = re.sub(r"(^|\s)#.*", "", line).strip()
        include = _INCLUDES.fullmatch(wanted)
        if include is not None and "://" not in include["path"]:
            inner = (requirements.parent / include["path"]).resolve()
            if inner not in seen:
                yield from builds_wanted(inner, seen | {inner})
        elif wanted and not _is_prebuilt(wanted):
            yield wanted


def _is_prebuilt(wanted: str) -> bool:
    if wanted.startswith("-"):
        return _HARMLESS.fullmatch(wanted) is not None
    place = re.split(r"\s(?:;|--hash)|#", wanted)[0].rpartition("@ ")[2].strip()
    return place.endswith(".whl") or _NAMED.fullmatch(wanted) is not None


def _run(
    command: Sequence[str], cwd: Path, on_line: Callable[[str], None], name: str, hint: str
) -> None:
    """Run the installer to its end; it ends with us. Raises BundleRefused."""
    tail: deque[str] = deque(maxlen=_LINES_KEPT)
    try:
        installing = subprocess.Popen(
            command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            preexec_fn=process.die_with_parent,  # noqa: PLW1509 - one thread; nothing else can do it.
            env=_environment(),
        )
    except OSError as error:
        raise BundleRefused(f"cannot start {command[0]}: {error.strerror}") from error
    with installing:
        assert installing.stdout is not None
        for line in installing.stdout:
            if line.strip():
                tail.append(line.rstrip())
                on_line(line.rstrip())
    if installing.returncode != 0:
        said = "\n".join(f"  {line}" for line in tail)
        said += hint if "not permitted" in said else ""
        raise BundleRefused(
            f"{name} could not install the dependencies (exit code {installing.returncode}):\n{said}"
        )


def _environment() -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return env | {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_REQUIRE_VIRTUALENV": "0",
        "UV_PYTHON_DOWNLOADS": "never",
    }
