"""`faasd layers`: shared directories of modules, programs and libraries, in numbered versions."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from faasd.cli.command import client_of, config_of, json_option, noun
from faasd.cli.output import Columns, print_json, print_rows, time_text
from faasd.client import daemon_paths
from faasd.errors import DaemonUnreachable, FaasdError
from faasd.model.paths import find_config
from faasd.model.units import format_size

if TYPE_CHECKING:
    from faasd.functions.layer_store import LayerStore, LayerVersion

__all__ = ["layers"]


@noun("layers")
def layers() -> None:
    """Publish, list and delete layers.

    A layer is a directory that functions share: `python/` and `python/lib/python3.X/site-packages` are on
    their module path, `bin/` is on PATH, `lib/` on LD_LIBRARY_PATH. A function names it in `layers`.
    """


@layers.verb(
    "publish",
    examples=(
        "faasd layers publish numpy ./numpy-layer",
        'faasd layers publish fonts fonts.zip --description "the house fonts"',
    ),
)
@click.argument("name")
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="DIR|ZIP")
@click.option("--description", default="", help="What it is, for the listing.")
@json_option
@click.pass_context
def publish(
    context: click.Context, name: str, source: Path, description: str, as_json: bool
) -> None:
    """Make a new version of a layer, of a directory or a zip archive.

    It never changes afterwards. What the newest version holds already makes no new one. Functions that
    name the layer without a version get the newest when the daemon next reads its configuration.
    """
    owner: Any = importlib.import_module("faasd.cli.as_owner")
    unpacking: Any = importlib.import_module("faasd.functions.unpacking")
    with owner.as_owner(_state_dir(context), source, unpacking.is_clutter) as readable:
        version, is_new = _store(context).publish(name, readable, description)
    if as_json:
        print_json({**_view(version), "published": is_new})
        return
    size = format_size(version.size_bytes)
    what = f"{version.files} file{'' if version.files == 1 else 's'}, {size}"
    print(
        f"published {version.reference} ({what})"
        if is_new
        else f"unchanged {version.reference}: it holds the same already ({what})"
    )


@layers.verb("list", examples=("faasd layers list", "faasd layers list numpy --json"))
@click.argument("name", required=False)
@json_option
@click.pass_context
def list_layers(context: click.Context, name: str | None, as_json: bool) -> None:
    """List the layers and their versions."""
    found = _store(context).versions(name)
    columns: Columns = [
        ("LAYER", "layer"),
        ("FILES", "files"),
        ("SIZE", lambda row: format_size(row["size_bytes"])),
        ("PUBLISHED", time_text("created_at")),
        ("DIGEST", lambda row: str(row["digest"])[:12]),
        ("DESCRIPTION", "description"),
    ]
    nothing = f"there is no layer {name!r}" if name else "there is no layer"
    print_rows([_view(one) for one in found], columns, as_json=as_json, nothing=nothing)


@layers.verb("delete", examples=("faasd layers delete numpy:1",))
@click.argument("layer", metavar="NAME:VERSION")
@json_option
@click.pass_context
def delete(context: click.Context, layer: str, as_json: bool) -> None:
    """Delete one version; refused while a function uses it.

    Its number is not given again.
    """
    importlib.import_module("faasd.cli.as_owner").become_owner(_state_dir(context))
    deleted = _store(context).delete(layer, lambda version: _users(context, version))
    if as_json:
        print_json(_view(deleted))
    else:
        print(f"deleted {deleted.reference}")


def _store(context: click.Context) -> LayerStore:
    # Imported here: whoever lists nothing pays for nothing.
    module: Any = importlib.import_module("faasd.functions.layer_store")
    store: LayerStore = module.LayerStore(_state_dir(context))
    return store


def _state_dir(context: click.Context) -> Path:
    return Path(daemon_paths(config_of(context))[0])


def _view(version: LayerVersion) -> dict[str, Any]:
    return {"layer": version.reference, **asdict(version)}


def _users(context: click.Context, version: LayerVersion) -> list[str]:
    """Return who needs a version: functions of the running daemon, and those of the configuration as it is."""
    names = {*_running_users(context, version), *_configured_users(context, version)}
    return [f"function {name!r}" for name in sorted(names)]


def _running_users(context: click.Context, version: LayerVersion) -> Iterable[str]:
    try:
        rows = client_of(context).request("GET", "/api/v1/functions")["functions"]
    except DaemonUnreachable:
        return []
    return [row["name"] for row in rows if version.reference in row["layers"]]


def _configured_users(context: click.Context, version: LayerVersion) -> Iterable[str]:
    path = find_config(config_of(context))
    if path is None:
        return []
    loaded = asyncio.run(importlib.import_module("faasd.foreground").load_config(Path(path)))
    if loaded.fatal:
        raise FaasdError(
            f"cannot tell who uses {version.reference}: {loaded.fatal[0]}; `faasd check` has the rest"
        )
    found: list[str] = [
        one.name
        for one in loaded.functions
        if version.reference in [layer.name for layer in one.layers]
    ]
    return found
