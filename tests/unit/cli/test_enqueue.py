"""`faasd enqueue`: fast, exact, and never the place where an event is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from faasd import errors
from faasd.cli import enqueue_events as module
from faasd.cli.enqueue_fast import enqueue_without_click
from faasd.cli.group import run_click
from faasd.model.invocation import Acceptance, NewInvocation
from tests.fakes.api_fakes import FakeDaemon, ServerThread, serving
from tests.unit.cli.conftest import FAASD, Run

Prepare = Callable[[None], list[NewInvocation]]

# What a cold enqueue may import beside what the bare interpreter has: json, socket and what those
# need, and our own light modules.
_ALLOWED = {
    "__future__", "_collections", "_functools", "_json", "_operator", "_socket", "_sre", "array",
    "collections", "copyreg", "enum", "errno", "functools", "itertools", "json", "keyword", "math",
    "operator", "re", "reprlib", "select", "selectors", "socket", "time", "types",
}  # fmt: skip
_OWN = {
    "faasd", "faasd.declare", "faasd.cli", "faasd.cli.main", "faasd.cli.enqueue_fast", "faasd.cli.enqueue_events",
    "faasd.cli.exits", "faasd.client", "faasd.errors", "faasd.http_answer", "faasd.model",
    "faasd.model.ids", "faasd.model.paths", "faasd.model.config_glance",
}  # fmt: skip


def test_one_event_is_enqueued_and_its_id_printed(
    faasd: Run, daemon: FakeDaemon, server: ServerThread
) -> None:
    """The whole command, as a script runs it."""
    done = faasd("enqueue", "images", '{"a": 1}', "--delay", "5m", "--key=k", "--priority", "3")
    assert (done.returncode, done.stderr) == (0, "")
    [event] = daemon.store.accepted
    assert done.stdout == f"{event.id}\n"
    assert (event.body["body"], event.group_key, event.priority) == ({"a": 1}, "k", 3)


def test_a_thousand_lines_are_one_transaction(
    faasd: Run, daemon: FakeDaemon, server: ServerThread
) -> None:
    """One process and one commit for a batch, and an id for each line in its order."""
    lines = "".join(f'{{"n": {number}}}\n\n' for number in range(1000))
    done = faasd("enqueue", "images", "-", stdin=lines)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == [event.id for event in daemon.store.accepted]
    assert [event.body["body"]["n"] for event in daemon.store.accepted] == list(range(1000))
    assert daemon.store.transactions == 1


def test_the_batch_size_is_the_transactions(
    faasd: Run, daemon: FakeDaemon, server: ServerThread, tmp_path: Path
) -> None:
    """With it, a file is read as lines too."""
    (tmp_path / "events.ndjson").write_text("1\n2\n3\n4\n5")
    done = faasd("enqueue", "images", "@events.ndjson", "--batch", "2", "--json")
    assert [row["state"] for row in json.loads(done.stdout)] == ["waiting"] * 5
    assert daemon.store.transactions == 3


def test_a_line_that_is_no_json_stops_there_and_says_where(
    faasd: Run, daemon: FakeDaemon, server: ServerThread
) -> None:
    """What came before it is accepted and its ids are printed, so that a script can go on from there."""
    done = faasd("enqueue", "images", "-", stdin="1\n2\n{oops\n4\n")
    assert done.returncode == 2
    assert "line 3 of standard input is not JSON" in done.stderr
    assert "the first 2 events are on disk" in done.stderr
    assert len(done.stdout.split()) == len(daemon.store.accepted) == 2
    as_json = faasd("enqueue", "images", "-", "--json", stdin="1\n{oops\n")
    assert "the first event is on disk" in as_json.stderr
    assert [row["state"] for row in json.loads(as_json.stdout)] == ["waiting"]


def test_an_interrupted_enqueue_is_exit_130_without_a_traceback(
    environment: dict[str, str], daemon: FakeDaemon, server: ServerThread
) -> None:
    """Its fast path goes around click, and has to keep the promises of every command all the same."""
    process = subprocess.Popen(
        [FAASD, "enqueue", "images", "-", "--batch", "1"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"1\n")
    process.stdin.flush()
    [accepted] = process.stdout.readline().split()  # It runs, and waits for the next line.
    assert accepted.decode() in daemon.store.rows
    process.send_signal(signal.SIGINT)
    process.wait(20)  # Before its input is closed, which would be the regular end.
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.decode().split("\n")[:2] == [
        "the first event is on disk",
        "faasd: error: interrupted",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["images", "{oops"], "the event is not JSON"),
        (["images", "hello"], "needs its own quotes"),
        (["images", "NaN"], "NaN is not JSON"),
        (["images", "1", "--delay", "90"], 'did you mean "90s"'),
        (["imags", "1"], 'did you mean "images"'),
        (["images", "@missing.json"], "cannot read missing.json"),
        (["images", "1", "--priority", "high"], "not a valid integer"),
        (["images", "1", "--batch", "0"], "range 1<=x<=10000"),
        (["images", "1", "--dely", "5m"], "'--delay'"),
        (["images", "1", "2"], "unexpected extra argument"),
        (["images", "1", "--key"], "requires an argument"),
        ([], "Missing argument 'QUEUE'"),
    ],
)
def test_a_mistake_is_exit_2_and_nothing_is_stored(
    faasd: Run, daemon: FakeDaemon, server: ServerThread, arguments: list[str], said: str
) -> None:
    """Whichever of the two parsers sees it."""
    done = faasd("enqueue", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not daemon.store.accepted


@pytest.mark.parametrize(
    "arguments",
    [
        ["enqueue", "images"],
        ["enqueue", "images", "1"],
        ["enqueue", "images", "-"],
        ["enqueue", "images", "-1"],
        ["enqueue", "--key", "k", "images", "1", "--json"],
        ["enqueue", "--key=k=1", "images", "1"],
        ["enqueue", "--key", "--json", "images", "1"],
        ["enqueue", "images", "1", "--priority", "-5", "--batch", "7"],
        ["enqueue", "images", "1", "--priority", "+5"],
        ["enqueue", "images", "1", "--priority", "1_0"],
        ["--config", "a.toml", "enqueue", "images", "1"],
        ["--config=a.toml", "enqueue", "images", "1", "--config", "b.toml"],
        ["enqueue", "images", "--", "-1"],
        ["enqueue", "images", "1", "--delay", "1", "--delay", "2"],
        ["--config", "enqueue", "enqueue", "images"],
        ["enqueue", "enqueue", "enqueue"],
        ["enqueue", "images", "", "--key", ""],
        ["enqueue", "images", "1", "--json=1"],
        ["enqueue", "--help"],
        ["--json", "enqueue", "images"],
        ["invoke", "enqueue"],
    ],
    ids=" ".join,
)
def test_both_parsers_read_a_command_line_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """The small parser may leave a command line to click, and must never read it otherwise."""
    calls: list[tuple[Any, ...]] = []

    def note(*positional: object, **named: object) -> int:
        calls.append((positional, named))
        return 0

    monkeypatch.setattr("faasd.cli.enqueue_fast.enqueue_events", note)
    monkeypatch.setattr("faasd.cli.enqueue.enqueue_events", note)
    monkeypatch.setattr("faasd.client.find_config", lambda *_: None)
    fast = enqueue_without_click(arguments)
    by_fast, calls[:] = list(calls), []
    if fast is None:
        assert by_fast == []
        return
    run_click(arguments)
    assert by_fast == calls


def test_the_usual_command_lines_do_without_click() -> None:
    """The control of the test above: leaving everything to click would pass it."""
    calls = []

    def note(*positional: object, **named: object) -> int:
        calls.append(positional)
        return 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faasd.cli.enqueue_fast.enqueue_events", note)
        assert enqueue_without_click(["enqueue", "images", "1", "--key", "k", "--json"]) == 0
        assert enqueue_without_click(["--config", "x", "enqueue", "images", "-"]) == 0
    assert calls == [("images", "1"), ("images", "-")]


def test_a_cold_enqueue_imports_nearly_nothing(
    environment: dict[str, str], server: ServerThread
) -> None:
    """Under 40 ms for the whole process is a promise; this list is what keeps it."""
    code = (
        "import sys; before = set(sys.modules)\n"
        "from faasd.cli.main import main\n"
        "assert main(['enqueue', 'images', '{\"a\": 1}']) == 0\n"
        "print(sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    found = set(json.loads(done.stderr.replace("'", '"')))
    own = {name for name in found if name.split(".")[0] == "faasd"}
    assert own == _OWN
    others = {name.split(".")[0] for name in found - own}
    assert others <= _ALLOWED, sorted(others - _ALLOWED)


class OfflineStore:
    """What the store offers to a command line without a daemon."""

    def __init__(self, busy: int = 0) -> None:
        self.busy = busy
        self.taken: list[NewInvocation] = []

    def enqueue_offline(self, _: Path, prepare: Prepare) -> list[Acceptance]:
        if self.busy:
            self.busy -= 1
            raise errors.StateDirectoryInUse("a daemon holds it")
        news = prepare(None)
        if news[0].queue != "images":
            raise errors.UnknownQueue("no such queue")
        self.taken += news
        return [Acceptance(new.id, "waiting") for new in news]


@pytest.fixture
def config(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delenv("FAASD_SOCKET", raising=False)
    return environment["FAASD_CONFIG"]


def offline_store(monkeypatch: pytest.MonkeyPatch, busy: int = 0) -> OfflineStore:
    store = OfflineStore(busy)
    module_ = SimpleNamespace(enqueue_offline=store.enqueue_offline)
    monkeypatch.setitem(sys.modules, "faasd.store.offline_enqueue", module_)
    return store


def test_without_a_daemon_the_event_goes_into_the_store(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A script never loses an event because the daemon is being restarted."""
    store = offline_store(monkeypatch)
    arguments = ["enqueue", "images", '{"a": 1}', "--delay", "5m", "--expires", "1h", "--config"]
    assert enqueue_without_click([*arguments, config]) == 0
    [new] = store.taken
    assert capsys.readouterr().out == f"{new.id}\n"
    envelope = json.loads(new.event_json)
    assert envelope.items() >= {
        "trigger": "queue", "source": "images", "queue": "images", "body": {"a": 1}, "id": new.id,
    }.items()  # fmt: skip
    assert new.due_at == pytest.approx(new.created_at + 300)
    assert new.expires_at == pytest.approx(new.created_at + 3600)
    assert enqueue_without_click(["enqueue", "nonesuch", "1", "--config", config]) == 2


def test_a_daemon_that_is_starting_is_waited_for(
    config: str,
    state_dir: Path,
    daemon: FakeDaemon,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It holds the store before it answers; the event then goes by the socket."""
    store = offline_store(monkeypatch, busy=1000)
    servers: list[Any] = []

    def start_after_a_while(_: float) -> None:
        if store.busy == 998:
            servers.append(serving(daemon, state_dir / "faasd.sock"))
            servers[0].__enter__()

    monkeypatch.setattr(module.time, "sleep", start_after_a_while)
    try:
        assert enqueue_without_click(["enqueue", "images", "1", "--config", config]) == 0
    finally:
        servers[0].__exit__(None, None, None)
    assert len(daemon.store.accepted) == 1
    assert store.taken == []


def test_a_store_that_stays_held_without_an_answer_is_exit_3(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Patience has a bound."""
    offline_store(monkeypatch, busy=1_000_000)
    now = [0.0]
    clock = SimpleNamespace(
        monotonic=lambda: now[0], sleep=lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    monkeypatch.setattr(module, "time", clock)
    assert enqueue_without_click(["enqueue", "images", "1", "--config", config]) == 3
    assert 35 < now[0] < 40
    assert "no daemon answers" in capsys.readouterr().err


def test_a_daemon_that_came_up_meanwhile_is_woken(
    config: str, state_dir: Path, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would otherwise find the event only at its next look."""
    store = offline_store(monkeypatch)
    servers: list[Any] = []

    def enqueue_while_it_starts(path: Path, prepare: Prepare) -> list[Acceptance]:
        servers.append(serving(daemon, state_dir / "faasd.sock"))
        servers[0].__enter__()
        return store.enqueue_offline(path, prepare)

    module_ = SimpleNamespace(enqueue_offline=enqueue_while_it_starts)
    monkeypatch.setitem(sys.modules, "faasd.store.offline_enqueue", module_)
    try:
        assert enqueue_without_click(["enqueue", "images", "1", "--config", config]) == 0
    finally:
        servers[0].__exit__(None, None, None)
    assert len(store.taken) == 1
    assert daemon.wakes == 1


def test_a_socket_that_is_not_the_configurations_has_no_fallback(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The event would land in the store of another daemon."""
    store = offline_store(monkeypatch)
    monkeypatch.setenv("FAASD_SOCKET", str(tmp_path / "other.sock"))
    assert enqueue_without_click(["enqueue", "images", "1", "--config", config]) == 3
    assert "which store it belongs to is not known" in capsys.readouterr().err
    assert store.taken == []


def test_a_script_that_is_killed_by_a_closed_pipe_is_quiet(
    environment: dict[str, str], server: ServerThread
) -> None:
    """`generate | faasd enqueue images - | head -1` is a common line."""
    lines = "1\n" * 3000
    done = subprocess.run(
        ["/bin/sh", "-c", f"{FAASD} enqueue images - --batch 1000 | head -1"],
        input=lines,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(done.stdout.split()) == 1
    assert done.stderr == ""
    assert os.WIFEXITED(done.returncode)
