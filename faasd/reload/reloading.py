"""Puts what the configuration and the functions' code say in force, at a start and while the daemon runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from faasd.clock import Clock
from faasd.config.loader import Loaded
from faasd.config.settings import DaemonSettings
from faasd.dispatch.running import Running
from faasd.errors import FaasdError, ReloadRefused, StoreError
from faasd.functions.changes import Settled
from faasd.functions.registry import Registry
from faasd.intake import Intake
from faasd.logs import configure, get_logger
from faasd.metrics import Registry as Metrics
from faasd.model.address import TcpAddress
from faasd.model.function import Function
from faasd.model.reload import FunctionChange, ReloadReport, SettingChange, by_reason
from faasd.model.walls import MissingWall, refusal
from faasd.reload.places import CodePlaces
from faasd.reload.record import ReloadRecord
from faasd.reload.versions_in_force import InForce, VersionsInForce
from faasd.sandbox.sandboxes import ProcessSandboxes
from faasd.store.open import Store
from faasd.supervision import Supervision
from faasd.triggers.code_watch import CodeWatch
from faasd.triggers.cron import CronTriggers
from faasd.triggers.file_drop import FileTriggers

__all__ = ["LIVE_SETTINGS", "Reloading", "Rooms"]

_log = get_logger("reload")
#: Settings of [daemon] that a reload puts in force; the others are what the daemon was built from.
LIVE_SETTINGS = frozenset(
    {
        "functions", "drain_timeout_s", "log_level", "log_format", "keep_finished_s", "keep_finished_count",
        "keep_dead_s", "watch",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Rooms:
    """What holds the functions that are in service."""

    registry: Registry
    store: Store
    sandboxes: ProcessSandboxes
    schedules: CronTriggers
    files: FileTriggers
    running: Running
    wake: Callable[[], None]


class Reloading:
    """One reload at a time. Everybody who looks sees the functions of before or those of after.

    `settings` are those in force; `refused`, `missing_walls` and `kept` say by function why it does not run,
    what this host does not build for it, and why it is not as the files say.
    """

    def __init__(
        self,
        loaded: Loaded,
        versions: VersionsInForce,
        rooms: Rooms,
        supervision: Supervision,
        refused: dict[str, str],
        clock: Clock,
    ) -> None:
        self.settings = loaded.daemon
        self.problems: tuple[str, ...] = tuple(map(str, loaded.problems))
        self.refused = refused
        self.missing_walls: dict[str, tuple[MissingWall, ...]] = {}
        self.kept: dict[str, str] = {}
        self.versions = versions
        self._loaded = loaded
        self._listens_at = loaded.http.listen
        self._rooms = rooms
        self._supervision = supervision
        self._watch = CodeWatch(self.reload_soon)
        self._lock = asyncio.Lock()
        self._under_way: set[asyncio.Task[ReloadReport]] = set()
        self._asked: set[asyncio.Task[ReloadReport]] = set()
        self.record = ReloadRecord(clock, loaded.digest)
        nothing: Any = None  # It only prepares: what it prepares is in the store already.
        self._intake = Intake(rooms.registry, nothing, clock, nothing)
        self._swap_ms = 0.0
        self._is_stopping = False
        self._swapping: asyncio.Task[None] | None = None
        self._incomplete: str | None = None

    async def start(self) -> Sequence[Function]:
        """Decide what is in service first and put it into the registry; the rooms are started with it."""
        await asyncio.to_thread(self.versions.store.sweep)
        found = await self.versions.decide((), self._loaded)
        functions = found.settled.functions
        self._refuse(functions, found, await self._rooms.sandboxes.missing_walls(functions))
        self._note(found)
        for name, reason in self.kept.items():
            _log.error("function_kept", function=name, reason=reason)
        lanes = [lane for function in functions for lane in function.lanes()]
        await self._rooms.store.invocations.known_queues(
            [(one.queue, one.function) for one in lanes]
        )
        self._rooms.registry.replace(functions)
        await self._rooms.sandboxes.retire(functions)
        await self._write_down(found)
        await self._look_at_code(functions)
        return functions

    async def _look_at_code(self, functions: Sequence[Function]) -> bool:
        """Watch for changes, where that is wanted, what is in force now; returns whether some of it is new."""
        places = CodePlaces(self._loaded, functions)
        if self.settings.watch and not self._is_stopping:
            return await self._watch.look(places.directories, places.is_wanted)
        if self._watch.is_running:
            await self._watch.stop()
        return False

    async def reload(self) -> ReloadReport:
        """Read everything anew and put in force what works. Raises ReloadRefused, or VersionError.

        Whoever asks while one is under way waits for it and then has his own: the files may have changed.
        """
        return await self.one_by_one(self._reload_and_note)

    def reload_soon(self) -> None:
        """Reload for a signal or a change on the disk; what comes of it is in the log and the status."""
        task = asyncio.create_task(self.reload())
        self._asked.add(task)

        def ended(task: asyncio.Task[ReloadReport]) -> None:
            self._asked.discard(task)
            error = None if task.cancelled() else task.exception()
            if error is not None and not isinstance(error, FaasdError):
                _log.error("reload_broke", error=repr(error), exc_info=error)

        task.add_done_callback(ended)

    async def stop(self) -> None:
        """Reload no more; one that is under way ends before anything of it is in force, or whole."""
        self._is_stopping = True
        if self._swapping is None:
            for task in self._under_way:
                task.cancel()
        if self._under_way:
            await asyncio.wait(self._under_way)
        if self._watch.is_running:
            await self._watch.stop()

    def problems_now(self) -> list[str]:
        """Return what is wrong with what was read, a sentence each."""
        why = self.record.refusal
        refusal_ = [f"the last reload was refused: {why}"] if why else []
        kept = [f"{who} not as the files say: {why}" for who, why in by_reason(self.kept.items())]
        incomplete = (
            [f"the last reload is incomplete: {self._incomplete}"] if self._incomplete else []
        )
        return [*self.problems, *refusal_, *incomplete, *kept]

    def measure(self, metrics: Metrics) -> None:
        """Add to one look at the metrics."""
        self.record.measure(metrics)
        mistakes = (self.record.refusal, self._incomplete, self.kept, self._loaded.errors)
        metrics.set("faasd_configuration_whole", not any(mistakes))

    async def one_by_one(self, work: Callable[[], Awaitable[ReloadReport]]) -> ReloadReport:
        """Do something that changes what is in service, after whatever does so now."""
        task = asyncio.ensure_future(self._locked(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        # Who asked may go away; half a reload is of use to nobody.
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled() and self._is_stopping:
                raise ReloadRefused(
                    "the daemon is stopping, and nothing of it is in force"
                ) from None
            raise

    async def _locked(self, work: Callable[[], Awaitable[ReloadReport]]) -> ReloadReport:
        async with self._lock:
            if self._is_stopping:
                raise ReloadRefused("the daemon is stopping")
            self._supervision.begin_reload()
            try:
                return await work()
            finally:
                if not self._is_stopping:
                    await self._supervision.ready()

    async def _reload_and_note(self) -> ReloadReport:
        error = "it broke by a mistake of faasd's; the log says where (reload_broke)"
        try:
            report = await self._reload()
            error = ""
        except FaasdError as refusal_:
            error = str(refusal_)
            _log.error("reload_refused", error=error)
            raise
        finally:
            if error:
                self.record.refused(error)
        self.record.put_in_force(report, self._loaded.digest)
        return report

    async def _reload(self) -> ReloadReport:
        # Watched before it is read: what changes from here on is another change.
        await self._look_at_code(self._rooms.registry.all())
        loaded = await self.versions.read()
        if loaded.fatal:
            raise ReloadRefused("\n".join(str(one) for one in loaded.errors))
        before = self._rooms.registry.all()
        found = await self.versions.decide(before, loaded)
        needs_restart, settings = _settings_after(self.settings, loaded.daemon)
        needs_restart += _listener_after(self._listens_at, loaded.http.listen)
        await self._put_in_force(found)
        was, self.settings = self.settings, settings
        self._loaded = loaded
        self.problems = tuple(map(str, loaded.problems))
        if (settings.log_format, settings.log_level) != (was.log_format, was.log_level):
            configure(settings.log_format, settings.log_level)
        if await self._look_at_code(self._rooms.registry.all()):
            self.reload_soon()  # Of what has come with this reading, changes since were not heard.
        report = ReloadReport(found.settled.changes, needs_restart, self.problems)
        _announce(report, self._swap_ms)
        return report

    async def swap_one(self, name: str, now: Function, reason: str) -> ReloadReport:
        """Put one function in service as it is now; for `one_by_one`."""
        function = self._rooms.registry.get(name)
        others = [one for one in self._rooms.registry.all() if one.name != name]
        before = None if function is None else function.code_version
        is_same = function is not None and function == now
        change = FunctionChange(
            name,
            "unchanged" if is_same else "changed",
            now.code_version,
            before,
            reason,
        )
        kept = [
            FunctionChange(one, "kept", reason=why) for one, why in self.kept.items() if one != name
        ]
        settled = Settled((*others, now), (change, *kept))
        refused = {one: why for one, why in self.refused.items() if one != name}
        await self._put_in_force(InForce(settled, refused))
        report = ReloadReport((change,))
        _announce(report, self._swap_ms)
        return report

    async def _put_in_force(self, found: InForce) -> None:
        """Swap: from one step of the loop to the next, new attempts are the new functions'."""
        rooms, functions = self._rooms, found.settled.functions
        try:
            Registry(functions)
        except ValueError as error:
            raise ReloadRefused(
                f"{error}: one is new and the other was kept because its new code is broken; mend that first"
            ) from error
        missing = await rooms.sandboxes.missing_walls(functions)
        lanes = [lane for function in functions for lane in function.lanes()]
        await rooms.store.invocations.known_queues([(one.queue, one.function) for one in lanes])
        # From here on it is done whole, also when the daemon is asked to stop.
        began = asyncio.get_running_loop().time()
        self._swapping = asyncio.ensure_future(self._swap(found, missing))
        try:
            await self._swapping
        finally:
            self._swapping = None
            self._swap_ms = round((asyncio.get_running_loop().time() - began) * 1000, 1)

    async def _swap(self, found: InForce, missing: Mapping[str, tuple[MissingWall, ...]]) -> None:
        rooms, functions = self._rooms, found.settled.functions
        rooms.registry.replace(functions)
        self._refuse(functions, found, missing)
        self._note(found)
        self._incomplete = None
        rooms.wake()
        try:
            await rooms.schedules.reload(functions)
            await rooms.files.reload(functions)
            await self._write_down(found)
        except (StoreError, OSError) as error:
            # The functions are in force. What the store could not take it is asked again at the next reload.
            _log.error("reload_incomplete", error=str(error))
            self._incomplete = str(error)
        await rooms.sandboxes.retire(functions)
        rooms.wake()

    def _refuse(
        self,
        functions: Sequence[Function],
        found: InForce,
        missing: Mapping[str, tuple[MissingWall, ...]],
    ) -> None:
        """Refuse what may not run here, and say loudly which walls functions are promised and do not get."""
        before = dict(self.refused)
        self.missing_walls.clear()
        self.missing_walls.update(missing)
        self.refused.clear()
        self.refused.update(found.refusals)
        names: dict[str, list[str]] = {}
        for function in functions:
            lacking = missing.get(function.name, ())
            for one in lacking:
                names.setdefault(one.wall, []).append(function.name)
            reason = refusal(function.permissions.containment, lacking)
            if reason is not None:
                self.refused[function.name] = reason
        for name, reason in self.refused.items():
            if before.get(name) != reason:
                _log.error("function_refused", function=name, reason=reason)
        for wall, of in names.items():
            _log.warning("wall_missing", wall=wall, functions=of, remedy="see `faasd doctor`")

    def _note(self, found: InForce) -> None:
        self.kept.clear()
        for change in found.settled.changes:
            if change.change == "kept":
                self.kept[change.function] = change.reason or ""

    async def _write_down(self, found: InForce) -> None:
        functions = found.settled.functions
        await self._rooms.store.address(self._intake.prepare)
        await self.versions.served(functions, found.gone)
        running = {one.function.code_version for one in self._rooms.running.attempts()}
        await self.versions.collect(functions, running)
        try:
            await self._rooms.store.keep_intake_rules(functions)
        except OSError as error:
            # Events are accepted all the same, without a daemon by older rules.
            _log.warning("intake_rules_not_kept", error=str(error))


def _settings_after(
    now: DaemonSettings, wanted: DaemonSettings
) -> tuple[tuple[SettingChange, ...], DaemonSettings]:
    """Return which settings wait for a restart, and the settings in force from now on."""
    held = [
        name
        for name in type(now).model_fields
        if name not in LIVE_SETTINGS and getattr(now, name) != getattr(wanted, name)
    ]
    changes = tuple(
        SettingChange(
            type(now).model_fields[name].alias or name,
            str(getattr(now, name)),
            str(getattr(wanted, name)),
        )
        for name in held
    )
    return changes, wanted.model_copy(update={name: getattr(now, name) for name in held})


def _listener_after(now: TcpAddress | None, wanted: TcpAddress | None) -> tuple[SettingChange, ...]:
    return () if now == wanted else (SettingChange("http.listen", str(now), str(wanted)),)


def _announce(report: ReloadReport, swap_ms: float) -> None:
    for one in report.changes:
        if one.change == "unchanged":
            continue
        log = _log.error if one.change in ("kept", "refused") else _log.info
        fields = {key: value for key, value in vars(one).items() if key != "change"}
        log(f"function_{one.change}", **fields)
    for setting in report.needs_restart:
        _log.warning("setting_needs_restart", **vars(setting))
    count = sum(one.change in ("added", "changed", "removed") for one in report.changes)
    _log.info("configuration_reloaded", changed=count, whole=report.is_whole, swap_ms=swap_ms)
