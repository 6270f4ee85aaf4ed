"""Writes every generated file, or says which of them are out of date: `python -m tests.repository.generate [--check]`.

To add a file, add a line to GENERATORS: its path, and a function that returns its text.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from pathlib import Path

from faasd.api.reference import render_api_reference
from faasd.cli.reference import render_cli_reference
from tests.repository import (
    lifecycle,
    log_events_page,
    metrics_page,
    packaging,
    settings_pages,
    system_calls_page,
)

__all__ = ["GENERATORS", "main"]

ROOT = Path(__file__).resolve().parents[2]

GENERATORS: dict[str, Callable[[], str]] = {
    "config.example.toml": settings_pages.example_file,
    "docs/cli.md": render_cli_reference,
    "docs/configuration.md": settings_pages.configuration_page,
    "docs/http-api.md": render_api_reference,
    "docs/log-events.md": log_events_page.render_log_events,
    "docs/metrics.md": metrics_page.render_metrics,
    "docs/invocation-lifecycle.md": lifecycle.render_lifecycle,
    "docs/system-calls.md": system_calls_page.render_system_calls,
    "faasd/config/schema.json": settings_pages.json_schema,
    **packaging.FILES,
}


def main(arguments: list[str]) -> int:
    """Write what differs, or with --check only report it; returns the exit code."""
    if arguments not in ([], ["--check"]):
        print("usage: python -m tests.repository.generate [--check]", file=sys.stderr)
        return 2
    is_check = arguments == ["--check"]
    differing = [path for path in GENERATORS if _differs(path, is_check)]
    if is_check and differing:
        print(f"out of date: {', '.join(differing)}; run `make generate`", file=sys.stderr)
        return 1
    return 0


def _differs(path: str, is_check: bool) -> bool:
    file = ROOT / path
    wanted = GENERATORS[path]()
    present = file.read_text(encoding="utf-8") if file.exists() else ""
    if present == wanted:
        return False
    if is_check:
        lines = difflib.unified_diff(
            present.splitlines(), wanted.splitlines(), path, f"{path} (generated)", n=1, lineterm=""
        )
        for line in list(lines)[:30]:
            print(line, file=sys.stderr)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(wanted, encoding="utf-8")
        print(f"wrote {path}")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
