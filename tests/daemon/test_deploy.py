"""Deployments and layers in a running daemon: taken at once, rolled back, out of everybody else's reach."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests.daemon.harness import DaemonProcess, write_project
from tests.fakes.wheels import make_wheel

LOOKER = """
import os

def look(event, context):
    found = {}
    for path in event:
        try:
            found[path] = sorted(os.listdir(path)) if os.path.isdir(path) else open(path).read(9)
        except OSError as error:
            found[path] = type(error).__name__
    return found
"""


def write_app(directory: Path, version: int, package: str = "1.0") -> Path:
    source = directory / "thumbs"
    source.mkdir(exist_ok=True)
    (source / "app.py").write_text(
        dedent(
            f"""
            import pathlib
            from faasd import function
            import tiny

            @function
            def shrink(event, context):
                data = pathlib.Path(__file__).with_name("data.txt").read_text()
                return [{version}, tiny.VERSION, data]
            """
        )
    )
    (source / "data.txt").write_text(f"data {version}")
    (source / "requirements.txt").write_text(f"tiny=={package}\n")
    return source


def deploy(daemon: DaemonProcess, source: Path, *more: str) -> dict[str, Any]:
    done = try_to_deploy(daemon, source, *more)
    assert done.returncode == 0, done.stderr
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def try_to_deploy(daemon: DaemonProcess, source: Path, *more: str) -> Any:
    wheels = str(daemon.config.parent / "wheels")
    options = ["--installer", "pip", "--no-index", "--find-links", wheels]
    return daemon.cli("deploy", str(source), "--json", *options, *more)


def invoke(daemon: DaemonProcess, name: str, event: Any = None) -> Any:
    answer = daemon.client.invoke(name, event)
    assert answer["outcome"] == "ok", answer
    return answer["result"]


def test_a_running_daemon_takes_versions_and_goes_back(tmp_path: Path) -> None:
    """Code, its data and its packages change together, and go back together."""
    for version in ("1.0", "2.0"):
        make_wheel(tmp_path / "wheels", "tiny", version)
    daemon = DaemonProcess(write_project(tmp_path, ""))
    with daemon.running():
        made = deploy(daemon, write_app(tmp_path, 1))
        assert made["daemon"] == "the daemon has taken it"
        assert invoke(daemon, "shrink") == [1, "1.0", "data 1"]

        deploy(daemon, write_app(tmp_path, 2, "2.0"))
        assert invoke(daemon, "shrink") == [2, "2.0", "data 2"]

        back = daemon.cli("functions", "rollback", "shrink")
        assert back.returncode == 0, back.stderr
        assert invoke(daemon, "shrink") == [1, "1.0", "data 1"]

        deploy(daemon, write_app(tmp_path, 2, "2.0"))
        assert invoke(daemon, "shrink") == [2, "2.0", "data 2"], "a deploy ends a rollback"

        removed = daemon.cli("deployments", "remove", "thumbs")
        assert removed.returncode == 0, removed.stderr
        assert daemon.cli("functions", "list", "--json").stdout.strip() == "[]"
    assert not (tmp_path / "state" / "deployments" / "thumbs").exists()


def test_what_was_deployed_without_a_daemon_is_there_at_its_start(tmp_path: Path) -> None:
    """And over a kill -9, with which nothing of it may be lost."""
    make_wheel(tmp_path / "wheels", "tiny")
    daemon = DaemonProcess(write_project(tmp_path, ""))
    deploy(daemon, write_app(tmp_path, 1))
    with daemon.running():
        assert invoke(daemon, "shrink") == [1, "1.0", "data 1"]
        daemon.kill9()
        daemon.start()
        assert invoke(daemon, "shrink") == [1, "1.0", "data 1"]


def test_what_the_daemon_does_not_take_is_put_back(tmp_path: Path) -> None:
    """The check of a deploy and the daemon's own are made one after the other, and something may come between."""
    make_wheel(tmp_path / "wheels", "tiny")
    daemon = DaemonProcess(write_project(tmp_path, ""))
    with daemon.running():
        first = deploy(daemon, write_app(tmp_path, 1))
        # What the daemon keeps of it takes the place of what it would keep: nothing can be written there.
        versions = tmp_path / "state" / "versions"
        versions.rename(tmp_path / "aside")
        versions.write_text("no directory")

        done = try_to_deploy(daemon, write_app(tmp_path, 2))

        assert done.returncode == 1
        assert "the daemon does not take thumbs, and all is as it was:" in done.stderr
        listed = json.loads(daemon.cli("deployments", "list", "--json").stdout)
        assert [one["version"] for one in listed] == [first["version"]]
        versions.unlink()
        (tmp_path / "aside").rename(versions)
        assert invoke(daemon, "shrink") == [1, "1.0", "data 1"]


@pytest.mark.parametrize(
    "without", [set(), {"mounts"}, {"landlock"}], ids=["all", "landlock", "mounts"]
)
def test_a_function_sees_its_own_deployment_and_layers_and_nobody_elses(
    without: set[str], tmp_path: Path
) -> None:
    """They are in the state directory, of which all else stays out of reach; each wall by itself does it."""
    functions = LOOKER + dedent(
        """
        from faasd import function
        mine = function(name="mine", layers=["mine"], containment="best-effort")(look)
        """
    )
    make_wheel(tmp_path / "wheels", "tiny")
    daemon = DaemonProcess(write_project(tmp_path, functions), without=without)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "looking.py").write_text(LOOKER)
    for name in ("mine", "other"):
        (tmp_path / name / "python").mkdir(parents=True)
        (tmp_path / name / "python" / "x.py").write_text(f"# {name}\n")
        published = daemon.cli("layers", "publish", name, str(tmp_path / name))
        assert published.returncode == 0, published.stderr
    deploy(daemon, write_app(tmp_path, 1))
    bare = ["--name", "bare", "--handler", "looking.look"]
    deploy(daemon, tmp_path / "bare", *bare)
    (tmp_path / "faasd.toml").write_text(
        (tmp_path / "faasd.toml").read_text() + '\n[functions.bare]\ncontainment = "best-effort"\n'
        '[functions.shrink]\ncontainment = "best-effort"\n'
    )
    state = tmp_path / "state"
    theirs = state / "deployments" / "thumbs"
    [version] = [path.name for path in theirs.iterdir() if path.name != "current"]
    [own] = [path for path in (state / "deployments" / "bare").iterdir() if path.name != "current"]
    places = {
        "own layer": str(state / "layers/mine/1/content/python/x.py"),
        "other layer": str(state / "layers/other/1/content/python/x.py"),
        "own bundle": str(own / "code/looking.py"),
        "other bundle": str(theirs / version / "code/app.py"),
        "database": str(state / "faasd.db"),
    }
    with daemon.running():
        seen = {
            name: {place: invoke(daemon, name, [path])[path] for place, path in places.items()}
            for name in ("mine", "bare")
        }
    closed = {"FileNotFoundError", "PermissionError"}
    readable = {
        name: {p for p, found in one.items() if found not in closed} for name, one in seen.items()
    }
    assert readable == {"mine": {"own layer"}, "bare": {"own bundle"}}


def test_layers_are_on_the_paths_of_their_functions(tmp_path: Path) -> None:
    """As in Lambda: the function's own code first, later layers before earlier ones, programs and libraries too."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for number, name in enumerate(("low", "high")):
        layer = tmp_path / name
        for place in ("python", f"python/lib/{version}/site-packages", "bin", "lib"):
            (layer / place).mkdir(parents=True)
        (layer / "python" / "both.py").write_text(f"WHO = {name!r}\n")
        (layer / "python" / f"only_{name}.py").write_text(f"WHO = {name!r}\n")
        (layer / "python" / "app.py").write_text("raise SystemExit('hides the function itself')\n")
        (layer / "bin" / "tell-me").write_text(f"#!/bin/sh\necho {name}\n")
        (layer / "bin" / "tell-me").chmod(0o755)
        (layer / "bin" / "sh").write_text("#!/bin/false\n")
        (layer / "bin" / "sh").chmod(0o755)
        site = layer / f"python/lib/{version}/site-packages" / f"in_site_{number}.py"
        site.write_text("WHO = 'site'\n")
    functions = """
        import os, subprocess
        import both, only_low, only_high, in_site_0, in_site_1
        from faasd import function

        @function(layers=["low", "./high"])
        def who(event, context):
            said = subprocess.run(["sh", "-c", "tell-me"], capture_output=True, text=True, check=True)
            libraries = [path.split("/")[-2:] for path in os.environ["LD_LIBRARY_PATH"].split(":")]
            return [both.WHO, only_low.WHO, only_high.WHO, said.stdout.strip(), libraries]
    """
    daemon = DaemonProcess(write_project(tmp_path, functions))
    assert daemon.cli("layers", "publish", "low", str(tmp_path / "low")).returncode == 0
    with daemon.running():
        assert invoke(daemon, "who") == [
            "high", "low", "high", "high", [["high", "lib"], ["content", "lib"]],
        ]  # fmt: skip
        shown = daemon.client.request("GET", "/api/v1/functions/who")
        assert shown["layers"] == ["low:1", str(tmp_path / "high")]

        (tmp_path / "low" / "python" / "only_low.py").write_text("WHO = 'newer'\n")
        daemon.cli("layers", "publish", "low", str(tmp_path / "low"))
        assert invoke(daemon, "who")[1] == "low", "nothing changes until a reload"
        assert daemon.cli("reload").returncode == 0
        assert invoke(daemon, "who")[1] == "newer"
        refused = daemon.cli("layers", "delete", "low:2")
        assert refused.returncode == 1
        assert "in use by function 'who'" in refused.stderr
        assert daemon.cli("layers", "delete", "low:1").returncode == 0
