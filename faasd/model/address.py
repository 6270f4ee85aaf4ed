"""Where a server listens."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TcpAddress"]


@dataclass(frozen=True)
class TcpAddress:
    """An address of IPv4 or IPv6, in its canonical spelling, and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return it as it stands in URLs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
