"""`faasd why`: gathers the facts that bear on a thing and lets explain.py put them into sentences."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from starlette.responses import Response

from faasd.api.call import Call
from faasd.api.explain import (
    InvocationFacts,
    explain_function,
    explain_invocation,
    explain_queue,
    explain_schedule,
)
from faasd.api.explain_code import CodeFacts
from faasd.api.handlers.queues import consumer_of, counts_by_queue
from faasd.api.replies import json_reply
from faasd.errors import InvalidSetting, NotFound
from faasd.interfaces import BreakerStatus, InvocationFilter, QueueCounts
from faasd.model.below import is_in
from faasd.model.function import Function
from faasd.model.invocation import FINAL_STATES, Invocation
from faasd.model.suggest import did_you_mean

__all__ = ["why"]

_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]*", re.ASCII)


async def why(call: Call) -> Response:
    """Explain why an invocation, function, queue, schedule or path ran, waits or did not run.

    `subject` is an id or its prefix, a name, or an absolute path; `path` may give the absolute path
    that a relative subject means.
    """
    subject = call.query("subject")
    if subject is None:
        raise InvalidSetting("say what to explain: subject=ID, FUNCTION, QUEUE, SCHEDULE or PATH")
    kind, sentences = await _explain(call, subject)
    reason = call.services.no_room()
    if reason is not None:
        sentences = [*sentences, f"New events are refused at the moment: {reason}."]
    return json_reply({"subject": subject, "kind": kind, "sentences": sentences})


async def _explain(call: Call, subject: str) -> tuple[str, list[str]]:
    services = call.services
    if services.catalog.get(subject) is not None:
        return "function", await _why_function(call, subject)
    counts = await counts_by_queue(call)
    if subject in counts:
        return "queue", await _why_queue(call, counts[subject])
    for status in services.schedules.statuses():
        if status.name == subject:
            return "schedule", await _why_schedule(call, subject)
    if _ID.fullmatch(subject):
        found = await services.history.invocation(subject)
        if found is not None:
            return "invocation", explain_invocation(await _facts(call, found))
    path = subject if subject.startswith("/") else call.query("path")
    if path is not None:
        sentences = await _why_path(call, path)
        if sentences:
            return "path", sentences
        if "/" in subject:
            return "path", await _why_no_path(call, path)
    raise _unknown(call, subject, counts)


async def _why_function(call: Call, name: str) -> list[str]:
    services = call.services
    function = call.function(name)
    counts = await counts_by_queue(call)
    paused = await services.pauses.load()
    latest = await services.history.invocations(InvocationFilter(function=name, limit=1))
    names = {trigger.name for trigger in function.schedules}
    sentences = explain_function(
        function,
        now=services.clock.now(),
        paused_since=paused.get(("function", name)),
        breaker=services.invoker.breaker(name),
        refused=services.refused.get(name),
        code=await _code_in_force(call, function),
        running=_running(call, name),
        queues=[counts[lane.queue] for lane in function.lanes()],
        schedules=[one for one in services.schedules.statuses() if one.name in names],
        last=await _facts(call, latest[0]) if latest else None,
    )
    missing = () if name in services.refused else services.missing_walls.get(name, ())
    sentences += [
        f"On this host it runs without the wall {one.wall!r}: {one.reason}." for one in missing
    ]
    watched = [one for one in services.files.statuses() if one.function == name and one.problem]
    return [*sentences, *[f"Its directory {one.path}: {one.problem}" for one in watched]]


async def _why_queue(call: Call, counts: QueueCounts) -> list[str]:
    consumer = consumer_of(call, counts.queue)
    paused = await call.services.pauses.load()
    since = None if consumer is None else paused.get(("function", consumer.name))
    sentences = explain_queue(counts, consumer.name if consumer else None, since)
    first = await call.services.history.next_waiting(counts.queue)
    if first is not None:
        sentences += explain_invocation(await _facts(call, first))
    return sentences


async def _why_schedule(call: Call, name: str) -> list[str]:
    [status] = [one for one in call.services.schedules.statuses() if one.name == name]
    sentences = explain_schedule(status, call.services.clock.now())
    latest = await call.services.history.invocations(InvocationFilter(source=name, limit=1))
    if not latest:
        return [*sentences, "It has not fired yet."]
    return sentences + explain_invocation(await _facts(call, latest[0]))


async def _why_path(call: Call, path: str) -> list[str]:
    """Say what is known of a path; nothing when no watch covers it and none has brought it."""
    files, history = call.services.files, call.services.history
    rows = [
        row
        for row in await files.files()
        if row.path == path.encode("utf-8", "surrogateescape") and row.invocation_id
    ]
    found = [await history.invocation(row.invocation_id) for row in rows if row.invocation_id]
    if not rows:  # Moved or deleted after it was handled; history remembers it under its old name.
        found = [*await history.invocations(InvocationFilter(path=path, limit=1))]
    watched = [one.path for one in files.statuses()]
    if not found and not any(is_in(path, one) for one in watched):
        return []
    sentences = list(await files.explain(path))
    for invocation in found:
        if invocation is not None:
            sentences += explain_invocation(await _facts(call, invocation))
            sentences += [] if rows else _afterwards(call, invocation)
    return sentences


def _afterwards(call: Call, invocation: Invocation) -> list[str]:
    """Say what the trigger does with a file whose invocation has ended."""
    function = call.services.catalog.get(invocation.function)
    triggers = function.files if function is not None else ()
    for trigger in triggers:
        if trigger.name == invocation.source and invocation.state in FINAL_STATES:
            setting = "on_success" if invocation.outcome == "ok" else "on_failure"
            return [f"The trigger's {setting} is {getattr(trigger, setting)}."]
    return []


async def _why_no_path(call: Call, path: str) -> list[str]:
    files = call.services.files
    watched = ", ".join(one.path for one in files.statuses()) or "none"
    return list(await files.explain(path)) or [
        f"No files trigger watches {path}. Watched directories: {watched}."
    ]


async def _facts(call: Call, invocation: Invocation) -> InvocationFacts:
    services = call.services
    paused = await services.pauses.load()
    function = services.catalog.get(invocation.function)
    return InvocationFacts(
        invocation,
        services.clock.now(),
        attempts=await services.history.attempts(invocation.id),
        function=function,
        code=None if function is None else _code(call, function),
        running_version=_running_version(call, invocation.id),
        running=_running(call, invocation.function),
        **_lane_facts(call, invocation),
        function_paused_since=paused.get(("function", invocation.function)),
        function_refused=services.refused.get(invocation.function),
        breaker=_breaker(call, invocation.function),
        ahead=await _ahead(call, invocation),
        **await _in_its_way(call, invocation),
    )


def _code(call: Call, function: Function) -> CodeFacts:
    control = call.services.code
    if control is None:
        return CodeFacts(function)
    return CodeFacts(
        function, kept=control.kept.get(function.name), last_reload=control.last_reload
    )


async def _code_in_force(call: Call, function: Function) -> CodeFacts:
    facts = _code(call, function)
    if call.services.code is None:
        return facts
    for one in await call.services.code.versions_of(function.name):
        if one.is_in_service:
            return replace(facts, since=one.served_at, is_pinned=one.is_pinned)
    return facts


def _running_version(call: Call, invocation_id: str) -> str | None:
    for attempt in call.services.invoker.running():
        if any(claim.invocation.id == invocation_id for claim in attempt.claims):
            return attempt.function.version_with_layers
    return None


def _lane_facts(call: Call, invocation: Invocation) -> dict[str, Any]:
    running = call.services.invoker.running()
    lanes = [one for one in call.services.catalog.lanes() if one.queue == invocation.queue]
    return {
        "lane": lanes[0] if lanes else None,
        "running_of_queue": sum(
            one.claims[0].invocation.queue == invocation.queue for one in running
        ),
        "running_of_all": len(running),
        "slots": call.services.status().get("slots"),
    }


async def _ahead(call: Call, invocation: Invocation) -> list[Invocation]:
    if invocation.group_key is None or invocation.state != "waiting":
        return []
    of_its_group = InvocationFilter(
        queue=invocation.queue,
        group_key=invocation.group_key,
        states=("waiting", "running"),
        limit=None,
    )
    found = await call.services.history.invocations(of_its_group)
    return sorted([one for one in found if one.seq < invocation.seq], key=lambda one: one.seq)


async def _in_its_way(call: Call, invocation: Invocation) -> dict[str, Any]:
    history = call.services.history
    if invocation.outcome == "duplicate":
        named = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", invocation.reason or "")
        return {"first": await history.invocation(named[0]) if named else None}
    if invocation.outcome != "skipped-overlap":
        return {}
    same = InvocationFilter(
        function=invocation.function,
        source=invocation.source,
        until=invocation.created_at,
        limit=100,
    )
    for other in await history.invocations(same):
        begun = other.seq < invocation.seq and other.state not in ("skipped", "dropped")
        if begun and (
            other.state not in FINAL_STATES or (other.ended_at or 0.0) >= invocation.created_at
        ):
            return {"overlapped": other}
    return {}


def _breaker(call: Call, name: str) -> BreakerStatus | None:
    known = call.services.catalog.get(name) is not None
    return call.services.invoker.breaker(name) if known else None


def _running(call: Call, function: str) -> int:
    return sum(attempt.function.name == function for attempt in call.services.invoker.running())


def _unknown(call: Call, subject: str, counts: dict[str, QueueCounts]) -> NotFound:
    names = {function.name for function in call.services.catalog.all()}
    names |= set(counts) | {status.name for status in call.services.schedules.statuses()}
    problems = call.services.status().get("problems", ())
    return NotFound(
        f"{subject!r} is no invocation, function, queue, schedule or watched path"
        f"{did_you_mean(subject, names, or_list=True)}"
        + ("; functions with a mistake are left out, see `faasd check`" if problems else "")
    )
