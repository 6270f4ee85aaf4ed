"""Settings of `[http]`: the address at which other programs read the daemon over TCP."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any

from faasd.config.trigger_settings import Settings
from faasd.config.values import Kind, setting
from faasd.errors import InvalidSetting
from faasd.model.address import TcpAddress

__all__ = ["HttpSettings"]

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)|(localhost)):([0-9]{1,5})")


class _Listen(Kind):
    """An address of this host and a port."""

    def read(self, value: Any) -> TcpAddress:
        """Read `127.0.0.1:7380`, `localhost:7380` or `[::1]:7380`."""
        found = _ADDRESS.fullmatch(value) if isinstance(value, str) else None
        port = int(found[4]) if found is not None else 0
        if found is None or not 1 <= port <= 65535:
            raise InvalidSetting(
                f'expected an address and a port, such as "127.0.0.1:7380" or "[::1]:7380", not {value!r}'
            )
        host = "127.0.0.1" if found[3] else found[1] or found[2]
        try:
            return TcpAddress(str(ipaddress.ip_address(host)), port)
        except ValueError:
            raise InvalidSetting(f"{host!r} is not an address of IPv4 or IPv6") from None

    def show(self, value: TcpAddress | None) -> str | None:
        """Return it as it is written."""
        return None if value is None else str(value)

    @property
    def unit(self) -> str:
        """Say what may be written."""
        return "address and port"


class HttpSettings(Settings):
    """What is served over TCP, besides the Unix socket: `/metrics`, `/healthz` and `/readyz`, to read only."""

    listen: Annotated[TcpAddress | None, _Listen()] = setting(
        None,
        "Where to listen, for Prometheus to scrape. Whoever can connect may read the names of functions and queues, and "
        "their figures; nobody can run or send anything there.",
        example="127.0.0.1:7380",
        default_text="not at all",
    )
