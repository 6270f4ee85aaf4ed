"""`faasd deploy`: a directory, a zip archive or a wheel of functions goes into service with what it depends on."""

from __future__ import annotations

import importlib
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from faasd.cli.command import command, config_in_force, config_of, json_option
from faasd.cli.deployed_now import Taken, clear_away, take
from faasd.cli.output import print_json
from faasd.client import daemon_paths
from faasd.errors import BundleRefused, InvalidSetting
from faasd.model.units import format_size

__all__ = ["deploy"]


@command(
    examples=(
        "faasd deploy ./thumbs",
        "faasd deploy function.zip --name resize --handler lambda_function.lambda_handler",
        "faasd deploy dist/thumbs-1.2-py3-none-any.whl --dry-run",
    )
)
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="DIR|ZIP|WHEEL")
@click.option(
    "--name", help="The deployment's name; else that of the directory, archive or package."
)
@click.option("--handler", metavar="MODULE.NAME", help="Declare this callable as a function of the deployment's name: for code written for Lambda.")  # fmt: skip
@click.option("--python", help="The interpreter to install for and to run with; else the configuration's default, else the daemon's own.")  # fmt: skip
@click.option("--allow-build", is_flag=True, help="Let packages without a wheel be built here, which runs their code as you.")  # fmt: skip
@click.option("--find-links", multiple=True, metavar="DIR|URL", help="Look for packages there too.")
@click.option("--no-index", is_flag=True, help="Look for packages there alone.")
@click.option("--installer", type=click.Choice(["uv", "pip"]), help="Else uv where it is in PATH, else pip.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Install and check, and put nothing in service.")
@json_option
@click.pass_context
def deploy(context: click.Context, /, source: Path, name: str | None, **given: Any) -> None:
    """Put functions in service together with what they depend on.

    The dependencies, of `requirements.txt` or else `pyproject.toml`, are installed into a directory of this version's
    own; the source is only read. The functions are checked as `faasd check` does. Then a running daemon takes
    the new version at once; without one it is there at the next start. What fails before changes nothing.
    """
    steps: Any = importlib.import_module("faasd.cli.deploy_steps")
    deployments: Any = importlib.import_module("faasd.functions.deployments")
    config = Path(config_in_force(context))
    store = deployments.DeploymentStore(Path(daemon_paths(config_of(context))[0]))
    name = name or steps.default_name(source)
    deployments.refuse_name(name)
    python = given["python"] or _default_python(config)
    request = steps.Request(
        name=name,
        source=source,
        python=None if python is None else _interpreter(python, config),
        handler=given["handler"],
        allow_build=given["allow_build"],
        options=_options(given["find_links"], no_index=given["no_index"]),
        installer=given["installer"],
    )
    owner: Any = importlib.import_module("faasd.cli.as_owner")
    bundle: Any = importlib.import_module("faasd.functions.bundle")
    with owner.as_owner(store.root.parent, source, bundle.is_left_out) as readable:
        request = replace(request, source=readable, shown_as=str(source.absolute()))
        _deploy(context, store, request, is_dry=given["dry_run"], as_json=given["as_json"])


def _deploy(
    context: click.Context, store: Any, request: Any, *, is_dry: bool, as_json: bool
) -> None:
    steps: Any = importlib.import_module("faasd.cli.deploy_steps")
    config = Path(config_in_force(context))
    told = _Progress()
    try:
        with store.staging() as stage:
            made = steps.make(stage, request, request.python or sys.executable, told)
            with store.changing():
                told("check", "the configuration with it")
                made, warnings = steps.check(config, store, made, stage)
                told.end()
                for warning in warnings:
                    print(f"faasd: {warning}", file=sys.stderr)
                if is_dry:
                    _print(made, Taken("nothing was put in service"), as_json=as_json, is_dry=True)
                    return
                before = store.current(made.name)
                is_new = store.place(stage, made)
                store.switch(made.name, made.version)
                old = None if before is None else before.version
                taken = take(
                    context, made.name, made.functions, lambda: store.switch(made.name, old)
                )
        clear_away(context, store)
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        raise BundleRefused(
            f"cannot keep {request.name} in {store.root}: {error.strerror}{place}; nothing has changed"
        ) from error
    finally:
        told.end()
    for sentence in taken.warnings:
        print(f"faasd: {sentence}", file=sys.stderr)
    is_new = is_new or old != made.version
    _print(made, taken, as_json=as_json, is_new=is_new)


def _print(
    made: Any, taken: Taken, *, as_json: bool, is_dry: bool = False, is_new: bool = True
) -> None:
    if as_json:
        print_json({**asdict(made), "deployed": not is_dry, "changed": is_new and not is_dry, "daemon": taken.sentence})  # fmt: skip
        return
    verb = "could be deployed:" if is_dry else "deployed" if is_new else "unchanged"
    print(f"{verb} {made.name} {made.version} ({made.files} files, {format_size(made.size_bytes)})")
    print(f"functions: {', '.join(made.functions)}")
    if made.packages:
        print(f"packages: {', '.join(made.packages)}")
    print(taken.sentence)


def _options(find_links: Sequence[str], *, no_index: bool) -> tuple[str, ...]:
    links = [part for one in find_links for part in ("--find-links", _absolute(one))]
    return (*links, *(["--no-index"] if no_index else []))


def _absolute(place: str) -> str:
    return place if "://" in place else str(Path(place).absolute())


def _default_python(config: Path) -> str | None:
    """Return what [defaults] says, without reading the rest, which the check will."""
    try:
        found = tomllib.loads(config.read_text()).get("defaults", {}).get("python")
    except (OSError, ValueError):
        return None
    return found if isinstance(found, str) else None


def _interpreter(written: str, config: Path) -> str:
    find_program: Any = importlib.import_module("faasd.config.assemble").find_program
    path, fault = find_program(written, config.parent)
    if fault is not None:
        raise InvalidSetting(f"python: {fault}")
    return str(path)


class _Progress:
    """Says on a terminal what goes on, in one line that is gone at the end; nothing elsewhere."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._has_line = False

    def __call__(self, step: str, what: str) -> None:
        if self._is_shown:
            width = max(20, click.get_current_context().terminal_width or 80) - 2
            text = f"{step}: {''.join(char for char in what if char.isprintable())}"
            print(f"\r\x1b[K{text[:width]}", end="", file=sys.stderr, flush=True)
            self._has_line = True

    def end(self) -> None:
        """Take the line away."""
        if self._has_line:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._has_line = False
