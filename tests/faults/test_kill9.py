"""kill -9 of the daemon at random moments, while events flow through queue, files and schedules."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from faasd.client import Client
from faasd.errors import FaasdError
from tests.daemon.harness import DaemonProcess, wait_for, write_project

FUNCTIONS = """
    import os
    from faasd import every, files, function, queue

    RUNS = os.environ["RUNS"]

    def note(context):
        line = f"{context.invocation_id} {context.attempt}\\n".encode()
        fd = os.open(RUNS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(fd, line)
        os.close(fd)

    @function(triggers=[queue("orders")], retry={"attempts": 2, "first": "100ms"})
    def order(event, context):
        note(context)
        if event["body"]["n"] % 500 == 499:
            raise ValueError("poison")
        return event["body"]["n"]

    @function(triggers=[files("inbox", settle="200ms", on_success="move:done", on_failure="move:failed")])
    def picture(event, context):
        note(context)
        return os.path.getsize(event["path"])

    @function(triggers=[every("1s", catch_up="all", overlap="allow", name="tick")])
    def tick(event, context):
        note(context)
"""


@dataclass
class Feed:
    """Sends events until it has sent them all; remembers what was acknowledged."""

    client: Client
    inbox: Path
    orders: int
    files: int
    acknowledged: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    refused: int = 0
    sizes: tuple[int, ...] = (1,)

    def send_orders(self) -> None:
        """Enqueue one by one, again after a refusal, as a script would."""
        n = 0
        while n < self.orders:
            size = min(random.choice(self.sizes), self.orders - n)
            events = [{"body": {"n": n + i}} for i in range(size)]
            try:
                accepted = self.client.enqueue_many("orders", events)
            except FaasdError:
                self.refused += 1
                time.sleep(0.02)
                continue
            self.acknowledged.extend(one["id"] for one in accepted)
            n += size
            time.sleep(0.001)

    def drop_files(self) -> None:
        """Write beside the inbox and rename in, as a careful sender does."""
        outside = self.inbox.parent / "outside"
        outside.mkdir(exist_ok=True)
        for n in range(self.files):
            name = f"picture-{n:05}.bin"
            (outside / name).write_bytes(os.urandom(random.randint(1, 2000)))
            (outside / name).rename(self.inbox / name)
            self.dropped.append(name)
            time.sleep(0.002)


def rows(state_dir: Path, query: str, *arguments: object) -> list[tuple]:  # type: ignore[type-arg]
    """Ask the database directly: the daemon's own word is not what is tested."""
    with sqlite3.connect(f"file:{state_dir}/faasd.db?mode=ro", uri=True) as connection:
        return connection.execute(query, arguments).fetchall()


def run_with_kills(
    directory: Path,
    orders: int,
    files: int,
    kills: int,
    functions: str = FUNCTIONS,
    sizes: tuple[int, ...] = (1, 1, 1, 5, 20),
) -> None:
    """Let events flow, kill the daemon again and again, then account for every event."""
    runs = directory / "notes"  # Which the functions may write.
    runs.touch()
    inbox = directory / "inbox"
    inbox.mkdir()
    config = write_project(directory, functions, f'[defaults]\nenv = {{ RUNS = "{runs}" }}\n')
    daemon = DaemonProcess(config)
    feed = Feed(daemon.client, inbox, orders, files)
    feed.sizes = sizes
    threads = [threading.Thread(target=feed.send_orders), threading.Thread(target=feed.drop_files)]
    daemon.start()
    started_at = (
        time.time()
    )  # Ready: before that there is no schedule yet, however long it takes on a busy host.
    for thread in threads:
        thread.start()
    for _ in range(kills):
        time.sleep(random.uniform(0.0, 0.6))  # The random moment is the subject of this test.
        daemon.kill9()
        daemon.start(wait=random.random() < 0.9)
    daemon.wait_until_ready()
    for thread in threads:
        thread.join(300)
    least = what_is_left(daemon, feed)
    while least:  # However long it takes on a busy host, as long as it gets on.
        what = f"any of what is left to be processed: {least}"
        least = wait_for(lambda least=least: fewer(daemon, feed, least), what, 90)[0]
    ended_at = time.time()
    assert daemon.stop() == 0
    assert not daemon.leftovers()
    account_for_everything(daemon.state_dir, runs, feed, (started_at, ended_at))
    done = {path.name for path in (inbox.parent / "done").iterdir()}
    # On a host so busy that no daemon lives long enough for the first in line, five kills put it aside, with that reason.
    assert set(feed.dropped) - done == quarantined(daemon.state_dir, "picture")
    assert done <= set(feed.dropped)


def quarantined(state_dir: Path, function: str) -> set[str]:
    """Return the names of the files that were put aside because the daemon died under each of them five times."""
    query = """
        SELECT json_extract(event_json, '$.name') FROM invocations
        WHERE function = ? AND state = 'dead' AND outcome = 'lost' AND reason LIKE 'quarantined:%5 times'
        """
    return {name for (name,) in rows(state_dir, query, function)}


def what_is_left(daemon: DaemonProcess, feed: Feed) -> int:
    """Return how many events wait or run, and how many files are in the inbox."""
    counts = [one for one in daemon.client.queues() if one["queue"] != "tick"]
    busy = sum(one["waiting"] + one["delayed"] + one["in_flight"] for one in counts)
    return int(busy) + len(list(feed.inbox.iterdir()))


def fewer(daemon: DaemonProcess, feed: Feed, than: int) -> tuple[int] | None:
    """Return how much is left, once that is less."""
    left = what_is_left(daemon, feed)
    return (left,) if left < than else None


def account_for_everything(
    state_dir: Path, runs: Path, feed: Feed, span: tuple[float, float]
) -> None:
    """Nothing acknowledged is lost, and every run beyond the first is explained by a record."""
    state = dict(rows(state_dir, "SELECT id, state FROM invocations WHERE trigger = 'queue'"))
    missing = {
        id_: state.get(id_) for id_ in feed.acknowledged if state.get(id_) not in ("done", "dead")
    }
    assert not missing, f"acknowledged events that are not accounted for: {missing}"
    assert len(set(feed.acknowledged)) == feed.orders

    attempts: dict[str, Counter[str]] = {}
    query = "SELECT i.id, a.outcome FROM attempts a JOIN invocations i ON i.seq = a.invocation_seq"
    for id_, outcome in rows(state_dir, query):
        attempts.setdefault(id_, Counter())[outcome] += 1
    ran = Counter(line.split()[0] for line in runs.read_text().splitlines())
    for id_, count in ran.items():
        recorded = attempts.get(id_, Counter())
        unexplained = count - sum(recorded.values())
        assert unexplained <= 0, f"{id_} ran {count} times, recorded are {dict(recorded)}"
        assert recorded["ok"] <= 1
    charged = [id_ for id_, each in attempts.items() if each["error"] > 2]
    assert not charged, "a kill was charged to the function"

    due = {round(at) for (at,) in rows(
        state_dir, "SELECT scheduled_for FROM invocations WHERE source = 'tick'"
    ) if at is not None}  # fmt: skip
    expected = set(range(int(span[0]) + 2, int(span[1]) - 1))
    assert expected <= due, f"ticks without a record: {sorted(expected - due)[:10]}"


def test_nothing_is_lost_when_the_daemon_is_killed_five_times(tmp_path: Path) -> None:
    """The short run, for every `make test`."""
    run_with_kills(tmp_path, orders=400, files=100, kills=5)


def test_nothing_is_lost_when_short_attempts_are_handed_over_together(tmp_path: Path) -> None:
    """What is claimed ahead, and sent to a warm sandbox before it begins, is accounted for as well."""
    functions = FUNCTIONS.replace('[queue("orders")]', '[queue("orders")], reuse=1000')
    # So many at once that there is always more than all slots can take.
    run_with_kills(tmp_path, orders=4000, files=20, kills=5, functions=functions, sizes=(200,))


@pytest.mark.timeout(1200)
def test_nothing_is_lost_when_the_daemon_is_killed_fifty_times(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """5,000 events, 50 kills."""
    if not request.config.getoption("--run-faults"):
        pytest.skip("the long run takes minutes: `make test-faults`")
    run_with_kills(tmp_path, orders=4000, files=1000, kills=50)


def test_the_events_of_the_queue_survive_a_kill_of_the_whole_process_group(tmp_path: Path) -> None:
    """Also with zygotes and sandboxes killed, or left behind, at the same moment."""
    config = write_project(
        tmp_path,
        """
        import time
        from faasd import function, queue

        @function(triggers=[queue("slow")], timeout="20s")
        def slow(event, context):
            if context.attempt == 1:
                time.sleep(20)
            return context.attempt
        """,
    )
    daemon = DaemonProcess(config)
    daemon.start()
    id_ = daemon.client.enqueue("slow", {})
    daemon.wait_for_state(id_, "running")
    assert daemon.process is not None
    os.killpg(daemon.process.pid, 9)
    daemon.process.wait()
    with daemon.running():
        found = daemon.wait_for_state(id_, "done")
        assert json.loads(json.dumps(found["result"])) == 2
        outcomes = [attempt["outcome"] for attempt in found["attempt_records"]]
        assert outcomes == ["lost", "ok"]
