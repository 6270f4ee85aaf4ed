"""Builds everything and knows every implementation: start order, stop order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import faasd
from faasd.api.http_listener import HttpListener
from faasd.api.server import ApiServer
from faasd.api.services import ApiServices
from faasd.clock import Clock
from faasd.config.loader import Loaded
from faasd.config.settings import DaemonSettings
from faasd.dispatch.ahead import Ahead
from faasd.dispatch.breakers import Breakers
from faasd.dispatch.direct import DirectInvoker
from faasd.dispatch.dispatcher import Dispatcher
from faasd.dispatch.measures import Measures, measured_commits, watch_loop_lag
from faasd.dispatch.recovery import LeaseRenewal, recover
from faasd.dispatch.run_attempt import Spine
from faasd.dispatch.running import Ended, Running
from faasd.dispatch.services import SandboxServices
from faasd.dispatch.slots import Slots
from faasd.errors import FaasdError
from faasd.functions.registry import Registry
from faasd.functions.versions import VersionStore
from faasd.intake import Intake
from faasd.logs import get_logger
from faasd.metrics import Registry as Metrics
from faasd.model.invocation import FINAL_STATES
from faasd.model.usage import Prices
from faasd.reload.control import CodeInService
from faasd.reload.reloading import Reloading, Rooms
from faasd.reload.versions_in_force import Load, VersionsInForce
from faasd.sandbox.sandboxes import ProcessSandboxes
from faasd.store.log_files import LogBudget
from faasd.store.open import Store, open_store
from faasd.store.retention import Retention
from faasd.store.upkeep import Upkeep
from faasd.supervision import Counts, Supervision
from faasd.triggers.cron import CronTriggers
from faasd.triggers.file_drop import FileTriggers

__all__ = ["Daemon"]

_log = get_logger("daemon")
#: An enqueue without a daemon holds the state directory for a moment.
LOCK_WAIT_S = 2.0
#: When nobody waits for the daemon any more to be ready, and not all of its first work is done.
_FREEZE_AFTER_S = 1.0


class Daemon:
    """One running faasd on one state directory."""

    def __init__(
        self, loaded: Loaded, config_path: Path, clock: Clock, supervision: Supervision, load: Load
    ) -> None:
        self._loaded = loaded
        self._settings = loaded.daemon  # As it was at the start; what may change, Reloading has.
        self._load = load  # Reads the configuration anew.
        self._config_path = config_path
        self._clock = clock
        self._supervision = supervision
        self._state = "starting"
        self._stop_asked = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._failure: BaseException | None = None
        self._tidying: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[None] | None = None
        self._lag: asyncio.Task[None] | None = None
        self._metrics = Metrics()
        self._measures = Measures(self._metrics, clock)
        self._refused: dict[str, str] = {}

    def ask_to_stop(self) -> None:
        """Drain and stop; asked twice, stop now."""
        if self._stop_asked.is_set():
            self._stop_now.set()
        self._stop_asked.set()

    def ask_to_reload(self) -> None:
        """Reload as soon as may be; what comes of it is in the log and the status."""
        if self._state == "ready":  # What a start reads is new, and a stop needs nothing any more.
            self._reloading.reload_soon()

    async def run(self) -> None:
        """Start, serve until asked to stop, stop. Raises FaasdError when it cannot start."""
        async with contextlib.AsyncExitStack() as stack:
            await self._build(stack)
            try:
                self._supervision.count_with(self._counts)
                await self._sandboxes.start()
                # That may take long on a busy host, and there is no use in the rest for who shall stop.
                if not self._stop_asked.is_set():
                    await self._start()
                    await self._say_ready()
                    asyncio.get_running_loop().call_later(_FREEZE_AFTER_S, _freeze_what_is_there)
                    await self._stop_asked.wait()
            finally:
                self._state = "stopping"
                await self._reloading.stop()
                await self._supervision.stopping()
                await self._stop()
        if self._failure is not None:
            raise FaasdError(
                f"the daemon broke and stopped: {self._failure!r}; its log has the place"
            ) from self._failure

    async def _say_ready(self) -> None:
        self._state = "ready"
        _log.info(
            "daemon_ready",
            functions=len(self._registry.all()),
            state_dir=str(self._settings.state_dir),
            socket=str(self._settings.socket),
            pid=os.getpid(),
            walls=_of_host(self._sandboxes.walls()),
        )
        await self._supervision.ready()

    def _hidden_paths(self) -> list[str]:
        """Return what no function may reach, besides the state directory."""
        settings = self._settings
        return [str(path) for path in (settings.socket, self._config_path)]

    async def _build(self, stack: contextlib.AsyncExitStack) -> None:
        """Make every part and tie them together; nothing runs yet. The store's lock is taken first."""
        settings = self._settings
        store = self._store = await self._open_store(stack)
        self._registry = Registry()
        self._slots = Slots(settings.slots)
        self._running = Running(self._slots, self._slot_freed, self._attempt_ended)
        paused = {name for kind, name in await store.pauses.load() if kind == "function"}
        self._intake = self._make_intake(store)
        self._invoker = DirectInvoker(
            self._intake.prepare,
            self._slots,
            self._running,
            store.pauses,
            paused,
            self._refused,
        )
        services = SandboxServices(self._intake, self._invoker, store.logs, self._clock)
        self._forget_attempt = services.forget
        self._sandboxes = self._make_sandboxes()
        self._spine = self._make_spine(services)
        self._dispatcher = Dispatcher(
            self._spine, self._slots, self._running, paused, self._refused
        )
        self._invoker.attach(self._spine, services, self._dispatcher)
        self._leases = LeaseRenewal(self._spine, self._running, self._dispatcher)
        self._schedules = CronTriggers(self._intake, store.cursors, self._clock)
        self._ahead = Ahead(self._spine, self._schedules, paused, self._refused, settings.slots)
        self._files = FileTriggers(
            self._intake, store.invocations, store.history, store.files, self._clock, _report
        )
        self._reloading = self._make_reloading(store)
        self._api = self._api_server()
        self._http = HttpListener(self._api_services(), self._loaded.http.listen)

    def _make_reloading(self, store: Store) -> Reloading:
        rooms = Rooms(
            self._registry,
            store,
            self._sandboxes,
            self._schedules,
            self._files,
            self._running,
            self._functions_changed,
        )
        kept = VersionStore(self._settings.state_dir / "versions")
        versions = VersionsInForce(kept, store.versions, self._load, self._clock)
        return Reloading(
            self._loaded, versions, rooms, self._supervision, self._refused, self._clock
        )

    def _functions_changed(self) -> None:
        self._dispatcher.wake()
        self._invoker.slot_freed()

    async def _open_store(self, stack: contextlib.AsyncExitStack) -> Store:
        store: Store = await open_store(
            self._settings.state_dir,
            self._clock,
            self._log_budget(),
            lock_wait_s=LOCK_WAIT_S,
            copy_before_upgrade=self._settings.copy_before_upgrade,
            budget_bytes=self._settings.state_bytes_max,
        )
        stack.push_async_callback(store.close)
        if store.migrated_from is not None:
            _log.info("schema_upgraded", copy=str(store.migrated_from))
        store.hear_commits(measured_commits(self._metrics))
        store.invocations.on_expired = self._measures.expired
        return store

    def _make_sandboxes(self) -> ProcessSandboxes:
        settings = self._settings
        return ProcessSandboxes(
            settings.state_dir,
            self._clock,
            hidden=self._hidden_paths(),
            secrets_dir=settings.secrets_dir,
            slots=settings.slots,
        )

    def _make_spine(self, services: SandboxServices) -> Spine:
        return Spine(
            sandboxes=self._sandboxes,
            services=services,
            store=self._store.invocations,
            logs=self._store.logs,
            catalog=self._registry,
            breakers=Breakers(self._clock, _noise, self._functions_changed),
            clock=self._clock,
            noise=_noise,
            on_lost=self._measures.lost,
        )

    def _log_budget(self) -> LogBudget:
        return LogBudget(
            function_bytes=self._settings.log_bytes_per_function,
            function_lines=self._settings.log_lines_per_function,
            kept_s=self._settings.keep_logs_s,
        )

    def _make_intake(self, store: Store) -> Intake:
        return Intake(
            self._registry,
            store.invocations,
            self._clock,
            self._events_accepted,
            self._measures.accepted,
            store.space.check,
        )

    def _upkeep(self) -> Upkeep:
        return Upkeep(
            self._store,
            lambda: _retention(self._reloading.settings),
            self._clock,
            self._dispatcher.wake,
            self._room_changed,
        )

    async def _start(self) -> None:
        """What leftovers held returns, then the doors open: none may find a half-started daemon."""
        functions = await self._reloading.start()
        offline = await self._store.enqueued_offline()
        self._measures.enqueued_offline(offline, self._registry.consumer_of)
        await recover(self._spine)
        self._keep_vital(self._dispatcher.start())
        self._keep_vital(self._leases.start())
        await self._schedules.start(functions)
        await self._files.start(functions)
        self._keep_vital(self._ahead.start())
        await self._api.start()
        await self._http.start()
        self._tidying = asyncio.create_task(self._upkeep().run())
        self._keep_vital(self._tidying)
        self._lag = asyncio.create_task(watch_loop_lag(self._metrics, self._clock))
        self._dispatcher.wake()  # For what an enqueue without us left in the store until now.

    def _keep_vital(self, task: asyncio.Task[None]) -> None:
        """Stop with an error when this task breaks: a supervisor can restart us, but not see half of us gone."""

        def look(ended: asyncio.Task[None]) -> None:
            error = None if ended.cancelled() else ended.exception()
            if error is not None:
                _log.error("daemon_broke", error=repr(error), exc_info=error)
                self._failure = error
                self.ask_to_stop()

        task.add_done_callback(look)

    async def _stop(self) -> None:
        """Close the doors, let attempts finish for `drain_timeout`, return the rest uncharged."""
        _log.info("daemon_stopping", running=len(self._running.attempts()))
        await self._ahead.stop()
        await self._schedules.stop()
        await self._files.stop()
        await self._dispatcher.stop()
        self._invoker.close()
        await self._drain()
        # The door before the intake: whoever came in is still accepted, whoever did not comes to the next
        # daemon, and with a socket that outlives us nobody is refused.
        await self._http.stop()
        await self._api.stop()
        self._intake.close()
        await self._leases.stop()
        for task in (self._tidying, self._lag):
            if task is not None:
                task.cancel()
        await self._sandboxes.stop()
        _log.info("daemon_stopped")

    async def _drain(self) -> None:
        finished = asyncio.create_task(
            self._running.wait_until_none(self._reloading.settings.drain_timeout_s)
        )
        hurried = asyncio.create_task(self._stop_now.wait())
        await asyncio.wait({finished, hurried}, return_when=asyncio.FIRST_COMPLETED)
        hurried.cancel()
        finished.cancel()
        running = len(self._running.attempts())
        if running:
            _log.warning("attempts_drained", running=running)
            self._running.stop_all("drained")
            await self._running.wait_until_none(30.0)

    def _room_changed(self) -> None:
        self._dispatcher.wake()
        self._telling = asyncio.create_task(self._supervision.changed())

    def _events_accepted(self, queues: set[str], replaced: tuple[str, ...]) -> None:
        self._running.stop(replaced, "cancelled")
        self._dispatcher.wake(queues)

    def _slot_freed(self, queue: str) -> None:
        self._dispatcher.slot_freed(queue)
        self._invoker.slot_freed()

    def _attempt_ended(self, ended: Ended) -> None:
        """Tell, by name, everybody who acts on the end of an attempt."""
        self._measures.ended(ended)
        self._forget_attempt(ended.attempt)
        function = ended.attempt.function
        queues = [to.name for to in (*function.on_success, *function.on_failure)]
        # A batch is claimed after a look beside the writer, which may have missed what was written now.
        if ended.attempt.is_batch or any(one.state == "waiting" for one in ended.settled):
            queues.append(ended.queue)
        if queues:
            self._dispatcher.wake(queues)
        for claim, settled in zip(ended.attempt.claims, ended.settled, strict=False):
            if claim.invocation.trigger == "files" and settled.state in FINAL_STATES:
                self._files.settled(settled.invocation_id, settled.state)

    def _api_server(self) -> ApiServer:
        return ApiServer(
            self._api_services(),
            self._settings.socket,
            group=self._settings.socket_group,
            handed_over=[one.fd for one in self._supervision.sockets],
        )

    def _api_services(self) -> ApiServices:
        return ApiServices(
            accept=self._intake,
            store=self._store.invocations,
            history=self._store.history,
            logs=self._store.logs,
            catalog=self._registry,
            schedules=self._schedules,
            files=self._files,
            invoker=self._invoker,
            pauses=self._store.pauses,
            version=faasd.__version__,
            started_at=self._clock.now(),
            status=self._status,
            missing_walls=self._reloading.missing_walls,
            refused=self._refused,
            code=CodeInService(self._reloading, self._registry),
            wake=self._dispatcher.wake,
            state_dir=str(self._settings.state_dir),
            config_path=str(self._config_path),
            clock=self._clock,
            prices=Prices(
                self._settings.price_per_gb_second, self._settings.price_per_million_requests
            ),
            metrics=self._metrics,
            measure=self._measure,
            memory_now=self._sandboxes.memory_now,
            no_room=lambda: self._store.space.problem,
        )

    def _measure(self, metrics: Metrics) -> None:
        """Add what only the daemon sees to one look at the metrics."""
        schedules = [one.name for one in self._schedules.statuses()]
        self._measures.look(metrics, self._registry.all(), schedules)
        for labels, count in self._sandboxes.waiting().items():
            metrics.set("faasd_sandboxes_waiting", count, *labels)
        metrics.add("faasd_log_lines_dropped_total", amount=self._store.logs.dropped)
        self._store.space.measure(metrics)
        self._reloading.measure(metrics)

    async def _counts(self) -> Counts:
        queues = await self._store.history.queue_counts()
        return Counts(
            functions=len(self._registry.all()),
            running=len(self._running.attempts()),
            waiting=sum(one.waiting for one in queues),
            dead=sum(one.dead for one in queues),
            problem="no space left, new events are refused" if self._store.space.problem else "",
        )

    def _status(self) -> Mapping[str, Any]:
        return {
            "state": self._state,
            "running": len(self._running.attempts()),
            "slots": self._slots.total,
            "reloads": self._reloading.record.in_force_count,
            **self._http.told(),
            "problems": [
                *self._reloading.problems_now(),
                *[f"function {name!r} is refused: {why}" for name, why in self._refused.items()],
                *[text for text in (self._store.space.problem,) if text is not None],
            ],
            "walls": self._sandboxes.walls(),
        }


def _retention(settings: DaemonSettings) -> Retention:
    return Retention(
        finished_s=settings.keep_finished_s,
        finished_count_max=settings.keep_finished_count,
        dead_s=settings.keep_dead_s,
    )


def _freeze_what_is_there() -> None:
    """Keep collections from looking through the daemon itself again, 50 ms each time."""
    gc.collect()
    gc.freeze()


def _of_host(walls: Mapping[str, Any]) -> Mapping[str, Any]:
    """Leave out what each interpreter may use: a page of it, which `faasd doctor` tells in words."""
    return {name: one for name, one in walls.items() if name != "interpreters"}


def _noise() -> float:
    """Return a random number in [-1, 1]: jitter."""
    return random.uniform(-1.0, 1.0)


def _report(event: str, /, **fields: Any) -> None:
    """Log what a watched directory has to say."""
    _log.warning(event, **fields)
