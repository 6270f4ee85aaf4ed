"""The hot statements, as SQLite means to run them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from faasd.store import (
    addressing,
    cancelling,
    claiming,
    finishing,
    groups,
    history,
    invocation_store,
    leases,
    retention,
    usage,
)
from faasd.store.database import driver_of, open_writer
from faasd.store.migrations import migrate
from faasd.store.statements import Hot

HOT = {
    f"{module.__name__.rpartition('.')[2]}.{name}": statement
    for module in (
        addressing,
        cancelling,
        claiming,
        finishing,
        groups,
        history,
        invocation_store,
        leases,
        retention,
        usage,
    )
    for name, statement in vars(module).items()
    if isinstance(statement, Hot)
}
#: These walk a whole partial index on purpose; `json_each` and subqueries are no tables.
MAY_SCAN = (
    "SCAN invocations USING INDEX waiting_",  # After a change of configuration only.
    "SCAN invocations USING COVERING INDEX waiting_",
    "SCAN invocations USING INDEX finished",  # By a reader, to count what is kept.
    "SCAN json_each VIRTUAL TABLE",
    "SCAN (subquery",
    "SCAN anon_1",
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path: Path = tmp_path_factory.mktemp("plans") / "faasd.db"
    connection = open_writer(path)
    migrate(connection, path)
    yield driver_of(connection)
    connection.close()


def plan(driver: sqlite3.Connection, statement: Hot) -> list[str]:
    if not any(word in statement.sql for word in ("SELECT", "UPDATE", "DELETE")):
        return []
    arguments = ["[]" if name.endswith("s") else 1 for name in statement.names]
    rows = driver.execute(f"EXPLAIN QUERY PLAN {statement.sql}", arguments).fetchall()
    return [row[3] for row in rows]


@pytest.mark.parametrize("name", sorted(HOT))
def test_no_hot_statement_walks_the_table(driver: sqlite3.Connection, name: str) -> None:
    """A million finished invocations must cost a claim nothing."""
    steps = plan(driver, HOT[name])
    scans = [step for step in steps if step.startswith("SCAN")]
    assert [s for s in scans if not s.startswith(MAY_SCAN)] == []


def test_a_claim_reads_its_candidates_in_the_order_of_their_index(
    driver: sqlite3.Connection,
) -> None:
    """Sorting a backlog at every claim would make a long queue a slow one."""
    steps = plan(driver, claiming.CANDIDATES)
    assert steps == ["SEARCH invocations USING INDEX waiting_ready (queue=?)"]
