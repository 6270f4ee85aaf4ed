"""The files for packagers, from the same texts as `faasd service install`."""

from __future__ import annotations

from collections.abc import Callable

from faasd.cli import service_units as units

__all__ = ["FILES"]

#: Where a package puts the program.
PROGRAM = "/usr/bin/faasd"

FILES: dict[str, Callable[[], str]] = {
    "packaging/systemd/faasd.service": lambda: units.service_unit(PROGRAM),
    "packaging/systemd/faasd.socket": units.socket_unit,
    "packaging/systemd/faasd.sysusers": lambda: units.SYSUSERS,
    "packaging/systemd/faasd.tmpfiles": lambda: units.TMPFILES,
    "packaging/systemd/user/faasd.service": lambda: units.user_service_unit(PROGRAM),
    "packaging/systemd/user/faasd.socket": units.user_socket_unit,
}
