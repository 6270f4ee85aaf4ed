from __future__ import annotations

from pathlib import Path

import pytest

from faasd.model.paths import find_config, places


@pytest.mark.parametrize(
    ("config", "daemon", "environ", "state_dir", "socket"),
    [
        ("/h/f.toml", {}, {}, "/h/.local/state/faasd", "/h/.local/state/faasd/faasd.sock"),
        ("/h/f.toml", {}, {"XDG_RUNTIME_DIR": "/r"}, "/h/.local/state/faasd", "/r/faasd/faasd.sock"),
        ("/h/f.toml", {}, {"XDG_STATE_HOME": "/s"}, "/s/faasd", "/s/faasd/faasd.sock"),
        ("/h/f.toml", {}, {"XDG_STATE_HOME": "s"}, "/h/.local/state/faasd", "/h/.local/state/faasd/faasd.sock"),
        ("/h/f.toml", {}, {"STATE_DIRECTORY": "/s:/t", "RUNTIME_DIRECTORY": "/r:/q"}, "/s", "/r/faasd.sock"),
        ("/etc/faasd/faasd.toml", {}, {"XDG_RUNTIME_DIR": "/r"}, "/var/lib/faasd", "/run/faasd/faasd.sock"),
        ("/h/f.toml", {"state_dir": "s"}, {"RUNTIME_DIRECTORY": "/r"}, "/h/s", "/h/s/faasd.sock"),
        ("/h/c/f.toml", {"state_dir": "/s", "socket": "../x"}, {}, "/s", "/h/x"),
        (None, {}, {}, "/h/.local/state/faasd", "/h/.local/state/faasd/faasd.sock"),
    ],
)  # fmt: skip
def test_daemon_and_clients_come_to_the_same_places(
    config: str | None, daemon: dict[str, str], environ: dict[str, str], state_dir: str, socket: str
) -> None:
    """The daemon below systemd and a person's shell share a file and not their environment.

    A client that looked elsewhere would say that no daemon runs, and enqueue into another store.
    """
    assert places(config, daemon, {"HOME": "/h", **environ}) == (state_dir, socket)


def test_a_configuration_is_looked_for_from_the_nearest_to_the_systems(tmp_path: Path) -> None:
    """A file in the working directory is what somebody works on; the user's own comes after it."""
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    user = tmp_path / "xdg" / "faasd" / "faasd.toml"
    user.parent.mkdir(parents=True)
    user.touch()
    here = tmp_path / "here"
    here.mkdir()
    assert find_config(None, environ, str(here)) == str(user)
    (here / "faasd.toml").touch()
    assert find_config(None, environ, str(here)) == str(here / "faasd.toml")


def test_a_configuration_that_was_named_is_never_replaced_by_another(tmp_path: Path) -> None:
    """Falling back from a typing error to the system's configuration would act on the wrong daemon."""
    (tmp_path / "faasd.toml").touch()
    environ = {"FAASD_CONFIG": "/missing/from-environment.toml"}
    assert find_config("/missing/named.toml", environ, str(tmp_path)) == "/missing/named.toml"
    assert find_config(None, environ, str(tmp_path)) == "/missing/from-environment.toml"
