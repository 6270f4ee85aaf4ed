"""Runs a daemon in the foreground: configuration, log, signals, the supervisor's wishes."""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from faasd.api.adopted import turn_away
from faasd.clock import Clock
from faasd.config.loader import FindDeployed, Loaded, load
from faasd.errors import ConfigErrors, FaasdError, InvalidSetting
from faasd.functions.code_version import code_version
from faasd.functions.deployments import in_service
from faasd.functions.discovery import discover
from faasd.functions.keeper import keeper
from faasd.functions.layer_store import LayerStore
from faasd.functions.versions import VersionStore
from faasd.linux import landlock
from faasd.logs import configure, get_logger
from faasd.model.code import KeepCode
from faasd.model.declaration import Problem
from faasd.model.pattern import validate as pattern_problems
from faasd.model.trigger import ScheduleTrigger
from faasd.sandbox.file_rules import DEVICES, read_by_all
from faasd.supervision import for_this_process
from faasd.triggers.fire_times import fire_times_of

if TYPE_CHECKING:
    from faasd.daemon import Daemon

__all__ = ["load_config", "main"]

_log = get_logger("daemon")
_UNWALLED_IMPORTS = (
    "modules are imported to see what they declare, and can read there whatever the daemon's user may: this kernel has no "
    "Landlock, or it is switched off; use Linux 5.13 or newer and start it with landlock among `lsm=`"
)


async def load_config(
    path: Path,
    keep_code: Callable[[Path], KeepCode] | None = None,
    deployed: FindDeployed = in_service,
) -> Loaded:
    """Read the configuration and discover the functions, with every check that a running daemon makes.

    Without `keep_code` nothing is copied: the functions are as they would be, and are not to be run.
    """
    loaded = await load(
        path,
        discover=partial(discover, read=read_by_all(), devices=DEVICES),
        code_version=code_version,
        check_schedule=_schedule_problem,
        deployed=deployed,
        find_layer=lambda state_dir, written: LayerStore(state_dir).resolve(written),
        check_pattern=lambda pattern: "; ".join(pattern_problems(pattern)) or None,
        keep_code=keep_code,
    )
    if landlock.abi() or not any(one.handler for one in loaded.functions):
        return loaded
    warning = Problem(str(loaded.config_path), _UNWALLED_IMPORTS, is_warning=True)
    return replace(loaded, problems=(*loaded.problems, warning))


def _schedule_problem(trigger: ScheduleTrigger) -> str | None:
    try:
        fire_times_of(trigger)
    except InvalidSetting as error:
        return str(error)
    return None


def _stop_with(ask: Callable[[], object]) -> None:
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(signal_number, ask)


def _reload_with(daemon: Daemon) -> None:
    """Have SIGHUP reload; but when it says that our terminal has been closed, stop."""
    had_terminal = sys.stdin is not None and sys.stdin.isatty()

    def heard() -> None:
        if had_terminal and not sys.stdin.isatty():
            daemon.ask_to_stop()
        else:
            daemon.ask_to_reload()

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, heard)


async def _load_unless_stopped(config_path: Path, clock: Clock) -> Loaded | None:
    """Load the configuration; None when a signal stops us meanwhile, which is no failure."""

    def keep_code(state_dir: Path) -> KeepCode:
        return keeper(VersionStore(state_dir / "versions"), clock, may_run_in_place=True)

    loading = asyncio.create_task(load_config(config_path, keep_code))
    _stop_with(loading.cancel)
    await asyncio.wait({loading})
    return None if loading.cancelled() else loading.result()


async def _serve(config_path: Path) -> None:
    clock = Clock()
    supervision = for_this_process(clock)
    supervision.start()
    # Its libraries are most of a start, and the functions' modules are being looked at meanwhile.
    importing = asyncio.create_task(asyncio.to_thread(importlib.import_module, "faasd.daemon"))
    try:
        loaded = await _load_unless_stopped(config_path, clock)
        if loaded is None:
            return
        if loaded.fatal:
            raise ConfigErrors([str(problem) for problem in loaded.errors])
        configure(loaded.daemon.log_format, loaded.daemon.log_level)
        for problem in loaded.problems:
            log = _log.warning if problem.is_warning else _log.error
            log("problem_found", function=problem.function, problem=str(problem))
        daemon: Daemon = (await importing).Daemon(
            loaded, config_path, clock, supervision, lambda keep: load_config(config_path, keep)
        )
        _stop_with(daemon.ask_to_stop)
        _reload_with(daemon)
        await daemon.run()
    except FaasdError as error:
        supervision.failed(str(error))
        if not supervision.has_been_ready:  # Else whoever waits is answered by the next daemon.
            await asyncio.wait({importing})  # It would be waited for at the end, while others come.
            fds = [one.fd for one in supervision.sockets]
            await asyncio.to_thread(turn_away, fds, f"the daemon cannot start: {error}")
        raise
    finally:
        await supervision.stop()


def main(config_path: str) -> int:
    """Run the daemon in the foreground until a signal stops it; returns the exit code.

    Raises ConfigErrors for mistakes in the file, and other FaasdErrors for what keeps it from starting.
    """
    # A watchdog that bites sends SIGABRT: the log then says where each thread hung.
    faulthandler.enable(sys.stderr)
    uvloop.run(_serve(Path(config_path)))
    return 0
