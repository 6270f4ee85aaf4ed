"""What functions have used, and what it would cost."""

from __future__ import annotations

import math
import re
from dataclasses import asdict

from starlette.responses import Response

from faasd.api.call import Call
from faasd.api.replies import json_reply
from faasd.api.views import usage_view
from faasd.errors import InvalidSetting
from faasd.model.usage import Prices

__all__ = ["show_usage"]

_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])")


async def show_usage(call: Call) -> Response:
    """Tell requests, duration and GB-seconds by function and month, with what they would cost.

    Months are UTC. A request is an attempt, a batch is one; GB-seconds are duration times the memory
    limit in GiB. `month` (`2026-11`) and `function` narrow it. The prices are the configuration's
    where none are given here; without any, `cost` is null.
    """
    month = call.query("month")
    if month is not None and not _MONTH.fullmatch(month):
        raise InvalidSetting(f"month must be such as 2026-11, not {month!r}")
    prices = Prices(
        _price(call, "price_per_gb_second", call.services.prices.per_gb_second),
        _price(call, "price_per_million_requests", call.services.prices.per_million_requests),
    )
    # A function that is gone has still used something, so its name is not looked up.
    rows = await call.services.history.usage(month, call.query("function"))
    return json_reply(
        {"usage": [usage_view(row, prices) for row in rows], "prices": asdict(prices)}
    )


def _price(call: Call, name: str, default: float | None) -> float | None:
    text = call.query(name)
    if text is None:
        return default
    try:
        price = float(text)
    except ValueError:
        price = math.nan
    if not 0 <= price < math.inf:
        raise InvalidSetting(f"{name} must be a number from 0, not {text!r}")
    return price
