"""What the API answers, over a real socket with small stand-ins behind it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from faasd import errors
from faasd.api.reference import render_api_reference
from faasd.api.replies import error_reply, kind_of
from faasd.api.routes import ROUTES
from faasd.client import Client
from faasd.clock import from_iso
from faasd.model.attempt import Attempt, Claim, Lease
from faasd.model.walls import MissingWall
from tests.fakes.api_fakes import ECHO, FakeDaemon, a_record


def test_an_enqueued_event_arrives_in_the_native_envelope(
    daemon: FakeDaemon, client: Client
) -> None:
    """Handlers read the same envelope from every trigger."""
    invocation_id = client.enqueue(
        "images", {"path": "a"}, delay="5m", key="k", dedup="d", priority=7, expires=60
    )
    [event] = daemon.store.accepted
    assert event.body["trigger"] == "queue"
    assert event.body["source"] == event.body["queue"] == "images"
    assert event.body["id"] == event.id == invocation_id
    assert event.body["body"] == {"path": "a"}
    assert daemon.store.rows[invocation_id].function == "resize"
    assert event.due_at is not None
    assert 299 < event.due_at - from_iso(event.body["time"]) < 301
    assert (event.group_key, event.dedup_key, event.priority) == ("k", "d", 7)
    assert event.expires_s == 60


def test_many_events_are_one_transaction(daemon: FakeDaemon, client: Client) -> None:
    """All or none is what makes a batch repeatable."""
    accepted = client.enqueue_many("images", [{"body": number} for number in range(1000)])
    assert daemon.store.transactions == 1
    assert [row["id"] for row in accepted] == [event.id for event in daemon.store.accepted]


def test_an_id_that_was_seen_before_is_not_stored_again(daemon: FakeDaemon, client: Client) -> None:
    """That is what makes it safe to repeat a request whose answer got lost."""
    event = {"body": 1, "id": "0193ab00-0000-7000-8000-000000000000"}
    [first] = client.enqueue_many("images", [event])
    [second] = client.enqueue_many("images", [event])
    assert (first["state"], second["state"]) == ("waiting", "duplicate")
    assert first["id"] == second["id"]
    assert len(daemon.store.rows) == 1


def test_a_functions_own_queue_takes_events_too(daemon: FakeDaemon, client: Client) -> None:
    """Every function has a queue of its name, declared or not."""
    invocation_id = client.enqueue("echo", 1)
    assert daemon.store.rows[invocation_id].function == "echo"


@pytest.mark.parametrize(
    ("event", "complaint"),
    [
        ({}, "must be an object with a `body`"),
        ({"body": 1, "dely": "5m"}, 'did you mean "delay"'),
        ({"body": 1, "delay": "soon"}, "expected a duration"),
        ({"body": 1, "delay": -5}, "expected a duration"),
        ({"body": 1, "delay": "10000000d"}, "expected at most 36500d, not '10000000d'"),
        ({"body": 1, "expires": 10**400}, "expected at most 36500d"),
        ({"body": 1, "priority": "high"}, "whole number"),
        ({"body": 1, "priority": True}, "whole number"),
        ({"body": 1, "key": 5}, "must be a text"),
        ({"body": 1, "key": ""}, "must be a text"),
        ({"body": 1, "id": "../../etc/passwd"}, "must be a UUID"),
    ],
)
def test_an_event_with_a_mistake_is_refused_with_its_place(
    daemon: FakeDaemon, client: Client, event: dict[str, object], complaint: str
) -> None:
    """One wrong event refuses the whole request, so the message must say which it is."""
    with pytest.raises(errors.InvalidSetting) as caught:
        client.request("POST", "/api/v1/queues/images/events", {"events": [{"body": 1}, event]})
    assert "events[1]" in str(caught.value)
    assert complaint in str(caught.value)
    assert not daemon.store.accepted


def test_an_unknown_name_is_answered_with_the_nearest(client: Client) -> None:
    """Most unknown names are typing errors."""
    with pytest.raises(errors.UnknownQueue, match='did you mean "images"'):
        client.enqueue("imags", 1)
    with pytest.raises(errors.UnknownFunction, match='did you mean "resize"'):
        client.invoke("resise")


def test_an_event_over_the_functions_limit_is_413(client: Client) -> None:
    """Refusals of intake keep their class on the way to the caller."""
    with pytest.raises(errors.PayloadTooLarge):
        client.enqueue("images", "x" * 2_000_000)


def test_a_file_name_that_is_no_utf8_survives_both_ways(daemon: FakeDaemon, client: Client) -> None:
    """Names on Linux are bytes; JSON escapes carry them."""
    body = {"path": b"/srv/caf\xe9".decode("utf-8", "surrogateescape")}
    invocation_id = client.enqueue("images", body)
    assert client.invocation(invocation_id)["event"]["body"] == body


def test_a_sync_invoke_answers_with_the_outcome(client: Client) -> None:
    """A failure is an outcome like another, not a failed request."""
    good = client.invoke("echo", {"x": [1, None]})
    assert (good["outcome"], good["result"]) == ("ok", {"x": [1, None]})
    assert good["memory_peak_bytes"] == 9_000_000
    bad = client.invoke("fail")
    assert (bad["outcome"], bad["result"]) == ("error", None)
    assert bad["error"]["type"] == "ValueError"


def test_an_async_invoke_is_accepted_and_not_waited_for(daemon: FakeDaemon, client: Client) -> None:
    """It goes by the function's queue, with its retries."""
    answer = client.invoke("wait", {"x": 1}, wait=False)
    assert answer["state"] == "waiting"
    assert daemon.store.rows[answer["id"]].event_json == '{"x":1}'


def test_a_paused_function_refuses_a_waiting_caller(daemon: FakeDaemon, client: Client) -> None:
    """A caller must not wait for something that nobody lets run."""
    client.request("POST", "/api/v1/functions/echo/pause")
    with pytest.raises(errors.Conflict, match="paused"):
        client.invoke("echo")
    with pytest.raises(errors.Conflict, match="paused"):
        client.invoke("echo", on_log=lambda _: None)
    answer = client.request("POST", "/api/v1/functions/echo/resume")
    resumed = {"name": "echo", "paused": False, "changed": True}
    assert answer == {**resumed, "started_triggers": []}
    assert client.invoke("echo")["outcome"] == "ok"


def test_an_invocation_is_shown_with_the_glossarys_keys(daemon: FakeDaemon, client: Client) -> None:
    """Programs build on these names."""
    row = daemon.store.put_dead(function="resize", queue="images")
    [listed] = client.request("GET", "/api/v1/invocations")["invocations"]
    assert {
        "id",
        "function",
        "queue",
        "trigger",
        "source",
        "state",
        "outcome",
        "attempts",
        "created_at",
        "due_at",
        "started_at",
        "ended_at",
        "duration_ms",
        "memory_peak_bytes",
        "error",
        "reason",
    } <= set(listed)
    assert listed["duration_ms"] == 1250
    assert listed["memory_peak_bytes"] == 12_345_678
    assert listed["created_at"].endswith("Z")
    shown = client.invocation(row.id)
    assert shown.items() >= listed.items()
    assert [one["number"] for one in shown["attempt_records"]] == [1, 2, 3]
    assert client.invocation(row.id[:13])["id"] == row.id


def test_a_listing_is_narrowed_by_everything_that_it_offers(
    daemon: FakeDaemon, client: Client
) -> None:
    """A filter that was silently ignored would list what was not asked for."""
    old = daemon.store.put(function="echo", created_at=daemon.clock.now() - 7200)
    dead = daemon.store.put_dead(function="resize", queue="images")
    new = daemon.store.put(function="echo", trigger="cron", source="nightly")

    def ids(**query: object) -> list[str]:
        answer = client.request("GET", "/api/v1/invocations", query=query)
        return [row["id"] for row in answer["invocations"]]

    assert ids() == [new.id, dead.id, old.id]
    assert ids(limit=1) == [new.id]
    assert ids(function="resize") == ids(queue="images") == ids(state="dead") == [dead.id]
    assert ids(outcome="error,timeout") == [dead.id]
    assert ids(trigger="cron") == ids(source="nightly") == [new.id]
    assert ids(since="1h") == [new.id, dead.id]
    assert ids(until="1h") == [old.id]
    assert ids(state="waiting,dead", function="echo") == [new.id, old.id]


def test_a_replay_is_a_new_invocation_of_the_same_event(daemon: FakeDaemon, client: Client) -> None:
    """What was recorded stays as it is."""
    row = daemon.store.put_dead(function="resize", queue="images", event_json='{"body":1}')
    answer = client.request("POST", f"/api/v1/invocations/{row.id}/replay")
    again = daemon.store.rows[answer["id"]]
    assert (again.function, again.queue, again.event_json) == ("resize", "images", '{"body":1}')
    assert (again.trigger, again.parent_id) == ("replay", row.id)
    assert daemon.store.rows[row.id].state == "dead"


def test_cancelling_what_is_final_is_a_conflict(daemon: FakeDaemon, client: Client) -> None:
    """Silence would look like success."""
    row = daemon.store.put()
    path = f"/api/v1/invocations/{row.id}/cancel"
    assert client.request("POST", path) == {"cancelled": [row.id]}
    with pytest.raises(errors.Conflict, match="it is cancelled"):
        client.request("POST", path)


def test_dead_letters_are_redriven_by_id_or_by_what_they_share(
    daemon: FakeDaemon, client: Client
) -> None:
    """Bulk verbs touch what was named and nothing else."""
    one = daemon.store.put_dead(function="resize")
    two = daemon.store.put_dead(function="resize")
    other = daemon.store.put_dead(function="echo")
    path = "/api/v1/dead-letters/redrive"
    assert client.request("POST", path, {"ids": [one.id[:30]]}) == {"redriven": [one.id]}
    assert daemon.wakes == 1
    answer = client.request("POST", path, {"all": True, "function": "resize"})
    assert answer == {"redriven": [two.id]}
    assert daemon.store.rows[other.id].state == "dead"
    with pytest.raises(errors.Conflict, match="it is waiting, not dead"):
        client.request("POST", path, {"ids": [one.id]})
    assert client.request("POST", path, {"all": True, "outcome": "timeout"}) == {"redriven": []}
    drop = "/api/v1/dead-letters/drop"
    assert client.request("POST", drop, {"all": True}) == {"dropped": [other.id]}


@pytest.mark.parametrize(
    "body", [{}, {"ids": []}, {"ids": "x"}, {"all": 1}, {"all": True, "functon": "x"}]
)
def test_a_bulk_verb_that_does_not_say_what_it_means_does_nothing(
    daemon: FakeDaemon, client: Client, body: dict[str, object]
) -> None:
    """An empty or misspelt filter must never come to mean everything."""
    daemon.store.put_dead()
    with pytest.raises(errors.InvalidSetting):
        client.request("POST", "/api/v1/dead-letters/drop", body)
    assert [row.state for row in daemon.store.rows.values()] == ["dead"]


def test_schedules_are_listed_foretold_paused_and_run(daemon: FakeDaemon, client: Client) -> None:
    """Each verb reaches its own method of the seam."""
    [row] = client.request("GET", "/api/v1/schedules")["schedules"]
    assert (row["name"], row["next_at"]) == ("nightly", "2027-01-15T08:00:00.000Z")
    answer = client.request("GET", "/api/v1/schedules/nightly/next", query={"n": 2})
    assert answer["times"] == ["2027-01-15T08:00:00.000Z", "2027-01-16T08:00:00.000Z"]
    assert client.request("POST", "/api/v1/schedules/nightly/pause")["changed"] is True
    assert client.request("POST", "/api/v1/schedules/nightly/pause")["changed"] is False
    assert client.request("POST", "/api/v1/schedules/nightly/resume")["changed"] is True
    run = client.request("POST", "/api/v1/schedules/nightly/run")
    assert daemon.store.rows[run["id"]].source == "nightly"


def test_files_are_listed_and_retried(daemon: FakeDaemon, client: Client) -> None:
    """A failed file is taken again by its path."""
    [row] = client.request("GET", "/api/v1/files")["files"]
    assert (row["path"], row["state"]) == ("/srv/inbox/a.jpg", "failed")
    assert client.request("GET", "/api/v1/files", query={"state": "done"})["files"] == []
    [again] = client.request("POST", "/api/v1/files/retry", {"path": row["path"]})["accepted"]
    assert daemon.store.rows[again["id"]].function == "resize"
    with pytest.raises(errors.NotFound):
        client.request("POST", "/api/v1/files/retry", {"path": "/elsewhere"})


def test_queues_that_hold_nothing_are_listed_too(client: Client) -> None:
    """A queue that is declared exists before its first event."""
    client.enqueue("images", 1)
    client.enqueue("images", 2, delay="1h")
    rows = {row["queue"]: row for row in client.queues()}
    assert (
        rows["images"].items()
        >= {
            "function": "resize",
            "waiting": 1,
            "delayed": 1,
            "in_flight": 0,
            "dead": 0,
        }.items()
    )
    assert rows["echo"]["waiting"] == 0


def test_a_function_is_shown_without_the_values_of_its_environment(
    daemon: FakeDaemon, client: Client
) -> None:
    """They may be secrets, and every user who may open the socket may read this."""
    echo = daemon.catalog.functions["echo"]
    permissions = dataclasses.replace(echo.permissions, env={"TOKEN": "hunter2"})
    daemon.catalog.functions["echo"] = dataclasses.replace(echo, permissions=permissions)
    shown = client.request("GET", "/api/v1/functions/echo")
    assert shown["permissions"]["env"] == ["TOKEN"]
    assert "hunter2" not in str(shown)
    [resize] = [
        row
        for row in client.request("GET", "/api/v1/functions")["functions"]
        if row["name"] == "resize"
    ]
    assert resize["outcomes_24h"] == {"error": 3}


def test_the_status_adds_up(daemon: FakeDaemon, client: Client) -> None:
    """One look must tell whether something is wrong."""
    daemon.store.put_dead()
    client.enqueue("images", 1)
    client.request("POST", "/api/v1/functions/echo/pause")
    status = client.request("GET", "/api/v1/status")
    assert (status["state"], status["waiting"], status["dead"]) == ("ready", 1, 1)
    assert status["functions"] == 5
    assert [(one["kind"], one["name"]) for one in status["paused"]] == [("function", "echo")]


def test_the_status_tells_every_problem(daemon: FakeDaemon, client: Client) -> None:
    """Those of the configuration must not hide those of a watched directory."""
    [status] = daemon.files.statuses()
    daemon.files.statuses = lambda: [dataclasses.replace(status, problem="it is gone")]  # type: ignore[method-assign]
    daemon.problems = ["functions/a.py:1: cannot be imported"]
    answer = client.request("GET", "/api/v1/status")
    assert answer["problems"] == ["it is gone", "functions/a.py:1: cannot be imported"]


def test_a_backup_never_writes_over_anything(client: Client, tmp_path: Path) -> None:
    """The daemon may be root; a wrong path must cost nothing."""
    target = tmp_path / "copy.sqlite3"
    answer = client.request("POST", "/api/v1/backup", {"path": str(target)})
    assert answer["size_bytes"] == target.stat().st_size
    with pytest.raises(errors.Conflict, match="it exists"):
        client.request("POST", "/api/v1/backup", {"path": str(target)})


def test_waking_reaches_the_dispatcher(daemon: FakeDaemon, client: Client) -> None:
    """An enqueue that went by the daemon must not wait for the next look."""
    client.request("POST", "/api/v1/wake")
    assert daemon.wakes == 1


def test_the_openapi_document_holds_every_route_with_a_sentence(client: Client) -> None:
    """It is generated from the table, so nothing can be missing; but a docstring can."""
    document = client.request("GET", "/api/v1/openapi.json")
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) == len(ROUTES)
    assert all(operation["summary"].endswith(".") for _, _, operation in operations)
    assert len({operation["operationId"] for _, _, operation in operations}) == len(ROUTES)


def test_the_manual_has_every_kind_of_error_with_its_status() -> None:
    """Programs in other languages decide by it; what is not listed is a mistake of faasd's, and 500."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", render_api_reference(), re.MULTILINE)
    listed = {kind: int(status) for kind, status in rows}
    for name in errors.__all__:
        error = getattr(errors, name)
        made = error.__new__(error, "x")
        answer = error_reply(made)
        assert listed.get(kind_of(made), 500) == answer.status_code, name
    assert listed["method-not-allowed"] == 405


def test_why_explains_whatever_it_is_given(daemon: FakeDaemon, client: Client) -> None:
    """People have a name, an id or a path at hand and should not need to say which."""
    row = daemon.store.put_dead(function="resize", queue="images")
    tick = daemon.store.put(function="report", trigger="cron", source="nightly", state="running")
    skipped = daemon.store.put(
        function="report",
        trigger="cron",
        source="nightly",
        state="skipped",
        outcome="skipped-overlap",
    )
    daemon.store.records[row.id].append(a_record(row, 4, daemon.clock.now(), "timeout"))

    def why(subject: str) -> tuple[str, str]:
        answer = client.request("GET", "/api/v1/why", query={"subject": subject})
        return answer["kind"], " ".join(answer["sentences"])

    kind, said = why(row.id[:30])
    assert kind == "invocation"
    assert "bad picture" in said
    assert "redrive" in said
    kind, said = why(skipped.id)
    assert tick.id in said
    assert why("resize")[0] == "function"
    assert "Function 'resize' consumes it" in why("images")[1]
    assert why("nightly")[0] == "schedule"
    assert "its invocation failed" in why("/srv/inbox/a.jpg")[1]
    assert "No files trigger watches /elsewhere/x" in why("/elsewhere/x")[1]
    daemon.missing_walls["resize"] = (MissingWall("files", "no Landlock here", "use Linux 5.13"),)
    assert "it runs without the wall 'files': no Landlock here." in why("resize")[1]
    assert "refused at the moment" not in why("resize")[1]
    daemon.no_room = "no space is left"
    for subject in ("resize", "images", "nightly", "/srv/inbox/a.jpg"):
        assert "New events are refused at the moment: no space is left." in why(subject)[1]


def test_why_remembers_a_file_that_was_moved_away(daemon: FakeDaemon, client: Client) -> None:
    """It is asked for by the name under which it was dropped, wherever it is now."""
    gone = daemon.store.put(
        function="resize",
        trigger="files",
        source="inbox",
        state="done",
        outcome="ok",
        event_json='{"path": "/srv/inbox/gone.jpg"}',
    )
    answer = client.request("GET", "/api/v1/why", query={"subject": "/srv/inbox/gone.jpg"})
    assert any(gone.id in sentence for sentence in answer["sentences"])
    assert answer["sentences"][-2:] == ["It is done.", "The trigger's on_success is keep."]


def test_a_misspelt_name_is_no_path(daemon: FakeDaemon, client: Client) -> None:
    """The command line sends along which path a name would be, and a wrong name seldom is one."""
    query = {"subject": "resise", "path": "/home/me/resise"}
    with pytest.raises(errors.NotFound, match='did you mean "resize"') as caught:
        client.request("GET", "/api/v1/why", query=query)
    assert "left out" not in str(caught.value)
    daemon.problems = ["functions/a.py:1: cannot be imported"]
    with pytest.raises(errors.NotFound, match="with a mistake are left out, see `faasd check`"):
        client.request("GET", "/api/v1/why", query=query)


def test_metrics_are_text_in_the_format_that_prometheus_names(client: Client) -> None:
    """Prometheus 3 refuses a scrape whose content type it does not know."""
    with client._open("GET", "/metrics", None, None) as answer:
        text = b"".join(answer.chunks()).decode()
    assert client.text("/metrics").splitlines()[0] == text.splitlines()[0]
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"faasd_queue_waiting", "faasd_build_info", "process_open_fds"} <= names


@pytest.mark.parametrize(
    "query",
    [
        {"month": "2026-13"},
        {"month": "last"},
        {"price_per_gb_second": "-1"},
        {"price_per_gb_second": "nan"},
        {"price_per_million_requests": "inf"},
    ],
)
def test_a_wrong_question_about_usage_is_refused(client: Client, query: dict[str, object]) -> None:
    """A cost at a price that is none would be printed on somebody's invoice."""
    [name] = query
    with pytest.raises(errors.InvalidSetting, match=name):
        client.request("GET", "/api/v1/usage", query=query)


def test_usage_is_narrowed_by_month_and_function(client: Client) -> None:
    """Functions that are gone are asked for too, so an unknown one is no error."""

    def rows(**query: object) -> list[tuple[str, str]]:
        found = client.request("GET", "/api/v1/usage", query=query)["usage"]
        return [(row["month"], row["function"]) for row in found]

    assert rows(month="2026-10") == [("2026-10", "echo"), ("2026-10", "resize")]
    assert rows(function="resize") == [("2026-10", "resize")]
    assert rows(function="gone") == []


def test_running_attempts_are_listed_oldest_first(daemon: FakeDaemon, client: Client) -> None:
    """The one that hangs is the one that has run longest."""
    now = daemon.clock.now()
    row = daemon.store.put(state="running")
    claim = Claim(row, Lease(row.id, 1, now + 60), 1)
    daemon.invoker.running_now = [
        Attempt("young", ECHO, (claim,), now - 1),
        Attempt("old", ECHO, (claim,), now - 100),
    ]
    daemon.invoker.progress = {"old": {"done": 7}}
    attempts = client.request("GET", "/api/v1/attempts")["attempts"]
    assert [one["attempt_id"] for one in attempts] == ["old", "young"]
    assert attempts[0]["age_s"] >= 100
    assert attempts[0]["memory_bytes"] is None
    assert [one["progress"] for one in attempts] == [{"done": 7}, None]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("rollback", {"version": 3}),
        ("rollback", []),
        ("aliases", {"alias": 1, "version": "a"}),
        ("aliases", {"alias": "a", "version": 1}),
    ],
)
def test_a_version_that_is_no_text_is_refused(client: Client, path: str, body: object) -> None:
    """Before anybody looks for it."""
    with pytest.raises(errors.InvalidSetting, match="body must be"):
        client.request("POST", f"/api/v1/functions/echo/{path}", body)


def test_without_versions_of_code_there_is_nothing_to_reload(client: Client) -> None:
    """An API in front of something else says so, and does not break."""
    with pytest.raises(errors.Conflict, match="does not keep versions"):
        client.request("POST", "/api/v1/reload")
