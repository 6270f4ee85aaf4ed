"""The tables, and the indexes that keep a million finished invocations out of the way of a claim.

Times are seconds since the epoch as REAL. The wide columns stand last in their tables, so that a
listing that does not ask for them need not walk their overflow pages.
"""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)

from faasd.model.invocation import STATE_MEANINGS

__all__ = [
    "BLOCKED",
    "COUNTERS",
    "DELAYED",
    "IS_FINISHED",
    "IS_OPEN",
    "READY",
    "aliases",
    "attempts",
    "counters",
    "cursors",
    "dedup_keys",
    "files",
    "invocations",
    "metadata",
    "origin_keys",
    "pauses",
    "pins",
    "queues",
    "served_versions",
    "usage",
]

#: `readiness` of a waiting invocation: not due yet; may be claimed; due, but held back by its group.
DELAYED, READY, BLOCKED = 0, 1, 2

# A partial index is used only where the query repeats its predicate, so both take the text from here.
# SQLite proves `state = 'waiting'` from an OR, which it does not from an IN; and for an IN of three and
# more it fills a table anew for each row that it writes.
IS_OPEN = "(state = 'waiting' OR state = 'running')"
IS_FINISHED = "(state = 'done' OR state = 'cancelled' OR state = 'skipped' OR state = 'dropped')"

#: Rows of `counters`: `lease_token` is the last token given; tokens only grow.
COUNTERS = ("lease_token",)

metadata = MetaData()

# By OR: for an IN of three and more, SQLite fills a table anew for each row that it writes, which was a
# sixth of an insert and of an update. Databases made before keep theirs, which means the same.
_STATE_IS_KNOWN = " OR ".join(f"state = '{state}'" for state in STATE_MEANINGS)

invocations = Table(
    "invocations",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("function", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("readiness", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("group_key", Text),
    Column("scheduled_for", Float),
    Column("parent_id", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("spent_attempts", Integer, nullable=False, server_default="0"),
    Column("spent_lost", Integer, nullable=False, server_default="0"),
    Column("spent_sandbox_failed", Integer, nullable=False, server_default="0"),
    Column("spent_drained", Integer, nullable=False, server_default="0"),
    Column("lease_token", Integer),
    Column("lease_expires_at", Float),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("outcome", Text),
    Column("reason", Text),
    Column("error_json", Text),
    Column("event_json", Text, nullable=False),
    Column("result_json", Text),
    # Last, as ALTER TABLE puts it into a database that is older.
    Column("spent_died", Integer, nullable=False, server_default="0"),
    CheckConstraint(_STATE_IS_KNOWN, name="state_is_known"),
    # Without AUTOINCREMENT the order of acceptance of a deleted newest row would be given again.
    sqlite_autoincrement=True,
)
_column = invocations.c
Index(
    "waiting_ready",
    _column.queue,
    _column.priority.desc(),
    _column.seq,
    sqlite_where=text("state = 'waiting' AND readiness = 1"),
)
Index(
    "waiting_due",
    _column.queue,
    _column.readiness,
    _column.due_at,
    sqlite_where=text("state = 'waiting'"),
)
Index(
    "waiting_group",
    _column.queue,
    _column.group_key,
    _column.seq,
    _column.readiness,
    sqlite_where=text("state = 'waiting' AND group_key IS NOT NULL"),
)
Index(
    "waiting_blocked",
    _column.queue,
    _column.group_key,
    _column.priority.desc(),
    _column.seq,
    sqlite_where=text("state = 'waiting' AND readiness = 2"),
)
Index(
    "waiting_expiry",
    _column.expires_at,
    _column.queue,
    sqlite_where=text("state = 'waiting' AND expires_at IS NOT NULL"),
)
Index(
    "running_lease",
    _column.lease_expires_at,
    _column.queue,
    sqlite_where=text("state = 'running'"),
)
Index(
    "running_group",
    _column.queue,
    _column.group_key,
    sqlite_where=text("state = 'running' AND group_key IS NOT NULL"),
)
Index("open_source", _column.source, sqlite_where=text(IS_OPEN))
Index("finished", _column.ended_at, sqlite_where=text(IS_FINISHED))
Index("dead", _column.ended_at, _column.queue, sqlite_where=text("state = 'dead'"))
Index("by_function", _column.function)

attempts = Table(
    "attempts",
    metadata,
    Column("seq", Integer, primary_key=True),
    Column("invocation_seq", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("attempt_id", Text, nullable=False),
    Column("function", Text, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("queue_wait_s", Float, nullable=False),
    Column("wall_s", Float, nullable=False),
    Column("cpu_s", Float),
    Column("memory_peak_bytes", Integer),
    Column("init_s", Float),
    Column("batch_size", Integer, nullable=False),
    Column("output_truncated", Integer, nullable=False),
    Column("degraded_json", Text, nullable=False),
    Column("error_json", Text),
    Column("log_tail", Text, nullable=False),
)
Index("attempt_number", attempts.c.invocation_seq, attempts.c.number, unique=True)
Index("attempts_by_end", attempts.c.ended_at, attempts.c.function, attempts.c.outcome)

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Integer, nullable=False),
    sqlite_with_rowid=False,
)

#: Apart from the invocations, because a key must outlive them: retention forgets those earlier.
origin_keys = Table(
    "origin_keys",
    metadata,
    Column("origin_key", Text, primary_key=True),
    Column("invocation_id", Text, nullable=False),
    Column("accepted_at", Float, nullable=False),
    sqlite_with_rowid=False,
)
#: Retention would walk all of them, on the writer's thread, to find that none is old enough.
Index("origin_age", origin_keys.c.accepted_at)

dedup_keys = Table(
    "dedup_keys",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("dedup_key", Text, primary_key=True),
    Column("invocation_id", Text, nullable=False),
    Column("until_at", Float, nullable=False),
    sqlite_with_rowid=False,
)
Index("dedup_until", dedup_keys.c.until_at)

#: Queues that hold or held anything, and, with `function`, those that a function consumes.
queues = Table(
    "queues",
    metadata,
    Column("queue", Text, primary_key=True),
    Column("function", Text),
    sqlite_with_rowid=False,
)

cursors = Table(
    "cursors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("seen_until", Float, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("paused", Integer, nullable=False),
    sqlite_with_rowid=False,
)

pauses = Table(
    "pauses",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("since", Float, nullable=False),
    sqlite_with_rowid=False,
)

files = Table(
    "files",
    metadata,
    Column("trigger", Text, primary_key=True),
    Column("path", LargeBinary, primary_key=True),
    Column("device", Integer, nullable=False),
    Column("inode", Integer, nullable=False),
    Column("mtime_ns", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("invocation_id", Text),
    Column("seen_at", Float, nullable=False),
    Column("detail", Text),
    sqlite_with_rowid=False,
)

#: What functions used, by month. Kept for ever: a row per function and month.
usage = Table(
    "usage",
    metadata,
    Column("month", Text, primary_key=True),
    Column("function", Text, primary_key=True),
    Column("requests", Integer, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("duration_s", Float, nullable=False),
    Column("gb_s", Float, nullable=False),
    Column("cpu_s", Float, nullable=False),
    sqlite_with_rowid=False,
)

#: Versions of code that functions had in service: for going back, and for a start that finds new code broken.
served_versions = Table(
    "served_versions",
    metadata,
    Column("function", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("served_at", Float, nullable=False),
    sqlite_with_rowid=False,
)

#: Functions that stay on one version, whatever is on the disk.
pins = Table(
    "pins",
    metadata,
    Column("function", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("since", Float, nullable=False),
    sqlite_with_rowid=False,
)

aliases = Table(
    "aliases",
    metadata,
    Column("function", Text, primary_key=True),
    Column("alias", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("source", Text, nullable=False),
    sqlite_with_rowid=False,
)
