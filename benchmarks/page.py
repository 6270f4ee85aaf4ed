"""The results page: the generated part of docs/benchmarks.md is replaced, the rest is written by people."""

from __future__ import annotations

from typing import Any

from benchmarks.daemon import ROOT
from benchmarks.table import markdown, missed

__all__ = ["BEGIN", "END", "PAGE", "with_results"]

PAGE = ROOT / "docs" / "benchmarks.md"
BEGIN = "<!-- Results: written by `python -m benchmarks --page`. -->"
END = "<!-- End of the results. -->"


def with_results(page: str, report: dict[str, Any]) -> str:
    """Return the page with the results of this run in place of earlier ones. Raises ValueError without a place."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{PAGE.name} has no place for results: {BEGIN} and {END} are missing")
    return f"{head}{BEGIN}\n\n{_results(report)}\n{END}{tail}"


def _results(report: dict[str, Any]) -> str:
    machine = report["machine"]
    scale = "" if report["scale"] == 1 else f" at scale {report['scale']:g}"
    about = (
        f"Taken {machine['measured_at']} on faasd {machine['version']} (commit {machine['commit']}): "
        f"{machine['cpus']} processors ({machine['cpu']}), {machine['memory_gib']} GiB, Linux "
        f"{machine['kernel']}, CPython {machine['python']}, SQLite {machine['sqlite']}, scratch states on "
        f"{machine['file_system']}. {report['rounds']} rounds"
        f"{scale}; the load average was "
        f"{machine['load'][0]:g} at the begin and {report['load_after'][0]:g} at the end. "
        f"{report['disturbed']} of {report['measurements']} measurements began while other programs used "
        f"more than a fifth of the processors."
    )
    misses = missed(report["rows"])
    listed = "\n".join(f"- {line}" for line in misses) if misses else "None."
    return (
        f"{about}\n\n{markdown(report['rows'])}\n### Targets missed or not measured\n\n{listed}\n"
    )
