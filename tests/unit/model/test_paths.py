from __future__ import annotations

from pathlib import Path

import pytest

from faasd.model.paths import default_state_dir, find_config, resolve


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, 1000, "/var/lib/a"),
        ({}, 0, "/var/lib/faasd"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/home/ada"}, 1000, "/x/faasd"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/ada"}, 7, "/home/ada/.local/state/faasd"),
        ({"HOME": "/home/ada"}, 1000, "/home/ada/.local/state/faasd"),
    ],
)
def test_the_state_directory_is_systemds_then_the_systems_then_the_users(
    environ: dict[str, str], uid: int, expected: str
) -> None:
    """The daemon and the command line must come to the same one without talking to each other."""
    assert default_state_dir(environ, uid) == expected


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


def test_paths_in_a_configuration_are_relative_to_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The daemon is started from anywhere, so the working directory must not matter."""
    monkeypatch.setenv("HOME", "/home/ada")
    assert resolve("state", "/etc/faasd/faasd.toml") == "/etc/faasd/state"
    assert resolve("/var/x", "/etc/faasd/faasd.toml") == "/var/x"
    assert resolve("~/x", "/etc/faasd/faasd.toml") == "/home/ada/x"
