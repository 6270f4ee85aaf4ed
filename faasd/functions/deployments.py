"""Deployments in the state directory: bundles of functions with all that they depend on.

    STATE_DIR/deployments/NAME/VERSION/code/         the modules; `__pypackages__` in it leads to
    STATE_DIR/deployments/NAME/VERSION/packages/     what was installed for them
    STATE_DIR/deployments/NAME/VERSION/deployment.json
    STATE_DIR/deployments/NAME/current               a link to the version in service

A version never changes and appears by one rename. Which one is in service changes by one rename too.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import sys
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from faasd.errors import BundleRefused, NotFound
from faasd.functions.kept_files import link_of, names_in, text_of
from faasd.functions.sealing import make_directory, staging
from faasd.linux.sync import sync, write_synced
from faasd.model.deployment import DEPENDENCIES_DIR, Deployed
from faasd.model.layer import LAYER_NAME
from faasd.model.suggest import did_you_mean

__all__ = [
    "CODE",
    "DEPLOYMENTS_DIR",
    "PACKAGES",
    "Deployment",
    "DeploymentStore",
    "in_service",
    "refuse_name",
]

DEPLOYMENTS_DIR = "deployments"
CODE, PACKAGES, CURRENT = "code", "packages", "current"
_RECORD = "deployment.json"


@dataclass(frozen=True)
class Deployment:
    """One version of a deployment, as it was made."""

    name: str
    version: str  # A hash of all that is in it.
    created_at: str
    source: str  # What was handed over, for people.
    code_dir: str  # Below the version's directory.
    modules: tuple[str, ...]
    functions: tuple[str, ...]
    packages: tuple[str, ...]  # What was installed, as `name==version`.
    python: str | None
    python_version: str  # As `3.11`: packages with compiled parts work with no other.
    installer: str
    files: int
    size_bytes: int


class DeploymentStore:
    """The deployments of one state directory. What is there and cannot be read is a VersionError, of every method."""

    def __init__(self, state_dir: Path) -> None:
        self.root = state_dir / DEPLOYMENTS_DIR

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Keep others from changing what is in service: two deployments may want the same function's name."""
        make_directory(self.root)
        fd = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def staging(self) -> contextlib.AbstractContextManager[Path]:
        """Make a directory for a version that is being made; see sealing.staging."""
        return staging(self.root)

    def place(self, stage: Path, deployment: Deployment) -> bool:
        """Rename what is ready to its place; False when the same version is there already. Raises OSError."""
        top = self.root / deployment.name
        top.mkdir(mode=0o751, exist_ok=True)
        record = json.dumps(asdict(deployment), indent=1) + "\n"
        write_synced(stage / _RECORD, record.encode())
        stage.chmod(0o755)
        for part in (CODE, PACKAGES):
            (stage / part).chmod(0o555)
        final = top / deployment.version
        if self.version(deployment.name, deployment.version) is not None:
            return False
        if final.is_dir():  # Its record was damaged.
            self._remove(final)
        stage.rename(final)
        sync(top)
        sync(self.root)
        return True

    def switch(self, name: str, version: str | None) -> None:
        """Put a version in service, or none. Raises OSError."""
        current = self.root / name / CURRENT
        if version is None:
            current.unlink(missing_ok=True)
        else:
            made = current.with_name(f".new-{secrets.token_hex(6)}")
            made.symlink_to(version)
            made.rename(current)
        sync(current.parent)

    def current(self, name: str) -> Deployment | None:
        """Return the version in service."""
        version = self._linked(name)
        return None if version is None else self.version(name, version)

    def version(self, name: str, version: str) -> Deployment | None:
        """Return one version, whether in service or not; None where its record is damaged. Raises VersionError."""
        try:
            text = text_of(self.root / name / version / _RECORD)
            if text is None:
                return None
            record = json.loads(text)
            lists = {key: tuple(record[key]) for key in ("modules", "functions", "packages")}
            return Deployment(**{**record, **lists})
        except (ValueError, TypeError, KeyError):
            return None

    def in_service(self) -> tuple[Deployment, ...]:
        """Return what is in service, ordered by name."""
        found = (self.current(name) for name in self._names())
        return tuple(one for one in found if one is not None)

    def find(self, name: str) -> Deployment:
        """Return what is in service under a name. Raises NotFound."""
        found = self.current(name) if LAYER_NAME.fullmatch(name) else None
        if found is None:
            hint = did_you_mean(name, [one.name for one in self.in_service()])
            raise NotFound(
                f"there is no deployment {name!r}{hint or '; see `faasd deployments list`'}"
            )
        return found

    def deployed(self) -> tuple[Deployed, ...]:
        """Return what the configuration needs to know of what is in service."""
        return tuple(
            self._deployed(name, version)
            for name in self._names()
            if (version := self._linked(name)) is not None
        )

    def _deployed(self, name: str, version: str) -> Deployed:
        directory = self.root / name / CURRENT
        found = self.version(name, version)
        if found is not None:
            return self.as_deployed(found, directory)
        # Its functions must not be gone without a word.
        problem = (
            f"deployment {name!r} is in service, but its record {directory / _RECORD} cannot be read, so its "
            "functions are not there; deploy it again"
        )
        return Deployed(name, version, str(directory), (), problem=problem)

    @staticmethod
    def link_packages(stage: Path, code_root: Path) -> None:
        """Let the code find what is installed for it, where module_path looks for that."""
        packages = os.path.relpath(stage / PACKAGES, code_root)
        (code_root / DEPENDENCIES_DIR).symlink_to(packages)

    @staticmethod
    def as_deployed(deployment: Deployment, directory: Path) -> Deployed:
        """Return that of one version, which is in a directory."""
        problem = None
        ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
        if deployment.python is None and deployment.packages and deployment.python_version != ours:
            problem = (
                f"deployment {deployment.name!r} was made for Python {deployment.python_version}, and the "
                f"daemon's is {ours} now; deploy it again"
            )
        return Deployed(
            deployment.name,
            deployment.version,
            str(directory / deployment.code_dir),
            deployment.modules,
            deployment.python,
            problem,
        )

    def collect(self, keep: Collection[Path], per_name: int = 3) -> list[Path]:
        """Remove versions out of service but the newest `per_name` of each deployment and what `keep` names."""
        removed = []
        kept = {os.path.realpath(path) for path in keep}
        for name in self._names():
            version = self._linked(name)
            spared = per_name if version is not None else 0
            for path in self._out_of_service(name, version)[spared:]:
                if os.path.realpath(path) not in kept:
                    self._remove(path)
                    removed.append(path)
            with contextlib.suppress(OSError):  # It still holds something.
                (self.root / name).rmdir()
        return removed

    def _out_of_service(self, name: str, version: str | None) -> list[Path]:
        """Return the versions of a deployment but the one in service, the newest first."""
        top = self.root / name
        versions = [
            one for one in top.iterdir() if (one / _RECORD).is_file() and not one.is_symlink()
        ]
        others = [one for one in versions if one.name != version]
        return sorted(others, key=lambda one: (one / _RECORD).stat().st_mtime, reverse=True)

    def _linked(self, name: str) -> str | None:
        """Return the name of the version in service, whether its record can be read or not."""
        return link_of(self.root / name / CURRENT)

    def _remove(self, path: Path) -> None:
        with staging(self.root) as stage:
            path.rename(stage / "gone")

    def _names(self) -> list[str]:
        return sorted(one for one in names_in(self.root) if LAYER_NAME.fullmatch(one))


def refuse_name(name: str) -> None:
    """Raise BundleRefused for what cannot be the name of a deployment."""
    if not LAYER_NAME.fullmatch(name):
        raise BundleRefused(
            f"{name!r} cannot be the name of a deployment; choose one with --name: letters, digits, dots, "
            "dashes and underscores, beginning with a letter or digit"
        )


def in_service(state_dir: Path) -> tuple[Deployed, ...]:
    """Return the deployments in service of one state directory."""
    return DeploymentStore(state_dir).deployed()
