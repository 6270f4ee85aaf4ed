"""What `faasd init` writes: a small configuration and functions that work as they are."""

from __future__ import annotations

from pathlib import Path

from faasd.errors import Conflict

__all__ = ["STARTER_FILES", "write_starter"]

_CONFIG = """\
# The configuration of faasd. `faasd check` reads it and names every mistake;
# docs/configuration.md and config.example.toml have every setting.

[daemon]
functions = ["functions"]           # Each .py file in there may declare functions.
state_dir = ".faasd"                # Database, logs and socket; without this line, the system's own place.

[defaults]
timeout = "60s"
memory = "256MiB"
retry = { attempts = 3, backoff = "exponential", first = "10s", max = "10m" }

# Settings of a function that is declared in Python may stand here too, and win.
[functions.greet]
timeout = "10s"
retry = { attempts = 3, backoff = "fixed", first = "1s" }
"""

_FUNCTIONS = '''\
"""Three functions to start from: one by the clock, one by dropped files, one by a queue.

Each is a plain callable: test it by calling it. What it returns is its result, and what it prints
is kept: see `faasd logs`.
"""

from pathlib import Path

from faasd import every, files, function, queue


@function(triggers=[every("1m")])
def heartbeat(event, context):
    """Say when it was meant to run; every minute."""
    print("the clock says", event["scheduled_for"])


@function(
    triggers=[files("inbox", pattern="*.txt", on_success="move:done", on_failure="move:failed")]
)
def count_words(event, context):
    """Count the words of each text file that is dropped into inbox/. Try: echo hello > inbox/a.txt"""
    words = len(Path(event["path"]).read_text(encoding="utf-8").split())
    print(event["name"], "has", words, "words")
    return {"name": event["name"], "words": words}


@function(triggers=[queue("greetings")])
def greet(event, context):
    """Greet whoever is enqueued. Try: faasd enqueue greetings '{"name": "Ada"}'"""
    name = event["body"]["name"]
    print("Hello,", name)
    return f"Hello, {name}"
'''

#: Text by path, relative to the directory that is started in.
STARTER_FILES = {"faasd.toml": _CONFIG, "functions/hello.py": _FUNCTIONS}
_DIRECTORIES = ("functions", "inbox")


def write_starter(directory: Path) -> list[Path]:
    """Write the starter files and return their paths.

    Raises Conflict when one of them exists, and then writes none; OSError when writing fails.
    """
    present = [name for name in STARTER_FILES if (directory / name).exists()]
    if present:
        names = " and ".join(str(directory / name) for name in present)
        raise Conflict(f"{names} already there; nothing was written. Choose another directory")
    for name in _DIRECTORIES:
        (directory / name).mkdir(parents=True, exist_ok=True)
    written = []
    for name, text in STARTER_FILES.items():
        path = directory / name
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        written.append(path)
    return written
