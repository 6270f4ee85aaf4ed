"""What the units ask of systemd: nothing that the oldest one we name does not know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from faasd.cli import service_units as units

OLDEST = 249
#: Since which systemd each directive exists, by the manual pages of systemd 257; None: since before 183.
SINCE: dict[str, int | None] = {
    "After": None,
    "AmbientCapabilities": 229,
    "Backlog": None,
    "CapabilityBoundingSet": None,
    "ConfigurationDirectory": 235,
    "Delegate": 218,
    "Description": None,
    "DirectoryMode": None,
    "ExecReload": None,
    "ExecStart": None,
    "FileDescriptorName": 227,
    "Group": None,
    "KillMode": 187,
    "LimitCORE": None,
    "LimitNOFILE": None,
    "ListenStream": None,
    "LockPersonality": 235,
    "NoNewPrivileges": 187,
    "NotifyAccess": None,
    "OOMPolicy": 243,
    "PrivateDevices": 209,
    "ProtectSystem": 214,
    "RemoveIPC": 232,
    "RemoveOnStop": 214,
    "Restart": None,
    "RestartPreventExitStatus": 189,
    "RestartSec": None,
    "RestrictAddressFamilies": 211,
    "RestrictRealtime": 231,
    "RestrictSUIDSGID": 242,
    "RuntimeDirectory": 211,
    "RuntimeDirectoryMode": 234,
    "RuntimeDirectoryPreserve": 235,
    "SocketGroup": 214,
    "SocketMode": None,
    "SocketUser": 214,
    "StartLimitBurst": 229,
    "StartLimitIntervalSec": 229,
    "StateDirectory": 235,
    "StateDirectoryMode": 235,
    "SystemCallArchitectures": 209,
    "SystemCallErrorNumber": 209,
    "SystemCallFilter": 187,
    "TimeoutAbortSec": 243,
    "TimeoutStopSec": 188,
    "Type": None,
    "User": None,
    "WantedBy": None,
    "WatchdogSec": None,
}
#: An unknown directive is only ignored; an unknown *value* here turns the service into another one.
TYPES_OF_OLDEST = {"simple", "exec", "forking", "oneshot", "dbus", "notify", "idle"}
UNITS = {
    "faasd.service": units.service_unit("/usr/bin/faasd"),
    "faasd.socket": units.socket_unit(),
    "user/faasd.service": units.user_service_unit("/usr/bin/faasd"),
    "user/faasd.socket": units.user_socket_unit(),
}


@pytest.mark.parametrize("name", UNITS)
def test_every_directive_is_known_to_the_oldest_systemd_that_we_name(name: str) -> None:
    """A new directive comes with its version, here and in docs/operations.md."""
    directives = re.findall(r"^([A-Za-z]+)=(.*)$", UNITS[name], re.MULTILINE)
    assert len(directives) > 5
    for directive, value in directives:
        assert directive in SINCE, f"since which systemd is there {directive}=?"
        assert (SINCE[directive] or 0) <= OLDEST, directive
        if directive == "Type":
            assert value in TYPES_OF_OLDEST


def test_the_page_for_operators_names_the_newest_directives() -> None:
    """So that who has an older systemd sees at once whether it would do."""
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    used = {word for text in UNITS.values() for word in re.findall(r"^([A-Za-z]+)=", text, re.MULTILINE)}  # fmt: skip
    for directive in used:
        since = SINCE[directive]
        if since is not None and since >= 229:
            assert re.search(rf"\| {since} \|[^\n]*`{directive}=`", page), f"{directive}= since {since}"  # fmt: skip
