"""`faasd backup` and `faasd restore`: they read and write the state directory itself, daemon or none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import faasd
from faasd.cli.command import command, config_of, json_option
from faasd.cli.output import print_json
from faasd.client import daemon_paths
from faasd.clock import Clock, to_iso
from faasd.model.units import format_size

if TYPE_CHECKING:
    from faasd.store.restore import Restored

__all__ = ["backup", "restore"]


@command(
    examples=(
        "faasd backup /var/backups/faasd.tar",
        "faasd backup --logs /var/backups/faasd-$(date +%F).tar.gz",
    )
)
@click.argument("file", type=click.Path())
@click.option("--logs", is_flag=True, help="With what functions have printed.")
@json_option
@click.pass_context
def backup(context: click.Context, *, file: str, logs: bool, as_json: bool) -> None:
    """Write everything that faasd knows to a new file, verified.

    Whether a daemon runs or not: it goes on meanwhile. In it are the database and the code that was
    deployed; not the configuration, your functions' files and secrets. A name that ends in `.gz` or
    `.tgz` compresses it.
    """
    from faasd.store.backup import write_backup

    state_dir, _ = daemon_paths(config_of(context))
    target = Path(os.path.abspath(file))
    manifest = write_backup(
        Path(state_dir),
        target,
        made_by=faasd.__version__,
        made_at=to_iso(Clock().now()),
        logs=logs,
        on_progress=_progress(),
    )
    if as_json:
        print_json({"path": str(target), **manifest})
        return
    database = manifest["database"]
    print(f"{target}: {manifest['size_bytes']} bytes")
    held = f"{database['waiting']} waiting, {database['running']} running, {database['dead']} dead"
    print(f"  schema {database['schema_version']}, verified; invocations in it: {held}")


@command(
    examples=(
        "faasd restore --dry-run /var/backups/faasd.tar",
        "faasd restore /var/backups/faasd.tar",
        "faasd restore --force /var/lib/faasd/faasd.db.before-v2",
    )
)
@click.argument("file", type=click.Path())
@click.option("--force", is_flag=True, help="Also where there is a state, which is moved aside.")
@click.option(
    "--dry-run", is_flag=True, help="Verify all of it and say what would happen; nothing changes."
)
@json_option
@click.pass_context
def restore(
    context: click.Context, *, file: str, force: bool, dry_run: bool, as_json: bool
) -> None:
    """Make a backup the state of this daemon, which must not run.

    FILE is a backup, or a database file, such as the one that an upgrade keeps. Nothing changes unless
    all of it is found whole. With `--dry-run` the daemon may run.
    """
    from faasd.store import restore as restoring

    state_dir, _ = daemon_paths(config_of(context))
    now = datetime.fromtimestamp(Clock().now(), UTC)
    if dry_run:
        done = restoring.rehearse(Path(state_dir), Path(file), now=now)
    else:
        done = restoring.restore(Path(state_dir), Path(file), now=now, force=force)
    if as_json:
        contents = asdict(done.contents)
        kept = str(done.kept) if done.kept else None
        print_json({**done.manifest, "database": contents, "kept": kept, "restored": done.is_done})
        return
    print(*_told(done, file, state_dir), sep="\n")


def _told(done: Restored, file: str, state_dir: str) -> list[str]:
    """Return what a restore did, or would do, in sentences."""
    of, held = done.manifest, done.contents
    made = f" (made {of['made_at']} by faasd {of['made_by']})" if of.get("made_at") else ""
    verb = "restored" if done.is_done else "verified, and would be restored"
    said = [
        f"{file}{made}: {verb} into {state_dir}",
        f"  {format_size(held.size_bytes)} database of schema {held.schema_version}",
        f"  {held.waiting} waiting: they run when faasd starts, also those that have run since the backup",
    ]
    if held.running:
        said.append(
            f"  {held.running} running when the backup was made: back to their queues, uncharged, as `lost`"
        )
    said.append("  fire times missed since then are treated as each schedule's catch_up says")
    if done.kept:
        aside = "is kept in" if done.is_done else "would be kept in"
        said.append(f"  what was there {aside} {done.kept}; remove that when you no longer need it")
    return said


def _progress() -> Callable[[int, int], None] | None:
    """Return what shows on a terminal how far it is; None where nobody looks on."""
    if not sys.stderr.isatty():
        return None
    shown: list[Any] = [None]

    def show(done: int, of: int) -> None:
        percent = 100 * done // max(1, of)
        if percent != shown[0]:
            shown[0] = percent
            end = "\n" if percent == 100 else ""
            text = f"\rcopying the database: {percent} % of {format_size(of)}"
            print(text, end=end, file=sys.stderr, flush=True)

    return show
