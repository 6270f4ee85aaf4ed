from __future__ import annotations

from pathlib import Path

import pytest

from faasd.config import locate
from faasd.model.paths import find_config, places


@pytest.mark.parametrize("config", ["/etc/faasd/faasd.toml", "/srv/jobs/faasd.toml"])
@pytest.mark.parametrize(
    "daemon",
    [
        {},
        {"state_dir": "state"},
        {"state_dir": "~/x", "socket": "run/api.sock"},
        {"socket": "/run/api.sock"},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "RUNTIME_DIRECTORY": "/run/a:/run/b"},
        {"XDG_STATE_HOME": "/x", "XDG_RUNTIME_DIR": "/run/user/7"},
        {"XDG_STATE_HOME": "relative"},
    ],
    ids=str,
)
def test_clients_and_the_daemon_come_to_the_same_places(
    config: str, daemon: dict[str, str], environ: dict[str, str]
) -> None:
    """A client that looked elsewhere would say that no daemon runs, and enqueue into another store."""
    env = {"HOME": "/home/ada", **environ}
    daemons = locate.places(Path(config), daemon, env)
    assert places(config, daemon, env) == (str(daemons.state_dir), str(daemons.socket))


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
