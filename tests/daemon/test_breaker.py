"""The breaker and the quarantine, as an operator of a real daemon meets them."""

from __future__ import annotations

import json
from pathlib import Path

from tests.daemon.harness import DaemonProcess, wait_for, write_project

FUNCTIONS = """
    import os
    from faasd import function, queue

    @function(triggers=[queue("broken")], retry={"attempts": 50, "first": "1s"})
    def broken(event, context):
        if not os.path.exists(os.environ["MENDED"]):
            os._exit(3)

    @function(triggers=[queue("poisoned")], retry={"attempts": 2, "first": "1ms"})
    def poisoned(event, context):
        if event["body"] == "poison":
            os._exit(3)
"""


def test_a_crash_loop_is_held_back_explained_and_resumed_by_hand(tmp_path: Path) -> None:
    """Nothing is lost meanwhile, a direct invoke gets the reason, and mending it lets everything run."""
    mended = tmp_path / "given" / "mended"
    mended.parent.mkdir()
    config = write_project(
        tmp_path,
        FUNCTIONS,
        f'[defaults]\nenv = {{ MENDED = "{mended}" }}\nread = ["{mended.parent}"]\ncontainment = "best-effort"\n',
    )
    daemon = DaemonProcess(config)
    with daemon.running():
        ids = [daemon.client.enqueue("broken", number) for number in range(12)]

        def breaker() -> dict[str, object]:
            rows = json.loads(daemon.cli("functions", "list", "--json").stdout)
            [row] = [row for row in rows if row["name"] == "broken"]
            found: dict[str, object] = row["breaker"]
            return found

        wait_for(lambda: breaker()["state"] == "open", "the breaker to open")
        assert breaker()["deaths"] == 5
        assert breaker()["outcome"] == "crashed"
        assert "open until 2" in daemon.cli("functions", "list").stdout
        why = daemon.cli("why", "broken").stdout
        assert "5 attempts in a row died, the last as crashed" in why
        held = wait_for(
            lambda: next((i for i in ids if daemon.invocation(i)["attempts"] == 0), None),
            "an event that was not tried",
        )
        assert "held back by its breaker" in daemon.cli("why", held).stdout
        refused = daemon.cli("invoke", "broken")
        assert refused.returncode != 0
        assert "`faasd functions resume broken`" in refused.stderr
        assert '"breaker_opened"' in daemon.log()

        mended.touch()
        assert daemon.cli("functions", "resume", "broken").returncode == 0
        assert breaker()["state"] == "closed"
        for one in ids:
            daemon.wait_for_state(one, "done")


def test_a_poisonous_event_is_quarantined_and_its_function_goes_on(tmp_path: Path) -> None:
    """The dead letter says what it did, with its history."""
    loose = '[defaults]\nenv = { MENDED = "/nonexistent" }\ncontainment = "best-effort"\n'
    daemon = DaemonProcess(write_project(tmp_path, FUNCTIONS, loose))
    with daemon.running():
        poison = daemon.client.enqueue("poisoned", "poison")
        good = [daemon.client.enqueue("poisoned", number) for number in range(3)]
        for one in good:
            daemon.wait_for_state(one, "done")
        dead = daemon.wait_for_state(poison, "dead")
        assert dead["quarantined"] is True
        assert dead["reason"].startswith("quarantined: 2 of its 2 attempts killed their sandbox")
        assert [one["outcome"] for one in dead["attempt_records"]] == ["crashed", "crashed"]
        assert "quarantined" in daemon.cli("dead-letters", "list").stdout
