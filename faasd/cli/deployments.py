"""`faasd deployments`: what `faasd deploy` has put in service."""

from __future__ import annotations

import importlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from faasd.cli.command import config_in_force, config_of, json_option, noun
from faasd.cli.deployed_now import clear_away, take
from faasd.cli.output import Columns, print_details, print_json, print_rows, time_text
from faasd.client import daemon_paths
from faasd.errors import ConfigErrors
from faasd.model.units import format_size

__all__ = ["deployments"]


@noun("deployments")
def deployments() -> None:
    """List, show and remove deployments."""


@deployments.verb("list", examples=("faasd deployments list", "faasd deployments list --json"))
@json_option
@click.pass_context
def list_deployments(context: click.Context, as_json: bool) -> None:
    """List the deployments in service."""
    rows = [asdict(one) for one in _store(context).in_service()]
    columns: Columns = [
        ("DEPLOYMENT", "name"),
        ("VERSION", "version"),
        ("FUNCTIONS", lambda row: ", ".join(row["functions"])),
        ("PACKAGES", lambda row: len(row["packages"])),
        ("SIZE", lambda row: format_size(row["size_bytes"])),
        ("DEPLOYED", time_text("created_at")),
    ]
    nothing = "there is no deployment; `faasd deploy` makes one"
    print_rows(rows, columns, as_json=as_json, nothing=nothing)


@deployments.verb("show", examples=("faasd deployments show thumbs",))
@click.argument("name")
@json_option
@click.pass_context
def show_deployment(context: click.Context, name: str, as_json: bool) -> None:
    """Show one deployment: where it came from, its functions and packages."""
    found = _view(_store(context).find(name))
    if as_json:
        print_json(found)
    else:
        print_details(found)


@deployments.verb("remove", examples=("faasd deployments remove thumbs",))
@click.argument("name")
@json_option
@click.pass_context
def remove(context: click.Context, name: str, as_json: bool) -> None:
    """Take a deployment out of service, with all its functions.

    Refused when the configuration would be wrong without it. What its functions have queued stays, and waits
    for functions of those names.
    """
    steps: Any = importlib.import_module("faasd.cli.deploy_steps")
    store = _store(context)
    importlib.import_module("faasd.cli.as_owner").become_owner(store.root.parent)
    with store.changing():
        found = store.find(name)
        problems = steps.check_removal(Path(config_in_force(context)), store, name)
        if problems:
            raise ConfigErrors([f"cannot remove {name}: without it", *problems])
        store.switch(name, None)
        taken = take(context, name, (), lambda: store.switch(name, found.version))
    clear_away(context, store, found)
    if as_json:
        print_json({**asdict(found), "daemon": taken.sentence})
    else:
        print(f"removed {name}: functions {', '.join(found.functions)}")
        print(taken.sentence)


def _view(deployment: Any) -> dict[str, Any]:
    found = asdict(deployment)
    return {key: list(one) if isinstance(one, tuple) else one for key, one in found.items()}


def _store(context: click.Context) -> Any:
    module: Any = importlib.import_module("faasd.functions.deployments")
    return module.DeploymentStore(Path(daemon_paths(config_of(context))[0]))
