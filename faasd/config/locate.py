"""Where the configuration, the state directory and the socket are.

The command line comes through here at every start, so this file imports neither pydantic nor the
loader, nor dataclasses, which brings inspect.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from faasd.errors import ConfigErrors

__all__ = ["SOCKET_PATH_BYTES_MAX", "Places", "find_config", "locate", "places"]

#: The kernel's limit for the path of a Unix socket (unix(7)), without its final zero.
SOCKET_PATH_BYTES_MAX = 107
_SYSTEM_CONFIG_DIR = "/etc"


class Places(NamedTuple):
    """Absolute paths that the daemon and its clients must agree on."""

    state_dir: Path
    socket: Path


def find_config(
    explicit: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> Path:
    """Return the configuration in force, absolute.

    The order: `explicit` (--config), FAASD_CONFIG, ./faasd.toml, the user's, the system's. Raises
    ConfigErrors that names every place that was tried; one that was asked for by name must exist.
    """
    cwd = cwd or Path.cwd()
    for source, value in (("--config", explicit), ("FAASD_CONFIG", environ.get("FAASD_CONFIG"))):
        if value:
            path = cwd / Path(value).expanduser()
            if path.is_file():
                return path
            kind = "is not a file" if path.exists() else "does not exist"
            raise ConfigErrors([f"the configuration {path}, given by {source}, {kind}"])
    tried = [
        cwd / "faasd.toml",
        _home("XDG_CONFIG_HOME", ".config", environ) / "faasd" / "faasd.toml",
        Path(_SYSTEM_CONFIG_DIR, "faasd", "faasd.toml"),
    ]
    for path in tried:
        if path.is_file():
            return path
    places_text = ", ".join(str(path) for path in tried)
    message = (
        f"found no configuration; tried {places_text}. Write one with `faasd init`, or name "
        "one with --config FILE or FAASD_CONFIG"
    )
    raise ConfigErrors([message])


def locate(config_path: Path, environ: Mapping[str, str] = os.environ) -> Places:
    """Read only what a client needs from a configuration. Raises ConfigErrors."""
    try:
        with config_path.open("rb") as file:
            daemon = tomllib.load(file).get("daemon", {})
    except OSError as error:
        raise ConfigErrors([f"{config_path}: cannot be read: {error.strerror}"]) from error
    except ValueError as error:  # Not TOML, or not UTF-8.
        raise ConfigErrors([f"{config_path}: {error}; run `faasd check`"]) from error
    return places(config_path, daemon if isinstance(daemon, dict) else {}, environ)


def places(
    config_path: Path, daemon: Mapping[str, Any], environ: Mapping[str, str] = os.environ
) -> Places:
    """Return the places of a `[daemon]` table, with the defaults where it is silent.

    A file that sets `state_dir` gets its socket there, so two daemons on one machine never meet by
    accident. A file below /etc is the system's daemon, whoever asks and whatever its environment.
    """
    base = config_path.absolute().parent
    is_system = config_path.absolute().is_relative_to(_SYSTEM_CONFIG_DIR)
    state, socket = daemon.get("state_dir"), daemon.get("socket")
    if state:
        state_dir = _below(base, state)
    elif environ.get("STATE_DIRECTORY"):
        state_dir = Path(environ["STATE_DIRECTORY"].partition(":")[0])
    elif is_system:
        state_dir = Path("/var/lib/faasd")
    else:
        state_dir = _home("XDG_STATE_HOME", ".local/state", environ) / "faasd"
    if socket:
        return Places(state_dir, _below(base, socket))
    runtime_dir = state_dir
    if not state:
        runtime_dir = _runtime_dir(is_system, environ) or state_dir
    return Places(state_dir, runtime_dir / "faasd.sock")


def _runtime_dir(is_system: bool, environ: Mapping[str, str]) -> Path | None:
    if environ.get("RUNTIME_DIRECTORY"):
        return Path(environ["RUNTIME_DIRECTORY"].partition(":")[0])
    if is_system:
        return Path("/run/faasd")
    if environ.get("XDG_RUNTIME_DIR"):
        return Path(environ["XDG_RUNTIME_DIR"]) / "faasd"
    return None


def _home(variable: str, below_home: str, environ: Mapping[str, str]) -> Path:
    """Return an XDG base directory; a relative one is ignored, as its specification says."""
    value = environ.get(variable, "")
    if value.startswith("/"):
        return Path(value)
    return Path(environ.get("HOME") or Path.home()) / below_home


def _below(base: Path, written: Any) -> Path:
    return Path(os.path.normpath(base / Path(str(written)).expanduser()))
