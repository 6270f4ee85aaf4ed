"""The service as `faasd service install` makes it: run by root in a guest that may be thrown away.

The checks go from nothing to nothing, in the order in which they stand here.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import signal
import textwrap
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from faasd.errors import FaasdError
from tests.rig.guest.installation import (
    CONFIG,
    SOCKET,
    UNIT,
    client,
    daemon_pid,
    run,
    show,
    state_of,
    wait_until,
)
from tests.rig.guest.service import FAASD, PATIENCE_S, inhabited, wait_for, waiting_sandboxes

FUNCTIONS = """
    import os, time
    from faasd import function, queue

    @function
    def echo(event, context):
        return event

    @function(triggers=[queue("naps")], timeout="600s")
    def nap(event, context):
        print("begin", flush=True)
        time.sleep(event["body"])
        return context.attempt

    @function(secrets=["token"])
    def credential(event, context):
        with open(os.path.join(os.environ["CREDENTIALS_DIRECTORY"], "token")) as file:
            names = sorted(os.listdir(os.environ["CREDENTIALS_DIRECTORY"]))
            return [context.secret("token"), file.read(), names]

    @function
    def curious(event, context):
        found = []
        for path in ("/run/credentials/faasd.service/token", "/root/rig-token"):
            try:
                open(path).close()
                found.append(path)
            except OSError:
                pass
        return [found, "CREDENTIALS_DIRECTORY" in os.environ]

    @function(memory="64MiB", timeout="60s")
    def hog(event, context):
        kept = []
        while True:
            kept.append(bytearray(b"x") * 2**20)
"""


@pytest.fixture
def drop_in() -> Iterator[Any]:
    """Settings of the operator's own, as `systemctl edit` makes them; gone afterwards."""
    path = Path("/etc/systemd/system/faasd.service.d/rig.conf")

    def write(*lines: str) -> None:
        path.parent.mkdir(exist_ok=True)
        path.write_text("[Service]\n" + "\n".join(lines) + "\n")
        run("systemctl", "daemon-reload")
        run("systemctl", "restart", "faasd")

    yield write
    path.unlink(missing_ok=True)
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "faasd")


def test_a_dry_run_says_everything_and_does_nothing() -> None:
    """Somebody wants to know before."""
    said = run(FAASD, "service", "install", "--dry-run")
    for word in (
        "user faasd",
        str(UNIT),
        str(CONFIG),
        "systemctl start faasd.socket faasd.service",
    ):
        assert word in said
    assert not UNIT.exists()
    assert not CONFIG.exists()
    assert "not-found" in run("systemctl", "show", "--property", "LoadState", "faasd.service")
    run(FAASD, "service", "status", code=1)


def test_install_makes_a_service_that_runs_as_a_user_of_its_own() -> None:
    """From the program to the running service in one command, and what it makes has the right owners."""
    run(FAASD, "service", "install")
    assert show("ActiveState") == "active"
    assert show("UnitFileState") == show("UnitFileState", "faasd.socket") == "enabled"
    wait_for(
        lambda: re.fullmatch(r"ready: 2 functions, \d+ running, .*", show("StatusText")),
        "the status to have counted",
    )
    uid = pwd.getpwnam("faasd").pw_uid
    assert Path(f"/proc/{daemon_pid()}").stat().st_uid == uid
    owners = {path: (os.stat(path).st_uid, oct(os.stat(path).st_mode)[-3:]) for path in ("/var/lib/faasd", "/etc/faasd", str(CONFIG), str(SOCKET))}  # fmt: skip
    assert owners == {
        "/var/lib/faasd": (uid, "750"),
        "/etc/faasd": (0, "755"),
        str(CONFIG): (0, "644"),
        str(SOCKET): (uid, "660"),
    }
    run("systemd-analyze", "security", "--no-pager", "--threshold=42", "faasd.service")
    status = json.loads(run(FAASD, "service", "status", "--json"))
    assert (status["state"], status["socket"], status["restarts"]) == ("active", "active", 0)
    assert datetime.now(UTC) - datetime.fromisoformat(status["since"]) < timedelta(hours=1)
    assert not run("systemd-analyze", "verify", str(UNIT), "/etc/systemd/system/faasd.socket").strip()  # fmt: skip


def test_the_same_installation_again_changes_nothing() -> None:
    """It is what a configuration manager does every half hour, so it must not restart anything."""
    pid = daemon_pid()
    said = run(FAASD, "service", "install")
    assert {line.split()[0] for line in said.splitlines()[:-3]} == {"unchanged", "ran"}
    assert "systemctl start" not in said
    assert daemon_pid() == pid


def test_an_upgrade_rewrites_the_unit_restarts_and_keeps_what_people_wrote() -> None:
    """The configuration and the functions are theirs; the unit is ours."""
    (CONFIG.parent / "functions" / "hello.py").unlink()
    (CONFIG.parent / "functions" / "app.py").write_text(textwrap.dedent(FUNCTIONS))
    CONFIG.write_text('[daemon]\ndrain_timeout = "60s"\n')
    UNIT.write_text(UNIT.read_text().replace("WatchdogSec=30s", "WatchdogSec=31s"))
    pid = daemon_pid()
    said = run(FAASD, "service", "install")
    assert f"rewrote    {UNIT}" in said
    assert "WatchdogSec=30s" in UNIT.read_text()
    assert daemon_pid() != pid
    assert [path.name for path in (CONFIG.parent / "functions").glob("*.py")] == ["app.py"]
    assert client().invoke("echo", 5)["result"] == 5


def test_sandboxes_can_be_built_of_the_same_things_as_without_any_hardening() -> None:
    """Each directive that would take something away is named in the unit, and left out."""
    names = ("NoNew", "Capab", "Ambient", "Protect", "Private", "Restrict", "System", "Lock", "Remove", "Delegate", "Limit")  # fmt: skip
    settings = [
        line
        for line in UNIT.read_text().splitlines()
        if line.startswith(names) and not line.startswith("RestartPrevent")
    ]
    assert len(settings) > 10

    def probe(*properties: str) -> list[str]:
        options = [f"--property={one}" for one in ("User=faasd", *properties)]
        return run("systemd-run", "--quiet", "--wait", "--pipe", "--collect", *options, "faasd-probe").splitlines()  # fmt: skip

    bare, hardened = probe("Delegate=yes"), probe(*settings)
    assert hardened == bare
    assert {"namespaces", "landlock", "seccomp", "cgroup", "others", "proc"} <= set(bare)
    assert probe(*settings, "ProtectControlGroups=yes") != bare  # The control.
    walls = client().request("GET", "/api/v1/status")["walls"]
    assert {"pid", "user"} <= set(walls["namespaces"])
    # A container on a host with version 1 has no memory controller to delegate.
    if "memory" in Path("/sys/fs/cgroup/cgroup.controllers").read_text():
        assert walls["memory_cgroup"] == "v2"


def test_a_memory_cap_is_the_kernels_and_the_service_outlives_who_breaks_it() -> None:
    """Delegate=yes gives each attempt a cgroup with the function's `memory`; OOMPolicy=continue keeps the unit."""
    if "memory" not in Path("/sys/fs/cgroup/cgroup.controllers").read_text():
        pytest.skip("this machine has no memory controller in cgroup v2")
    pid = daemon_pid()
    outcome = client().invoke("hog")
    assert outcome["outcome"] == "oom", outcome
    assert outcome["degraded"] == client().invoke("echo")["degraded"]
    id_ = client().enqueue("naps", 8)
    wait_until(id_, "running")
    group = Path("/sys/fs/cgroup/system.slice/faasd.service")
    caps = {path.read_text().strip() for path in group.glob("faasd-????????????????/*/memory.max")}
    assert "268435456" in caps, (
        caps
    )  # 256 MiB, the default of the starter's configuration and ours.
    assert wait_until(id_, "done")["outcome"] == "ok"
    assert (show("ActiveState"), show("Result"), daemon_pid()) == ("active", "success", pid)
    wait_for(
        lambda: len(inhabited(group)) <= waiting_sandboxes(CONFIG),
        "only what waits to have processes",
    )


def test_ready_is_said_when_events_run_and_not_before() -> None:
    """`systemctl start` ends then; what is ordered after us in a boot finds a daemon that works."""
    slow = CONFIG.parent / "functions" / "slow.py"
    slow.write_text("import time\ntime.sleep(4)\n")
    run("systemctl", "stop", "faasd.socket", "faasd.service")
    begun = time.monotonic()
    run("systemctl", "start", "--no-block", "faasd.service")
    states = {(show("ActiveState"), show("StatusText"))}
    while show("ActiveState") in ("inactive", "activating"):
        states.add((show("ActiveState"), show("StatusText")))
    # The first request of all, without another try; and no socket of systemd's in which it could wait.
    assert client().request("GET", "/api/v1/status")["state"] == "ready"
    assert client().invoke("echo", 7)["result"] == 7
    assert time.monotonic() - begun > 4.0
    assert ("activating", "starting: reading the configuration") in states
    slow.unlink()
    run("systemctl", "stop", "faasd.service")
    run("systemctl", "start", "faasd.socket", "faasd.service")


def test_members_of_the_group_may_send_and_others_may_not() -> None:
    """That is what the socket's mode and group are for."""
    for name, groups in (("rig-member", ["--groups", "faasd"]), ("rig-stranger", [])):
        run("useradd", "--no-create-home", *groups, name)
    as_user = lambda name, *rest: ("runuser", "-u", name, "--", FAASD, *rest)  # noqa: E731
    id_ = run(*as_user("rig-member", "enqueue", "naps", "0")).strip()
    assert wait_until(id_, "done")["outcome"] == "ok"
    run(*as_user("rig-stranger", "enqueue", "naps", "0"), code=1)
    run(*as_user("rig-member", "invocations", "list"), code=1)
    run(
        FAASD, "invocations", "list"
    )  # Root's process is told from a sandbox's, which ProtectProc= prevents.


def test_a_killed_daemon_is_started_again_and_runs_again_what_it_lost() -> None:
    """Restart=on-failure, and the store."""
    id_ = client().enqueue("naps", 600)
    wait_until(id_, "running")
    pid = daemon_pid()
    os.kill(pid, signal.SIGKILL)
    assert daemon_pid(other_than=pid)
    wait_until(id_, "running")
    client().request("POST", f"/api/v1/invocations/{id_}/cancel")
    found = wait_until(id_, "cancelled")
    assert found["attempt_records"][0]["outcome"] == "lost"
    assert show("NRestarts") == "1"


def test_a_daemon_whose_loop_hangs_is_bitten_and_says_where(drop_in: Any) -> None:
    """The watchdog is fed by the loop alone."""
    drop_in("WatchdogSec=8s")
    pid = daemon_pid()
    os.kill(pid, signal.SIGSTOP)
    assert daemon_pid(other_than=pid)
    log = run("journalctl", "-u", "faasd", "-o", "cat", "--no-pager", "-n", "200")
    assert "Watchdog timeout" in log
    assert "Fatal Python error: Aborted" in log
    assert "faasd/foreground.py" in log  # The main thread, wherever its loop was.


def test_a_stop_lets_what_runs_finish_and_the_socket_starts_it_again() -> None:
    """The default SIGTERM: nothing charged, nothing lost, exit 0; and who sends an event finds a daemon."""
    id_ = client().enqueue("naps", 6)
    wait_until(id_, "running")
    pid = daemon_pid()
    run("systemctl", "stop", "faasd.service")
    assert (show("ActiveState"), show("Result"), show("ExecMainStatus")) == ("inactive", "success", "0")  # fmt: skip
    assert SOCKET.is_socket()
    assert client().request("GET", "/healthz") == {"healthy": True}
    assert daemon_pid() != pid
    found = state_of(id_)
    assert (found["state"], found["attempts"], found["result"]) == ("done", 1, 1)
    assert [one["outcome"] for one in found["attempt_records"]] == ["ok"]


def test_a_drain_longer_than_the_units_stop_timeout_is_given_its_time(drop_in: Any) -> None:
    """The daemon asks for more time while it drains, so nobody edits a unit for a long `drain_timeout`."""
    drop_in("TimeoutStopSec=3s")
    id_ = client().enqueue("naps", 12)
    wait_until(id_, "running")
    run("systemctl", "restart", "faasd.service")
    assert [one["outcome"] for one in wait_until(id_, "done")["attempt_records"]] == ["ok"]


def test_a_restart_refuses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket is systemd's; who connects meanwhile waits for the next daemon."""
    # A client gives up after 20 s of silence, which is less than a start may take on an emulated machine.
    monkeypatch.setattr("faasd.client._ENQUEUE_ANSWER_S", PATIENCE_S)
    ids: list[str] = []
    stop = threading.Event()
    failures: list[FaasdError] = []

    def send() -> None:
        try:
            while not stop.is_set():
                ids.append(client().enqueue("naps", 0))
        except FaasdError as error:
            failures.append(error)

    sender = threading.Thread(target=send)
    pid = daemon_pid()
    sender.start()
    wait_for(lambda: len(ids) > 3 or failures, "some events")
    run("systemctl", "restart", "faasd.service")
    sent_before = len(ids)
    assert daemon_pid() != pid
    wait_for(lambda: len(ids) > sent_before + 3 or failures, "some events more")
    stop.set()
    sender.join()
    assert failures == []
    assert {wait_until(id_, "done")["outcome"] for id_ in ids} == {"ok"}


def test_a_reload_by_systemd_changes_functions_without_a_restart(drop_in: Any) -> None:
    """`systemctl reload`: what runs goes on, what comes is new, and what is broken changes nothing."""
    if "ExecReload=" not in UNIT.read_text():
        pytest.skip("the unit has no ExecReload=: this faasd cannot reload")
    secret = Path("/root/rig-token")
    secret.write_text("open sesame")
    drop_in(
        f"LoadCredential=token:{secret}"
    )  # Without, one function is refused, and a reload says so.
    pid = daemon_pid()
    code = CONFIG.parent / "functions" / "app.py"
    before = code.read_text()
    id_ = client().enqueue("naps", 20)
    wait_until(id_, "running")
    code.write_text(before.replace("return event\n", "return [event]\n", 1))
    run("systemctl", "reload", "faasd")
    wait_for(lambda: client().invoke("echo", 5)["result"] == [5], "the new code to be in force")
    wait_for(lambda: show("ActiveState") == "active", "the reload to be over")
    code.write_text("this is no Python\n")
    run("systemctl", "reload", "faasd", code=1)
    wait_for(lambda: show("ActiveState") == "active", "the second reload to be over")
    assert client().invoke("echo", 6)["result"] == [6]
    code.write_text(before)
    run("systemctl", "reload", "faasd")
    wait_for(lambda: client().invoke("echo", 7)["result"] == 7, "the old code to be in force again")
    found = wait_until(id_, "done")
    assert [one["outcome"] for one in found["attempt_records"]] == ["ok"]
    wait_for(lambda: show("StatusText").startswith("ready: "), "the status to say ready")
    assert daemon_pid() == pid


def test_a_wrong_configuration_is_told_and_not_tried_again() -> None:
    """Exit code 78 stands in RestartPreventExitStatus=; the installation shows the daemon's own words."""
    good = CONFIG.read_text()
    CONFIG.write_text(good + "slotz = 3\n")
    run("systemctl", "stop", "faasd.socket", "faasd.service")
    run("systemctl", "start", "faasd.service", code=1)
    assert (show("ExecMainStatus"), show("ActiveState")) == ("78", "failed")
    assert 'did you mean "slots"' in show("StatusText")
    assert "`journalctl -u faasd -n 30` says why" in run(FAASD, "service", "status", code=3)
    said = run(FAASD, "service", "install", code=1)
    assert 'did you mean "slots"' in said
    # Nor for ever because a client waits: it is told why, and the socket stays for the next one.
    run("systemctl", "reset-failed", "faasd.socket", "faasd.service")
    run("systemctl", "start", "faasd.socket")
    assert 'did you mean "slots"' in run(FAASD, "status", code=3)
    wait_for(lambda: show("ActiveState") == "failed", "the daemon to be left alone")
    assert show("ActiveState", "faasd.socket") == "active"
    id_ = run(FAASD, "enqueue", "naps", "0").strip()  # Into the store: a script loses nothing.
    CONFIG.write_text(good)
    run(FAASD, "service", "install")
    assert show("ActiveState", "faasd.socket") == "active"
    assert daemon_pid()
    assert wait_until(id_, "done")["outcome"] == "ok"


def test_a_credential_of_the_unit_reaches_the_function_that_is_let_see_it(drop_in: Any) -> None:
    """LoadCredential= keeps a secret out of the configuration and out of every other service."""
    secret = Path("/root/rig-token")
    secret.write_text("open sesame")
    secret.chmod(0o600)
    problems = client().request("GET", "/api/v1/status")["problems"]
    assert any("secrets" in one and "token" in one for one in problems), problems  # The control.
    drop_in(f"LoadCredential=token:{secret}", f"LoadCredential=another:{secret}")
    assert client().invoke("credential")["result"] == ["open sesame", "open sesame", ["token"]]
    assert client().invoke("curious")["result"] == [[], False]
    secret.write_text("changed")  # Credentials are copied at the start of the service.
    assert client().invoke("credential")["result"][0] == "open sesame"
    run("systemctl", "restart", "faasd")
    assert client().invoke("credential")["result"][0] == "changed"


def test_without_the_socket_unit_the_daemon_makes_its_own_socket() -> None:
    """For who does not want a stopped daemon to be started by a client."""
    run(FAASD, "service", "install", "--no-socket")
    assert not Path("/etc/systemd/system/faasd.socket").exists()
    assert SOCKET.stat().st_uid == pwd.getpwnam("faasd").pw_uid
    assert client().invoke("echo", 6)["result"] == 6
    run("systemctl", "stop", "faasd.service")
    assert not SOCKET.exists()
    run(FAASD, "service", "install")
    assert show("ActiveState", "faasd.socket") == "active"


def test_uninstall_keeps_the_data_and_an_installation_finds_it_again() -> None:
    """Removing the program must not cost the work."""
    id_ = client().enqueue("naps", 0)
    wait_until(id_, "done")
    run(FAASD, "service", "uninstall")
    assert not UNIT.exists()
    assert "not-found" in run("systemctl", "show", "--property", "LoadState", "faasd.service")
    assert Path("/var/lib/faasd/faasd.db").exists()
    assert CONFIG.exists()
    run(FAASD, "service", "uninstall")  # Again: nothing to do, and no error.
    run(FAASD, "service", "install")
    assert state_of(id_)["state"] == "done"


def test_purge_leaves_nothing() -> None:
    """Neither file nor user nor process."""
    pid = daemon_pid()
    run(FAASD, "service", "uninstall", "--purge")
    assert not Path(f"/proc/{pid}").exists()
    for path in ("/etc/faasd", "/var/lib/faasd", "/run/faasd", str(UNIT)):
        assert not Path(path).exists(), path
    with pytest.raises(KeyError):
        pwd.getpwnam("faasd")


def test_a_user_has_a_service_of_its_own() -> None:
    """No root anywhere: `--user`."""
    run("useradd", "--create-home", "rig-owner")
    uid = pwd.getpwnam("rig-owner").pw_uid
    run("systemctl", "start", f"user@{uid}.service")
    environ = [f"XDG_RUNTIME_DIR=/run/user/{uid}", "HOME=/home/rig-owner"]
    as_owner = ("runuser", "-u", "rig-owner", "--", "env", "-C", "/", *environ)
    run(*as_owner, FAASD, "service", "install", "--user")
    assert run(*as_owner, FAASD, "invoke", "greet", "--event", '{"body": {"name": "Ada"}}').strip() == '"Hello, Ada"'  # fmt: skip
    status = json.loads(run(*as_owner, FAASD, "service", "status", "--user", "--json"))
    assert status["state"] == status["socket"] == "active"
    _check_walls_of_a_user_service(as_owner, uid)
    assert Path("/home/rig-owner/.local/state/faasd/faasd.db").exists()
    assert not Path("/home/rig-owner/.config/faasd/faasd.db").exists()
    run(*as_owner, "systemctl", "--user", "stop", "faasd.service")
    assert "healthy" not in run(*as_owner, FAASD, "status")  # And the socket starts it again.
    run(*as_owner, FAASD, "service", "uninstall", "--user", "--purge")
    assert not Path("/home/rig-owner/.local/state/faasd").exists()
    run("systemctl", "stop", f"user@{uid}.service")


def _check_walls_of_a_user_service(as_owner: tuple[str, ...], uid: int) -> None:
    """A user's manager hands on the controllers that it was given, so the caps hold there too."""
    walls = json.loads(run(*as_owner, FAASD, "status", "--json"))["walls"]
    assert {"pid", "user"} <= set(walls["namespaces"])
    given = Path(f"/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service/cgroup.controllers").read_text()  # fmt: skip
    print("a user's manager has the controllers", given)
    if "memory" in given.split():
        assert walls["memory_cgroup"] == "v2"
    unit = "/home/rig-owner/.config/systemd/user/faasd.service"
    assert not run(*as_owner, "systemd-analyze", "--user", "verify", unit).strip()
