"""Small in-memory stand-ins for everything behind the API, and a server that runs over them in a thread."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from faasd.api.server import ApiServer
from faasd.api.services import ApiServices
from faasd.clock import Clock
from faasd.errors import (
    Conflict,
    EventRefused,
    NotFound,
    PayloadTooLarge,
    UnknownQueue,
)
from faasd.interfaces import (
    BreakerStatus,
    FileRow,
    InvocationFilter,
    LogLine,
    QueueCounts,
    ScheduleStatus,
    WatchStatus,
)
from faasd.model.attempt import Attempt, AttemptRecord, OutputLine
from faasd.model.event import encode_json
from faasd.model.function import Function, Lane
from faasd.model.ids import new_id
from faasd.model.invocation import FINAL_STATES, Acceptance, Invocation, NewEvent
from faasd.model.outcome import ErrorRecord, Outcome, Usage
from faasd.model.retry import Spent
from faasd.model.suggest import did_you_mean
from faasd.model.trigger import FilesTrigger, QueueTrigger, ScheduleTrigger
from faasd.model.usage import Usage as MonthUsage
from faasd.model.walls import MissingWall

ECHO = Function(name="echo", handler="app:echo", origin="faasd.toml:3")
RESIZE = Function(
    name="resize",
    handler="app:resize",
    concurrency=2,
    queues=(QueueTrigger("images"),),
    files=(FilesTrigger("inbox", "/srv/inbox"),),
)
REPORT = Function(
    name="report",
    handler="app:report",
    schedules=(ScheduleTrigger("nightly", "cron", expression="0 3 * * *"),),
)


class FakeCatalog:
    def __init__(self, functions: Sequence[Function]) -> None:
        self.functions = {function.name: function for function in functions}

    def get(self, name: str) -> Function | None:
        return self.functions.get(name)

    def all(self) -> Sequence[Function]:
        return [self.functions[name] for name in sorted(self.functions)]

    def lanes(self) -> Sequence[Lane]:
        return [lane for function in self.all() for lane in function.lanes()]

    def consumer_of(self, queue: str) -> Function | None:
        for function in self.all():
            if any(lane.queue == queue for lane in function.lanes()):
                return function
        return None


class FakeStore:
    """Accept, InvocationStore and History in one, over a dictionary."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.rows: dict[str, Invocation] = {}
        self.records: dict[str, list[AttemptRecord]] = {}
        self.accepted: list[NewEvent] = []
        self.transactions = 0
        self.refuse: Exception | None = None
        self.catalog: FakeCatalog | None = None

    async def accept(self, event: NewEvent) -> Acceptance:
        return (await self.accept_many([event]))[0]

    async def accept_many(self, events: Sequence[NewEvent]) -> list[Acceptance]:
        if self.refuse is not None:
            raise self.refuse
        for event in events:
            if len(encode_json(event.body)) > 1_000_000:
                raise PayloadTooLarge("the event is larger than payload_limit")
        self.transactions += 1
        return [self._take(event) for event in events]

    async def accept_each(
        self, requests: Sequence[Sequence[NewEvent]]
    ) -> list[list[Acceptance] | EventRefused]:
        answers: list[list[Acceptance] | EventRefused] = []
        for events in requests:
            try:
                answers.append(await self.accept_many(events))
            except EventRefused as error:
                answers.append(error)
        return answers

    def _consumer_of(self, queue: str) -> str:
        assert self.catalog is not None
        consumer = self.catalog.consumer_of(queue)
        if consumer is None:
            known = [lane.queue for lane in self.catalog.lanes()]
            raise UnknownQueue(f"no function consumes {queue!r}{did_you_mean(queue, known)}")
        return consumer.name

    def _take(self, event: NewEvent) -> Acceptance:
        function = event.function or self._consumer_of(event.queue)
        self.accepted.append(event)
        invocation_id = event.id or new_id()
        if invocation_id in self.rows:
            return Acceptance(invocation_id, "duplicate", "the id was seen before")
        now = self.clock.now()
        self.put(
            id=invocation_id,
            function=function,
            queue=event.queue,
            trigger=event.trigger,
            source=event.source,
            event_json=encode_json(event.body),
            due_at=event.due_at or now,
            group_key=event.group_key,
            priority=event.priority,
            parent_id=event.parent_id,
        )
        return Acceptance(invocation_id, "waiting")

    def put(self, **values: Any) -> Invocation:
        now = self.clock.now()
        defaults: dict[str, Any] = {
            "id": new_id(),
            "seq": len(self.rows) + 1,
            "function": "echo",
            "queue": values.get("function", "echo"),
            "trigger": "queue",
            "source": values.get("queue", "echo"),
            "event_json": "{}",
            "state": "waiting",
            "outcome": None,
            "priority": 0,
            "created_at": now,
            "due_at": now,
            "expires_at": None,
            "group_key": None,
            "scheduled_for": None,
            "parent_id": None,
            "spent": Spent(),
            "attempts": 0,
            "started_at": None,
            "ended_at": None,
            "error": None,
            "result_json": None,
            "reason": None,
        }
        row = Invocation(**{**defaults, **values})
        self.rows[row.id] = row
        return row

    def put_dead(self, **values: Any) -> Invocation:
        now = self.clock.now()
        row = self.put(
            state="dead",
            outcome="error",
            attempts=3,
            spent=Spent(attempts=3),
            started_at=now - 2,
            ended_at=now - 1,
            error=ErrorRecord("ValueError", "bad picture"),
            reason="3 attempts used up; the last ended as error",
            **values,
        )
        self.records[row.id] = [a_record(row, number, now) for number in (1, 2, 3)]
        return row

    def change(self, invocation_id: str, **values: Any) -> None:
        self.rows[invocation_id] = dataclasses.replace(self.rows[invocation_id], **values)

    def _matching(self, which: InvocationFilter) -> list[Invocation]:
        found = [
            row
            for row in reversed(self.rows.values())
            if (which.ids is None or row.id in which.ids)
            and (which.function is None or row.function == which.function)
            and (which.queue is None or row.queue == which.queue)
            and (which.trigger is None or row.trigger == which.trigger)
            and (which.source is None or row.source == which.source)
            and (which.states is None or row.state in which.states)
            and (which.outcomes is None or row.outcome in which.outcomes)
            and (which.group_key is None or row.group_key == which.group_key)
            and (which.since is None or row.created_at >= which.since)
            and (which.until is None or row.created_at <= which.until)
            and (which.path is None or json.loads(row.event_json).get("path") == which.path)
        ]
        return found[: which.limit]

    async def redrive(self, which: InvocationFilter) -> list[str]:
        return self._move(which, "waiting")

    async def drop(self, which: InvocationFilter) -> list[str]:
        return self._move(which, "dropped")

    def _move(self, which: InvocationFilter, state: str) -> list[str]:
        ids = [row.id for row in self._matching(which) if row.state == "dead"]
        for one in ids:
            self.change(one, state=state)
        return ids

    async def invocation(self, id_or_prefix: str) -> Invocation | None:
        found = [row for row in self.rows.values() if row.id.startswith(id_or_prefix)]
        if len(found) > 1:
            raise Conflict(
                f"{id_or_prefix!r} is the beginning of {len(found)} ids; write more of it"
            )
        return found[0] if found else None

    async def invocations(self, which: InvocationFilter) -> list[Invocation]:
        return self._matching(which)

    async def next_waiting(self, queue: str) -> Invocation | None:
        waiting = self._matching(InvocationFilter(queue=queue, states=("waiting",), limit=None))
        return min(waiting, key=lambda row: (row.due_at, row.seq), default=None)

    async def attempts(self, invocation_id: str) -> list[AttemptRecord]:
        return self.records.get(invocation_id, [])

    async def last_attempts(self, invocation_ids: Sequence[str]) -> dict[str, AttemptRecord]:
        return {one: self.records[one][-1] for one in invocation_ids if self.records.get(one)}

    async def queue_counts(self) -> list[QueueCounts]:
        now, counts = self.clock.now(), {}
        for row in self.rows.values():
            before = counts.get(row.queue, QueueCounts(row.queue))
            counts[row.queue] = dataclasses.replace(
                before,
                waiting=before.waiting + (row.state == "waiting" and row.due_at <= now),
                delayed=before.delayed + (row.state == "waiting" and row.due_at > now),
                in_flight=before.in_flight + (row.state == "running"),
                dead=before.dead + (row.state == "dead"),
            )
        return list(counts.values())

    async def function_counts(self, since: float) -> dict[str, dict[str, int]]:
        return {"resize": {"error": 3}}

    async def usage(
        self, month: str | None = None, function: str | None = None
    ) -> list[MonthUsage]:
        rows = [
            MonthUsage("2026-11", "echo", 1_000_000, 3, 2000.0, 500.0, 12.5),
            MonthUsage("2026-10", "echo", 10, 0, 1.0, 0.25, 0.5),
            MonthUsage("2026-10", "resize", 2, 2, 4.0, 1.0, 0.5),
        ]
        return [
            row for row in rows if month in (None, row.month) and function in (None, row.function)
        ]

    async def backup(self, path: str) -> int:
        return Path(path).write_bytes(b"a copy")


def a_record(row: Invocation, number: int, now: float, outcome: str = "error") -> AttemptRecord:
    return AttemptRecord(
        invocation_id=row.id,
        number=number,
        attempt_id=new_id(),
        function=row.function,
        code_version="v1",
        outcome=outcome,
        started_at=now - 2,
        ended_at=now - 1,
        queue_wait_s=0.01,
        wall_s=1.25,
        cpu_s=0.5,
        memory_peak_bytes=12_345_678,
        init_s=None,
        error_json='{"type":"ValueError","message":"bad picture","stack":[]}',
        log_tail="opening\nfailed\n",
        batch_size=1,
    )


class FakeInvoker:
    """Runs functions of its own: `echo` returns its event, `fail` errs, `wait` waits to be cancelled."""

    def __init__(self, store: FakeStore, pauses: FakePauses) -> None:
        self.store = store
        self.pauses = pauses
        self.begun = threading.Event()
        self.cancelled = threading.Event()
        self.running_now: list[Attempt] = []
        self.progress: dict[str, Any] = {}
        self.breakers: dict[str, BreakerStatus] = {}

    def progress_of(self, attempt: Attempt) -> Any:
        return self.progress.get(attempt.id)

    async def written(self) -> None:
        pass

    async def invoke(
        self,
        event: NewEvent,
        on_output: Callable[[OutputLine], None] | None = None,
        function: Function | None = None,
    ) -> tuple[str, Outcome]:
        if await self.pauses.is_paused(event.function):
            raise Conflict(f"function {event.function!r} is paused")
        if event.body == "refuse":
            raise EventRefused("this event is refused")
        invocation_id = event.id or new_id()
        self.begun.set()
        if on_output is not None:
            on_output(OutputLine(self.store.clock.now(), "stdout", "hello from inside"))
        try:
            if event.function == "wait":
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if event.function == "fail":
            error = ErrorRecord("ValueError", "bad picture", ("app.py:3 in fail",))
            return invocation_id, Outcome("error", error=error)
        usage = Usage(wall_s=0.002, memory_peak_bytes=9_000_000)
        return invocation_id, Outcome("ok", result_json=encode_json(event.body), usage=usage)

    async def cancel(self, ids: Sequence[str], reason: str) -> list[str]:
        changed = [one for one in ids if self.store.rows[one].state not in FINAL_STATES]
        for one in changed:
            self.store.change(one, state="cancelled", outcome="cancelled", reason=reason)
        return changed

    async def pause(self, function: str) -> bool:
        return await self.pauses.set("function", function, True)

    async def resume(self, function: str) -> bool:
        return await self.pauses.set("function", function, False)

    def breaker(self, function: str) -> BreakerStatus:
        return self.breakers.get(function, BreakerStatus())

    def running(self) -> list[Attempt]:
        return list(self.running_now)


class FakePauses:
    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.paused: dict[tuple[str, str], float] = {}

    async def load(self) -> dict[tuple[str, str], float]:
        return dict(self.paused)

    async def set(self, kind: str, name: str, paused: bool) -> bool:
        changed = ((kind, name) in self.paused) != paused
        if paused:
            self.paused.setdefault((kind, name), self.clock.now())
        else:
            self.paused.pop((kind, name), None)
        return changed

    async def is_paused(self, function: str) -> bool:
        return ("function", function) in self.paused


class FakeSchedules:
    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.paused = False

    def statuses(self) -> list[ScheduleStatus]:
        next_at = None if self.paused else 1_800_000_000.0
        return [
            ScheduleStatus(
                "nightly",
                "report",
                "cron",
                "0 3 * * *",
                "UTC",
                next_at,
                None,
                self.paused,
                "latest",
                "skip",
                0.0,
            )
        ]

    def firing_before(self, at: float) -> list[str]:
        return []

    def next_times(self, name: str, count: int, after: float | None = None) -> list[float]:
        return [(after or 1_800_000_000.0) + 86400.0 * index for index in range(count)]

    async def pause(self, name: str) -> bool:
        changed, self.paused = not self.paused, True
        return changed

    async def resume(self, name: str) -> bool:
        changed, self.paused = self.paused, False
        return changed

    async def run(self, name: str) -> Acceptance:
        body = {"trigger": "cron"}
        return await self.store.accept(NewEvent("report", "report", "cron", name, body))


class FakeFileDrops:
    def __init__(self, store: FakeStore) -> None:
        self.store = store
        self.rows = [
            FileRow("inbox", b"/srv/inbox/a.jpg", 1, 2, 10**18, 512, "failed", None, 1.7e9, "error")
        ]
        self.stopped: dict[str, list[str]] = {}

    def statuses(self) -> list[WatchStatus]:
        return [WatchStatus("inbox", "resize", "/srv/inbox", "inotify", 1, 0, 0, 1, 1.7e9, None)]

    async def files(self, trigger: str | None = None, state: str | None = None) -> list[FileRow]:
        return [row for row in self.rows if state is None or row.state == state]

    async def retry(self, path: str) -> list[Acceptance]:
        if path != "/srv/inbox/a.jpg":
            raise NotFound(f"no file at {path} has been seen")
        event = NewEvent("resize", "resize", "files", "inbox", {"path": path})
        return [await self.store.accept(event)]

    async def explain(self, path: str) -> list[str]:
        if path.startswith("/srv/inbox/"):
            return [f"Watch 'inbox' has seen {path}; its invocation failed."]
        return []

    def start_again(self, function: str) -> list[str]:
        return sorted(self.stopped.pop(function, ()))


class FakeLogs:
    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.sinks: list[Callable[[LogLine], None]] = []
        self.read_of: list[tuple[str | None, str | None]] = []
        self.limits: list[int | None] = []

    def add(self, text: str, at: float, function: str = "echo", invocation_id: str = "1") -> None:
        line = LogLine(at, function, invocation_id, 1, "stdout", text)
        self.lines.append(line)
        for sink in list(self.sinks):
            sink(line)

    async def read(
        self,
        function: str | None = None,
        invocation_id: str | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[LogLine]:
        self.read_of.append((function, invocation_id))
        self.limits.append(limit)
        found = [
            line
            for line in self.lines
            if (since is None or line.at >= since)
            and function in (None, line.function)
            and invocation_id in (None, line.invocation_id)
        ]
        return found if limit is None else found[-limit:]

    def subscribe(self, sink: Callable[[LogLine], None]) -> Callable[[], None]:
        self.sinks.append(sink)
        return lambda: self.sinks.remove(sink)


class FakeDaemon:
    """Everything behind the API, with the parts at hand for a test to arrange and look at."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        names = ("fail", "wait")
        functions = [
            ECHO,
            RESIZE,
            REPORT,
            *[Function(name=name, handler="app:x") for name in names],
        ]
        self.catalog = FakeCatalog(functions)
        self.store = FakeStore(self.clock)
        self.store.catalog = self.catalog
        self.pauses = FakePauses(self.clock)
        self.invoker = FakeInvoker(self.store, self.pauses)
        self.schedules = FakeSchedules(self.store)
        self.files = FakeFileDrops(self.store)
        self.logs = FakeLogs()
        self.state = "ready"
        self.problems: list[str] = []
        self.missing_walls: dict[str, tuple[MissingWall, ...]] = {}
        self.no_room: str | None = None
        self.wakes = 0
        self.peers_are_sandboxed = False

    def sandboxed(self, pid: int) -> bool:
        return self.peers_are_sandboxed

    def wake(self) -> None:
        self.wakes += 1

    def services(self, state_dir: str = "/var/lib/faasd") -> ApiServices:
        store: Any = self.store
        logs: Any = self.logs
        return ApiServices(
            accept=store,
            store=store,
            history=store,
            logs=logs,
            catalog=self.catalog,
            schedules=self.schedules,
            files=self.files,
            invoker=self.invoker,
            pauses=self.pauses,
            version="0.1.0",
            started_at=self.clock.now(),
            status=lambda: {"state": self.state, "problems": self.problems},
            wake=self.wake,
            state_dir=state_dir,
            config_path=None,
            missing_walls=self.missing_walls,
            no_room=lambda: self.no_room,
            clock=self.clock,
        )


@contextlib.contextmanager
def serving(daemon: FakeDaemon, socket_path: Path, **options: Any) -> Iterator[ServerThread]:
    """Serve a fake daemon on a real socket from a thread of its own, as a process would."""
    thread = ServerThread(daemon, socket_path, options)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop()


class ServerThread:
    def __init__(self, daemon: FakeDaemon, socket_path: Path, options: dict[str, Any]) -> None:
        self._daemon = daemon
        self._path = socket_path
        self._options = options
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="api-server")
        self.loop: asyncio.AbstractEventLoop | None = None
        self.drain_s = 2.0

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(10), "the server did not start"
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        if self.loop is not None and self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._leave.set)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server did not stop"

    def call(self, function: Callable[[], Any]) -> None:
        """Run something on the server's loop."""
        assert self.loop is not None
        self.loop.call_soon_threadsafe(function)

    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        server = self.server._server
        return server is not None and bool(server.server_state.tasks)

    def connection_count(self) -> int:
        """How many connections are open."""
        server = self.server._server
        return len(server.server_state.connections) if server is not None else 0

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._leave = asyncio.Event()
        services = self._daemon.services(str(self._path.parent))
        options = {"is_sandboxed": self._daemon.sandboxed, **self._options}
        self.server = server = ApiServer(services, self._path, **options)
        try:
            await server.start()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits.
            self._error = error
            self._ready.set()
            return
        self.loop = asyncio.get_running_loop()
        self._ready.set()
        await self._leave.wait()
        await server.stop(self.drain_s)


def wait_for(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Return as soon as the condition holds; fail when it does not in time."""
    deadline, pause = time.monotonic() + timeout_s, threading.Event()
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.005)
