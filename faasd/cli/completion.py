"""`faasd completion`: what a shell needs to complete command lines."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from faasd.cli.command import command

__all__ = ["completion"]


@command(
    examples=(
        "faasd completion bash > ~/.local/share/bash-completion/completions/faasd",
        "faasd completion zsh > ~/.zfunc/_faasd",
        "faasd completion fish > ~/.config/fish/completions/faasd.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    assert found is not None, "click knows the shells of the choice above"
    print(found(context.find_root().command, {}, "faasd", "_FAASD_COMPLETE").source())
