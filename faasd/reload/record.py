"""How reloads ended, for whoever looks later: the status, the metrics, `faasd why`."""

from __future__ import annotations

from faasd.clock import Clock
from faasd.metrics import Registry
from faasd.model.reload import RELOAD_RESULTS, LastReload, ReloadReport

__all__ = ["ReloadRecord"]


class ReloadRecord:
    """Counts reloads by how they ended since the start, and remembers the last of each kind.

    `digest` is that of the configuration file that was last put in force. Rollbacks are not counted: they
    read no configuration.
    """

    def __init__(self, clock: Clock, digest: str) -> None:
        self._clock = clock
        self.digest = digest
        self.last: LastReload | None = None
        # All there from the start: nobody sees an increase in a series that begins with one.
        self._counts = dict.fromkeys(RELOAD_RESULTS, 0)
        self._last_at: dict[str, float] = {}

    @property
    def in_force_count(self) -> int:
        """How many reloads were put in force."""
        return sum(count for result, count in self._counts.items() if result != "refused")

    @property
    def refusal(self) -> str | None:
        """Why the last reload was refused; None when it was not."""
        last = self.last
        return last.error if last is not None and last.result == "refused" else None

    def put_in_force(self, report: ReloadReport, digest: str) -> None:
        """Note a reload that has changed what works of what was to be changed."""
        result = report.result
        if result == "unchanged" and digest != self.digest:
            result = "applied"  # Settings of the daemon have changed, and no function.
        self.digest = digest
        self._ended(result, report.mistakes or None)

    def refused(self, error: str) -> None:
        """Note a reload that has changed nothing."""
        self._ended("refused", error)

    def measure(self, metrics: Registry) -> None:
        """Add to one look at the metrics."""
        for result, count in self._counts.items():
            metrics.add("faasd_reloads_total", result, amount=count)
        for result, at in self._last_at.items():
            metrics.set("faasd_reload_timestamp_seconds", at, result)
        metrics.set("faasd_configuration_info", 1, self.digest)

    def _ended(self, result: str, error: str | None) -> None:
        self.last = LastReload(result, self._clock.now(), error)
        self._counts[result] += 1
        self._last_at[result] = self.last.at
