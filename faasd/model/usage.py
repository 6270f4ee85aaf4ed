"""What functions have used in a month, and what that would cost at a price."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Prices", "Usage", "cost"]


@dataclass(frozen=True)
class Usage:
    """One function's use in one month, counted in UTC by when its attempts ended.

    A request is an attempt; a batch is one. `gb_s` is the duration times the memory limit in GiB.
    """

    month: str  # Such as 2026-11.
    function: str
    requests: int
    errors: int
    duration_s: float
    gb_s: float
    cpu_s: float


@dataclass(frozen=True)
class Prices:
    """In a currency of the operator's own; None where no price is set."""

    per_gb_second: float | None = None
    per_million_requests: float | None = None


def cost(usage: Usage, prices: Prices) -> float | None:
    """Return what the use would cost; None without any price."""
    if prices.per_gb_second is None and prices.per_million_requests is None:
        return None
    for_time = usage.gb_s * (prices.per_gb_second or 0.0)
    return for_time + usage.requests / 1e6 * (prices.per_million_requests or 0.0)
