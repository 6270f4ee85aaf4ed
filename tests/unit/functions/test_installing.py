"""Installing what functions depend on, by the real pip, without a network."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from faasd.errors import BundleRefused
from faasd.functions.installing import builds_wanted, find_installer
from tests.fakes.wheels import make_sdist, make_wheel


@pytest.mark.parametrize(
    "line",
    [
        "tiny",
        "tiny==1.0",
        "tiny[extra]>=1,<2 ; python_version > '3'",
        "tiny==1.0 --hash=sha256:00",
        "tiny==1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11",
        "./wheels/tiny-1.0-py3-none-any.whl",
        "tiny @ https://example.org/tiny-1.0-py3-none-any.whl",
        "https://example.org/tiny-1.0-py3-none-any.whl#sha256=00",
        "--index-url https://example.org/simple",
        "--find-links=./wheels",
        "# a comment",
        "tiny  # because",
        "",
    ],
)
def test_what_comes_as_a_wheel_builds_nothing(line: str, tmp_path: Path) -> None:
    """Most requirements files are of these alone."""
    (tmp_path / "r.txt").write_text(line + "\n")

    assert list(builds_wanted(tmp_path / "r.txt")) == []


@pytest.mark.parametrize(
    "line",
    [
        "-e .",
        "--editable ./pkg",
        ".",
        "./pkg",
        "../pkg",
        "pkg/",
        "git+https://example.org/x.git",
        "x @ git+https://example.org/x.git@main",
        "x @ https://example.org/x-1.0.tar.gz",
        "https://example.org/x-1.0.tar.gz#sha256=00.whl/../x",
        "x @ file:///srv/x",
        "./x-1.0.tar.gz",
        "--no-binary :all:",
        "--no-binary=tiny",
    ],
)
def test_what_pip_would_build_is_seen(line: str, tmp_path: Path) -> None:
    """--only-binary holds pip to wheels for names alone; all of these it would build all the same."""
    (tmp_path / "r.txt").write_text(f"tiny\n{line}\n")

    assert list(builds_wanted(tmp_path / "r.txt")) == [line]


def test_included_files_are_looked_at_too(tmp_path: Path) -> None:
    """And files that include each other end."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "r.txt").write_text("-r sub/more.txt\n--constraint sub/c.txt\n")
    (tmp_path / "sub" / "more.txt").write_text("-e .\n-r ../r.txt\n")
    (tmp_path / "sub" / "c.txt").write_text("tiny==1\n")

    assert set(builds_wanted(tmp_path / "r.txt")) == {"-e ."}


def test_an_included_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """Else pip would say so after a minute of other work."""
    (tmp_path / "r.txt").write_text("-r nowhere.txt\n")

    with pytest.raises(BundleRefused, match=r"nowhere\.txt: No such file"):
        list(builds_wanted(tmp_path / "r.txt"))


def test_pip_installs_wheels_and_never_runs_a_packages_own_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package that has only sources is refused, and its code does not run."""
    wheels, into = tmp_path / "wheels", tmp_path / "stage" / "packages"
    into.mkdir(parents=True)
    make_wheel(wheels, "tiny", requires=["needed"])
    make_wheel(wheels, "needed")
    mark = tmp_path / "it-ran"
    make_sdist(wheels, "built", backend=f"open({str(mark)!r}, 'w')\nraise SystemExit('no')\n")
    monkeypatch.setenv("PIP_TARGET", str(tmp_path / "elsewhere"))  # As in somebody's environment.
    options = ["--no-index", "--find-links", str(wheels)]
    pip = find_installer(sys.executable, options, use="pip")
    (tmp_path / "stage" / "r.txt").write_text("tiny\n")
    (tmp_path / "stage" / "json.py").write_text("raise SystemExit('I am not the one of pip')\n")
    said: list[str] = []

    pip.install(tmp_path / "stage" / "r.txt", into, said.append)

    assert (into / "tiny.py").read_text() == "VERSION = '1.0'\n"
    assert (into / "needed.py").exists()
    assert any("Successfully installed" in line for line in said)
    assert not (tmp_path / "elsewhere").exists()

    (tmp_path / "stage" / "r.txt").write_text("built\n")
    with pytest.raises(BundleRefused, match=r"exit code 1\):\n(.*\n)*.*No matching distribution"):
        pip.install(tmp_path / "stage" / "r.txt", into, said.append)
    (tmp_path / "stage" / "r.txt").write_text(f"{wheels}/built-1.0.tar.gz\n")
    with pytest.raises(BundleRefused, match="would be built here"):
        pip.install(tmp_path / "stage" / "r.txt", into, said.append)
    assert not mark.exists()

    lenient = find_installer(sys.executable, options, use="pip", allow_build=True)
    with pytest.raises(BundleRefused):
        lenient.install(tmp_path / "stage" / "r.txt", into, said.append)
    assert mark.exists(), "the control: with --allow-build it does run"


def test_what_a_wheel_depends_on_by_its_address_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip that is told to take wheels only builds that all the same; it is kept from starting any program."""
    wheels, into, mark = tmp_path / "wheels", tmp_path / "stage" / "packages", tmp_path / "it-ran"
    into.mkdir(parents=True)
    source = make_sdist(
        wheels, "built", backend=f"open({str(mark)!r}, 'w')\nraise SystemExit('no')\n"
    )
    make_wheel(wheels, "tiny", requires=[f"built @ {source.as_uri()}"])
    options = ["--no-index", "--find-links", str(wheels)]
    requirements = tmp_path / "stage" / "r.txt"
    requirements.write_text("tiny\n")

    pip = find_installer(sys.executable, options, use="pip")
    with pytest.raises(
        BundleRefused, match=r"(?s)not permitted.*outside of all walls.*--allow-build"
    ):
        pip.install(requirements, into, lambda _: None)
    assert not mark.exists()

    monkeypatch.setattr("faasd.linux.seccomp.is_available", lambda: False)
    with pytest.raises(BundleRefused):
        pip.install(requirements, into, lambda _: None)
    assert mark.exists(), "the control: without the filter it does run"


def test_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    """Whoever pins hashes wants exactly those files, and all of them."""
    into = tmp_path / "stage" / "packages"
    into.mkdir(parents=True)
    make_wheel(tmp_path / "wheels", "tiny")
    options = ["--no-index", "--find-links", str(tmp_path / "wheels")]
    requirements = tmp_path / "stage" / "r.txt"
    requirements.write_text(f"tiny==1.0 --hash=sha256:{'0' * 64}\n")

    with pytest.raises(BundleRefused, match=r"(?i)hash"):
        find_installer(sys.executable, options, use="pip").install(
            requirements, into, lambda _: None
        )
    assert list(into.iterdir()) == []


def test_without_any_installer_it_is_said_which_to_get(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debian's Python comes without pip."""
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BundleRefused, match=r"no uv in PATH, and .*python has no pip; install uv"):
        find_installer(str(fake))
