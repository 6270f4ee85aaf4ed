"""Landlock's rules, laid upon a child process, with each ABI up to the kernel's own."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from faasd.linux import landlock, process

NONE = landlock.abi() == 0
pytestmark = pytest.mark.skipif(NONE, reason="this kernel has no Landlock")
ABIS = range(1, landlock.abi() + 1)


def tried(rules: Callable[[], landlock.Ruleset] | None, *steps: Callable[[], object]) -> list[str]:
    """Run steps in a child under these rules, and say how each ended."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if rules is not None:
                process.forbid_new_privileges()
                rules().restrict()
            for step in steps:
                try:
                    step()
                    os.write(write, b"ok ")
                except OSError as error:
                    os.write(write, errno.errorcode[error.errno or 0].encode() + b" ")
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read) as file:
        return file.read().split()


@pytest.mark.parametrize("version", ABIS)
def test_what_no_rule_allows_is_refused(tmp_path: Path, version: int) -> None:
    """Under every ABI; a rule on a file takes the rights that a directory would."""
    for name in ("read", "write", "neither"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    (tmp_path / "single").write_text("x")

    def rules() -> landlock.Ruleset:
        ruleset = landlock.Ruleset(version)
        assert ruleset.allow_path(str(tmp_path / "read"), landlock.READ)
        assert ruleset.allow_path(str(tmp_path / "write"), landlock.WRITE)
        assert ruleset.allow_path(str(tmp_path / "single"), landlock.WRITE)
        assert not ruleset.allow_path(str(tmp_path / "missing"), landlock.READ)
        return ruleset

    steps = [
        (tmp_path / "read" / "file").read_text,
        lambda: (tmp_path / "write" / "file").write_text("y"),
        lambda: (tmp_path / "write" / "file").rename(tmp_path / "write" / "other"),
        lambda: (tmp_path / "single").open("a"),
        lambda: os.listdir(tmp_path / "neither"),
        (tmp_path / "neither" / "file").read_text,
        lambda: (tmp_path / "read" / "file").open("a"),
        (tmp_path / "read" / "new").mkdir,
        lambda: os.link(tmp_path / "read" / "file", tmp_path / "write" / "linked"),
        lambda: os.truncate(tmp_path / "read" / "file", 1),
    ]
    refused = ["EACCES", "EACCES", "EACCES", "EACCES", "EXDEV", "EACCES" if version >= 3 else "ok"]
    assert tried(rules, *steps) == ["ok"] * 4 + refused
    assert tried(None, steps[4], steps[6], steps[7], steps[8], steps[9]) == ["ok"] * 5


@pytest.mark.skipif(landlock.abi() < 4, reason="Landlock knows ports from ABI 4 on")
def test_ports_are_limited_by_kind() -> None:
    """Connecting and listening apart; what is not limited stays as it was."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def connect() -> None:
            socket.create_connection(("127.0.0.1", port)).close()

        connect()  # Imports the codec of host names, which a child may not read.

        def listen() -> None:
            socket.create_server(("127.0.0.1", 0)).close()

        def rules(connects: tuple[int, ...]) -> landlock.Ruleset:
            ruleset = landlock.Ruleset(landlock.abi(), limits_connect=True)
            ruleset.allow_ports(connect=connects, bind=[1])
            return ruleset

        assert tried(lambda: rules(()), connect, listen) == ["EACCES", "ok"]
        assert tried(lambda: rules((port,)), connect, listen) == ["ok", "ok"]
        only_bind = lambda: landlock.Ruleset(landlock.abi(), limits_bind=True)  # noqa: E731
        assert tried(only_bind, connect, listen) == ["ok", "EACCES"]


@pytest.mark.skipif(landlock.abi() < 6, reason="Landlock has scopes from ABI 6 on")
def test_scopes_close_signals_and_abstract_sockets() -> None:
    """To what is outside; the control is the same without them."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0faasd-test-" + os.urandom(8).hex())
        server.listen()

        def signal() -> None:
            os.kill(os.getppid(), 0)

        def connect() -> None:
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(server.getsockname())

        scoped = lambda: landlock.Ruleset(landlock.abi(), scopes=True)  # noqa: E731
        plain = lambda: landlock.Ruleset(landlock.abi())  # noqa: E731
        assert tried(scoped, signal, connect) == ["EPERM", "EPERM"]
        assert tried(plain, signal, connect) == ["ok", "ok"]
