"""The commands by name, each imported only when it is asked for."""

from __future__ import annotations

import importlib
import sys

import click

from faasd.cli.command import config_option
from faasd.cli.exits import INTERRUPTED, OK, complain, exit_code_of
from faasd.errors import FaasdError

__all__ = ["COMMANDS", "faasd", "run_click"]

#: Command → where it is, in the order of the help.
COMMANDS = {
    "init": "faasd.cli.init:init",
    "run": "faasd.cli.run:run",
    "check": "faasd.cli.check:check",
    "demo": "faasd.cli.demo:demo",
    "doctor": "faasd.cli.doctor:doctor",
    "service": "faasd.cli.service:service",
    "status": "faasd.cli.status:status",
    "reload": "faasd.cli.reload:reload",
    "functions": "faasd.cli.functions:functions",
    "deploy": "faasd.cli.deploy:deploy",
    "deployments": "faasd.cli.deployments:deployments",
    "layers": "faasd.cli.layers:layers",
    "invoke": "faasd.cli.invoke:invoke",
    "enqueue": "faasd.cli.enqueue:enqueue",
    "queues": "faasd.cli.queues:queues",
    "invocations": "faasd.cli.invocations:invocations",
    "dead-letters": "faasd.cli.dead_letters:dead_letters",
    "schedules": "faasd.cli.schedules:schedules",
    "files": "faasd.cli.files:files",
    "logs": "faasd.cli.logs:logs",
    "top": "faasd.cli.top:top",
    "usage": "faasd.cli.usage:usage",
    "metrics": "faasd.cli.metrics:metrics",
    "why": "faasd.cli.why:why",
    "backup": "faasd.cli.backup:backup",
    "restore": "faasd.cli.backup:restore",
    "completion": "faasd.cli.completion:completion",
}


class _LazyGroup(click.Group):
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise click.NoSuchCommand(args[0], possibilities=COMMANDS, ctx=ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found


@click.group("faasd", cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@config_option
@click.version_option(package_name="faasd", message="faasd %(version)s")
def faasd() -> None:
    """AWS Lambda for one Linux box, in one Python process.

    Cron schedules, watched directories and a durable queue run functions, each invocation in its own
    sandbox. `faasd init` writes a first configuration, `faasd run` starts the daemon.
    """


def run_click(arguments: list[str]) -> int:
    """Run a command line and return its exit code. Expected errors are sentences, never tracebacks."""
    for stream in (sys.stdout, sys.stderr):
        # File names may be no UTF-8; and what is printed as JSON stays JSON with such an escape.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = faasd.main(arguments, prog_name="faasd", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)  # The help itself: nothing was wrong yet.
        return error.exit_code
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "faasd"
        complain(f"{error.format_message()}\nsee `{where} --help`")
        return error.exit_code
    except click.ClickException as error:
        complain(error.format_message())
        return error.exit_code
    except FaasdError as error:
        complain(str(error))
        return exit_code_of(error)
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return INTERRUPTED
    return code if isinstance(code, int) else OK
