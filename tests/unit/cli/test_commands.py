"""Command lines as people and scripts run them: real processes, a real socket, stand-ins behind it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import click
import pytest

from faasd.cli import exits
from faasd.cli.exits import EXIT_CODES, exit_codes_of
from faasd.cli.group import faasd as group
from tests.fakes.api_fakes import FakeDaemon, ServerThread, wait_for
from tests.unit.cli.conftest import FAASD, Run

pytestmark = pytest.mark.usefixtures("server")


def test_invoke_prints_the_result_and_nothing_else_on_standard_output(faasd: Run) -> None:
    """Scripts pipe it into jq."""
    done = faasd("invoke", "echo", "--event", '{"x": "é"}', "--logs")
    assert (done.returncode, done.stdout) == (0, '{"x": "é"}\n')
    assert done.stderr == "hello from inside\n"


def test_a_failed_function_is_exit_1_with_the_reason_on_standard_error(faasd: Run) -> None:
    """Exit 1 is the function's failure and nobody else's."""
    done = faasd("invoke", "fail")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("faasd: error: function 'fail' ended as error: ValueError: bad")
    assert "app.py:3 in fail" in done.stderr
    done = faasd("invoke", "fail", "--json")
    assert (done.returncode, json.loads(done.stdout)["outcome"]) == (1, "error")


@pytest.mark.parametrize("form", ["-", "@event.json", "text"])
def test_an_event_comes_from_the_command_line_a_file_or_standard_input(
    faasd: Run, tmp_path: Path, form: str
) -> None:
    """The same three forms as for enqueue."""
    text = '{"a":\n 1}'
    (tmp_path / "event.json").write_text(text)
    done = faasd("invoke", "echo", "--event", text if form == "text" else form, stdin=text)
    assert done.stdout == '{"a": 1}\n'


def test_an_async_invoke_prints_its_id(faasd: Run, daemon: FakeDaemon) -> None:
    """It can then be asked for with `invocations show`."""
    done = faasd("invoke", "wait", "--async")
    assert done.returncode == 0
    assert list(daemon.store.rows) == [done.stdout.strip()]


def test_interrupting_an_invoke_cancels_it(environment: dict[str, str], daemon: FakeDaemon) -> None:
    """Ctrl-C must end the function too, and be told from a failure by the exit code."""
    process = subprocess.Popen(
        [FAASD, "invoke", "wait"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert daemon.invoker.begun.wait(20)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (130, b"", b"faasd: error: interrupted")
    assert daemon.invoker.cancelled.wait(10)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["invoke", "ecko"], 'did you mean "echo"'),
        (["invoke", "echo", "--event", "{"], "--event is not JSON"),
        (["invoke", "echo", "--event", "@missing"], "cannot read missing"),
        (["invoke", "echo", "--logs", "--async"], "does not go with --async"),
        (["invoke"], "Missing argument 'NAME'"),
        (["qeues"], "Did you mean one of: 'enqueue', 'queues'"),
        (["queues", "--jsn"], "Did you mean '--json'"),
        (["invocations", "show", "ffffffff"], "no invocation has the id"),
        (["dead-letters", "drop"], "name dead letters by id, or choose them"),
        (["dead-letters", "drop", "--all", "abc"], "name dead letters by id, or choose them"),
        (["schedules", "next", "--timezone", "UTC"], "goes with --cron"),
        (["logs", "--grep", "("], "no regular expression"),
        (["queues", "--config", "missing.toml"], "cannot read missing.toml"),
    ],
)
def test_a_wrong_command_line_is_exit_2_with_a_sentence(
    faasd: Run, arguments: list[str], said: str
) -> None:
    """No traceback for anything that people can get wrong."""
    done = faasd(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("faasd: error: ")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_config_is_taken_before_and_after_the_subcommand(faasd: Run, tmp_path: Path) -> None:
    """People add it at either end."""
    config = str(tmp_path / "faasd.toml")
    for arguments in (
        ["--config", config, "queues", "--json"],
        ["queues", "--json", "--config", config],
        ["functions", "--config", config, "list", "--json"],
        ["functions", "list", "--json", f"--config={config}"],
        ["--config", config, "functions", "list", "--json"],
    ):
        done = faasd(*arguments, FAASD_CONFIG="")
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert json.loads(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "keys"),
    [
        (["functions", "list"], {"name", "handler", "triggers", "running", "paused_since"}),
        (["queues"], {"queue", "waiting", "delayed", "in_flight", "dead"}),
        (["invocations", "list"], {"id", "function", "trigger", "outcome", "attempts"}),
        (["dead-letters", "list"], {"id", "function", "outcome", "error", "reason"}),
        (["schedules", "list"], {"name", "function", "next_at", "paused"}),
        (["schedules", "next"], {"at", "name"}),
        (["files", "list"], {"path", "trigger", "state", "invocation_id"}),
        (["logs"], {"at", "function", "invocation_id", "stream", "text"}),
    ],
)
def test_every_listing_is_one_json_array_and_plain_columns_in_a_pipe(
    faasd: Run, daemon: FakeDaemon, arguments: list[str], keys: set[str]
) -> None:
    """Programs read the one, grep and people the other."""
    daemon.store.put_dead(function="resize", queue="images")
    daemon.logs.add("hello", daemon.clock.now())
    done = faasd(*arguments, "--json")
    rows = json.loads(done.stdout)
    assert isinstance(rows, list)
    assert keys <= set(rows[0])
    plain = faasd(*arguments)
    assert plain.returncode == 0
    assert "\x1b" not in plain.stdout
    assert len(plain.stdout.splitlines()) == len(rows) + (arguments != ["logs"])


@pytest.mark.parametrize("no_color", [False, True])
def test_tables_are_coloured_on_a_terminal_only_and_not_with_no_color(
    environment: dict[str, str], daemon: FakeDaemon, no_color: bool
) -> None:
    """The convention of no-color.org, which people set once for all their programs."""
    daemon.store.put_dead()
    ours, theirs = pty.openpty()
    env = {**environment, "TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    env.pop("FORCE_COLOR", None)
    try:
        subprocess.run([FAASD, "invocations", "list"], env=env, stdout=theirs, check=True)
        text = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "dead" in text
    assert ("\x1b[31m" in text) != no_color


def test_one_thing_is_one_json_object(faasd: Run, daemon: FakeDaemon) -> None:
    """A single thing in an array would have to be unpacked by everybody."""
    row = daemon.store.put_dead(function="resize")
    for arguments in (
        ["invocations", "show", row.id],
        ["dead-letters", "show", row.id[:13]],
        ["functions", "show", "echo"],
        ["status"],
        ["why", "echo"],
    ):
        shown = json.loads(faasd(*arguments, "--json").stdout)
        assert isinstance(shown, dict)
        plain = faasd(*arguments)
        assert (plain.returncode, plain.stderr) == (0, "")
        assert plain.stdout


def test_dead_letters_are_redriven_and_dropped(faasd: Run, daemon: FakeDaemon) -> None:
    """One by id, many by what they share; the ids that changed are printed."""
    one, two = daemon.store.put_dead(function="resize"), daemon.store.put_dead(function="resize")
    other = daemon.store.put_dead(function="echo")
    assert faasd("dead-letters", "redrive", one.id).stdout == f"{one.id}\n"
    done = faasd("dead-letters", "drop", "--all", "--function", "resize", "--json")
    assert json.loads(done.stdout) == [two.id]
    done = faasd("dead-letters", "drop", "--all", "--outcome", "timeout")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "no dead letter matches\n")
    assert daemon.store.rows[other.id].state == "dead"


def test_verbs_reach_what_they_name(faasd: Run, daemon: FakeDaemon, tmp_path: Path) -> None:
    """Each verb of each noun, once."""
    row = daemon.store.put()
    assert faasd("functions", "pause", "echo").stdout == "function echo is paused\n"
    assert ("function", "echo") in daemon.pauses.paused
    assert faasd("functions", "pause", "echo").stdout == "function echo is paused, as it was\n"
    assert faasd("functions", "resume", "echo").stdout == "function echo is not paused\n"
    daemon.files.stopped = {"resize": ["inbox"]}
    resumed = faasd("functions", "resume", "resize").stdout
    assert resumed == "function resize is not paused\nfiles trigger inbox goes on\n"
    assert faasd("schedules", "pause", "nightly").stdout == "schedule nightly is paused\n"
    assert faasd("schedules", "resume", "nightly").stdout == "schedule nightly is not paused\n"
    run = faasd("schedules", "run", "nightly").stdout.strip()
    assert daemon.store.rows[run].trigger == "cron"
    replay = faasd("invocations", "replay", row.id).stdout.strip()
    assert daemon.store.rows[replay].parent_id == row.id
    assert faasd("invocations", "cancel", row.id).stdout == f"cancelled {row.id}\n"
    again = faasd("invocations", "cancel", row.id)
    assert (again.returncode, again.stdout) == (1, "")
    assert "it is cancelled, which is final" in again.stderr
    retried = faasd("files", "retry", "/srv/inbox/a.jpg").stdout.strip()
    assert daemon.store.rows[retried].trigger == "files"


def test_the_next_times_of_a_schedule_are_iso_8601(faasd: Run) -> None:
    """One schedule's times need no names beside them."""
    done = faasd("schedules", "next", "nightly", "-n", "2", "--json")
    assert json.loads(done.stdout) == ["2027-01-15T08:00:00.000Z", "2027-01-16T08:00:00.000Z"]
    done = faasd(
        "schedules", "next", "nightly", "-n", "1", "--from", "2030-01-01T00:00:00+01:00", "--json"
    )
    assert json.loads(done.stdout) == ["2029-12-31T23:00:00.000Z"]


def test_following_logs_prints_lines_as_they_come_until_interrupted(
    environment: dict[str, str], daemon: FakeDaemon
) -> None:
    """Its output is a pipe here, which must not hold lines back."""
    process = subprocess.Popen(
        [FAASD, "logs", "-f", "--json"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        wait_for(lambda: daemon.logs.sinks)
        daemon.logs.add("now", daemon.clock.now())
        assert json.loads(process.stdout.readline())["text"] == "now"
    finally:
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=20)
    assert (process.returncode, told) == (130, ""), "there is no other way to end it"


def test_a_reader_that_has_enough_ends_the_command_quietly(
    environment: dict[str, str], daemon: FakeDaemon
) -> None:
    """`faasd logs | head -1` is no error that anybody wants to read about."""
    for number in range(5000):
        daemon.logs.add(f"line {number} " + "x" * 100, daemon.clock.now())
    command = f"{FAASD} logs --limit 5000 | head -1"
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=True
    )
    assert "line 0" in done.stdout
    assert done.stderr == ""


def test_names_cannot_steer_a_terminal(faasd: Run, daemon: FakeDaemon) -> None:
    """Whoever may drop a file could otherwise write anywhere on an operator's screen."""
    from dataclasses import replace

    name = b"/srv/inbox/\x1b[2Jcaf\xe9\n"
    daemon.files.rows = [replace(daemon.files.rows[0], path=name)]
    done = faasd("files", "list", LC_ALL="C.UTF-8")
    assert done.returncode == 0
    assert r"\x1b[2Jcaf\udce9\x0a" in done.stdout
    assert "\x1b" not in done.stdout
    [row] = json.loads(faasd("files", "list", "--json").stdout)
    assert row["path"].encode("utf-8", "surrogateescape") == name


def test_a_terminated_daemon_is_exit_3(faasd: Run, server: ServerThread) -> None:
    """Scripts tell `try later` from `wrong`."""
    server.stop()
    for arguments in (["queues"], ["invoke", "echo"], ["why", "echo"], ["logs"]):
        done = faasd(*arguments)
        assert (done.returncode, done.stdout) == (3, ""), arguments
        assert done.stderr.startswith("faasd: error: no daemon answers on ")


@pytest.mark.parametrize(
    ("arguments", "codes"),
    [
        ("invoke", {"0": "the function succeeded", "3": "no daemon answers"}),
        ("dead-letters redrive", {"0": "it was done", "3": "no daemon answers"}),
        (
            "run",
            {"0": "stopped by a signal, after the drain", "3": None, "78": "the configuration"},
        ),
        ("check", {"1": "something is wrong", "3": None, "78": None}),
        ("service status", {"1": "nothing is installed", "3": "the daemon does not run"}),
    ],
)
def test_every_help_text_documents_its_own_exit_codes(
    faasd: Run, arguments: str, codes: dict[str, str | None]
) -> None:
    """They are part of the interface; those of other commands are noise."""
    done = faasd(*arguments.split(), "--help")
    assert done.returncode == 0
    told = done.stdout.partition("\nExit codes:\n")[2].splitlines()
    rows = dict(line.split(maxsplit=1) for line in told if line[2:3].strip())
    assert rows["2"].startswith("the command line is wrong")
    for code, meaning in codes.items():
        if meaning is None:
            assert code not in rows
        else:
            assert rows[code].startswith(meaning)


def test_every_code_of_a_command_stands_in_the_manual() -> None:
    """And the names of those with codes of their own are commands."""
    words = [one for one, _ in all_commands()]
    for command in words:
        assert set(exit_codes_of(command)) <= set(EXIT_CODES)
    assert {*exits._PARTICULAR, *exits._WITHOUT_DAEMON} <= set(words)


def all_commands() -> list[tuple[str, click.Command]]:
    """Return every command with its words, groups included."""
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((name, command))
        if isinstance(command, click.Group):
            found += [(f"{name} {verb}", one) for verb, one in command.commands.items()]
    return found


def test_every_command_has_examples_that_name_it() -> None:
    """Most people read the examples and nothing else."""
    for words, command in all_commands():
        if not isinstance(command, click.Group):
            examples = command.examples  # type: ignore[attr-defined]
            assert examples, words
            assert all(f"faasd {words}" in example for example in examples), words


@pytest.mark.parametrize(
    "arguments", [[], ["functions"], ["invocations"], ["dead-letters"], ["files"], ["schedules"]]
)
def test_a_list_of_commands_has_whole_sentences(faasd: Run, arguments: list[str]) -> None:
    """A summary that is cut off tells half of what the command does."""
    help_text = faasd(*arguments, "--help", COLUMNS="80").stdout
    assert "..." not in help_text.partition("Commands:")[2]


def test_a_table_on_a_narrow_terminal_keeps_its_ids_whole(
    environment: dict[str, str], daemon: FakeDaemon, server: ServerThread
) -> None:
    """They are there to be copied into the next command."""
    row = daemon.store.put_dead()
    ours, theirs = pty.openpty()
    try:
        env = {**environment, "COLUMNS": "40", "TERM": "dumb"}
        subprocess.run([FAASD, "invocations", "list"], env=env, stdout=theirs, check=True)
        assert row.id in os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("faasd inv", ["invoke", "invocations"]),
        ("faasd invoke ec", ["echo"]),
        ("faasd enqueue im", ["images"]),
        ("faasd schedules pause ni", ["nightly"]),
        ("faasd logs --function re", ["report", "resize"]),
        ("faasd queues --j", ["--json"]),
    ],
)
def test_the_shell_completes_commands_options_and_names(
    environment: dict[str, str], server: ServerThread, words: str, offered: list[str]
) -> None:
    """By the very script that `faasd completion bash` prints."""
    script = (
        'source <(faasd completion bash); read -ra COMP_WORDS <<< "$1"; '
        "COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); "
        '_faasd_completion faasd "${COMP_WORDS[COMP_CWORD]}" ""; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    env = {**environment, "PATH": f"{Path(FAASD).parent}:{environment['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script, "bash", words], env=env, capture_output=True, text=True, check=True
    )
    assert sorted(done.stdout.split()) == sorted(offered), done.stderr


def test_log_lines_are_coloured_for_people_only(faasd: Run, daemon: FakeDaemon) -> None:
    """A function's own escape codes must not steer the terminal, and a pipe gets no codes at all."""
    daemon.logs.add("one \x1b[2J needle two", daemon.clock.now())
    coloured = faasd("logs", "--color", "always", "--grep", "needle").stdout
    assert "\x1b[1;31mneedle\x1b[0m" in coloured
    assert "\\x1b[2J" in coloured
    assert "\x1b[2J" not in coloured
    assert "\x1b[1;31m" not in faasd("logs", "--grep", "needle").stdout


def test_logs_of_several_functions_are_shown_together(faasd: Run, daemon: FakeDaemon) -> None:
    """What one function sends to another is seen in one stream."""
    for function in ("echo", "resize", "report"):
        daemon.logs.add(f"of {function}", daemon.clock.now(), function)
    done = faasd("logs", "--function", "echo", "--function", "report")
    assert [line.partition("| ")[2] for line in done.stdout.splitlines()] == [
        "of echo",
        "of report",
    ]


def test_usage_tells_what_it_would_cost(faasd: Run) -> None:
    """At prices from the command line, of which 0 is one."""
    plain = faasd("usage").stdout
    assert "COST" not in plain
    assert "2026-10  resize" in plain
    priced = faasd("usage", "--month", "2026-11", "--price-per-gb-second", "0.01", "--json")
    [row] = json.loads(priced.stdout)
    assert (row["requests"], row["gb_seconds"], row["cost"]) == (1_000_000, 500.0, 5.0)
    free = faasd("usage", "--price-per-million-requests", "0").stdout
    assert "0.000000" in free.splitlines()[-1]
    assert free.splitlines()[-1].startswith("total")
    for wrong in (("--month", "11"), ("--price-per-gb-second", "-1")):
        assert faasd("usage", *wrong).returncode in (1, 2)


def test_metrics_are_printed_by_name(faasd: Run) -> None:
    """A look without Prometheus."""
    lines = faasd("metrics", "faasd_queue_d").stdout.splitlines()
    assert {line.split("{")[0].split(" ")[-1] for line in lines if "{" in line} == {
        "faasd_queue_dead",
        "faasd_queue_delayed",
    }
    assert lines[0].startswith("# HELP faasd_queue_delayed ")
    assert "process_open_fds" in faasd("metrics").stdout


def test_top_prints_one_frame_to_a_pipe(faasd: Run, daemon: FakeDaemon) -> None:
    """For mail, for a bug report, and for whoever has no terminal."""
    daemon.store.put_dead(function="resize")
    for arguments in (["top", "--once"], ["top"]):
        done = faasd(*arguments)
        assert done.returncode == 0
        assert "\x1b" not in done.stdout
        for word in ("RUNNING", "FUNCTIONS", "QUEUES", "NEXT", "FAILURES", "resize"):
            assert word in done.stdout
    seen = json.loads(faasd("top", "--json").stdout)
    assert {"status", "functions", "attempts", "queues", "schedules", "failures"} == set(seen)


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_top_gives_the_terminal_back_as_it_was(
    environment: dict[str, str], signal_number: signal.Signals
) -> None:
    """A terminal left on the other screen, or without a cursor, has to be reset by hand."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [FAASD, "top", "--interval", "0.5"],
        env={**environment, "TERM": "xterm-256color", "LINES": "40"},
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while seen.count(b"FUNCTIONS") < 2:  # Drawn, and drawn again.
            seen += os.read(ours, 65536)
        process.send_signal(signal_number)
        while True:
            try:
                seen += os.read(ours, 65536)
            except OSError:  # The other end is closed.
                break
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert seen.count(b"\x1b[?1049h") == seen.count(b"\x1b[?1049l") == 1
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")
    assert b"Traceback" not in seen


@pytest.mark.parametrize("no_color", [False, True])
def test_logs_have_colours_on_a_terminal_only_and_where_they_are_wanted(
    environment: dict[str, str], daemon: FakeDaemon, no_color: bool
) -> None:
    """People set NO_COLOR once, for all their programs."""
    daemon.logs.add("hello there", daemon.clock.now())
    ours, theirs = pty.openpty()
    env = {**environment, "TERM": "xterm-256color", **({"NO_COLOR": "1"} if no_color else {})}
    try:
        subprocess.run([FAASD, "logs"], env=env, stdout=theirs, check=True)
        text = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert "hello there" in text
    assert ("\x1b[" in text) != no_color


@pytest.mark.parametrize("arguments", [[], ["functions"], ["layers"]])
def test_a_bare_command_shows_its_help_and_no_error(faasd: Run, arguments: list[str]) -> None:
    """Who types a name to see what it can do has made no mistake; nothing goes down a pipe, though."""
    done = faasd(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("Usage: faasd")
    assert "Commands:" in done.stderr
    assert "error" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("invocations list", ""),
        ("status --json", ""),
        ("enqueue images 1", "the first event is on disk\n"),
    ],
)
def test_output_that_has_nowhere_to_go_is_a_sentence(
    environment: dict[str, str], daemon: FakeDaemon, server: ServerThread, arguments: str, told: str
) -> None:
    """A report written to a full disk must not look like a fault of faasd's, or an event like a lost one."""
    daemon.store.put()
    command = f"{FAASD} {arguments} > /dev/full"
    done = subprocess.run(
        ["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, check=False
    )
    wrong = "faasd: error: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, told + wrong)


def test_what_is_shown_of_one_thing_reads_without_knowing_json(faasd: Run) -> None:
    """Limits in braces are for programs, which have --json."""
    shown = faasd("functions", "show", "resize").stdout
    assert re.search(r"\n  memory_bytes +268435456 \(256MiB\)\n", shown)
    assert "\ntriggers\n  trigger files, name inbox, path /srv/inbox, pattern " in shown
    assert re.search(r"\nbreaker +closed\n", shown)
    assert "{" not in shown
    listed = faasd("functions", "list").stdout
    assert "cron 0 3 * * *" in listed


def test_metrics_that_do_not_exist_are_missed(faasd: Run) -> None:
    """Silence would look like a metric without a value."""
    done = faasd("metrics", "fasd_")
    assert (done.stdout, done.returncode) == ("", 0)
    assert done.stderr == "no metric that has a value begins with 'fasd_'\n"
