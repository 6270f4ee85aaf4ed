"""Where things are when nobody says: one set of rules for the daemon, the command line and clients.

Plain strings, because `pathlib` alone would cost a cold `faasd enqueue` a fifth of its time.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

__all__ = [
    "CONFIG_NAME",
    "SOCKET_NAME",
    "config_candidates",
    "find_config",
    "places",
    "secrets_place",
]

CONFIG_NAME = "faasd.toml"
SOCKET_NAME = "faasd.sock"
_SYSTEM_CONFIG_DIR = "/etc"


def places(
    config_path: str | None, daemon: Mapping[str, str], environ: Mapping[str, str] | None = None
) -> tuple[str, str]:
    """Return (state directory, socket) of a configuration's table `daemon`, defaults where it is silent.

    A file that sets `state_dir` gets its socket there, so two daemons on one machine never meet by
    accident. A file below /etc is the system's daemon, whoever asks.
    """
    env = os.environ if environ is None else environ
    state, socket = daemon.get("state_dir"), daemon.get("socket")
    path = os.path.abspath(config_path or CONFIG_NAME)
    is_system = config_path is not None and path.startswith(_SYSTEM_CONFIG_DIR + "/")
    if state:
        state_dir = _below(path, state)
    elif env.get("STATE_DIRECTORY"):
        state_dir = env["STATE_DIRECTORY"].split(":")[0]
    elif is_system:
        state_dir = "/var/lib/faasd"
    else:
        state_dir = os.path.join(_xdg(env, "XDG_STATE_HOME", ".local/state"), "faasd")
    if socket:
        return state_dir, _below(path, socket)
    runtime_dir = state_dir if state else _runtime_dir(is_system, env) or state_dir
    return state_dir, os.path.join(runtime_dir, SOCKET_NAME)


def secrets_place(config_path: str, daemon: Mapping[str, str], environ: Mapping[str, str]) -> str:
    """Return the directory of secrets: the setting, systemd's for credentials, or `secrets` beside the file."""
    path = os.path.abspath(config_path)
    if daemon.get("secrets_dir"):
        return _below(path, daemon["secrets_dir"])
    return environ.get("CREDENTIALS_DIRECTORY") or _below(path, "secrets")


def _runtime_dir(is_system: bool, env: Mapping[str, str]) -> str | None:
    if env.get("RUNTIME_DIRECTORY"):
        return env["RUNTIME_DIRECTORY"].split(":")[0]
    if is_system:
        return "/run/faasd"
    if env.get("XDG_RUNTIME_DIR"):
        return os.path.join(env["XDG_RUNTIME_DIR"], "faasd")
    return None


def _below(config_path: str, written: str) -> str:
    """Return a path of a configuration as an absolute one: relative to the file's directory."""
    expanded = os.path.expanduser(written)  # noqa: PTH111 - see the module's first lines.
    return os.path.normpath(os.path.join(os.path.dirname(config_path), expanded))


def config_candidates(environ: Mapping[str, str] | None = None, cwd: str = ".") -> list[str]:
    """Return the files that are looked for when neither `--config` nor FAASD_CONFIG names one, in order."""
    env = os.environ if environ is None else environ
    return [
        os.path.join(cwd, CONFIG_NAME) if cwd != "." else CONFIG_NAME,
        os.path.join(_xdg(env, "XDG_CONFIG_HOME", ".config"), "faasd", CONFIG_NAME),
        os.path.join("/etc/faasd", CONFIG_NAME),
    ]


def find_config(
    explicit: str | None = None, environ: Mapping[str, str] | None = None, cwd: str = "."
) -> str | None:
    """Return the configuration to read: `explicit`, else FAASD_CONFIG, else the first candidate that exists.

    A file that somebody named is returned whether it exists or not, so that its absence is an error
    and not a silent fall-back. None means that there is no configuration and the defaults hold.
    """
    env = os.environ if environ is None else environ
    named = explicit or env.get("FAASD_CONFIG")
    if named:
        return named
    for path in config_candidates(env, cwd):
        if os.path.isfile(path):  # noqa: PTH113 - see the module's first lines.
            return path
    return None


def _xdg(env: Mapping[str, str], name: str, below_home: str) -> str:
    # The XDG specification says that a relative value is invalid and to be ignored.
    value = env.get(name, "")
    if value.startswith("/"):
        return value
    home = env.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
    return os.path.join(home, below_home)
