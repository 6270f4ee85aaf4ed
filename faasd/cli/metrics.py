"""`faasd metrics`: what the daemon counts and measures."""

from __future__ import annotations

import click

from faasd.cli.command import client_of, command

__all__ = ["metrics"]


@command(examples=("faasd metrics", "faasd metrics faasd_queue"))
@click.argument("prefix", default="", required=False)
@click.pass_context
def metrics(context: click.Context, prefix: str) -> None:
    """Print the metrics as Prometheus reads them.

    With PREFIX only those whose names begin so. The same is served on the daemon's Unix socket at
    `/metrics`. What each metric means is in docs/metrics.md.
    """
    shown = False
    for line in client_of(context).text("/metrics").splitlines():
        name = line.split(" ")[2] if line.startswith("# ") else line
        if name.startswith(prefix):
            print(line)
            shown = True
    if not shown:
        click.echo(f"no metric that has a value begins with {prefix!r}", err=True)
