"""What works without a daemon."""

from __future__ import annotations

import dataclasses
import json
import socket
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner

from faasd.cli import doctor
from faasd.cli.group import COMMANDS
from faasd.cli.group import faasd as root
from faasd.cli.reference import render_cli_reference
from faasd.model.walls import WALLS
from faasd.sandbox import preflight
from faasd.sandbox.policy import Walls
from tests.unit.cli.conftest import Run


def test_init_writes_a_configuration_and_a_function_and_touches_nothing(
    faasd: Run, tmp_path: Path
) -> None:
    """Starting again in a directory with work in it must not cost that work."""
    done = faasd("init", "jobs")
    assert (done.returncode, done.stderr) == (0, "")
    config = tmp_path / "jobs" / "faasd.toml"
    assert tomllib.loads(config.read_text())["daemon"]["functions"] == ["functions"]
    compile((tmp_path / "jobs" / "functions" / "hello.py").read_text(), "hello.py", "exec")
    config.write_text("mine")
    done = faasd("init", "jobs")
    assert done.returncode == 1
    assert "already there" in done.stderr
    assert config.read_text() == "mine"


def test_the_next_times_of_an_expression_need_no_daemon(faasd: Run) -> None:
    """Somebody who writes an expression wants to know what it means before it runs."""
    arguments = ["schedules", "next", "--cron", "30 2 * * *", "--timezone", "Europe/Berlin"]
    done = faasd(*arguments, "--from", "2026-07-01T00:00:00", "-n", "2", "--json")
    assert json.loads(done.stdout) == ["2026-07-01T00:30:00.000Z", "2026-07-02T00:30:00.000Z"]
    done = faasd(*arguments, "--from", "2026-07-01T00:00:00", "-n", "1")
    assert done.stdout == "2026-07-01T00:30:00.000Z  Wed 2026-07-01 02:30:00 CEST\n"
    done = faasd("schedules", "next", "--cron", "61 * * * *")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_time_zone_that_does_not_exist_is_a_usage_error(faasd: Run) -> None:
    """Zoneinfo's own message names a file of this machine."""
    done = faasd("schedules", "next", "--cron", "* * * * *", "--timezone", "Europe/Berlinn")
    assert done.returncode == 2
    assert "not 'Europe/Berlinn'; did you mean \"Europe/Berlin\"?" in done.stderr


def test_check_without_a_configuration_says_where_it_looked(faasd: Run, tmp_path: Path) -> None:
    """The likeliest reason is another working directory."""
    (tmp_path / "faasd.toml").unlink()
    if Path("/etc/faasd/faasd.toml").exists():
        pytest.skip("this machine has a configuration of its own")
    env = {"FAASD_CONFIG": "", "HOME": str(tmp_path), "XDG_CONFIG_HOME": ""}
    done = faasd("check", **env)
    assert done.returncode == 2
    assert "faasd init" in done.stderr
    assert "/etc/faasd/faasd.toml" in done.stderr


def test_check_warns_of_what_is_no_mistake_but_looks_like_one(faasd: Run, tmp_path: Path) -> None:
    """A handler without its decorator, and a directory whose name is mistyped, are silent otherwise."""
    config = tmp_path / "faasd.toml"
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "plain.py").write_text("def handler(event, context): ...\n")
    done = faasd("check")
    assert (done.returncode, done.stdout) == (0, f"{config}: no error found; functions: none\n")
    assert "put @function on a handler" in done.stderr
    config.write_text(
        config.read_text() + '[functions.x]\ncommand = ["true"]\n'
        f'triggers = [{{ type = "files", path = "{tmp_path}/inbx" }}]\n'
    )
    done = faasd("check")
    assert (done.returncode, done.stdout) == (0, f"{config}: no error found; functions: x\n")
    assert (
        f"warning: function 'x' watches {tmp_path}/inbx, which is no directory now" in done.stderr
    )
    (tmp_path / "inbx").mkdir()
    assert faasd("check").stderr == ""


def test_check_gives_other_programs_the_places_apart(faasd: Run, tmp_path: Path) -> None:
    """An editor or a deployment script wants file, line and column without taking text apart."""
    (tmp_path / "m.py").write_text(
        "import faasd\n@faasd.function(timout='3s')\ndef f(e, c): ...\n"
        "@faasd.function\ndef g(e, c): ...\n"
    )
    config = tmp_path / "faasd.toml"
    config.write_text("[daemon]\nfunctions = 'm.py'\nslotz = 3\n")
    done = faasd("check", "--json", "--config", str(config))
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    places = [[one[key] for key in ("path", "line", "column")] for one in answer["errors"]]
    assert places == [[str(config), 3, 1], [str(tmp_path / "m.py"), 2, None]]
    second = answer["errors"][1]
    assert (second["setting"], second["function"]) == ("functions.f.timout", "f")
    assert second["message"] == 'unknown setting; did you mean "timeout"?'
    assert answer["functions"] == ["g"]
    assert answer["warnings"] == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_name_the_command(faasd: Run, shell: str) -> None:
    """The script asks `faasd` itself, by this variable."""
    done = faasd("completion", shell)
    assert done.returncode == 0
    assert "_FAASD_COMPLETE" in done.stdout


def test_a_shell_gets_its_completions(faasd: Run) -> None:
    """The script is worth nothing if the command does not answer it."""
    done = faasd(
        _FAASD_COMPLETE="bash_complete", COMP_WORDS="faasd dead-letters re", COMP_CWORD="2"
    )
    assert done.stdout.strip() == "plain,redrive"


def _walls_of_host(monkeypatch: pytest.MonkeyPatch, walls: Walls) -> None:
    """Have the doctor find these walls, whatever this host can do."""
    monkeypatch.setattr(preflight, "_probe", lambda _python, _cgroups: walls)


_ALL = Walls(
    ("pid", "ipc", "uts"),
    "v2",
    cgroup_caps_processes=True,
    cgroup_caps_cpu=True,
    landlock=7,
    mounts=True,
    private_proc=True,
    seccomp=True,
    network_namespace=True,
)
_NO_LANDLOCK = dataclasses.replace(_ALL, landlock=0)
_NO_CGROUP = dataclasses.replace(_ALL, cgroup=None)


@pytest.mark.parametrize(
    ("walls", "containment", "code", "verdict"),
    [
        (_ALL, "strict", None, "enforced"),
        (_NO_CGROUP, "strict", None, "enforced, in part otherwise"),
        (_NO_LANDLOCK, "strict", 1, "refused"),
        (_NO_LANDLOCK, "best-effort", 1, "not enforced"),
    ],
)
def test_doctor_is_exit_0_only_when_every_function_can_be_enforced(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    walls: Walls,
    containment: str,
    code: int | None,
    verdict: str,
) -> None:
    """Provisioning scripts run it to decide whether this host will do."""
    config = tmp_path / "faasd.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "state"\n[functions.f]\ncommand = ["/bin/true"]\n'
        f'containment = "{containment}"\n'
    )
    _walls_of_host(monkeypatch, walls)
    arguments = ["doctor", "--json", "--config", str(config)]
    assert root.main(arguments, standalone_mode=False) == code
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert [one["wall"] for one in report["walls"]] == list(WALLS)
    [function] = report["functions"]
    assert (function["function"], function["verdict"]) == ("f", verdict)
    assert report["found_by"] == "this process"
    assert ("the wall 'files' cannot be built" in err) == (code == 1)
    checks = {one["check"]: one["ok"] for one in report["checks"]}
    assert checks == {"python": True, "sqlite": True, "state directory": True, "daemon": False}


@pytest.mark.parametrize(
    ("walls", "containment", "code", "said"),
    [
        (_ALL, "strict", None, ""),
        (_NO_LANDLOCK, "strict", 1, "function 'f' is refused: the wall 'files' cannot be built"),
        (_NO_LANDLOCK, "best-effort", None, "function 'f' runs without what it is promised"),
    ],
)
def test_check_refuses_a_function_whose_wall_is_missing(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    walls: Walls,
    containment: str,
    code: int | None,
    said: str,
) -> None:
    """With the place of the function, and the setting that would let it run all the same."""
    config = tmp_path / "faasd.toml"
    config.write_text(
        f'[daemon]\nstate_dir = "state"\n[defaults]\ncontainment = "{containment}"\n'
        '[functions.f]\ncommand = ["/bin/true"]\n'
    )
    _walls_of_host(monkeypatch, walls)
    assert root.main(["check", "--config", str(config)], standalone_mode=False) == code
    out, err = capsys.readouterr()
    assert said in err
    assert ("no error found" in out) == (code is None)
    if code == 1:
        assert f"{config}:5" in err
        assert 'containment = "best-effort"' in err


def test_doctor_names_a_state_directory_that_cannot_be_written(tmp_path: Path) -> None:
    """A file in its place is the case that root meets too."""
    (tmp_path / "file").touch()
    assert doctor._state_dir(str(tmp_path / "file" / "state"))["ok"] is False
    assert doctor._state_dir(str(tmp_path / "new" / "state"))["ok"] is True


def test_the_reference_holds_every_command_with_its_own_words() -> None:
    """It is generated, so a command without a help text would show as an empty section."""
    text = render_cli_reference()
    for name in COMMANDS:
        assert f"\n## faasd {name}\n" in text
    for verb in ("dead-letters redrive", "schedules next", "invocations replay", "files retry"):
        assert f"\n### faasd {verb}\n" in text
    assert render_cli_reference() == text
    assert "/root" not in text
    assert "[default" not in text


def test_completion_is_silent_without_a_daemon(faasd: Run) -> None:
    """An error message in the middle of a command line that is being typed helps nobody."""
    done = faasd(_FAASD_COMPLETE="bash_complete", COMP_WORDS="faasd invoke e", COMP_CWORD="2")
    assert (done.stdout.strip(), done.stderr) == ("", "")


@pytest.mark.parametrize("command", ["status", "doctor"])
def test_a_daemon_that_hangs_is_told_and_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Monitoring runs these; it must not pile up behind a daemon that takes connections and says nothing."""
    monkeypatch.setattr(f"faasd.cli.{command}._ANSWER_S", 0.1)
    socket_path = tmp_path / "faasd.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(socket_path))
        listener.listen()
        environ = {"FAASD_SOCKET": str(socket_path)}
        done = CliRunner().invoke(root, [command, "--json"], env=environ)
    assert "has not answered for 0.1 s" in f"{done.output}{done.exception}"
