"""The steps of `faasd deploy`: what was handed over becomes a version of a deployment that is ready and checked.

Nothing is in service before the last step, and until then everything is in a directory that nobody reads.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import os
import re
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faasd.clock import Clock, to_iso
from faasd.errors import BundleRefused, ConfigErrors
from faasd.functions.bundle import Bundle, handler_module, is_left_out, read_bundle, read_wheel
from faasd.functions.deployments import CODE, PACKAGES, Deployment, DeploymentStore
from faasd.functions.installing import Installer, find_installer
from faasd.functions.sealing import seal
from faasd.functions.unpacking import copy_directory, unpack_zip
from faasd.model.deployment import Deployed

if TYPE_CHECKING:
    from faasd.config.loader import Loaded
    from faasd.model.declaration import Problem

__all__ = ["Request", "Told", "check", "check_removal", "default_name", "make"]

#: What is told while it goes on: a step's name and a sentence.
Told = Callable[[str, str], None]
_INSTALL_IT = re.compile(r"; install it for \S+, or set `python` to the interpreter that has it")
_FROM_METADATA = ".requirements-of-metadata.txt"


@dataclass(frozen=True)
class Request:
    """What somebody wants to be deployed, and how."""

    name: str
    source: Path
    python: str | None  # None: the daemon's own.
    handler: str | None = None
    allow_build: bool = False
    options: tuple[str, ...] = ()  # For the installer.
    installer: str | None = None
    shown_as: str = ""  # The source as it was handed over, where this is a copy of it.

    @property
    def is_wheel(self) -> bool:
        """Whether it is a built package rather than a directory or an archive of code."""
        return self.source.suffix == ".whl"


def default_name(source: Path) -> str:
    """Return the name of a deployment whose name nobody has given."""
    if source.suffix == ".whl":
        return source.name.partition("-")[0].replace("_", "-")
    return source.resolve().stem if source.is_file() else source.resolve().name


def make(stage: Path, request: Request, python: str, told: Told) -> Deployment:
    """Make a version in a directory of its own: take the code in, install what it needs, seal it.

    The functions in it are not known yet. Raises BundleRefused.
    """
    code, packages = stage / CODE, stage / PACKAGES
    for directory in (code, packages):
        directory.mkdir(mode=0o755)
    bundle, installer = _take_in(request, code, python, told)
    modules = bundle.modules
    if request.handler is not None:
        modules = (handler_module(bundle.root, request.handler, request.name),)
    if not modules:
        raise BundleRefused(
            f"{request.source} holds no module that could declare functions: no .py file and no package at its "
            "top, in src/ or in functions/"
        )
    DeploymentStore.link_packages(stage, bundle.root)
    installer = _install(bundle, request, python, packages, installer, told)
    sealed, theirs = seal(code), seal(packages)
    version = _python_version(python)
    facts = [sealed.digest, theirs.digest, modules, request.python, version]
    return Deployment(
        name=request.name,
        version=hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:12],
        created_at=to_iso(Clock().now()) or "",
        source=request.shown_as or str(request.source.absolute()),
        code_dir=os.path.relpath(bundle.root, stage),
        modules=modules,
        functions=(),
        packages=tuple(_installed(packages)),
        python=request.python,
        python_version=version,
        installer=installer.name if installer is not None else "",
        files=sealed.files + theirs.files,
        size_bytes=sealed.size_bytes + theirs.size_bytes,
    )


def _take_in(
    request: Request, code: Path, python: str, told: Told
) -> tuple[Bundle, Installer | None]:
    """Fill the directory of the code, and read what is in it."""
    if request.source.is_dir():
        told("copy", str(request.source))
        copy_directory(request.source, code, leave_out=is_left_out)
        return read_bundle(code), None
    if not zipfile.is_zipfile(request.source):
        raise BundleRefused(f"{request.source} is neither a directory, a zip archive nor a wheel")
    if not request.is_wheel:
        told("unpack", str(request.source))
        unpack_zip(request.source, code)
        return read_bundle(code), None
    told("unpack", str(request.source))
    installer = _installer(request, python)
    installer.install(code, code, lambda line: told("install", line), alone=str(request.source.absolute()))  # fmt: skip
    return read_wheel(code), installer


def _install(
    bundle: Bundle,
    request: Request,
    python: str,
    packages: Path,
    installer: Installer | None,
    told: Told,
) -> Installer | None:
    """Install what the bundle depends on into the directory for that; returns with what."""
    requirements = bundle.requirements
    if requirements is None and bundle.depends_on:
        requirements = bundle.root / _FROM_METADATA
        requirements.write_text("\n".join(bundle.depends_on) + "\n")
    if requirements is None:
        return installer
    installer = installer or _installer(request, python)
    told("install", f"{installer.name}, for {python}")
    try:
        installer.install(requirements, packages, lambda line: told("install", line))
    finally:
        if bundle.requirements is None:
            requirements.unlink()
    return installer


def _installer(request: Request, python: str) -> Installer:
    return find_installer(
        python, request.options, allow_build=request.allow_build, use=request.installer
    )


def _python_version(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [python, "-I", "-c", code], capture_output=True, text=True, check=True, cwd="/"
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise BundleRefused(f"cannot run the interpreter {python}: {error}") from error
    return done.stdout.strip()


def _installed(packages: Path) -> Sequence[str]:
    names = (path.name.removesuffix(".dist-info") for path in packages.glob("*.dist-info"))
    return sorted("==".join(name.rsplit("-", 1)) for name in names)


def check(
    config_path: Path, store: DeploymentStore, deployment: Deployment, stage: Path
) -> tuple[Deployment, list[Problem]]:
    """Read the configuration as it would be with this deployment in service.

    Returns the deployment with its functions, and warnings. Raises ConfigErrors with whatever is wrong with it and
    was not wrong before, and BundleRefused where it declares nothing.
    """
    others = tuple(one for one in store.deployed() if one.name != deployment.name)
    staged = store.as_deployed(deployment, stage)
    with_it = _load(config_path, (*others, staged))
    without = _load(config_path, others)
    if with_it.fatal:
        raise ConfigErrors([str(one) for one in with_it.fatal])
    before = set(without.problems)
    place = {str(stage): deployment.name}
    new = [_told_of_deployment(one, place) for one in with_it.problems if one not in before]
    errors = [str(one) for one in new if not one.is_warning]
    names = {one.name for one in without.functions}
    functions = tuple(one.name for one in with_it.functions if one.name not in names)
    if errors:
        raise ConfigErrors(errors)
    if not functions:
        raise BundleRefused(
            f"{deployment.name} declares no function: put @function on a handler, or name one with --handler"
        )
    return replace(deployment, functions=functions), [one for one in new if one.is_warning]


def check_removal(config_path: Path, store: DeploymentStore, name: str) -> list[str]:
    """Return what would be wrong with the configuration without a deployment, and is not wrong with it."""
    there = _load(config_path, store.deployed())
    without = _load(config_path, tuple(one for one in store.deployed() if one.name != name))
    return [str(one) for one in without.errors if one not in set(there.errors)]


def _load(config_path: Path, deployed: Sequence[Deployed]) -> Loaded:
    load_config: Any = importlib.import_module("faasd.foreground").load_config
    loaded: Loaded = asyncio.run(load_config(config_path, deployed=lambda _: deployed))
    return loaded


def _told_of_deployment(problem: Problem, place: dict[str, str]) -> Problem:
    """Name places in the directory where it was made by the deployment's name."""

    def told(text: str) -> str:
        for path, name in place.items():
            for directory in (os.path.realpath(path), path):
                text = text.replace(f"{directory}/{CODE}", name).replace(directory, name)
        return text

    # What its interpreter has installed is not what a bundle should live on.
    message = _INSTALL_IT.sub("; name it in requirements.txt", told(problem.message))
    return replace(problem, path=told(problem.path), message=message)
