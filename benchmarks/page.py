"""The results page: the generated part of docs/benchmarks.md is replaced, the rest is written by people.

Each group keeps the results of its own last run, with the machine and the load of that run, so that one
group can be measured again without the others.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks.daemon import ROOT
from benchmarks.table import markdown, missed

__all__ = ["BEGIN", "DATA", "END", "PAGE", "keep", "replaced_between", "section", "with_results"]

PAGE = ROOT / "docs" / "benchmarks.md"
DATA = ROOT / "docs" / "benchmarks.json"
BEGIN = "<!-- Results: written by `python -m benchmarks --page`. -->"
END = "<!-- End of the results. -->"

Groups = Mapping[str, dict[str, Any]]


def keep(measured: Groups, order: Iterable[str]) -> None:
    """Put these groups in the place of their earlier results, in the data and on the page."""
    known = json.loads(DATA.read_text(encoding="utf-8"))["groups"] if DATA.exists() else {}
    known.update(measured)
    groups = {name: known[name] for name in order if name in known}
    DATA.write_text(json.dumps({"groups": groups}, indent=1) + "\n", encoding="utf-8")
    PAGE.write_text(with_results(PAGE.read_text(encoding="utf-8"), groups), encoding="utf-8")


def with_results(page: str, groups: Groups) -> str:
    """Return the page with these results in place of earlier ones. Raises ValueError without a place."""
    sections = "\n".join(section(name, group) for name, group in groups.items())
    misses = [line for group in groups.values() for line in missed(group["rows"])]
    listed = "\n".join(f"- {line}" for line in misses) if misses else "None."
    text = f"{sections}\n### Targets missed or not measured\n\n{listed}\n"
    return replaced_between(page, BEGIN, END, text)


def replaced_between(page: str, begin: str, end: str, text: str) -> str:
    """Return the page with this text between two of its marks. Raises ValueError without them."""
    head, has_begin, rest = page.partition(begin)
    _, has_end, tail = rest.partition(end)
    if not has_begin or not has_end:
        raise ValueError(f"{PAGE.name} has no place for results: {begin} and {end} are missing")
    return f"{head}{begin}\n\n{text}\n{end}{tail}"


def section(name: str, group: Mapping[str, Any]) -> str:
    """Return one group: what it asks, what it was taken on, its table."""
    machine = group["machine"]
    scale = "" if group["scale"] == 1 else f" at scale {group['scale']:g}"
    return (
        f"### {name}: {group['about']}\n\n"
        f"Taken {machine['measured_at']} on faasd {machine['version']} (commit {machine['commit']}): "
        f"{machine['cpus']} processors ({machine['cpu']}), {machine['memory_gib']} GiB, Linux "
        f"{machine['kernel']}, CPython {machine['python']}, SQLite {machine['sqlite']}, scratch states on "
        f"{machine['file_system']}; {group['rounds']} rounds{scale}. The load average was "
        f"{machine['load'][0]:g} at the begin and {group['load_after'][0]:g} at the end; "
        f"{group['disturbed']} of {group['measurements']} measurements began while other programs used "
        f"more than a fifth of the processors.\n\n"
        f"{markdown(group['rows'])}"
    )
