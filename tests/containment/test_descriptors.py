"""Both sides of every descriptor are accounted for: what handler, command and zygote start with, exactly."""

from __future__ import annotations

import json
import os

from faasd.model.permissions import Permissions
from tests.containment.bench import Bench, an_attempt
from tests.containment.test_hostile_frames import _from_zygote

_LOOSE = Permissions(containment="best-effort")
#: Standard input, output and error; what else there is depends on who it is.
_STANDARD = {"0": "/dev/null", "1": "pipe", "2": "pipe"}
_LISTING = "for fd in /proc/self/fd/*; do echo ${fd##*/} $(readlink $fd); done"


async def test_a_handler_starts_with_its_standard_streams_and_its_channel(bench: Bench) -> None:
    """Nothing of the daemon's, of its zygote's or of other attempts is among them."""
    outcome = await bench.run("hostile_frames:list_descriptors", permissions=_LOOSE)
    found = json.loads(outcome.result_json or "")
    channel = [fd for fd, what in found.items() if what == "socket"]
    assert len(channel) == 1, found
    assert int(channel[0]) >= 100
    assert {fd: what for fd, what in found.items() if fd not in channel} == _STANDARD


async def test_a_descriptor_that_the_daemon_leaves_open_reaches_no_sandbox(bench: Bench) -> None:
    """Also when it is one that programs inherit: whoever starts the daemon may have left it so."""
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    os.set_inheritable(writing, True)
    try:
        outcome = await bench.run("hostile_frames:list_descriptors", permissions=_LOOSE)
        assert len(json.loads(outcome.result_json or "")) == 4
    finally:
        os.close(reading)
        os.close(writing)


async def test_a_command_starts_with_its_standard_streams_alone(bench: Bench) -> None:
    """The event is on standard input, as a file in memory; the channel closes as the command begins."""
    outcome = await bench.run(
        None, {"a": 1}, command=("/bin/bash", "-c", _LISTING), permissions=_LOOSE
    )
    assert outcome.word == "ok", outcome
    listed = {
        fd: what
        for fd, _, what in (
            line.partition(" ") for line in json.loads(outcome.result_json or "").splitlines()
        )
    }
    # While the shell expands the list, it has the directory itself open; no link is there afterwards.
    found = {fd: what.partition(":")[0] for fd, what in listed.items() if what}
    assert found.pop("0").startswith("/memfd")
    assert {fd: what for fd, what in found.items() if "/fd" not in what} == {
        "1": "pipe",
        "2": "pipe",
    }


async def test_a_zygote_imports_with_its_socket_and_its_output(bench: Bench) -> None:
    """One socket to the daemon, and no other: not the root zygote's, and no other zygote's."""
    outcome = await bench.run_attempt(an_attempt(_from_zygote("", "in_zygote")))
    found = json.loads(outcome.result_json or "")
    kinds = sorted(what for fd, what in found.items() if int(fd) > 2)
    assert {fd: what for fd, what in found.items() if int(fd) <= 2} == _STANDARD
    assert kinds.count("socket") == 1
    # With file walls it also holds a prepared rule for each attempt that it may run at once, and places of
    # files and directories (paths): nothing else that could be read from, written to or spoken with.
    others = {what for what in kinds if what != "socket" and not what.startswith("/")}
    assert others <= {"anon_inode:[landlock-ruleset]"}, found
