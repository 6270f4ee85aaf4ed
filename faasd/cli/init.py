"""`faasd init`: a configuration and a function to begin with."""

from __future__ import annotations

from pathlib import Path

import click

from faasd.cli.command import command
from faasd.errors import Conflict

__all__ = ["init"]

_CONFIG = """\
# faasd: see `faasd check`, and config.example.toml for every setting.

[daemon]
functions = ["functions"]     # Directories or modules, relative to this file.
state_dir = ".faasd"          # Database, logs and socket. Remove this line for the system's own place.

[defaults]
timeout = "60s"
memory  = "256MiB"
retry   = { attempts = 3, backoff = "exponential", first = "10s", max = "10m" }
"""

_FUNCTION = '''\
"""A first function. Try it with `faasd invoke hello --event '{"name": "Ada"}'`."""

from faasd import cron, function, queue


@function(triggers=[queue("greetings"), cron("*/5 * * * *")], timeout="10s")
def hello(event, context):
    """What is returned is the result, as JSON; what is printed is in `faasd logs`."""
    print("called by", event.get("trigger", "an invoke"))
    body = event.get("body") or event
    return {"greeting": f"Hello, {body.get('name', 'world')}!"}
'''


@command(examples=("faasd init", "faasd init /srv/jobs"))
@click.argument("directory", default=".", metavar="[DIR]")
def init(directory: str) -> None:
    """Write a starter configuration and a first function; nothing that exists is touched."""
    base = Path(directory)
    texts = {base / "faasd.toml": _CONFIG, base / "functions" / "hello.py": _FUNCTION}
    for path in texts:
        if path.exists():
            raise Conflict(f"cannot write {path}: it exists; name another directory")
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    except OSError as error:
        raise Conflict(f"cannot write {error.filename}: {error.strerror}") from error
    run = "faasd run" if directory == "." else f"faasd run --config {base / 'faasd.toml'}"
    print(f"next: `{run}`, and in another terminal `faasd invoke hello`")
