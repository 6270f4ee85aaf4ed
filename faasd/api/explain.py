"""`faasd why` in sentences: pure, from facts that somebody else has gathered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from faasd.api.explain_code import CodeFacts, explain_code, explain_code_of_invocation
from faasd.clock import to_iso
from faasd.interfaces import BreakerStatus, QueueCounts, ScheduleStatus
from faasd.model.attempt import AttemptRecord
from faasd.model.function import Function, Lane
from faasd.model.invocation import Invocation
from faasd.model.outcome import OUTCOME_MEANINGS, REASON_MEANINGS
from faasd.model.units import format_duration

__all__ = [
    "InvocationFacts",
    "explain_function",
    "explain_invocation",
    "explain_queue",
    "explain_schedule",
]


@dataclass(frozen=True)
class InvocationFacts:
    """What bears on one invocation. `ahead` are unfinished ones of its group that came before it.

    `overlapped` is the tick that was still waiting or running when a skipped one fired; `first` is
    the invocation that a duplicate repeats.
    """

    invocation: Invocation
    now: float
    attempts: Sequence[AttemptRecord] = ()
    function: Function | None = None
    running: int = 0  # Attempts of the function that run now.
    lane: Lane | None = None  # How its queue is claimed.
    running_of_queue: int = 0
    running_of_all: int = 0
    slots: int | None = None
    function_paused_since: float | None = None
    function_refused: str | None = None  # Why it may not run on this host.
    breaker: BreakerStatus | None = None
    ahead: Sequence[Invocation] = ()
    overlapped: Invocation | None = None
    first: Invocation | None = None
    code: CodeFacts | None = None
    running_version: str | None = None  # Of the code that its attempt of this moment runs.


def explain_invocation(facts: InvocationFacts) -> list[str]:
    """Say where an invocation came from, and why it ran, waits or did not run."""
    said = [_origin(facts.invocation)]
    told: set[str] = set()
    for record in facts.attempts:
        said.append(_attempt(record, is_new=record.outcome not in told))
        told.add(record.outcome)
    said += _code(facts)
    state = facts.invocation.state
    if state == "waiting":
        said += _waiting(facts)
    elif state == "skipped":
        said += _skipped(facts)
    else:
        said += _ended(facts)
    return said


def explain_function(
    function: Function,
    *,
    now: float,
    paused_since: float | None,
    breaker: BreakerStatus | None = None,
    refused: str | None = None,
    code: CodeFacts | None = None,
    running: int,
    queues: Sequence[QueueCounts],
    schedules: Sequence[ScheduleStatus],
    last: InvocationFacts | None,
) -> list[str]:
    """Say whether a function can run, what is in its way, and what became of its last invocation."""
    said = []
    if refused is not None:
        said.append(_refused(function.name, refused))
    if paused_since is not None:
        said.append(
            f"Function {function.name!r} is paused since {to_iso(paused_since)}: what is accepted for it "
            f"waits; `faasd functions resume {function.name}` lets it run."
        )
    if breaker is not None and breaker.state != "closed":
        said.append(_breaker(breaker, function.name))
    said += explain_code(code) if code is not None else []
    most = f" of {function.concurrency}" if function.concurrency else ""
    are = "attempt of it is" if running == 1 and not most else "attempts of it are"
    said.append(f"{running}{most} {are} running now.")
    said += [
        sentence for counts in queues for sentence in explain_queue(counts, function.name, None)
    ]
    said += [sentence for status in schedules for sentence in explain_schedule(status, now)]
    if not (function.schedules or function.files or function.queues):
        said.append("It has no trigger, so it runs only when something invokes it.")
    if last is None:
        said.append("It has never been invoked.")
    else:
        said.append(f"Its last invocation is {last.invocation.id}.")
        said += explain_invocation(last)
    return said


def explain_queue(
    counts: QueueCounts, function: str | None, paused_since: float | None
) -> list[str]:
    """Say how full a queue is and who empties it."""
    counted = (
        f"{counts.waiting} waiting, {counts.delayed} delayed, {counts.in_flight} in flight and "
        f"{counts.dead} dead"
    )
    said = [f"Queue {counts.queue!r} holds {counted}."]
    if function is None:
        said.append(
            "No function consumes it, so nothing in it runs; declare a queue trigger of this name."
        )
    elif function != counts.queue:
        said.append(f"Function {function!r} consumes it.")
    if paused_since is not None:
        said.append(f"It is paused since {to_iso(paused_since)}.")
    if counts.oldest_waiting_at is not None:
        said.append(f"The oldest one that is due waits since {to_iso(counts.oldest_waiting_at)}.")
    if counts.dead:
        said.append(f"See the dead ones with `faasd dead-letters list --queue {counts.queue}`.")
    return said


def explain_schedule(status: ScheduleStatus, now: float) -> list[str]:
    """Say when a schedule fires next, or why it does not."""
    head = f"Schedule {status.name!r} ({status.kind} {status.expression}, {status.timezone})"
    if status.paused:
        said = [f"{head} is paused; `faasd schedules resume {status.name}` lets it fire again."]
    elif status.next_at is None:
        said = [f"{head} will not fire again."]
    else:
        left = format_duration(max(0.0, status.next_at - now))
        said = [f"{head} fires next at {to_iso(status.next_at)}, in {left}."]
    if status.last_at is not None:
        said.append(f"The last fire time that it has dealt with was {to_iso(status.last_at)}.")
    if status.note and not status.paused:
        said.append(_sentence(f"{head}: {status.note}"))
    return said


def _origin(invocation: Invocation) -> str:
    at = to_iso(invocation.created_at)
    source = invocation.source
    tick = f" for {to_iso(invocation.scheduled_for)}" if invocation.scheduled_for else ""
    came = {
        "queue": f"was enqueued on queue {invocation.queue!r}",
        "files": f"came from files trigger {source!r}",
        "invoke": f"was invoked by {source}",
        "function": f"was sent by function {source!r}",
        "replay": f"was replayed by {source}",
    }.get(invocation.trigger, f"came from schedule {source!r}{tick}")
    parent = f", caused by invocation {invocation.parent_id}" if invocation.parent_id else ""
    return f"Invocation {invocation.id} of function {invocation.function!r} {came} at {at}{parent}."


def _attempt(record: AttemptRecord, *, is_new: bool) -> str:
    """Say how an attempt ended; what that means only for the first that ended so."""
    took = format_duration(record.wall_s)
    ended = f"ended as {record.outcome} at {to_iso(record.ended_at)} after {took}"
    if record.outcome == "ok" or not is_new:
        return f"Attempt {record.number} {ended}."
    meaning = OUTCOME_MEANINGS.get(record.outcome, "")
    return f"Attempt {record.number} {ended}. {meaning}".rstrip()


def _code(facts: InvocationFacts) -> list[str]:
    if facts.code is None:
        return []
    number, ran = facts.invocation.attempts, facts.running_version
    if ran is None and facts.attempts:
        number, ran = facts.attempts[-1].number, facts.attempts[-1].code_version
    state = facts.invocation.state if facts.running_version is None else "running"
    return explain_code_of_invocation(facts.code, state=state, number=number, ran=ran)


def _waiting(facts: InvocationFacts) -> list[str]:
    invocation, function = facts.invocation, facts.function
    if function is None:
        return [
            f"It waits because no function is named {invocation.function!r} any more; it runs when one is."
        ]
    said = [_error(invocation)] if invocation.attempts and invocation.error else []
    if invocation.due_at > facts.now:
        left = format_duration(invocation.due_at - facts.now)
        until = f"{to_iso(invocation.due_at)}, in {left}"
        number = invocation.spent.attempts + 1
        if invocation.attempts:
            return [*said, f"Attempt {number} of {function.retry.attempts} is due at {until}."]
        return [*said, f"It is delayed until {until}."]
    reasons = _held_back(facts, function) + _crowded_out(facts)
    if not reasons:
        reasons = ["It is due and waits for its turn: a free slot, or what came before it."]
        reasons += _turns(facts.lane)
    return [*said, *reasons]


def _held_back(facts: InvocationFacts, function: Function) -> list[str]:
    invocation = facts.invocation
    said = []
    if facts.function_refused is not None:
        said.append(f"It waits. {_refused(function.name, facts.function_refused)}")
    if facts.function_paused_since is not None:
        said.append(
            f"It waits because function {function.name!r} is paused since "
            f"{to_iso(facts.function_paused_since)}; `faasd functions resume {function.name}` lets it run."
        )
    if facts.breaker is not None and facts.breaker.state != "closed":
        said.append(f"It waits: {_breaker(facts.breaker, function.name, starts=False)}")
    if function.concurrency is not None and facts.running >= function.concurrency:
        said.append(
            f"It waits because the function's concurrency is {function.concurrency}, and so many attempts "
            f"of {function.name!r} are running."
        )
    if facts.ahead:
        first = facts.ahead[0]
        said.append(
            f"It waits for what came before it in its group {invocation.group_key!r}: {len(facts.ahead)} "
            f"ahead, the first of them {first.id}, which is {first.state}."
        )
    return said


def _crowded_out(facts: InvocationFacts) -> list[str]:
    """Say which bound is reached by what runs now."""
    said = []
    most = facts.lane.concurrency if facts.lane is not None else None
    if most is not None and facts.running_of_queue >= most:
        said.append(
            f"It waits because the concurrency of queue {facts.invocation.queue!r} is {most}, and so many "
            "attempts from it are running."
        )
    if facts.slots is not None and facts.running_of_all >= facts.slots:
        said.append(
            f"It waits for a free slot: all {facts.slots} are taken; `slots` in [daemon] says how many "
            "attempts may run at once, and `faasd top` shows which do."
        )
    return said


def _turns(lane: Lane | None) -> list[str]:
    """Say what else a queue's settings make its invocations wait for."""
    said = []
    if lane is not None and lane.rate is not None:
        count, seconds = lane.rate
        said.append(f"Its queue has a rate of {count} in {format_duration(seconds)}.")
    if lane is not None and lane.is_batch and lane.batch_window_s:
        window = format_duration(lane.batch_window_s)
        said.append(f"Its queue gathers batches of {lane.batch_size} for up to {window}.")
    return said


def _skipped(facts: InvocationFacts) -> list[str]:
    invocation = facts.invocation
    word = invocation.outcome or "skipped"
    said = [f"It did not run ({word}). {REASON_MEANINGS.get(word, '')}".rstrip()]
    if invocation.reason and invocation.reason != word:
        said.append(_sentence(invocation.reason))
    if facts.overlapped is not None:
        other = facts.overlapped
        tick = other.scheduled_for or other.created_at
        ended = (
            f"ended at {to_iso(other.ended_at)}" if other.ended_at else f"is {other.state} still"
        )
        said.append(
            f"The tick of {to_iso(tick)} was in its way: invocation {other.id}, which {ended}."
        )
    if facts.first is not None:
        said.append(f"It repeats invocation {facts.first.id}, which is {facts.first.state}.")
    return said


def _ended(facts: InvocationFacts) -> list[str]:
    invocation = facts.invocation
    if invocation.state == "running" and invocation.started_at is None:
        return [f"Attempt {invocation.attempts} was claimed a moment ago, and runs or is about to."]
    if invocation.state == "running":
        return [f"Attempt {invocation.attempts} is running since {to_iso(invocation.started_at)}."]
    said = [_error(invocation)] if invocation.error else []
    reason = f": {invocation.reason}" if invocation.reason else ""
    if invocation.state == "dead":
        said.append(f"It is a dead letter{reason}. ".replace("..", "."))
        said[-1] += f"`faasd dead-letters redrive {invocation.id}` sends it back."
    elif invocation.state == "cancelled":
        said.append(_sentence(f"It was cancelled{reason}"))
    elif invocation.state == "dropped":
        said.append(_sentence(f"It was a dead letter, and somebody dropped it{reason}"))
    elif invocation.outcome == "ok":
        said.append("It is done.")
    elif not invocation.queue:  # A direct invoke.
        said.append(f"It is done as {invocation.outcome}: whoever invoked it has the error.")
    else:
        said.append(
            f"It is done as {invocation.outcome}: its attempts are used up, and the function keeps no "
            "dead letters."
        )
    return said


def _breaker(breaker: BreakerStatus, name: str, *, starts: bool = True) -> str:
    head = "Function" if starts else "function"
    if breaker.state == "half-open":
        now = "one attempt is trying now, and the others wait for how it ends"
    else:
        now = f"one attempt is tried at {to_iso(breaker.retry_at)}, and until then all wait"
    return (
        f"{head} {name!r} is held back by its breaker since {to_iso(breaker.opened_at)}, because "
        f"{breaker.deaths} attempts in a row died, the last as {breaker.outcome}; {now}. "
        f"`faasd functions resume {name}` lets it run now."
    )


def _error(invocation: Invocation) -> str:
    error = invocation.error
    if error is None:
        return ""
    said = _sentence(f"The last error was {error.type}: {error.message}")
    return f"{said} {_sentence(f'Hint: {error.hint}')}" if error.hint else said


def _refused(name: str, reason: str) -> str:
    return _sentence(
        f"Function {name!r} is refused on this host, and what is accepted for it waits: {reason}. "
        "Once that is done, start faasd again"
    )


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else text + "."
