"""Which configuration is in force, and where the daemon and its clients meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from faasd.config.locate import find_config, locate, places
from faasd.errors import ConfigErrors


def test_the_nearest_configuration_wins(tmp_path: Path) -> None:
    """The order is a promise: the command line, the environment, here, the user's, the system's."""
    here, home = tmp_path / "here", tmp_path / "home"
    files = {
        "flag": tmp_path / "flag.toml",
        "variable": tmp_path / "variable.toml",
        "here": here / "faasd.toml",
        "home": home / "faasd" / "faasd.toml",
    }
    for file in files.values():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    environ = {"FAASD_CONFIG": str(files["variable"]), "XDG_CONFIG_HOME": str(home)}

    assert find_config(files["flag"], environ, here) == files["flag"]
    assert find_config(None, environ, here) == files["variable"]
    del environ["FAASD_CONFIG"]
    assert find_config(None, environ, here) == files["here"]
    files["here"].unlink()
    assert find_config(None, environ, here) == files["home"]


def test_without_a_configuration_every_place_that_was_tried_is_named(tmp_path: Path) -> None:
    """Somebody who has one elsewhere must see at once where faasd looked."""
    with pytest.raises(ConfigErrors) as error:
        find_config(None, {"HOME": str(tmp_path)}, tmp_path)
    for place in (
        f"{tmp_path}/faasd.toml",
        f"{tmp_path}/.config/faasd/faasd.toml",
        "/etc/faasd/faasd.toml",
    ):
        assert place in str(error.value)
    assert "faasd init" in str(error.value)


@pytest.mark.parametrize("source", ["--config", "FAASD_CONFIG"])
def test_a_configuration_that_was_asked_for_by_name_must_exist(tmp_path: Path, source: str) -> None:
    """Falling back to another one would run something that nobody asked for."""
    (tmp_path / "faasd.toml").touch()
    wanted = str(tmp_path / "gone.toml")
    explicit = wanted if source == "--config" else None
    with pytest.raises(ConfigErrors, match=f"given by {source}, does not exist"):
        find_config(explicit, {"FAASD_CONFIG": wanted}, tmp_path)


@pytest.mark.parametrize(
    ("config", "daemon", "environ", "state_dir", "socket"),
    [
        ("/h/faasd.toml", {}, {"HOME": "/h"}, "/h/.local/state/faasd", "/h/.local/state/faasd/faasd.sock"),
        ("/h/f.toml", {}, {"HOME": "/h", "XDG_RUNTIME_DIR": "/r"}, "/h/.local/state/faasd", "/r/faasd/faasd.sock"),
        ("/h/f.toml", {}, {"HOME": "/h", "XDG_STATE_HOME": "/s"}, "/s/faasd", "/s/faasd/faasd.sock"),
        ("/h/f.toml", {}, {"HOME": "/h", "XDG_STATE_HOME": "s"}, "/h/.local/state/faasd", "/h/.local/state/faasd/faasd.sock"),
        ("/h/f.toml", {}, {"STATE_DIRECTORY": "/s:/t", "RUNTIME_DIRECTORY": "/r"}, "/s", "/r/faasd.sock"),
        ("/etc/faasd/faasd.toml", {}, {"HOME": "/h", "XDG_RUNTIME_DIR": "/r"}, "/var/lib/faasd", "/run/faasd/faasd.sock"),
        ("/h/f.toml", {"state_dir": "s"}, {"RUNTIME_DIRECTORY": "/r"}, "/h/s", "/h/s/faasd.sock"),
        ("/h/c/f.toml", {"state_dir": "/s", "socket": "../x"}, {}, "/s", "/h/x"),
    ],
)  # fmt: skip
def test_daemon_and_clients_agree_on_where_they_meet(
    config: str, daemon: dict[str, str], environ: dict[str, str], state_dir: str, socket: str
) -> None:
    """The daemon below systemd and a person's shell have different environments, and the same file."""
    found = places(Path(config), daemon, environ)
    assert (str(found.state_dir), str(found.socket)) == (state_dir, socket)


def test_a_client_finds_the_socket_without_judging_the_rest(tmp_path: Path) -> None:
    """`faasd logs` must work while somebody edits the configuration of a running daemon."""
    config = tmp_path / "faasd.toml"
    config.write_text('[daemon]\nstate_dir = "s"\nslots = "many"\n')
    assert locate(config).socket == tmp_path / "s" / "faasd.sock"


def test_a_client_says_which_file_it_cannot_read(tmp_path: Path) -> None:
    """Neither a missing file nor a broken one may end in a traceback."""
    config = tmp_path / "faasd.toml"
    with pytest.raises(ConfigErrors, match=r"faasd\.toml: cannot be read"):
        locate(config)
    config.write_bytes(b"\xff")
    with pytest.raises(ConfigErrors, match=r"faasd\.toml: .*faasd check"):
        locate(config)
