"""`faasd deploy` as people type it, with the real pip and without a network or a daemon."""

from __future__ import annotations

import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.containment.ordinary import ENVIRONMENT, ROOT, python_of
from tests.daemon.harness import tmpfs
from tests.fakes.wheels import make_sdist, make_wheel
from tests.patience import patient
from tests.unit.cli.conftest import FAASD, Run

Deploy = Callable[..., "subprocess.CompletedProcess[str]"]

APP = """
from faasd import function
import tiny

@function
def shrink(event, context):
    return tiny.VERSION
"""


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    path = tmp_path / "wheels"
    make_wheel(path, "tiny", requires=["needed"])
    make_wheel(path, "needed")
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "thumbs"
    path.mkdir()
    (path / "app.py").write_text(APP)
    (path / "requirements.txt").write_text("tiny\n")
    (path / ".env").write_text("SECRET=1\n")
    return path


@pytest.fixture
def deploy(faasd: Run, wheels: Path) -> Deploy:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        options = ["--installer", "pip", "--no-index", "--find-links", str(wheels)]
        return faasd("deploy", *arguments, *options)

    return run


def in_service(faasd: Run) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(faasd("deployments", "list", "--json").stdout)
    return found


def everything(state_dir: Path) -> list[str]:
    """Return what is in the directory of deployments, links not followed."""
    return sorted(
        os.path.relpath(os.path.join(top, name), state_dir)
        for top, names, files in os.walk(state_dir / "deployments")
        for name in [*names, *files]
        if name != ".lock"
    )


def test_a_directory_is_deployed_with_what_it_needs(
    deploy: Deploy, faasd: Run, source: Path, state_dir: Path
) -> None:
    """Code and packages are in a version of their own, read-only; the source is as it was."""
    before = sorted(path.name for path in source.rglob("*"))
    done = deploy(str(source), "--json")
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)

    assert (made["name"], made["functions"]) == ("thumbs", ["shrink"])
    assert made["packages"] == ["needed==1.0", "tiny==1.0"]
    assert made["daemon"] == "no daemon runs; it is in force at its next start"
    top = state_dir / "deployments" / "thumbs"
    assert os.readlink(top / "current") == made["version"]
    assert (top / "current/code/app.py").read_text() == APP
    assert (top / "current/code/__pypackages__/needed.py").exists()
    assert not (top / "current/code/.env").exists(), "hidden files are not deployed"
    made_of = [
        path for part in ("code", "packages") for path in (top / made["version"] / part).rglob("*")
    ]
    modes = {path.stat().st_mode & 0o222 for path in made_of}
    assert modes == {0}
    assert sorted(path.name for path in source.rglob("*")) == before
    checked = faasd("check")
    assert "functions: shrink" in checked.stdout, checked.stderr

    again = deploy(str(source))
    assert again.stdout.startswith(f"unchanged thumbs {made['version']}"), again.stderr
    (source / "app.py").write_text(APP + "\n# changed\n")
    changed = json.loads(deploy(str(source), "--json").stdout)
    assert changed["changed"]
    assert changed["version"] != made["version"]
    [row] = in_service(faasd)
    assert row["version"] == changed["version"]


def test_a_zip_for_lambda_is_deployed_by_naming_its_handler(
    deploy: Deploy, faasd: Run, tmp_path: Path
) -> None:
    """It declares nothing, and all that it depends on stands at its top."""
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        archive.writestr("lambda_function.py", "import tiny\ndef lambda_handler(e, c): return 1\n")
        archive.writestr("tiny/__init__.py", "")
        archive.writestr("tiny-1.0.dist-info/RECORD", "tiny/__init__.py,,\n")
    without = deploy(str(tmp_path / "old.zip"))
    assert without.returncode == 1
    assert "declares no function: put @function on a handler, or name one with --handler" in without.stderr  # fmt: skip

    handler = ["--handler", "lambda_function.lambda_handler"]
    done = deploy(str(tmp_path / "old.zip"), "--name", "resize", *handler)

    assert done.returncode == 0, done.stderr
    assert "functions: resize" in done.stdout
    (tmp_path / "faasd.toml").write_text(
        (tmp_path / "faasd.toml").read_text() + '[functions.resize]\ntimeout = "5s"\n'
    )
    assert "functions: resize" in faasd("check").stdout, (
        "settings in TOML hold for it as for others"
    )

    refused = faasd("deployments", "remove", "resize")
    assert refused.returncode == 1
    assert "cannot remove resize: without it" in refused.stderr
    assert in_service(faasd)


def test_a_wheel_is_deployed_with_its_dependencies(deploy: Deploy, tmp_path: Path) -> None:
    """Its modules of functions are those that it names in its entry points."""
    wheel = make_wheel(
        tmp_path / "dist",
        "my_pkg",
        files={"my_pkg/__init__.py": "", "my_pkg/jobs.py": APP, "my_pkg/broken.py": "1 / 0\n"},
        requires=["tiny", "never; extra == 'test'"],
        entry_points="[faasd.functions]\nmain = my_pkg.jobs\n",
    )
    done = deploy(str(wheel), "--json")

    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["name"], made["functions"]) == ("my-pkg", ["shrink"])
    assert made["packages"] == ["needed==1.0", "tiny==1.0"]


def test_what_is_broken_changes_nothing(
    deploy: Deploy, faasd: Run, source: Path, state_dir: Path
) -> None:
    """Whatever is wrong, and wherever it shows: the version in service stays, and nothing is left over."""
    assert deploy(str(source)).returncode == 0
    before = everything(state_dir)
    [first] = in_service(faasd)

    def refused(expected: str, *arguments: str) -> None:
        done = deploy(str(source), *arguments)
        assert done.returncode == 1, done.stdout
        assert expected in done.stderr
        assert everything(state_dir) == before
        assert os.readlink(state_dir / "deployments/thumbs/current") == first["version"]

    (source / "app.py").write_text(APP + "1 / 0\n")
    refused("thumbs/app.py:8: cannot be imported: ZeroDivisionError")
    (source / "app.py").write_text(APP)
    (source / "requirements.txt").write_text("nowhere-to-be-found\n")
    refused("pip could not install the dependencies (exit code 1):\n")
    (source / "requirements.txt").write_text("-e .\n")
    refused("'-e .' in requirements.txt would be built here")
    (source / "requirements.txt").unlink()
    refused("No module named 'tiny'; name it in requirements.txt")
    (source / "app.py").write_text(APP.replace("import tiny", "tiny = 1"))
    refused("two functions are named 'shrink'; the other is at", "--name", "another")
    (source / "app.py").unlink()
    refused("holds no module that could declare functions")
    os.mkfifo(source / "pipe")
    refused("neither a file, a directory nor a link")


def test_a_package_that_must_be_built_is_refused_unless_that_is_allowed(
    deploy: Deploy, source: Path, wheels: Path, tmp_path: Path
) -> None:
    """Building runs its maker's code at once, outside of all walls."""
    mark = tmp_path / "it-ran"
    make_sdist(wheels, "built", backend=f"open({str(mark)!r}, 'w')\n")
    (source / "requirements.txt").write_text("tiny\nbuilt\n")

    assert deploy(str(source)).returncode == 1
    assert not mark.exists()
    deploy(str(source), "--allow-build")
    assert mark.exists()


def test_a_dry_run_says_what_would_be_and_leaves_nothing(
    deploy: Deploy, faasd: Run, source: Path, state_dir: Path
) -> None:
    """For a look before the real thing, and for a check in CI."""
    done = deploy(str(source), "--dry-run", "--json")

    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (made["functions"], made["deployed"]) == (["shrink"], False)
    assert everything(state_dir) == []
    assert in_service(faasd) == []


def test_removing_takes_the_functions_and_the_room(
    deploy: Deploy, faasd: Run, source: Path, state_dir: Path
) -> None:
    """A deployment that is gone is gone with all its versions."""
    deploy(str(source))
    done = faasd("deployments", "remove", "thumbs")

    assert done.returncode == 0, done.stderr
    assert "removed thumbs: functions shrink" in done.stdout
    assert everything(state_dir) == []
    assert "functions: none" in faasd("check").stdout
    missing = faasd("deployments", "show", "thumbs")
    assert missing.returncode == 2
    assert "there is no deployment 'thumbs'" in missing.stderr


def test_a_deploy_that_is_killed_leaves_nothing_in_service(
    deploy: Deploy,
    faasd: Run,
    source: Path,
    state_dir: Path,
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    """Killed while its packages are being installed: what it began is no deployment, and goes with the next."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    fake = tmp_path / "python"
    fake.write_text(f'#!/bin/sh\ncase "$*" in *--target*) echo $$ > {gate}; sleep 600;; esac\nexec {sys.executable} "$@"\n')  # fmt: skip
    fake.chmod(0o755)
    running = subprocess.Popen(
        [FAASD, "deploy", str(source), "--python", str(fake), "--installer", "pip"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    installer = int(gate.read_text())
    assert len(everything(state_dir)) > 1
    running.send_signal(signal.SIGKILL)
    running.wait()

    assert in_service(faasd) == []
    assert "functions: none" in faasd("check").stdout
    _wait_until_gone(installer)
    assert deploy(str(source)).returncode == 0
    assert not [one for one in everything(state_dir) if "/.new-" in one]


def _wait_until_gone(pid: int) -> None:
    """Wait for the end of the installer, which the kernel ends with its parent."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        import select

        assert select.select([pidfd], [], [], 20.0)[0], "the installer lives on"
    finally:
        os.close(pidfd)


def test_a_full_disk_changes_nothing(
    deploy: Deploy, faasd: Run, source: Path, state_dir: Path
) -> None:
    """What there is stays in service, and the room is free again."""
    with tmpfs(state_dir, "2m"):
        assert deploy(str(source)).returncode == 0
        first = in_service(faasd)
        before = everything(state_dir)
        (source / "data.bin").write_bytes(os.urandom(3_000_000))

        done = deploy(str(source))

        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert everything(state_dir) == before
        assert in_service(faasd) == first


def test_layers_are_published_listed_and_kept_while_in_use(
    faasd: Run, tmp_path: Path, state_dir: Path
) -> None:
    """From publishing to deleting, as somebody types it."""
    layer = tmp_path / "layer"
    (layer / "python").mkdir(parents=True)
    (layer / "python" / "tiny.py").write_text("VERSION = 'of the layer'\n")
    assert faasd("layers", "publish", "tiny", str(layer)).stdout.startswith("published tiny:1")
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "app.py").write_text(
        dedent(APP).replace("@function", '@function(layers=["tiny:1"])')
    )
    assert "functions: shrink" in faasd("check").stdout

    kept = faasd("layers", "delete", "tiny:1")
    assert kept.returncode == 1
    assert "layer tiny:1 is in use by function 'shrink'" in kept.stderr
    (tmp_path / "functions" / "app.py").unlink()
    assert faasd("layers", "delete", "tiny:1", "--json").returncode == 0
    assert json.loads(faasd("layers", "list", "--json").stdout) == []


def test_root_deploys_as_the_owner_of_the_state_directory() -> None:
    """Nothing of root's gets there, and no code of the bundle's runs as root; what root alone may read is taken in."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    python = python_of(is_ordinary=True)
    nobody = pwd.getpwnam("nobody").pw_uid
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)
        (top / "faasd.toml").write_text('[daemon]\nstate_dir = "state"\n')
        (top / "state").mkdir()
        os.chown(top / "state", nobody, -1)
        make_wheel(top / "wheels", "tiny")
        source = top / "closed"
        source.mkdir(mode=0o700)
        mark = f"{top}/state/ran-as"
        (source / "app.py").write_text(APP)
        (source / "requirements.txt").write_text("tiny\nbuilt\n")
        backend = f"import os, pathlib\npathlib.Path({mark!r}).write_text(str(os.getuid()))\n"
        make_sdist(top / "wheels", "built", backend=backend)
        options = ["--installer", "pip", "--no-index", "--find-links", str(top / "wheels")]

        def deploy(*more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [python, "-m", "faasd", "deploy", str(source), *options, *more],
                env={**ENVIRONMENT, "FAASD_CONFIG": str(top / "faasd.toml")},
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=patient(100),
            )

        deploy("--allow-build")
        assert Path(mark).read_text() == str(nobody), "building is done by the owner"
        (source / "requirements.txt").write_text("tiny\n")
        done = deploy()
        assert done.returncode == 0, done.stderr
        assert (top / "state/deployments/closed/current/code/app.py").read_text() == APP
        made = [one for one in (top / "state").rglob("*") if one.lstat().st_uid != nobody]
        assert made == []
