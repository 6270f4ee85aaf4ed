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
    "default_socket_path",
    "default_state_dir",
    "find_config",
    "resolve",
]

CONFIG_NAME = "faasd.toml"
SOCKET_NAME = "faasd.sock"


def default_state_dir(environ: Mapping[str, str] | None = None, uid: int | None = None) -> str:
    """Return the state directory where `[daemon] state_dir` is not set.

    systemd's STATE_DIRECTORY (the first, if it lists several), else `/var/lib/faasd` for root, else
    `faasd` below the user's XDG state home.
    """
    env = os.environ if environ is None else environ
    given = env.get("STATE_DIRECTORY", "").split(":")[0]
    if given:
        return given
    if (os.getuid() if uid is None else uid) == 0:
        return "/var/lib/faasd"
    home = _xdg(env, "XDG_STATE_HOME", ".local/state")
    return os.path.join(home, "faasd")


def default_socket_path(state_dir: str) -> str:
    """Return the daemon's socket where `[daemon] socket` is not set."""
    return os.path.join(state_dir, SOCKET_NAME)


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


def resolve(written: str, config_path: str | None) -> str:
    """Return a path from a configuration as an absolute one: `~` expanded, relative to the file's directory."""
    base = os.path.dirname(os.path.abspath(config_path)) if config_path else os.getcwd()  # noqa: PTH109
    return os.path.normpath(os.path.join(base, os.path.expanduser(written)))  # noqa: PTH111


def _xdg(env: Mapping[str, str], name: str, below_home: str) -> str:
    # The XDG specification says that a relative value is invalid and to be ignored.
    value = env.get(name, "")
    if value.startswith("/"):
        return value
    home = env.get("HOME") or os.path.expanduser("~")  # noqa: PTH111
    return os.path.join(home, below_home)
