"""The service's plan, its files, and the steps that can be taken without a systemd; tests/rig has the rest."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from faasd.cli import service_plan as plan
from faasd.cli import service_units as units
from faasd.cli.exits import CONFIG
from faasd.cli.service_steps import take
from faasd.errors import Conflict
from tests.unit.cli.conftest import Run

SYSTEM = plan.place_of(False, {}, "/root")
USER = plan.place_of(True, {"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/s"}, "/home/ada")
PROGRAM = ("/opt/faasd/bin/faasd",)
BOTH_ACTIVE = {plan.SOCKET: "active", plan.SERVICE: "active"}


def installing(place: plan.Place, **given: bool) -> list[plan.Step]:
    asked = {"has_config": False, "has_socket": False, "with_socket": True, **given}
    return plan.install_steps(place, PROGRAM, **asked)


def commands(steps: list[plan.Step]) -> list[str]:
    return [" ".join(step.argv) for step in steps if isinstance(step, plan.Command)]


def texts(steps: list[plan.Step]) -> dict[str, str]:
    return {step.path: step.text for step in steps if isinstance(step, plan.WriteFile)}


def test_a_user_needs_no_system_user_and_nothing_outside_of_home() -> None:
    """It runs without root."""
    steps = installing(USER)
    assert not [step for step in steps if isinstance(step, plan.AddUser)]
    paths = [*texts(steps), *(step.path for step in steps if isinstance(step, plan.MakeDirectory))]
    assert all(path.startswith(("/home/ada/.config/", "/s/faasd")) for path in paths)
    assert "ExecStart=/opt/faasd/bin/faasd run --config /home/ada/.config/faasd/faasd.toml\n" in texts(steps)["/home/ada/.config/systemd/user/faasd.service"]  # fmt: skip


def test_where_there_is_a_configuration_nothing_of_a_starter_is_written() -> None:
    """An example function that comes back after it was deleted is a nuisance."""
    assert set(texts(installing(SYSTEM))) - set(texts(installing(SYSTEM, has_config=True))) == {
        "/etc/faasd/faasd.toml",
        "/etc/faasd/functions/hello.py",
    }


def test_leaving_the_socket_unit_out_takes_an_older_one_away_first() -> None:
    """It would go on holding the path, and the daemon could not make its own."""
    steps = installing(SYSTEM, has_socket=True, with_socket=False)
    assert steps[:2] == [
        plan.Command(("systemctl", "disable", "--now", "faasd.socket")),
        plan.Remove("/etc/systemd/system/faasd.socket"),
    ]
    assert "/etc/systemd/system/faasd.socket" not in texts(steps)


@pytest.mark.parametrize(
    ("has_changed", "states", "with_socket", "wanted"),
    [
        (True, {}, True, ["daemon-reload", "enable faasd.socket faasd.service", "start faasd.socket faasd.service"]),
        (False, BOTH_ACTIVE, True, ["enable faasd.socket faasd.service"]),
        (True, BOTH_ACTIVE, True, ["daemon-reload", "enable faasd.socket faasd.service", "stop faasd.socket faasd.service", "start faasd.socket faasd.service"]),
        (False, {plan.SERVICE: "active"}, True, ["enable faasd.socket faasd.service", "stop faasd.service", "start faasd.socket faasd.service"]),
        (False, {plan.SERVICE: "active"}, False, ["enable faasd.service"]),
        (False, {plan.SERVICE: "failed"}, False, ["enable faasd.service", "reset-failed faasd.service", "start faasd.service"]),
    ],
    ids=["new", "runs", "changed", "socket is new", "no socket", "failed"],
)  # fmt: skip
def test_units_are_started_restarted_or_left_alone(
    has_changed: bool, states: dict[str, str], with_socket: bool, wanted: list[str]
) -> None:
    """A restart interrupts nobody's work, and still happens only for a reason."""
    steps = plan.activation(SYSTEM, has_changed=has_changed, states=states, with_socket=with_socket)
    assert commands(steps) == [f"systemctl {one}" for one in wanted]


def test_uninstalling_keeps_the_work_unless_it_is_purged() -> None:
    """Nobody loses data to a word that does not say so."""
    kept = plan.uninstall_steps(SYSTEM, present=frozenset(plan.UNITS), purge=False)
    removed = [step.path for step in kept if isinstance(step, plan.Remove)]
    assert removed == [f"/etc/systemd/system/{name}" for name in plan.UNITS]
    purged = plan.uninstall_steps(SYSTEM, present=frozenset(), purge=True)
    assert purged == [
        plan.Remove("/etc/faasd"),
        plan.Remove("/var/lib/faasd"),
        plan.Remove("/run/faasd"),
        plan.RemoveUser("faasd"),
    ]


def test_a_program_in_a_closed_directory_is_found_out() -> None:
    """The unit would end with 203/EXEC, and its log would not say why."""
    modes = {"/": 0o755, "/root": 0o700, "/root/venv": 0o755, "/root/venv/faasd": 0o755}
    assert plan.closed_to_others(modes) == "/root"
    assert plan.closed_to_others({**modes, "/root": 0o711}) is None


@pytest.mark.parametrize(
    ("word", "written"),
    [("/opt/faasd", "/opt/faasd"), ("/o p/f", '"/o p/f"'), ("/50%", "/50%%"), ("/$x", "/$$x"), ('/a"b', '"/a\\"b"')],
)  # fmt: skip
def test_paths_are_written_as_systemd_reads_them(word: str, written: str) -> None:
    """A blank or a per cent sign in a home directory must not become a specifier."""
    assert plan.exec_words(word) == written


def test_the_units_end_a_daemon_for_which_starting_again_would_not_help() -> None:
    """The exit code stands in three places."""
    for text in (units.service_unit("/f"), units.user_service_unit("/f")):
        assert f"RestartPreventExitStatus={CONFIG}\n" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("kind", ["system", "user"])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, kind: str) -> None:
    """A misspelt directive is ignored with a warning that nobody reads, and its promise with it."""
    make = units.service_unit if kind == "system" else units.user_service_unit
    sockets = units.socket_unit if kind == "system" else units.user_socket_unit
    files = [tmp_path / "faasd.service", tmp_path / "faasd.socket"]
    files[0].write_text(make(sys.executable))
    files[1].write_text(sockets())

    def verify() -> str:
        done = subprocess.run(
            ["systemd-analyze", "verify", f"--{kind}", "--man=no", *map(str, files)],
            capture_output=True,
            text=True,
            env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
            check=False,
        )
        return "\n".join(line for line in done.stderr.splitlines() if "faasd." in line)

    assert verify() == ""
    files[0].write_text(make(sys.executable).replace("KillMode=", "KilMode="))
    assert "KilMode" in verify()  # The control.


def test_each_step_may_be_taken_again(tmp_path: Path) -> None:
    """What is as it should be is left alone, and said to be so; a dry run touches nothing."""
    make = plan.MakeDirectory(str(tmp_path / "a" / "b"), 0o750)
    write = plan.WriteFile(str(tmp_path / "a" / "b" / "unit"), "text\n")
    assert take(make, is_dry=True)[0] == "make"
    assert not (tmp_path / "a").exists()
    assert [take(make, is_dry=False)[0], take(make, is_dry=False)[0]] == ["make", "keep"]
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o750
    assert take(write, is_dry=True)[0] == "write"
    assert [take(write, is_dry=False)[0], take(write, is_dry=False)[0]] == ["write", "keep"]
    Path(write.path).write_text("older\n")
    assert take(write, is_dry=True)[0] == "rewrite"
    assert Path(write.path).read_text() == "older\n"
    assert take(write, is_dry=False)[0] == "rewrite"
    assert Path(write.path).read_text() == "text\n"
    assert os.listdir(tmp_path / "a" / "b") == ["unit"]
    gone = plan.Remove(str(tmp_path / "a"))
    assert [take(gone, is_dry=dry)[0] for dry in (True, False, False)] == ["remove", "remove", "miss"]  # fmt: skip


def test_a_link_is_removed_and_not_what_it_leads_to(tmp_path: Path) -> None:
    """A state directory may be a link to a bigger disk; what is there is not ours to delete."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "kept").touch()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert take(plan.Remove(str(tmp_path / "link")), is_dry=False)[0] == "remove"
    assert (tmp_path / "data" / "kept").exists()


def test_what_is_kept_read_only_is_purged_by_its_owner_too(tmp_path: Path) -> None:
    """Who has no root is kept out by the mode of a directory; and a link's target is none of our business."""
    kept = tmp_path / "state" / "versions" / "abc"
    kept.mkdir(parents=True)
    (kept / "app.py").write_text("")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o555)
    (tmp_path / "state" / "link").symlink_to(elsewhere)
    for path in (kept, kept.parent):
        path.chmod(0o555)
    code = """
import os
from faasd.cli import service_plan as plan
from faasd.cli.service_steps import take
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(take(plan.Remove("state"), is_dry=False))
"""
    if os.geteuid() == 0:
        for path in (tmp_path, *tmp_path.rglob("*")):
            os.lchown(path, 65534, 65534)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "('remove'" in done.stdout, done.stderr
    assert not (tmp_path / "state").exists()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o555


def test_a_command_that_fails_stops_the_installation_and_is_named() -> None:
    """Going on after it would end in a service that half exists."""
    with pytest.raises(Conflict, match=r"`sh -c 'exit 3'` ended with 3"):
        take(plan.Command(("sh", "-c", "exit 3")), is_dry=False)
    with pytest.raises(Conflict, match="no such program"):
        take(plan.Command(("faasd-no-such-program",)), is_dry=False)


def test_what_is_in_the_way_is_named_with_the_cause(tmp_path: Path) -> None:
    """A traceback in the middle of an installation leaves people with half of one and no idea."""
    (tmp_path / "file").touch()
    with pytest.raises(Conflict, match=f"cannot change {tmp_path}/file/d: Not a directory"):
        take(plan.MakeDirectory(str(tmp_path / "file" / "d"), 0o755), is_dry=False)


@pytest.mark.skipif(Path("/run/systemd/system").exists(), reason="systemd runs this machine")
def test_without_systemd_the_way_to_another_supervisor_is_shown(faasd: Run) -> None:
    """The likeliest such place is a container."""
    done = faasd("service", "install")
    assert done.returncode == 1
    assert "docs/operations.md" in done.stderr
    assert done.stdout == ""
    done = faasd("service", "status", "--json")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "faasd: error: nothing is installed; try `sudo faasd service install`"
    )


def test_a_configuration_elsewhere_is_no_service(faasd: Run, tmp_path: Path) -> None:
    """The units name one place; a service that reads another file than it was told would surprise."""
    done = faasd("service", "install", "--dry-run", "--config", str(tmp_path / "x.toml"))
    assert done.returncode == 2
    assert "/etc/faasd/faasd.toml" in done.stderr
